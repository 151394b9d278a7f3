//! Commands that end by themselves, and what they print.
//!
//! A fenced block with the info string `console`: lines that begin with `$ ` are commands, those
//! after each are what it prints. `[..]` in a line stands for anything.
//!
//! A command that shows nothing is not run here, since `cargo test` and others run it anyway: what
//! it names has to exist ([`names_what_is_not_there`]).

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use similar::TextDiff;

use crate::programs::{Invocation, Programs};
use crate::replay::ANYTHING;

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

/// The commands of a block, whether or not they show what they print.
pub fn commands(block: &str) -> impl Iterator<Item = &str> {
    block.lines().filter_map(|line| line.strip_prefix("$ "))
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

/// What a command names that does not exist: the case of `cargo test … -- conc/01`, the exercise of
/// `cargo xtask exercise check 05-accept`, the package. None if all is there.
pub fn names_what_is_not_there(root: &Path, command: &str) -> Option<String> {
    let is_package = |name: &str| root.join("crates").join(name).join("Cargo.toml").exists();
    let is_exercise =
        |name: &str| root.join("crates/exercises").join(name).join("Cargo.toml").exists();
    let is_case =
        |key: &str| conformance::catalogue().any(|case| conformance::covers(key, case.id));
    let missing = |there: bool, what: &str| (!there).then(|| format!("there is no {what}"));
    match command.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["cargo", "test", "-p", package, "--test", "conformance", "--", case] => {
            missing(is_package(package), package).or_else(|| missing(is_case(case), case))
        }
        ["cargo", "xtask", "exercise", "check", "--all", ..] => None,
        ["cargo", "xtask", "exercise", "check" | "hint" | "solution", name] => {
            missing(is_exercise(name), name)
        }
        ["cargo", "run", "-q" | "-r", "-p", package, ..]
        | ["cargo", "run" | "build", "-p", package, ..] => missing(is_package(package), package),
        ["python3", file] => missing(root.join(file).exists(), file),
        ["cargo", "xtask", "book" | "check" | "compare" | "look", ..]
        | ["cargo", "xtask", "exercise", "list" | "next" | "watch"]
        | ["cargo", "build" | "test"] => None,
        _ => Some(format!("`{command}` is no command that is known here")),
    }
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
    if is_shown_as(&output, &session.output) {
        return Ok(());
    }
    let diff = TextDiff::from_lines(session.output.as_str(), output.as_str());
    bail!("it prints something else:\n{}", diff.unified_diff().header("the book", "the program"))
}

/// Whether each line of `actual` is the one that the page shows.
fn is_shown_as(actual: &str, shown: &str) -> bool {
    let is_shown = |(actual, shown): (&str, &str)| match shown.split_once(ANYTHING) {
        Some((before, after)) => {
            actual.strip_prefix(before).is_some_and(|rest| rest.ends_with(after))
        }
        None => actual == shown,
    };
    actual.lines().count() == shown.lines().count()
        && actual.lines().zip(shown.lines()).all(is_shown)
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
    fn what_differs_each_time_is_left_open() {
        assert!(is_shown_as("took 12 of 90\nend\n", "took [..] of 90\nend\n"));
        assert!(!is_shown_as("took 12 of 91\nend\n", "took [..] of 90\nend\n"));
        assert!(!is_shown_as("a\nb\n", "a\n"));
    }

    #[test]
    fn what_a_command_names_has_to_exist() {
        let missing = |command| names_what_is_not_there(crate::root(), command);
        assert_eq!(missing("cargo test -p stage-01 --test conformance -- conc/01"), None);
        assert_eq!(missing("cargo xtask exercise check 05-accept"), None);
        for command in [
            "cargo test -p stage-01 --test conformance -- conc/99",
            "cargo xtask exercise check 99-none",
            "cargo run -p stage-99",
            "cargo frobnicate",
        ] {
            assert!(missing(command).is_some(), "{command}");
        }
    }

    #[test]
    fn output_of_what_cannot_be_run_is_refused() {
        assert!(sessions("$ rustc --version\nrustc 1.88\n").is_err());
    }
}
