//! Several clients at once: who has to wait for whom.

use harness::{Cause, Client, Flood, kernel, play};

use crate::{Bench, Case, Failure, Outcome, Problem, Require, Symptom, ensure, passed};

pub(crate) const CASES: &[Case] = &[
    Case::echo(
        "conc/01",
        "second client while the first is silent",
        second_client_while_the_first_is_silent,
    )
    .why(
        "This is why servers have threads, or something better: a thread that serves everyone \
         in turn sleeps in `recv` on the first client's socket, and nothing that the second one \
         sends can wake it.",
    )
    .from_outside(),
    Case::echo("conc/02", "client 21", client_21).why(
        "A pool is a limit. Client 21 is connected, as far as it can see, and nobody will read \
         what it sends until somebody else leaves.",
    ),
    Case::echo("conc/03", "an echo needs nobody else", an_echo_needs_nobody_else).why(
        "A client's answer must depend on nobody else. A loop that sleeps in `accept` between its \
         clients serves them only when somebody new comes: that is the flaw of stage 05.",
    ),
    Case::echo("conc/04", "silent clients stall nobody", silent_clients_stall_nobody)
        .why(
            "Most clients are silent most of the time. A server that waits for one of them in \
             particular has stopped for all others.",
        )
        .from_outside(),
    Case::echo("conc/05", "integrity under concurrency", integrity_under_concurrency)
        .why(
            "A buffer that two clients share by mistake passes every test that has one client. \
             Here twenty send different bytes at once, and each must get back its own.",
        )
        .from_outside(),
    Case::echo("conc/06", "a flooder starves nobody", a_flooder_starves_nobody)
        .why(
            "A server that reads from one client until nothing is left never gets away from one \
             that sends fast enough. Fairness takes a budget: after so many bytes it is somebody \
             else's turn.",
        )
        .from_outside(),
    Case::echo("conc/07", "clients cost no thread each", clients_cost_no_thread_each).why(
        "Each thread has a stack, and the kernel has to choose among all of them. So a thread for \
         each client makes the number of clients a matter of memory and of scheduling.",
    ),
    Case::broadcast(
        "conc/08",
        "a line need not wait for a thousand",
        a_line_need_not_wait_for_a_thousand,
    )
    .why(
        "Fairness among senders of lines: whoever has something to say has a turn before somebody \
         else has said a thousand lines. A server that empties one socket before it looks at the \
         next one lets the others wait.",
    ),
    Case::echo("conc/09", "who does not read stalls nobody", who_does_not_read_stalls_nobody)
        .why(
            "A write can sleep, too: it waits for room that only this client can make, by reading. \
             A server that has others to serve must not wait for that one.",
        )
        .from_outside(),
];

const HELLO: &[u8] = b"hello\n";

/// A connects and says nothing, B sends. Where B has to wait, its bytes wait in the kernel, and it
/// is served as soon as A leaves.
fn second_client_while_the_first_is_silent(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let a = server.connect("a")?;
    let mut b = server.connect("b")?;
    b.send(HELLO)?;
    let Err(waiting) = b.expect(HELLO) else { return passed() };

    let unread = waiting.stuck().map(|stuck| stuck.unread_of("b"));
    a.leave();
    let served = bench.expect_with_help(&server, &mut b, HELLO);
    served.afterwards("b is served as soon as a has left")?;
    // Without the proof nothing is known of queues, and the order alone counts.
    ensure(unread.is_none_or(|unread| unread == 6), || {
        let actual = format!("{}, while {}", how_many(unread), waiting.cause);
        Failure::new("b's bytes wait in the kernel", "6 bytes", actual).at(&server)
    })?;
    Err(waiting.into())
}

