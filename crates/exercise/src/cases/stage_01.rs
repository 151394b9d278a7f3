use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use conformance::{Bench, Case, Failure, Outcome, Require, ensure, passed};
use harness::Server;

use super::{HELLO, must_be_let_go, must_sleep, was_let_stay};

pub(super) const CASES: &[Case] = &[
    Case::any(
        "01-count/01",
        "each connection has its number in the log",
        each_connection_has_its_number,
    )
    .why("State that outlives one client has to live outside its handler."),
    Case::any(
        "01-idle/01",
        "who says nothing makes room for the next, who speaks stays",
        who_says_nothing_makes_room,
    )
    .why("A client that says nothing costs nothing to attack with, and has the whole server."),
];

/// Three clients come and go. For each of them the log has one line with its address, which ends
/// in its number.
fn each_connection_has_its_number(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    for number in 1..=3 {
        let mut client = server.connect(&format!("client {number}"))?;
        bench.serve(&server, &mut client)?;
        let address = client.local_address().to_string();
        let line = || Ok(server.stderr().into_iter().find(|line| line.contains(&address)));
        let what = format!("to log the connection from {address}, while it lasts");
        let line = server.wait_until(&what, line, Option::is_some)?;
        let line = line.unwrap_or_default();
        let before = format!("connection from {address}");
        let expected = format!("{before}, number {number}");
        ensure(line == expected, || {
            let failure =
                Failure::new("each connection is logged with its number", expected, &line);
            if line == before { failure.signature("no number in the log") } else { failure }
                .at(&server)
        })?;
        client.leave();
    }
    passed()
}

/// A says nothing. B waits and is served in the end, and stays for as long as it speaks now and
/// then. Then B says nothing any more, and C is served. S, who came before all of them to a server
/// without SILENCE, is still there.
fn who_says_nothing_makes_room(bench: &Bench<'_>) -> Outcome {
    const SILENCE: Duration = Duration::from_secs(2);
    let server = Server::start(bench.command(0).env("SILENCE", SILENCE.as_secs().to_string()))?;
    let requirement = "a client that says nothing for as long as SILENCE is disconnected";
    let patient = bench.start()?;
    let mut s = patient.connect("s")?;
    s.exchange(HELLO, HELLO).precondition("a client is served")?;
    // The server waits for s to speak: from here on it would be the first to go.
    must_sleep(&patient, "the server sleeps while its client says nothing")?;
    let came = Instant::now();
    let mut a = server.connect("a")?;
    let mut b = server.connect("b")?;
    b.send(HELLO)?;
    // A read with a time-out looks like one without: a server that sleeps in it is not stuck. If it
    // is still there after so long a time, it is.
    let is_connected = || server.is_connected(&a).map_err(std::io::Error::other);
    let _ = server.wait_until("to let a go", is_connected, |connected| !connected);
    b.expect(HELLO).require(requirement)?;
    a.expect_eof().require("a client that is disconnected sees the end of its stream")?;
    was_let_stay(&server, &a, came, SILENCE)?;

    let begin = Instant::now();
    let mut said_before = begin;
    while begin.elapsed() < SILENCE * 2 {
        let says = Instant::now();
        let answered = b.exchange(HELLO, HELLO);
        // From the beginning of one exchange to the end of the next.
        let ended = answered.as_ref().err().map_or_else(Instant::now, |trouble| trouble.seen);
        let silence = ended - mem::replace(&mut said_before, says);
        let answered = answered.require("a client that speaks is not disconnected");
        if silence >= SILENCE * 3 / 4 {
            answered.precondition("on this machine the client speaks often enough")?;
        } else {
            answered?;
        }
        // Who never paused would not notice a server that grants no pause.
        thread::sleep(SILENCE / 4);
    }
    let mut c = server.connect("c")?;
    c.send(HELLO)?;
    server.wait_until_read(&b)?;
    must_be_let_go(&server, &b, Instant::now(), SILENCE)?;
    c.expect(HELLO).require(requirement)?;
    s.exchange(HELLO, HELLO).require("without SILENCE a client may say nothing for ever")?;
    passed()
}
