use std::io;
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use conformance::{Bench, Case, Failure, Outcome, Problem, Require, Symptom, ensure, passed};
use harness::{Client, Server, patience, play};

use super::stage_04::{a_name_goes_before_each_line, a_name_may_come_in_pieces};
use super::{HELLO, must_be_let_go, must_sleep, was_let_stay};

pub(super) const CASES: &[Case] = &[
    Case::broadcast(
        "06-timeout/01",
        "who says nothing is disconnected, who speaks stays",
        who_says_nothing_is_disconnected,
    )
    .why("Each connection costs something: one that is of no use to anybody must end."),
    Case::broadcast(
        "06-timeout/02",
        "waiting for the time-out costs nothing",
        waiting_for_the_time_out_costs_nothing,
    )
    .why("A loop that looks at the clock again and again never sleeps.")
    .alone(),
    Case::broadcast("06-timeout/03", "who leaves is let go", who_leaves_is_let_go)
        .why("Whoever waits for a client must not keep it: a connection costs as long as it is kept."),
    Case::echo("06-lost/01", "who says nothing costs nothing", who_says_nothing_costs_nothing)
        .why("A loop that asks again and again misses nothing, and never sleeps."),
    Case::echo(
        "06-short/01",
        "who does not read costs nothing, and stalls nobody",
        who_does_not_read_stalls_nobody,
    )
    .why(
        "The loop is everyone's. Whoever tries a write again and again until the kernel takes it \
         takes the loop from all others.",
    ),
    Case::echo(
        "06-short/02",
        "the last bytes come as soon as there is room",
        the_last_bytes_come,
    )
    .why(
        "To wait for the wrong readiness goes well for as long as the client has more to say: one \
         event tells of both.",
    ),
    Case::broadcast(
        "06-budget/01",
        "a turn is a few reads, whoever has it",
        a_turn_is_a_few_reads,
    )
    .why("The budget of one client is what all others wait for, in each turn."),
    Case::broadcast("06-names/01", "a name goes before each line", a_name_goes_before_each_line)
        .why("What is known of a client can be a local variable, where its task is a function."),
    Case::broadcast("06-names/02", "a name may come in pieces", a_name_may_come_in_pieces)
        .why("A name is a line, and a line may come in two reads, or two lines in one."),
    Case::broadcast(
        "06-rooms/01",
        "a line is heard in its speaker's room, and in no other",
        a_line_is_heard_in_its_room,
    )
    .why("Who hears a line is known only when it is said."),
    Case::broadcast(
        "06-rooms/02",
        "rooms change between two lines, however those arrive",
        rooms_change_between_two_lines,
    )
    .why("A command is a line, and a line may come in two reads, or three lines in one."),
    Case::broadcast(
        "06-rooms/03",
        "who changes rooms hears what it is owed first",
        who_changes_rooms_hears_what_it_is_owed,
    )
    .why("What the kernel does not take has to be kept, wherever its reader has gone."),
    Case::broadcast("06-rooms/04", "without ROOMS there is one", without_rooms_there_is_one)
        .why("Nothing that a client says is a command, unless the server was started so."),
    Case::broadcast(
        "06-timers/01",
        "who says nothing is disconnected, who speaks stays",
        who_says_nothing_is_disconnected,
    )
    .why("A time that nobody waits for any more must end nobody's connection."),
    Case::broadcast(
        "06-timers/02",
        "who was told to go does not stay",
        who_was_told_to_go_does_not_stay,
    )
    .why("Each wait needs an end: also that for the last word of somebody who has left."),
    Case::broadcast(
        "06-timers/03",
        "waiting for the time-out costs nothing",
        waiting_for_the_time_out_costs_nothing,
    )
    .why("A loop that looks at the clock again and again never sleeps.")
    .alone(),
    Case::broadcast(
        "06-timers/04",
        "a wait that is over leaves no time behind",
        a_wait_that_is_over_leaves_no_time_behind,
    )
    .why("A time that nobody waits for any more takes memory until it comes, and then wakes the loop."),
    Case::echo("06-waker/01", "a server at rest wakes up", a_server_at_rest_wakes_up).why(
        "Who returns `Pending` and leaves no waker sleeps for ever: nobody knows that it waits.",
    ),
    Case::echo(
        "06-waker/02",
        "who has left leaves nothing with the reactor",
        who_has_left_leaves_nothing,
    )
    .why("A waker that is called and kept is never freed: the server grows with each client.")
    .alone(),
    Case::echo(
        "06-waker/03",
        "who waits to write is woken, too",
        the_last_bytes_come,
    )
    .why(
        "An event may say readable, writable, or both. A writer whose client has nothing more to \
         say is told only that it could write.",
    ),
];

