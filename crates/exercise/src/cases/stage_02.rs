use std::io;
use std::time::{Duration, Instant};

use conformance::{Bench, Case, Failure, Outcome, Problem, Require, ensure, passed};
use harness::{Cause, Client, Server, Signal, patience};

use super::{HELLO, is_refused, must_be_refused};

pub(super) const CASES: &[Case] = &[
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
        "02-limit/02",
        "the limit holds for those who come at once",
        the_limit_holds_for_those_who_come_at_once,
    )
    .why("Whoever looks first and counts later lets in all who come in between."),
    Case::any(
        "02-limit/03",
        "who found no thread is not counted",
        who_found_no_thread_is_not_counted,
    )
    .why("Each failure that is counted as a client takes a place for good."),
    Case::any(
        "02-close/01",
        "the list tells how many are there",
        the_list_tells_how_many_are_there,
    )
    .why("A list that keeps who has left tells a wrong number, and none tells nothing."),
    Case::any(
        "02-stop/01",
        "a stop sends what is owed, and ends with 0",
        a_stop_sends_what_is_owed,
    )
    .why(
        "Whoever stops a server wants it to end, not to break off: with each client in the \
             middle of something.",
    ),
    Case::any(
        "02-stop/02",
        "who does not read does not keep the server",
        who_does_not_read_does_not_keep_the_server,
    )
    .why(
        "A stop that waits until everything is sent lets one client keep the server for ever. One \
         that only waits keeps everybody.",
    ),
    Case::any("02-stop/03", "a client costs one descriptor", a_client_costs_one_descriptor)
        .why("With a second descriptor for each, the server has room for half as many clients."),
];

/// A and B are served, and stay. C is told that there is no room. D, too, and it does not go. Others
/// go before they are told. When A leaves, there is room for somebody else nevertheless, and again
/// when that one is cut off by a reset.
fn a_client_above_the_limit_is_refused(bench: &Bench<'_>) -> Outcome {
    let server = Server::start(bench.command(0).env("MAX_CLIENTS", "2"))?;
    let [mut a, mut b] = [server.connect("a")?, server.connect("b")?];
    a.exchange(HELLO, HELLO).require("clients within the limit are served")?;
    b.exchange(HELLO, HELLO).require("clients within the limit are served")?;
    must_be_refused(&server, "c")?;
    let d = must_be_refused(&server, "d")?;

    server.pause()?;
    for _ in 0..3 {
        server.connect("somebody")?.reset()?;
    }
    server.resume()?;
    must_be_refused(&server, "e").require("who is refused neither ends the server nor keeps it")?;

    a.leave();
    let mut served = served_in_the_end(&server).require("who leaves makes room for another")?;
    b.exchange(HELLO, HELLO).require("a client who was served is served to its end")?;
    served.exchange(HELLO, HELLO).require("a client who was served is served to its end")?;
    served.reset()?;
    let _served = served_in_the_end(&server).require("who is cut off makes room, too")?;
    d.leave();
    must_be_refused(&server, "f").require("the limit holds after clients have left")?;
    passed()
}

/// Clients come while the server stands still: it finds all of them when it goes on. It serves the
/// first two.
fn the_limit_holds_for_those_who_come_at_once(bench: &Bench<'_>) -> Outcome {
    let server = Server::start(bench.command(0).env("MAX_CLIENTS", "2"))?;
    for _ in 0..5 {
        server.pause()?;
        let [mut a, mut b] = [server.connect("a")?, server.connect("b")?];
        let mut others = Vec::new();
        for name in ["c", "d", "e", "f"] {
            others.push(server.connect(name)?);
        }
        server.resume()?;
        for client in &mut others {
            is_refused(&server, client)?;
        }
        for client in [&mut a, &mut b] {
            client.exchange(HELLO, HELLO).require("clients within the limit are served")?;
            client.half_close()?;
            client.expect_eof()?;
        }
        // Nobody is counted any more.
        let threads = || server.thread_count().map_err(io::Error::other);
        server.wait_until("its clients' threads to end", threads, |threads| *threads == 1)?;
    }
    passed()
}

/// For a while the server has no room for a thread, and sends away whoever comes. Then two are
/// served, as many as there may be.
fn who_found_no_thread_is_not_counted(bench: &Bench<'_>) -> Outcome {
    // Less than a stack.
    const ROOM: u64 = 1 << 20;
    let server = Server::start(bench.command(0).env("MAX_CLIENTS", "2"))?;
    server.limit_growth(Some(ROOM))?;
    for name in ["a", "b", "c"] {
        let ended = server.connect(name)?.read_to_end();
        ended.precondition("without room for a thread a client is sent away")?;
    }
    server.limit_growth(None)?;
    let mut served = [server.connect("d")?, server.connect("e")?];
    for client in &mut served {
        client.exchange(HELLO, HELLO).require("who found no thread takes nobody's place")?;
    }
    passed()
}

