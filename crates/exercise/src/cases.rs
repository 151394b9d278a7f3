//! Cases that only an exercise can pass, named after it: `02-limit/01`. A stage's own promises
//! stand in the catalogue.

use std::thread;
use std::time::{Duration, Instant};

use conformance::{Bench, Case, Failure, Outcome, Problem, Require, ensure, passed};
use harness::{Cause, Client, End, Server, patience, play};

pub(crate) const CASES: &[Case] = &[
    Case::any(
        "01-count/01",
        "each connection has its number in the log",
        each_connection_has_its_number,
    )
    .why("State that outlives one client has to live outside its handler."),
    Case::any(
        "02-limit/01",
        "a client above the limit is refused politely",
        a_client_above_the_limit_is_refused,
    )
    .why(
        "A limit that nobody is told about looks like a server that hangs; and one that \
         counts who has left fills up for good.",
    ),
    Case::any(
        "03-full/01",
        "a client beyond the queue is refused politely",
        a_client_beyond_the_queue_is_refused,
    )
    .why("A queue without a bound is a promise that nobody can keep.")
    .with_flags(),
    Case::any(
        "03-full/02",
        "without a queue, a free worker still serves",
        without_a_queue_a_free_worker_serves,
    )
    .why("A job that a worker is about to take counts as queued for a moment.")
    .with_flags(),
    Case::any("05-accept/01", "an empty server sleeps", an_empty_server_sleeps)
        .why("A loop that only ever looks who is there spins while nobody is."),
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
    Case::broadcast(
        "07-pause/01",
        "senders wait for a slow reader, and it loses nothing",
        senders_wait_for_a_slow_reader,
    )
    .why("Backpressure: what cannot go out must not come in.")
    .with_flags(),
];

const HELLO: &[u8] = b"hello\n";

/// Three clients come and go. For each of them the log has one line with its address, which ends
/// in its number.
fn each_connection_has_its_number(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    for number in 1..=3 {
        let mut client = server.connect(&format!("client {number}"))?;
        bench.serve(&server, &mut client)?;
        let start = format!("connection from {}", client.local_address());
        let line = || Ok(server.stderr().into_iter().find(|line| line.starts_with(&start)));
        let line = server.wait_until("to log the connection", line, Option::is_some)?;
        let line = line.unwrap_or_default();
        let expected = format!("{start}, number {number}");
        ensure(line == expected, || {
            let failure =
                Failure::new("each connection is logged with its number", expected, &line);
            if line == start { failure.signature("no number in the log") } else { failure }
                .at(&server)
        })?;
        client.leave();
    }
    passed()
}

/// A and B are served, and stay. C is told that there is no room. D, too, and it does not go: when
/// A leaves, there is room for somebody else nevertheless.
fn a_client_above_the_limit_is_refused(bench: &Bench<'_>) -> Outcome {
    let server = Server::start(bench.command(0).env("MAX_CLIENTS", "2"))?;
    let [mut a, mut b] = [server.connect("a")?, server.connect("b")?];
    a.exchange(HELLO, HELLO).require("clients within the limit are served")?;
    b.exchange(HELLO, HELLO).require("clients within the limit are served")?;
    must_be_refused(&server, "c")?;
    let d = must_be_refused(&server, "d")?;

    a.leave();
    let mut served = served_in_the_end(&server).require("who leaves makes room for another")?;
    b.exchange(HELLO, HELLO).require("a client who was served is served to its end")?;
    served.exchange(HELLO, HELLO).require("a client who was served is served to its end")?;
    d.leave();
    must_be_refused(&server, "e").require("the limit holds after clients have left")?;
    passed()
}

/// The only worker serves A; B and C wait. D is told that the queue is full. Then A leaves, and B
/// is served; E finds room in the queue.
fn a_client_beyond_the_queue_is_refused(bench: &Bench<'_>) -> Outcome {
    let server = bench.start_with(&["--workers", "1", "--max-waiting", "2"])?;
    let mut a = server.connect("a")?;
    a.exchange(HELLO, HELLO).require("a client is served while a worker is free")?;
    let [mut b, mut c] = [server.connect("b")?, server.connect("c")?];
    b.send(HELLO)?;
    c.send(HELLO)?;
    must_be_refused(&server, "d")?;

    a.leave();
    b.expect(HELLO).require("who waits is served in its turn")?;
    let mut e = server.connect("e")?;
    e.send(HELLO)?;
    b.leave();
    c.expect(HELLO).require("who waits is served in its turn")?;
    c.leave();
    e.expect(HELLO).require("when the queue has room again, clients wait again")?;
    passed()
}

/// Nobody may wait. A is served nevertheless, since a worker is free, and B is refused.
fn without_a_queue_a_free_worker_serves(bench: &Bench<'_>) -> Outcome {
    let server = bench.start_with(&["--workers", "1", "--max-waiting", "0"])?;
    let mut a = server.connect("a")?;
    a.exchange(HELLO, HELLO).require("a client is served while a worker is free")?;
    must_be_refused(&server, "b")?;
    passed()
}

/// Nobody comes, and the server comes to rest; and again after a client was there.
fn an_empty_server_sleeps(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    server.stuck().require("a server without clients sleeps")?;
    let mut a = server.connect("a")?;
    bench.serve(&server, &mut a)?;
    a.leave();
    server.stuck().require("a server without clients sleeps")?;
    passed()
}