/// S says nothing, and its stream ends. A and B talk to each other, with pauses, until a second
/// silent client, who came after them, is gone, too: they stay. Then they say nothing any more.
fn who_says_nothing_is_disconnected(bench: &Bench<'_>) -> Outcome {
    const SILENCE: Duration = Duration::from_secs(2);
    let server = Server::start(bench.command(0).env("SILENCE", SILENCE.as_secs().to_string()))?;
    let came = Instant::now();
    let mut silent = server.connect("s")?;
    silent.read_to_end().require("a client that says nothing is disconnected")?;
    was_let_stay(&server, &silent, came, SILENCE)?;
    let let_go = lets_go(&server).looks_like(Symptom::TooMuch);
    let_go.require("who is disconnected is let go, though it does not close its own end")?;

    let mut said_before = Instant::now();
    let [mut a, mut b] = bench.room(&server, ["a", "b"])?;
    let came = Instant::now();
    let silent = server.connect("t")?;
    let mut silent_is_there = true;
    while silent_is_there {
        let says = Instant::now();
        let talked = exchange_lines(bench, &mut a, &mut b);
        // From the beginning of one exchange to the end of the next: longer than anybody's silence.
        let ended = talked.as_ref().err().map_or_else(Instant::now, |trouble| trouble.seen);
        let silence = ended - mem::replace(&mut said_before, says);
        let talked = talked.require("a client that speaks is not disconnected");
        if silence >= SILENCE * 3 / 4 {
            talked.precondition("on this machine the clients speak often enough")?;
        } else {
            talked?;
        }
        // Asked of the kernel: to find out what a read came to could take as long as a silence.
        silent_is_there = server.is_connected(&silent)?;
        ensure(!silent_is_there || came.elapsed() < SILENCE + patience(), || {
            let requirement = "a client that says nothing is disconnected, whatever it hears";
            let actual = format!("t is still there after {:.0?}", came.elapsed());
            Failure::new(requirement, format!("t to be gone after {SILENCE:?}"), actual)
                .looks_like(Symptom::TooMuch)
                .at(&server)
        })?;
        if silent_is_there {
            // Who never paused would not notice a server that grants no pause.
            thread::sleep(SILENCE / 8);
        }
    }
    exchange_lines(bench, &mut a, &mut b).require("a client that speaks is not disconnected")?;
    // A server that looks at everyone once in a SILENCE has just looked. And B speaks once more:
    // who is due next is A.
    let since = Instant::now();
    thread::sleep(SILENCE / 2);
    // Where we are late, B is gone already.
    let _ = b.send(&bench.line("b"));
    must_be_let_go(&server, &a, since, SILENCE)?;
    for client in [&mut a, &mut b] {
        client.read_to_end().require("a client that spoke before, and is silent now, has to go")?;
    }
    passed()
}

/// A says a line to B, and B one to A. Both listen all the while: whose stream ends is seen at once.
fn exchange_lines(bench: &Bench<'_>, a: &mut Client, b: &mut Client) -> harness::Result<()> {
    let [says, answers] = ["a", "b"].map(|name| bench.line(name));
    play(&mut [a.part().send(&says).expect(&answers), b.part().send(&answers).expect(&says)])
}

/// Nobody is there; then three clients are connected, and nobody moves. The time-out is far away:
/// nothing is to be done until then.
fn waiting_for_the_time_out_costs_nothing(bench: &Bench<'_>) -> Outcome {
    let server = Server::start(bench.command(0).env("SILENCE", "600"))?;
    costs_nothing(&server)?;
    let _clients = bench.room(&server, ["a", "b", "c"])?;
    costs_nothing(&server)
}

fn costs_nothing(server: &Server) -> Outcome {
    const WINDOW: Duration = Duration::from_millis(1500);
    let spent = || -> Result<(u64, u64), Box<Problem>> {
        let (ticks, wake_ups) = (server.cpu_ticks()?, server.voluntary_switches()?);
        thread::sleep(WINDOW);
        Ok((server.cpu_ticks()? - ticks, server.voluntary_switches()? - wake_ups))
    };
    let is_idle = |(ticks, wake_ups)| ticks <= 1 && wake_ups == 0;
    // The server's start or the clients' arrival may fall into the first window, and not into the
    // second.
    if !is_idle(spent()?) {
        let (ticks, wake_ups) = spent()?;
        ensure(is_idle((ticks, wake_ups)), || {
            Failure::new(
                "waiting for a time-out costs no processor time and no wake-ups",
                format!("at most 1 clock tick and no wake-up within {WINDOW:?}"),
                format!("{ticks} clock ticks and {wake_ups} wake-ups"),
            )
            .looks_like(Symptom::Spin(u32::try_from(ticks).unwrap_or(u32::MAX)))
            .at(server)
        })?;
    }
    passed()
}