/// A, B and C come one after the other, A leaves, and D comes.
fn the_list_tells_how_many_are_there(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let come = |name: &str, number: usize| -> Result<Client, Box<Problem>> {
        let mut client = server.connect(name)?;
        client.exchange(HELLO, HELLO).require("each client is served")?;
        let address = client.local_address().to_string();
        let told = || {
            let lines = server.stderr().into_iter().skip_while(|line| !line.contains(&address));
            Ok(lines.skip(1).find(|line| line.starts_with("clients: ")))
        };
        let expected = format!("clients: {number}");
        let what = format!("to log how many are there: \"{expected}\"");
        let told = server.wait_until(&what, told, Option::is_some)?;
        let told = told.unwrap_or_default();
        ensure(told == expected, || {
            let requirement = "with each connection the log tells how many clients are there";
            Failure::new(requirement, expected, told).at(&server)
        })?;
        Ok(client)
    };
    let mut a = come("a", 1)?;
    let _b = come("b", 2)?;
    let _c = come("c", 3)?;
    let threads = server.thread_count()?;
    a.half_close()?;
    a.expect_eof().require("who has nothing more to send sees the end of its stream")?;
    let now = || server.thread_count().map_err(io::Error::other);
    server.wait_until("the thread of a to end", now, |now| *now < threads)?;
    come("d", 3)?;
    passed()
}

/// A is idle. The others have sent something that the server has not read yet, when the signal comes:
/// it stands still until all of it is there. They are many, and it is much, so that the server has not
/// answered everyone when it stops. And where nobody is owed anything, it ends at once.
fn a_stop_sends_what_is_owed(bench: &Bench<'_>) -> Outcome {
    const CLIENTS: usize = 200;
    // The kernel has room for it where nobody reads.
    let said = HELLO.repeat(5000);
    for signal in [Signal::INT, Signal::TERM] {
        let server = bench.start()?;
        let mut a = server.connect("a")?;
        a.exchange(HELLO, HELLO).precondition("a client is served before the stop")?;
        let mut others = Vec::new();
        for number in 1..=CLIENTS {
            let mut client = server.connect(&format!("client {number}"))?;
            client.exchange(HELLO, HELLO).precondition("a client is served before the stop")?;
            others.push(client);
        }
        server.pause()?;
        for client in &mut others {
            client.send(&said)?;
        }
        server.signal(signal)?;
        server.resume()?;
        must_end_in_order(&server)?;
        a.expect_eof().require("who is owed nothing sees the end of its stream")?;
        for client in &mut others {
            client.expect(&said).require("what has arrived before the stop is answered")?;
            client.expect_eof().require("then the stream ends in order")?;
        }
    }
    let requirement = "once everyone is served, the server waits no longer";
    must_be_over_before_grace(requirement, "the process to end", || {
        let server = bench.start()?;
        let mut a = server.connect("a")?;
        a.exchange(HELLO, HELLO).precondition("a client is served before the stop")?;
        let begin = Instant::now();
        server.signal(Signal::TERM)?;
        must_end_in_order(&server)?;
        Ok(begin.elapsed())
    })
}

/// S is owed more than the kernel takes, and does not read it. A is owed nothing: its stream ends at
/// once, while the server still waits for S.
fn who_does_not_read_does_not_keep_the_server(bench: &Bench<'_>) -> Outcome {
    let requirement = "who is owed nothing is not kept until the others are served";
    must_be_over_before_grace(requirement, "a's stream to end", || {
        let server = bench.start()?;
        let mut a = server.connect("a")?;
        a.exchange(HELLO, HELLO).precondition("a client is served before the stop")?;
        // Several times what a connection's queues take.
        let mut s = server.connect("s")?;
        s.fill(&vec![0; 40 << 20]).precondition("a client is owed more than the kernel takes")?;
        let begin = Instant::now();
        server.signal(Signal::TERM)?;
        a.expect_end().require("who is owed nothing sees the end of its stream")?;
        let took = begin.elapsed();
        must_end_in_order(&server)?;
        Ok(took)
    })
}

/// Requires that what `round` waits for comes before the time is over that a stop leaves to those
/// who do not read. We may be held up as long, but not in round after round.
fn must_be_over_before_grace(
    requirement: &str,
    what: &str,
    round: impl Fn() -> Result<Duration, Box<Problem>>,
) -> Outcome {
    const GRACE: Duration = Duration::from_millis(1500);
    const ROUNDS: usize = 5;
    for _ in 0..ROUNDS {
        if round()? < GRACE {
            return passed();
        }
    }
    let actual = format!("not before it was over, {ROUNDS} times");
    Err(Failure::new(requirement, format!("{what} before GRACE is over"), actual).into())
}

/// A is there when the descriptors are counted. Others come, and they are counted again.
fn a_client_costs_one_descriptor(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut come = |name: &str| -> Result<Client, Box<Problem>> {
        let mut client = server.connect(name)?;
        client.exchange(HELLO, HELLO).precondition("each client is served")?;
        Ok(client)
    };
    let _a = come("a")?;
    let before = server.descriptor_count()?;
    let others = ["b", "c", "d", "e"].map(&mut come);
    let clients = others.into_iter().collect::<Result<Vec<_>, _>>()?;
    let more = server.descriptor_count()? - before;
    ensure(more == clients.len(), || {
        let expected = format!("{} descriptors more for as many clients", clients.len());
        Failure::new("a client costs one descriptor", expected, format!("{more} more")).at(&server)
    })?;
    passed()
}

fn must_end_in_order(server: &Server) -> Outcome {
    let exit = server.wait_exit().require("the server ends")?;
    ensure(exit.success(), || {
        let failure = Failure::new("the server ends of itself", "exit status: 0", exit.to_string())
            .at(server);
        if exit.code().is_none() { failure.signature("ended by the signal") } else { failure }
    })?;
    passed()
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
