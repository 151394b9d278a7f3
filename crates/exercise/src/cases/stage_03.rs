use conformance::{Bench, Case, Outcome, Require, passed};

use super::{HELLO, must_be_refused};

pub(super) const CASES: &[Case] = &[
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
];

/// The only worker serves A; B and C wait. D is told that the queue is full, and does not go. Others
/// go before they are told. Then A leaves, and B is served; E finds room in the queue.
fn a_client_beyond_the_queue_is_refused(bench: &Bench<'_>) -> Outcome {
    let server = bench.start_with(&["--workers", "1", "--max-waiting", "2"])?;
    let mut a = server.connect("a")?;
    a.exchange(HELLO, HELLO).require("a client is served while a worker is free")?;
    let [mut b, mut c] = [server.connect("b")?, server.connect("c")?];
    b.send(HELLO)?;
    c.send(HELLO)?;
    let d = must_be_refused(&server, "d")?;

    server.pause()?;
    for _ in 0..3 {
        server.connect("somebody")?.reset()?;
    }
    server.resume()?;
    must_be_refused(&server, "f").require("who is refused neither ends the server nor keeps it")?;
    d.leave();

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
