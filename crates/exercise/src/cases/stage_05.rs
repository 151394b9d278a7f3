use conformance::{Bench, Case, Outcome, Require, passed};

pub(super) const CASES: &[Case] =
    &[Case::any("05-accept/01", "an empty server sleeps", an_empty_server_sleeps)
        .why("A loop that only ever looks who is there spins while nobody is.")];

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
