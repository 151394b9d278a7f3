//! Cases that only an exercise can pass, named after it: `02-limit/01`. A stage's own promises
//! stand in the catalogue.

mod stage_01;
mod stage_02;
mod stage_03;
mod stage_04;
mod stage_05;
mod stage_06;
mod stage_07;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use conformance::{Case, Failure, Outcome, Problem, Require, Symptom, ensure, passed};
use harness::kernel::State;
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

/// Requires that the server sleeps until somebody else acts.
fn must_sleep(server: &Server, requirement: &str) -> Outcome {
    server.stuck().looks_like(Symptom::Spin(0)).require(requirement)?;
    passed()
}

/// Waits until the server lets go of `client`, who may be silent for `silence`, and has been so
/// since `since` at the latest. A server that sleeps when that was over long ago looks too seldom:
/// one that is only late would run, or could.
fn must_be_let_go(server: &Server, client: &Client, since: Instant, silence: Duration) -> Outcome {
    const APART: Duration = Duration::from_millis(20);
    let requirement = "who has said nothing for SILENCE has to go then, and not later";
    let long = silence * 5 / 4;
    thread::sleep((since + long).saturating_duration_since(Instant::now()));
    let before = server.threads()?;
    thread::sleep(APART);
    let is_there = server.is_connected(client)?;
    let threads = server.threads()?;
    let sleeps = threads.iter().all(|thread| matches!(thread.state, State::Asleep(_)));
    ensure(!(is_there && sleeps && threads == before), || {
        let name = client.name();
        let actual = format!("{name} is still there after {long:?}, and the server sleeps");
        Failure::new(requirement, format!("{name} to be gone after {silence:?}"), actual)
            .looks_like(Symptom::TooMuch)
            .at(server)
    })?;
    let is_there = || server.is_connected(client).map_err(io::Error::other);
    let gone = server.wait_until(&format!("to let {} go", client.name()), is_there, |it| !it);
    gone.require(requirement)?;
    passed()
}

/// Requires that `client`, who came at `since` or later and has said nothing, was there for
/// `silence`.
fn was_let_stay(server: &Server, client: &Client, since: Instant, silence: Duration) -> Outcome {
    let stayed = since.elapsed();
    ensure(stayed >= silence, || {
        let name = client.name();
        let requirement = "a client may say nothing for as long as SILENCE";
        let actual = format!("it ended after {stayed:.1?}");
        Failure::new(requirement, format!("{name}'s stream to last for {silence:?}"), actual)
            .looks_like(Symptom::Closed)
            .at(server)
    })?;
    passed()
}

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
