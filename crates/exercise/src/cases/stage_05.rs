use conformance::{Bench, Case, Outcome, Require, passed};

use super::must_sleep;

pub(super) const CASES: &[Case] = &[
    Case::any("05-accept/01", "an empty server sleeps", an_empty_server_sleeps)
        .why("A loop that only ever looks who is there spins while nobody is."),
    Case::any(
        "05-yield/01",
        "an echo comes after two more connections",
        an_echo_comes_after_two_more_connections,
    )
    .why("A task that does not let go of the thread is the only one that ever runs."),
];

/// Nobody comes, and the server comes to rest; and again after a client was there.
fn an_empty_server_sleeps(bench: &Bench<'_>) -> Outcome {
    const REQUIREMENT: &str = "a server without clients sleeps";
    let server = bench.start()?;
    must_sleep(&server, REQUIREMENT)?;
    let mut a = server.connect("a")?;
    bench.serve(&server, &mut a)?;
    a.leave();
    must_sleep(&server, REQUIREMENT)
}

/// A is served as soon as two more clients have connected, and again with two more.
fn an_echo_comes_after_two_more_connections(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    bench.serve(&server, &mut a).require("each task has its turn")?;
    bench.serve(&server, &mut a).require("each task has its turn, again and again")?;
    passed()
}