/// A client leaves, and the time-out is far away.
fn who_leaves_is_let_go(bench: &Bench<'_>) -> Outcome {
    let server = Server::start(bench.command(0).env("SILENCE", "600"))?;
    let mut a = server.connect("a")?;
    a.half_close()?;
    a.expect_eof().require("who has left is told the end in return")?;
    let let_go = lets_go(&server).looks_like(Symptom::TooMuch);
    let_go.require("a client that has left is let go, however long it could have been silent")?;
    passed()
}

/// Two clients were answered and say nothing more.
fn who_says_nothing_costs_nothing(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    let mut b = server.connect("b")?;
    for client in [&mut a, &mut b] {
        client.exchange(HELLO, HELLO)?;
    }
    is_at_rest(&server)
}

/// Requires that the server sleeps until somebody else acts.
fn is_at_rest(server: &Server) -> Outcome {
    must_sleep(server, "the server sleeps while nobody wants anything")
}

/// A client does not read what comes back, until the kernel takes no more. Then B comes.
fn who_does_not_read_stalls_nobody(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let _clients = bench.slow_reader(&server)?;
    must_sleep(&server, "the server sleeps until the kernel takes more, or somebody comes")?;
    let mut b = server.connect("b")?;
    b.exchange(HELLO, HELLO).require("others are served meanwhile")?;
    passed()
}

/// A says just so much that the server has read all of it, and cannot send the last part: nothing
/// more will come from A. Then A reads. Another client shows before how much the kernel takes.
fn the_last_bytes_come(bench: &Bench<'_>) -> Outcome {
    // By so much the kernel's queues may differ from one connection to the next.
    const MARGIN: usize = 256 * 1024;
    const ROUNDS: usize = 10;
    // Several times what a connection's queues take.
    let bytes = bench.random_bytes(40 << 20);
    let server = bench.start()?;
    let mut first = server.connect("first")?;
    first.exchange(HELLO, HELLO).require("a client is served")?;
    first.fill(&bytes)?;
    let begin = server.queued_for(&first)?.saturating_sub(MARGIN);
    first.leave();
    for _ in 0..ROUNDS {
        let mut a = server.connect("a")?;
        a.exchange(HELLO, HELLO).require("a client is served")?;
        if let Some(said) = say_what_is_read_and_not_sent(&server, &mut a, &bytes, begin)? {
            let come = a.expect(&bytes[..said]);
            come.require("what a client is owed comes when it has room for it")?;
            return passed();
        }
        a.leave();
    }
    let reason = "a client could not say just what the server reads and cannot send".to_owned();
    Err(Box::new(Problem::Inconclusive(reason)))
}

/// Says the first `begin` bytes and then more of them, until the server has read all and the kernel
/// does not take the last part of the echo. None: that moment was missed, and something is unread.
fn say_what_is_read_and_not_sent(
    server: &Server,
    client: &mut Client,
    bytes: &[u8],
    begin: usize,
) -> Result<Option<usize>, Box<Problem>> {
    // One read takes it.
    const PIECE: usize = 16 * 1024;
    client.send(&bytes[..begin])?;
    let mut said = begin;
    for piece in bytes[begin..].chunks(PIECE) {
        // What is not acknowledged yet is counted twice: then we say too much.
        if server.queued_for(client)? < said {
            // Or it is just about to write.
            server.stuck().precondition("the server comes to rest")?;
            if server.queued_for(client)? < said {
                let unread = server.end_of(client)?.map_or(0, |end| end.rx_queue);
                return Ok((unread == 0).then_some(said));
            }
        }
        client.send(piece)?;
        said += piece.len();
    }
    Ok(None)
}