/// S says nothing, and its stream ends. A and B were there before it and talk to each other until
/// a second silent client is gone, too: they stay.
fn who_says_nothing_is_disconnected(bench: &Bench<'_>) -> Outcome {
    const SILENCE: Duration = Duration::from_secs(1);
    let server = Server::start(bench.command(0).env("SILENCE", SILENCE.as_secs().to_string()))?;
    let mut silent = server.connect("s")?;
    silent.read_to_end().require("a client that says nothing is disconnected")?;

    let [mut a, mut b] = bench.room(&server, ["a", "b"])?;
    let mut silent = server.connect("t")?;
    let mut silent_is_there = true;
    while silent_is_there {
        let begin = Instant::now();
        let talked = exchange_lines(bench, &mut a, &mut b);
        let talked = talked.require("a client that speaks is not disconnected");
        if begin.elapsed() >= SILENCE / 2 {
            talked.precondition("on this machine the clients speak often enough")?;
        } else {
            talked?;
        }
        // It hears them both, until its end.
        silent_is_there = match silent.read_line().and_then(|_| silent.read_line()) {
            Err(trouble) if matches!(trouble.cause, Cause::Ended(..)) => false,
            heard => heard.map(|_| true)?,
        };
    }
    exchange_lines(bench, &mut a, &mut b).require("a client that speaks is not disconnected")?;
    passed()
}

/// A says a line to B, and B one to A.
fn exchange_lines(bench: &Bench<'_>, a: &mut Client, b: &mut Client) -> harness::Result<()> {
    let [says, answers] = ["a", "b"].map(|name| bench.line(name));
    a.send(&says)?;
    b.expect(&says)?;
    b.send(&answers)?;
    a.expect(&answers)
}

/// Three clients are connected, and nobody moves. The time-out is far away: nothing is to be done
/// until then.
fn waiting_for_the_time_out_costs_nothing(bench: &Bench<'_>) -> Outcome {
    const WINDOW: Duration = Duration::from_secs(1);
    let server = Server::start(bench.command(0).env("SILENCE", "600"))?;
    let _clients = bench.room(&server, ["a", "b", "c"])?;
    let spent = || -> Result<(u64, u64), Box<Problem>> {
        let (ticks, wake_ups) = (server.cpu_ticks()?, server.voluntary_switches()?);
        thread::sleep(WINDOW);
        Ok((server.cpu_ticks()? - ticks, server.voluntary_switches()? - wake_ups))
    };
    let is_idle = |(ticks, wake_ups)| ticks <= 1 && wake_ups <= 2;
    // The clients' arrival may fall into the first window, and not into the second.
    if !is_idle(spent()?) {
        let (ticks, wake_ups) = spent()?;
        ensure(is_idle((ticks, wake_ups)), || {
            Failure::new(
                "waiting for a time-out costs no processor time and no wake-ups",
                format!("at most 1 clock tick and 2 wake-ups within {WINDOW:?}"),
                format!("{ticks} clock ticks and {wake_ups} wake-ups"),
            )
            .at(&server)
        })?;
    }
    passed()
}

/// S does not read. A talks on until the server takes no more. Then S reads: A's talk goes on, and
/// S hears all of it.
fn senders_wait_for_a_slow_reader(bench: &Bench<'_>) -> Outcome {
    const LENGTH: usize = 32 << 20;
    let server = bench.start_with(&["--max-backlog", "1048576"])?;
    let [mut s, mut a] = bench.room(&server, ["s", "a"])?;
    let mut talk = bench.random_bytes(LENGTH);
    talk.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    talk.chunks_mut(1024).for_each(|line| line[1023] = b'\n');

    let taken = a.fill(&talk)?;
    ensure(taken < LENGTH, || {
        let requirement = "a sender waits while somebody is more than --max-backlog behind";
        let expected = "the server stops to read from a, while s does not read";
        Failure::new(requirement, expected, format!("it has read all {LENGTH} bytes"))
            .signature("the sender is not paused")
            .at(&server)
    })?;
    play(&mut [a.part().send(&talk[taken..]), s.part().expect(&talk)])
        .require("once the slow reader reads, all goes on, and nothing was lost")?;
    s.send(HELLO)?;
    a.expect(HELLO).require("who was paused hears the others")?;
    bench.still_serves(&server)?;
    passed()
}

/// Connects a client that has to be told something, one line, before its stream ends in order. It
/// does not leave.
fn must_be_refused(server: &Server, name: &str) -> Result<Client, Box<Problem>> {
    let requirement = "a client that is refused is told so, and then its connection ends in order";
    let mut client = server.connect(name)?;
    let (word, end) = client.read_to_end().require(requirement)?;
    let is_a_line =
        word.len() > 1 && word.iter().position(|&byte| byte == b'\n') == Some(word.len() - 1);
    ensure(is_a_line && end == End::Eof, || {
        let actual = format!("{name}: \"{}\", and then {end}", word.escape_ascii());
        Failure::new(requirement, format!("{name}: a line, and then FIN"), actual).at(server)
    })?;
    Ok(client)
}

/// Connects clients until one of them is served: who leaves may still be counted for a moment.
fn served_in_the_end(server: &Server) -> Result<Client, Box<Problem>> {
    let begin = Instant::now();
    loop {
        let mut newcomer = server.connect("newcomer")?;
        match newcomer.exchange(HELLO, HELLO) {
            Ok(()) => return Ok(newcomer),
            // Refused once more.
            Err(trouble)
                if matches!(trouble.cause, Cause::Different(_) | Cause::Ended(..))
                    && begin.elapsed() < patience() => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
}