/// Twenty clients are served and stay. Where the next one has to wait, it is accepted and not
/// read, and it is served as soon as one of the twenty leaves.
fn client_21(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut clients = Vec::new();
    for number in 1..=20 {
        let mut client = server.connect(&format!("client {number}"))?;
        client.exchange(HELLO, HELLO)?;
        clients.push(client);
    }
    let descriptors = server.descriptor_count()?;
    let mut late = server.connect("client 21")?;
    late.send(HELLO)?;
    let Err(waiting) = late.expect(HELLO) else { return passed() };

    let unread = waiting.stuck().map(|stuck| stuck.unread_of("client 21"));
    let accepted = server.descriptor_count()?.saturating_sub(descriptors);
    clients.swap_remove(0).leave();
    late.expect(HELLO).afterwards("client 21 is served as soon as client 1 has left")?;
    ensure((unread, accepted) == (Some(6), 1), || {
        let unread = how_many(unread);
        let actual = format!("{unread} unread, {accepted} accepted: {}", waiting.cause);
        Failure::new("client 21 is accepted and not read", "6 bytes, 1 accepted", actual)
            .at(&server)
    })?;
    Err(waiting.into())
}

/// A sends, and nobody else does anything. Where A has to wait, others connect one by one until
/// the echo comes; the signature tells how many it took, and what the server does then.
fn an_echo_needs_nobody_else(bench: &Bench<'_>) -> Outcome {
    const MOST: usize = 4;
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    a.send(HELLO)?;
    let Err(waiting) = a.expect(HELLO) else { return passed() };

    let asleep_in_accept = |stuck: &harness::Stuck| stuck.signature() == "asleep in accept";
    if !waiting.stuck().is_some_and(asleep_in_accept) {
        return Err(waiting.into());
    }
    let mut newcomers = Vec::new();
    loop {
        newcomers.push(server.connect(&format!("newcomer {}", newcomers.len() + 1))?);
        match a.expect(HELLO) {
            Ok(()) => break,
            Err(still) if newcomers.len() < MOST && still.stuck().is_some_and(asleep_in_accept) => {
            }
            Err(still) => return Err(still).afterwards("others make the echo come"),
        }
    }
    let then = server.stuck()?.signature();
    let signature = format!("echo after {} more connections, then {then}", newcomers.len());
    Err(Failure::from(waiting).signature(signature).into())
}

fn how_many(bytes: Option<u32>) -> String {
    bytes.map_or("an unknown number of bytes".to_owned(), |bytes| format!("{bytes} bytes"))
}

/// Five clients connect and say nothing, then one sends. Where it has to wait, its bytes wait in
/// the kernel, and it is served as soon as the others leave.
fn silent_clients_stall_nobody(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let connect = |number| server.connect(&format!("silent {number}"));
    let silent = (1..=5).map(connect).collect::<Result<Vec<_>, _>>()?;
    let mut active = server.connect("active")?;
    active.send(HELLO)?;
    let Err(waiting) = active.expect(HELLO) else { return passed() };

    let unread = waiting.stuck().map(|stuck| stuck.unread_of("active"));
    silent.into_iter().for_each(Client::leave);
    let served = bench.expect_with_help(&server, &mut active, HELLO);
    served.afterwards("the active client is served as soon as the silent ones have left")?;
    // Without the proof nothing is known of queues, and the order alone counts.
    ensure(unread.is_none_or(|unread| unread == 6), || {
        let actual = format!("{}, while {}", how_many(unread), waiting.cause);
        Failure::new("the active client's bytes wait in the kernel", "6 bytes", actual).at(&server)
    })?;
    Err(waiting.into())
}

/// Twenty clients at once, each with a stream of its own, in pieces of any size. Each gets exactly
/// its own stream back.
fn integrity_under_concurrency(bench: &Bench<'_>) -> Outcome {
    const LENGTH: usize = 256 * 1024;
    let server = bench.start()?;
    let connect = |number| server.connect(&format!("client {number}"));
    let mut clients = (1..=20).map(connect).collect::<Result<Vec<_>, _>>()?;
    let streams: Vec<_> = clients.iter().map(|_| bench.random_bytes(LENGTH)).collect();
    let parts = clients.iter_mut().zip(&streams).map(|(client, stream)| {
        let mut rng = bench.rng();
        client.part().send(stream).in_chunks(move || rng.usize(1..=8192)).expect(stream)
    });
    play(&mut parts.collect::<Vec<_>>())?;
    passed()
}

