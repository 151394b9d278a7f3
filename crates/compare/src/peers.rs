//! Those that `--peers` brings along: the same server in other languages, as one writes it there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use load::Protocol;

use crate::build::Binaries;
use crate::results::{Kind, Subject};
use crate::subject::{Candidate, Start};

/// The package of the server directly on epoll, which is built with the stages.
pub(crate) const REFERENCE: &str = "reference";

/// What NATS and Redis may ask of the machine, in bytes. Both set aside more than they use.
const BROKER_MEMORY: u64 = 8 << 30;

/// What the generator is measured against: who does as little as one can.
pub(crate) fn reference(binaries: &Binaries) -> Option<Candidate> {
    let program = binaries.get(REFERENCE)?;
    let start = |mode| Some(words(program, &["--port", "0", "--mode", mode]));
    Some(candidate("Rust, epoll", start("echo"), start("broadcast")))
}

/// The peers that this machine can run, and a note on those that it cannot.
///
/// # Errors
///
/// Their sources cannot be written below `target`.
pub(crate) fn peers(
    root: &Path,
    binaries: &Binaries,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Candidate>> {
    let directory = root.join("target/compare/peers");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let source = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    };
    let c = source("echo.c", include_str!("../peers/echo.c"))?;
    let go = source("server.go", include_str!("../peers/server.go"))?;
    let python = source("server.py", include_str!("../peers/server.py"))?;
    let node = source("server.js", include_str!("../peers/server.js"))?;

    let mut peers: Vec<_> = reference(binaries).into_iter().collect();
    let mut missing = Vec::new();
    let mut add =
        |name: &str, is_there: bool, echo: Option<Vec<String>>, broadcast: Option<Vec<String>>| {
            if is_there {
                peers.push(candidate(name, echo, broadcast));
            } else {
                missing.push(name.to_owned());
            }
        };

    let program = directory.join("echo-c");
    let built = succeeds(Command::new("cc").arg("-O2").arg("-o").arg(&program).arg(&c));
    add("C, epoll", built, Some(words(&program, &["--port", "0"])), None);

    let program = directory.join("server-go");
    let built = succeeds(Command::new("go").arg("build").arg("-o").arg(&program).arg(&go));
    let start = |mode| Some(words(&program, &[mode, "--port", "0"]));
    add("Go", built, start("echo"), start("broadcast"));

    let run = |program: &str, arguments: &[&str]| Some(words(Path::new(program), arguments));
    let file = node.display().to_string();
    let start = |mode| run("node", &[&file, mode, "--port", "0"]);
    let is_there = succeeds(Command::new("node").arg("--version"));
    add("Node", is_there, start("echo"), start("broadcast"));

    let file = python.display().to_string();
    for name in ["asyncio", "uvloop"] {
        let is_there = succeeds(Command::new("python3").arg("-c").arg(format!("import {name}")));
        let start = |mode| run("python3", &[&file, name, mode, "--port", "0"]);
        add(name, is_there, start("echo"), start("broadcast"));
    }

    // Of the article's own, those that serve many clients.
    let is_there = succeeds(Command::new("python3").arg("--version"));
    for (stage, is_broadcast) in [("02", false), ("04", true), ("06", true), ("07", true)] {
        let file = root.join(format!("book/python/stage_{stage}.py")).display().to_string();
        let start = run("python3", &[&file, "--port", "0"]);
        let (echo, broadcast) = if is_broadcast { (None, start) } else { (start, None) };
        add(&format!("Python {stage}"), is_there, echo, broadcast);
    }

    // Where they fall behind, both may keep gigabytes for those who still have to hear.
    let limit = format!("ulimit -v {}; exec", BROKER_MEMORY / 1024);
    let brokers = [
        ("NATS", Protocol::Nats, "nats-server", "-a 127.0.0.1 -p {port}"),
        ("Redis", Protocol::Redis, "redis-server", "--bind 127.0.0.1 --port {port} --save ''"),
    ];
    for (name, protocol, program, arguments) in brokers {
        if succeeds(Command::new(program).arg("--version")) {
            let line = format!("{limit} {program} {arguments}");
            peers.push(broker(name, protocol, line));
        } else {
            missing.push(name.to_owned());
        }
    }
    if !missing.is_empty() {
        notes.push(format!("Peers that this machine lacks: {}.", missing.join(", ")));
    }
    Ok(peers)
}

fn candidate(name: &str, echo: Option<Vec<String>>, broadcast: Option<Vec<String>>) -> Candidate {
    let subject =
        Subject { id: name.to_owned(), name: name.to_owned(), kind: Kind::Peer, cores: None };
    Candidate {
        subject,
        echo: echo.map(Start::Words),
        broadcast: broadcast.map(Start::Words),
        protocol: Protocol::Lines,
        cores: 1,
    }
}

/// A server that people take for fan-out instead of writing one. `line` starts it: it is not made to
/// print where it listens, and is found by its port.
fn broker(name: &str, protocol: Protocol, line: String) -> Candidate {
    let broadcast = Some(Start::Line(line));
    Candidate { broadcast, protocol, ..candidate(name, None, None) }
}

fn words(program: &Path, arguments: &[&str]) -> Vec<String> {
    let program = program.display().to_string();
    std::iter::once(program).chain(arguments.iter().map(|it| (*it).to_owned())).collect()
}

/// Whether it can be run at all and ends well. What it says does not matter.
fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
