use conformance::{Bench, Case, Failure, Outcome, ensure, passed};

pub(super) const CASES: &[Case] = &[Case::any(
    "01-count/01",
    "each connection has its number in the log",
    each_connection_has_its_number,
)
.why("State that outlives one client has to live outside its handler.")];

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
