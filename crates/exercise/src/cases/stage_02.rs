use std::time::Instant;

use conformance::{Bench, Case, Failure, Outcome, Problem, Require, ensure, passed};
use harness::{Cause, Client, Server, Signal, patience};

use super::{HELLO, must_be_refused};

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
    .why("A stop that waits until everything is sent lets one client keep the server for ever."),
];

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

/// A is idle. B has sent something that the server has not read yet, when the signal comes: it stands
/// still until both are there.
fn a_stop_sends_what_is_owed(bench: &Bench<'_>) -> Outcome {
    for signal in [Signal::INT, Signal::TERM] {
        let server = bench.start()?;
        let [mut a, mut b] = [server.connect("a")?, server.connect("b")?];
        a.exchange(HELLO, HELLO).precondition("a client is served before the stop")?;
        b.exchange(HELLO, HELLO).precondition("a client is served before the stop")?;
        server.pause()?;
        b.send(HELLO)?;
        server.signal(signal)?;
        server.resume()?;
        must_end_in_order(&server)?;
        a.expect_eof().require("who is owed nothing sees the end of its stream")?;
        b.expect(HELLO).require("what has arrived before the stop is answered")?;
        b.expect_eof().require("then the stream ends in order")?;
    }
    passed()
}

/// S is owed more than the kernel takes, and does not read it.
fn who_does_not_read_does_not_keep_the_server(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let _clients = bench.slow_reader(&server)?;
    server.signal(Signal::TERM)?;
    must_end_in_order(&server)
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
