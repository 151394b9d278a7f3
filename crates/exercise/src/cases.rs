//! Cases that only an exercise can pass, named after it: `02-limit/01`. A stage's own promises
//! stand in the catalogue.

mod stage_01;
mod stage_02;
mod stage_03;
mod stage_04;
mod stage_05;
mod stage_06;
mod stage_07;

use conformance::{Case, Failure, Outcome, Problem, Require, ensure, passed};
use harness::{Client, End, Server};

/// All of them, stage by stage.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        stage_01::CASES,
        stage_02::CASES,
        stage_03::CASES,
        stage_04::CASES,
        stage_05::CASES,
        stage_06::CASES,
        stage_07::CASES,
    ]
    .into_iter()
    .flatten()
}

const HELLO: &[u8] = b"hello\n";

/// Connects a client that has to be told something, one line, before its stream ends in order. It
/// does not leave.
fn must_be_refused(server: &Server, name: &str) -> Result<Client, Box<Problem>> {
    let mut client = server.connect(name)?;
    is_refused(server, &mut client)?;
    Ok(client)
}

/// Requires that `client`, which has said nothing, is told something, one line, before its stream
/// ends in order.
fn is_refused(server: &Server, client: &mut Client) -> Outcome {
    let requirement = "a client that is refused is told so, and then its connection ends in order";
    let (word, end) = client.read_to_end().require(requirement)?;
    let is_a_line =
        word.len() > 1 && word.iter().position(|&byte| byte == b'\n') == Some(word.len() - 1);
    ensure(is_a_line && end == End::Eof, || {
        let name = client.name();
        let actual = format!("{name}: \"{}\", and then {end}", word.escape_ascii());
        Failure::new(requirement, format!("{name}: a line, its \\n included, and then FIN"), actual)
            .at(server)
    })?;
    passed()
}