/// A and B say a thousand lines each at once. C hears them in the order in which they were read.
fn a_turn_is_a_few_reads(bench: &Bench<'_>) -> Outcome {
    // Four reads of 16 KiB each; and four more, where B had used up a turn of its own before.
    const MOST: usize = 128;
    const ROUNDS: usize = 5;
    let server = bench.start()?;
    let mut room = bench.room(&server, ["a", "b", "c"])?;
    let mut before = Vec::new();
    for _ in 0..ROUNDS {
        // It finds both of them when it wakes.
        server.stuck().precondition("the server comes to rest")?;
        before.push(bench.race(&server, &mut room)?);
    }
    ensure(before.iter().all(|lines| *lines <= MOST), || {
        let requirement = "of two who have much to say, each has its turn after a few reads";
        let expected =
            format!("at most {MOST} lines of one to be heard before the other's first: two turns");
        let actual =
            format!("so many lines of one were heard first, in {ROUNDS} rounds: {before:?}");
        Failure::new(requirement, expected, actual).looks_like(Symptom::Starves).at(&server)
    })?;
    passed()
}

/// A and B are in the hall, and C goes elsewhere. Then A follows C, and at last C comes back.
fn a_line_is_heard_in_its_room(bench: &Bench<'_>) -> Outcome {
    let server = start_with_rooms(bench)?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    go(&server, &mut c, b"/join garden\n")?;
    a.send(b"1\n")?;
    b.expect(b"1\n").require("who is in the same room hears the line")?;
    go(&server, &mut c, b"2\n")?;
    go(&server, &mut a, b"/join garden\n")?;
    a.send(b"3\n")?;
    c.expect(b"3\n").require("who is in another room does not hear the line")?;
    c.send(b"4\n")?;
    a.expect(b"4\n").require("what was said before a client came is not for it")?;
    go(&server, &mut c, b"/join hall\n")?;
    c.send(b"5\n")?;
    b.expect(b"5\n").require("who is back in the hall is heard there, and only from then on")?;
    passed()
}

/// B is in the garden, and C in the hall. A goes back and forth, and leaves in the middle of a line.
fn rooms_change_between_two_lines(bench: &Bench<'_>) -> Outcome {
    let server = start_with_rooms(bench)?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    go(&server, &mut b, b"/join garden\n")?;
    a.send(b"1\n/join garden\n2\n/join hall\n3\n")?;
    c.expect(b"1\n3\n").require("each line is heard where its speaker was by then")?;
    b.expect(b"2\n").require("each line is heard where its speaker was by then")?;
    a.send(b"/jo")?;
    server.wait_until_read(&a)?;
    play(&mut [a.part().send(b"in garden\n4\n/joiner\n5").then_half_close()])?;
    b.expect(b"4\n").require("a command in two pieces is one command")?;
    b.expect(b"/joiner\n").require("a line that only begins like a command is a line")?;
    b.expect(b"5\n").require("half a line before the end is heard in its room, too")?;
    b.send(b"/join hall\n6\n")?;
    c.expect(b"6\n").require("who is in another room does not hear the line")?;
    play(&mut [b.part().send(b"/join garden").then_half_close()])?;
    b.expect_eof().require("who has left is told the end in return")?;
    server.connect("d")?.send(b"7\n")?;
    c.expect(b"7\n").require("a command without a line end, at the end, is a command, too")?;
    passed()
}

/// S does not read while A talks in the hall, and then goes to the garden, where B is.
fn who_changes_rooms_hears_what_it_is_owed(bench: &Bench<'_>) -> Outcome {
    let server = start_with_rooms(bench)?;
    let [mut s, mut a, mut b] = bench.room(&server, ["s", "a", "b"])?;
    go(&server, &mut b, b"/join garden\n")?;
    let talk: Vec<u8> =
        (0..12 * 1024).flat_map(|line| format!("{line:01023}\n").into_bytes()).collect();
    a.send(&talk)?;
    server.wait_until_read(&a)?;
    let queued = || Ok(server.end_of(&s).ok().flatten().map_or(0, |end| end.tx_queue));
    let queued = server.wait_until("output to wait in the kernel", queued, |bytes| *bytes > 0);
    queued.precondition("a client has output queued that it does not read")?;
    s.send(b"/join garden\n")?;
    server.wait_until_read(&s)?;
    s.expect(&talk).require("who changes rooms loses nothing of what was said before")?;
    server.stuck().precondition("the server comes to rest")?;
    go(&server, &mut a, b"in the hall\n")?;
    b.send(b"in the garden\n")?;
    s.expect(b"in the garden\n").require("who has changed rooms hears those who are there")?;
    passed()
}

/// The server was not told to have rooms: `/join` is a line like any other.
fn without_rooms_there_is_one(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b] = bench.room(&server, ["a", "b"])?;
    a.send(b"/join garden\nhello\n")?;
    b.expect(b"/join garden\nhello\n").require("without ROOMS everyone hears every line")?;
    passed()
}

