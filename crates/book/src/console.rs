//! Commands that end by themselves, and what they print.
//!
//! A fenced block with the info string `console`: lines that begin with `$ ` are commands, those
//! after each are what it prints. A command without any is not run; nor is a block marked
//! `console,ignore`.

use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use similar::TextDiff;

use crate::programs::{Invocation, Programs};

/// How long a command may take before it is taken for hung.
const BOUND: Duration = Duration::from_secs(60);

/// A command and all that it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The command.
    pub invocation: Invocation,
    /// What it prints on stdout and stderr.
    pub output: String,
}

/// The sessions of a block.
///
/// # Errors
/// A command that shows output and cannot be run.
pub fn sessions(block: &str) -> Result<Vec<Session>, String> {
    let mut sessions: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), sessions.last_mut()) {
            (Some(command), _) => sessions.push((command, String::new())),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => return Err("a console block begins with `$ `".to_owned()),
        }
    }
    let shown = sessions.into_iter().filter(|(_, output)| !output.trim().is_empty());
    shown
        .map(|(command, output)| Ok(Session { invocation: Invocation::parse(command)?, output }))
        .collect()
}

/// Runs the command and compares what it prints.
///
/// # Errors
/// It prints something else, or does not end.
pub fn run(session: &Session, programs: &Programs) -> anyhow::Result<()> {
    let mut command = programs.command(&session.invocation);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot be run")?;
    let mut stdout = child.stdout.take().context("it has no stdout")?;
    let (sender, output) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let mut text = String::new();
        // Nobody waits any more if it took too long.
        let _ = sender.send(stdout.read_to_string(&mut text).map(|_| text));
    })?;
    let Ok(output) = output.recv_timeout(BOUND) else {
        // It may end at this very moment.
        let _ = child.kill();
        let _ = child.wait();
        bail!("it did not end within {BOUND:?}");
    };
    child.wait()?;
    let output = output.context("what it prints is no text")?;
    if output == session.output {
        return Ok(());
    }
    let diff = TextDiff::from_lines(session.output.as_str(), output.as_str());
    bail!("it prints something else:\n{}", diff.unified_diff().header("the book", "the program"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_show_output_are_run() {
        let block = "$ cargo xtask compare\n$ cargo run -q -p stage-05 --example counter\n0\n1\n";
        let sessions = sessions(block).unwrap();
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions[0].output, "0\n1\n");
    }

    #[test]
    fn output_of_what_cannot_be_run_is_refused() {
        assert!(sessions("$ rustc --version\nrustc 1.88\n").is_err());
    }
}