/// A sends as fast as it can, and reads its echo as fast as it can. Meanwhile B sends a hundred
/// times and waits for each answer. Where B gets nothing while A gets far more than its share, A
/// stops: the signature tells what keeps B waiting then.
fn a_flooder_starves_nobody(bench: &Bench<'_>) -> Outcome {
    const MOST_PINGS: usize = 1000;
    let server = bench.start()?;
    let (mut a, mut b) = (server.connect("a")?, server.connect("b")?);
    let mut flood = Flood::new(bench.random_bytes(1 << 20));
    let mut pongs = 0;
    for _ in 0..MOST_PINGS {
        let pong = play(&mut [a.part().flood(&mut flood), b.part().send(HELLO).expect(HELLO)]);
        if let Err(waiting) = pong {
            if !matches!(waiting.cause, Cause::Starved(_)) {
                return Err(waiting.into());
            }
            flood.stop();
            play(&mut [a.part().flood(&mut flood)]).afterwards("a gets all of its echo")?;
            b.expect(HELLO)?;
            return Err(waiting.into());
        }
        // A pong that came while A itself was held up proves nothing.
        pongs += usize::from(flood.sent() - flood.received() >= 64 * 1024);
        if pongs == 100 {
            return passed();
        }
    }
    let reason = format!("a had 64 KiB under way at only {pongs} of b's {MOST_PINGS} pongs");
    Err(Box::new(Problem::Inconclusive(reason)))
}

/// Two hundred clients connect and say nothing. A server has a few threads for them all, however
/// many that are.
fn clients_cost_no_thread_each(bench: &Bench<'_>) -> Outcome {
    const CLIENTS: usize = 200;
    const MOST: usize = 32;
    let server = bench.start()?;
    let clients = bench.crowd(&server, CLIENTS)?;
    let threads = server.thread_count()?;
    if threads <= MOST {
        return passed();
    }

    let all = clients.len();
    clients.into_iter().for_each(Client::leave);
    let count = || kernel::thread_count(server.pid());
    let ended = server.wait_until("most threads to end", count, |threads| *threads <= MOST);
    ended.afterwards("threads end when their clients leave")?;
    let signature = format!("{threads} threads for {all} clients");
    let failure = Failure::new(
        "the number of threads does not grow with the number of clients",
        format!("at most {MOST} threads for {all} clients"),
        format!("{threads} threads"),
    );
    Err(failure.looks_like(Symptom::TooMuch).signature(signature).into())
}

/// A race that is decided before it begins: while the server is stopped, A and B say a thousand
/// lines each. C hears all of them, in the order in which the server took them: the first of one
/// before the last of the other.
fn a_line_need_not_wait_for_a_thousand(bench: &Bench<'_>) -> Outcome {
    const THOUSAND: usize = Bench::RACE;
    // A thread may be held up with somebody's lines in its hand, but not in round after round.
    const ROUNDS: usize = 20;
    const ENOUGH: usize = 3;
    let server = bench.start()?;
    let mut room = bench.room(&server, ["a", "b", "c"])?;
    let mut before = Vec::new();
    let in_time = |before: &[usize]| before.iter().filter(|lines| **lines < THOUSAND).count();
    while before.len() < ROUNDS && in_time(&before) < ENOUGH {
        before.push(bench.race(&server, &mut room)?);
    }
    ensure(in_time(&before) >= ENOUGH, || {
        Failure::new(
            "a client has its turn before another one has said all",
            format!("the first line of one to be heard before the last of the other's {THOUSAND}"),
            format!("so many lines of one were heard first, in {ROUNDS} rounds: {before:?}"),
        )
        .at(&server)
    })?;
    passed()
}

/// A sends until nothing more is taken, and reads nothing; then B sends. Where B has to wait, it is
/// served as soon as A has left.
fn who_does_not_read_stalls_nobody(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let (mut a, mut b) = (server.connect("a")?, server.connect("b")?);
    // Several times what a connection's queues take.
    a.fill(&bench.random_bytes(40 << 20))?;
    b.send(HELLO)?;
    let Err(waiting) = b.expect(HELLO) else { return passed() };

    a.leave();
    let served = bench.expect_with_help(&server, &mut b, HELLO);
    served.afterwards("b is served as soon as a has left")?;
    Err(waiting.into())
}