fn start_with_rooms(bench: &Bench<'_>) -> Result<Server, Box<Problem>> {
    Ok(Server::start(bench.command(0).env("ROOMS", "1"))?)
}

/// Says a line that the others need not hear, and waits until the server has done what it will.
fn go(server: &Server, client: &mut Client, line: &[u8]) -> Result<(), Box<Problem>> {
    client.send(line)?;
    server.wait_until_read(client)?;
    server.stuck().precondition("the server comes to rest")?;
    Ok(())
}

/// A line of S is too long: its stream ends. S knows that, and stays.
fn who_was_told_to_go_does_not_stay(bench: &Bench<'_>) -> Outcome {
    let server = Server::start(bench.command(0).env("SILENCE", "1"))?;
    let mut s = server.connect("s")?;
    s.send(&[b'x'; 65 * 1024])?;
    s.expect_eof().require("a line that is too long ends the connection")?;
    lets_go(&server).require("a client that was told to go, and says nothing, is let go")?;
    passed()
}

/// Waits until the server has its listener only. The kernel may know the connections longer.
fn lets_go(server: &Server) -> harness::Result<usize> {
    let sockets = || server.socket_count().map_err(io::Error::other);
    server.wait_until("to let go of the connection", sockets, |count| *count == 1)
}

/// A and B talk for half a second and more, and then nobody does. The times that their waits for each
/// other's lines had come before those of the last waits, which are still to come at the end.
fn a_wait_that_is_over_leaves_no_time_behind(bench: &Bench<'_>) -> Outcome {
    const LINES: usize = 100;
    let server = Server::start(bench.command(0).env("SILENCE", "2"))?;
    let [mut a, mut b] = bench.room(&server, ["a", "b"])?;
    for _ in 0..LINES {
        let talked = exchange_lines(bench, &mut a, &mut b);
        talked.precondition("clients that speak are not disconnected")?;
        thread::sleep(Duration::from_millis(6));
    }
    let before = server.voluntary_switches()?;
    thread::sleep(Duration::from_millis(1750));
    let wake_ups = server.voluntary_switches()? - before;
    // If this machine was late, the last waits are among them.
    let few = LINES as u64 / 5;
    ensure(wake_ups <= few, || {
        Failure::new(
            "the time of a wait for a socket goes when the socket is ready",
            format!("at most {few} wake-ups after {LINES} lines, while nobody speaks"),
            format!("{wake_ups} wake-ups"),
        )
        .looks_like(Symptom::Spin(0))
        .at(&server)
    })?;
    passed()
}

/// The server sleeps before each step: a client comes, says something, and comes back to it later.
fn a_server_at_rest_wakes_up(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    is_at_rest(&server)?;
    let mut a = server.connect("a")?;
    let mut b = server.connect("b")?;
    for client in [&mut a, &mut b] {
        client.exchange(HELLO, HELLO).require("a server that sleeps wakes for a new client")?;
        is_at_rest(&server)?;
    }
    for client in [&mut a, &mut b] {
        client.exchange(HELLO, HELLO).require("a server that sleeps wakes for what arrives")?;
        is_at_rest(&server)?;
    }
    passed()
}

/// Clients come and go, one after the other: some, until the memory that the server needs for one
/// of them is there, and then many.
fn who_has_left_leaves_nothing(bench: &Bench<'_>) -> Outcome {
    const SOME: usize = 2_000;
    const MANY: usize = 16_000;
    // A waker and its entry take 80 bytes or so.
    const MOST: u64 = 512 * 1024;
    let server = bench.start()?;
    let come_and_go = |clients: usize| -> Result<u64, Box<Problem>> {
        for _ in 0..clients {
            let mut client = server.connect("somebody")?;
            client.exchange(HELLO, HELLO).require("each client is served")?;
            // A reset leaves nothing behind in the kernel, either.
            client.reset()?;
        }
        is_at_rest(&server)?;
        Ok(server.rss_bytes()?)
    };
    let before = come_and_go(SOME)?;
    let grown = come_and_go(MANY)?.saturating_sub(before);
    ensure(grown < MOST, || {
        let requirement =
            "a server that has served many needs no more memory than one that served some";
        let actual = format!("it grew by {} KiB", grown / 1024);
        let expected = format!("less than {} KiB more after {MANY} clients", MOST / 1024);
        Failure::new(requirement, expected, actual).looks_like(Symptom::TooMuch).at(&server)
    })?;
    passed()
}
