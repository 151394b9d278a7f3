use std::time::Instant;

use conformance::{Bench, Case, Outcome, Problem, Require, passed};
use harness::{Cause, Client, Server, patience};

use super::{HELLO, must_be_refused};

pub(super) const CASES: &[Case] = &[Case::any(
    "02-limit/01",
    "a client above the limit is refused politely",
    a_client_above_the_limit_is_refused,
)
.why(
    "A limit that nobody is told about looks like a server that hangs; and one that \
         counts who has left fills up for good.",
)];

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
