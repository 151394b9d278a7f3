use conformance::{Bench, Case, Failure, Outcome, Problem, Require, ensure, passed};
use harness::{Server, play};

use super::{HELLO, must_sleep};

pub(super) const CASES: &[Case] = &[
    Case::broadcast(
        "07-pause/01",
        "senders wait for a slow reader, and it loses nothing",
        senders_wait_for_a_slow_reader,
    )
    .why("Backpressure: what cannot go out must not come in.")
    .with_flags(),
    Case::broadcast(
        "07-pause/02",
        "a slow reader that is gone is not waited for",
        a_slow_reader_that_is_gone_is_not_waited_for,
    )
    .why("Slow readers leave as others do. What somebody holds for all has to end with it.")
    .with_flags(),
];

const LENGTH: usize = 32 << 20;

/// S does not read. A talks on until the server takes no more. Then S reads: A's talk goes on, and
/// S hears all of it.
fn senders_wait_for_a_slow_reader(bench: &Bench<'_>) -> Outcome {
    let server = start(bench)?;
    let [mut s, mut a] = bench.room(&server, ["s", "a"])?;
    let talk = talk(bench);
    let taken = a.fill(&talk)?;
    must_be_paused(&server, taken)?;
    play(&mut [a.part().send(&talk[taken..]), s.part().expect(&talk)])
        .require("once the slow reader reads, all goes on, and nothing was lost")?;
    s.send(HELLO)?;
    a.expect(HELLO).require("who was paused hears the others")?;
    bench.still_serves(&server)?;
    passed()
}

/// S and T do not read. A talks on until the server takes no more. Then T is gone, and A still has
/// to wait. Then S is gone, too: A's talk goes on.
fn a_slow_reader_that_is_gone_is_not_waited_for(bench: &Bench<'_>) -> Outcome {
    let server = start(bench)?;
    let [s, t, mut a] = bench.room(&server, ["s", "t", "a"])?;
    let talk = talk(bench);
    let mut taken = a.fill(&talk)?;
    t.reset()?;
    taken += a.fill(&talk[taken..])?;
    must_be_paused(&server, taken)?;
    s.reset()?;
    let requirement = "once nobody is behind any more, all goes on";
    a.send(&talk[taken..]).require(requirement)?;
    server.wait_until_read(&a).require(requirement)?;
    must_sleep(&server, "once all is said, the server sleeps")?;
    bench.still_serves(&server)?;
    passed()
}

/// A server that pauses all while somebody is a megabyte behind.
fn start(bench: &Bench<'_>) -> Result<Server, Box<Problem>> {
    bench.start_with(&["--max-backlog", "1048576"])
}

/// Requires that so much of A's talk is not all of it.
fn must_be_paused(server: &Server, taken: usize) -> Outcome {
    ensure(taken < LENGTH, || {
        let requirement = "a sender waits while somebody is more than --max-backlog behind";
        let expected = "the server stops reading from a, while s does not read";
        Failure::new(requirement, expected, format!("it has read all {LENGTH} bytes"))
            .signature("the sender is not paused")
            .at(server)
    })?;
    passed()
}

/// More lines than the kernel keeps.
fn talk(bench: &Bench<'_>) -> Vec<u8> {
    let mut talk = bench.random_bytes(LENGTH);
    talk.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    talk.chunks_mut(1024).for_each(|line| line[1023] = b'\n');
    talk
}
