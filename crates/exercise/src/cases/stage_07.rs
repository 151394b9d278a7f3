use conformance::{Bench, Case, Failure, Outcome, Require, ensure, passed};
use harness::play;

use super::HELLO;

pub(super) const CASES: &[Case] = &[Case::broadcast(
    "07-pause/01",
    "senders wait for a slow reader, and it loses nothing",
    senders_wait_for_a_slow_reader,
)
.why("Backpressure: what cannot go out must not come in.")
.with_flags()];

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
        let expected = "the server stops reading from a, while s does not read";
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
