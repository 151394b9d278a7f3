//! How many bytes each design of a broadcast copies by itself, besides those that the kernel
//! copies: counted by valgrind's DHAT, turn by turn.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use compare::results::Machine;
use harness::Server;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::growth::{CLIENTS, DESIGNS, IN_FLIGHT, LINE, Servers, machine, table};
use crate::kept;

/// Where the measurement is kept, from the root of the workspace.
pub const FILE: &str = "book/measured/copies.json";

/// How many turns there are in two talks. What it costs that clients come and leave is in both of
/// them, and so not in their difference.
const TURNS: [usize; 2] = [5, 25];

/// What was counted, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Copies {
    /// The machine.
    pub machine: Machine,
    /// Each design in each room.
    pub work: Vec<Copied>,
}

/// What one design copied in some turns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Copied {
    /// What the design is called.
    pub design: String,
    /// How many clients were in the room.
    pub clients: usize,
    /// Lines that reached somebody.
    pub delivered: usize,
    /// Bytes that went through `memcpy` and its like. What the compiler moves by instructions of
    /// its own, up to some hundred bytes at a time, is not in it, nor is what the kernel copies.
    pub bytes: usize,
}

/// What DHAT writes, as far as it is read.
#[derive(Deserialize)]
struct Profile {
    #[serde(rename = "pps")]
    places: Vec<Place>,
}

/// A place in the program that copies.
#[derive(Deserialize)]
struct Place {
    #[serde(rename = "tb")]
    bytes: usize,
}

/// Counts for all designs and keeps what came out.
///
/// # Errors
/// A server cannot be built or started, or a client does not hear what it should; `valgrind` is
/// missing; a file cannot be written.
pub fn measure(root: &Path) -> anyhow::Result<()> {
    let servers = Servers::build(root)?;
    let mut work = Vec::new();
    for design in DESIGNS {
        for clients in CLIENTS {
            let (name, ..) = design;
            let copied = |turns| -> anyhow::Result<usize> {
                let bytes = count(&servers.command(design)?, clients, turns);
                bytes.with_context(|| format!("{name}, {clients}"))
            };
            let [few, many] = TURNS;
            work.push(Copied {
                design: name.to_owned(),
                clients,
                delivered: (many - few) * IN_FLIGHT * (clients - 1),
                bytes: copied(many)? - copied(few)?,
            });
        }
    }
    let copies = Copies { machine: machine()?, work };
    kept::keep(root, FILE, &copies)
}

/// How many bytes a server has copied in its life, in which there were so many turns.
fn count(server: &Command, clients: usize, turns: usize) -> anyhow::Result<usize> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("copies");
    let mut command = Command::new("valgrind");
    command.args(["--tool=dhat", "--mode=copy"]);
    command.arg(format!("--dhat-out-file={}", file.display()));
    command.arg(server.get_program()).args(server.get_args());
    let server = Server::start(&mut command)
        .context("no server under valgrind, of the package of that name")?;

    let connect = |_| TcpStream::connect(server.address());
    let mut streams = (0..clients).map(connect).collect::<io::Result<Vec<_>>>()?;
    for stream in &streams {
        stream.set_read_timeout(Some(harness::patience()))?;
    }
    // The last to come is accepted last: when it is heard, everyone is in the room.
    turn(&server, &mut streams, &[clients - 1])?;
    for number in 0..turns {
        let speakers = (0..IN_FLIGHT).map(|line| (number * IN_FLIGHT + line) % clients);
        turn(&server, &mut streams, &speakers.collect::<Vec<_>>())?;
    }
    drop(streams);

    // It writes the file as it ends.
    server.signal(Signal::INT)?;
    server.wait_exit()?;
    let profile: Profile = serde_json::from_slice(&fs::read(file)?)?;
    Ok(profile.places.iter().map(|it| it.bytes).sum())
}

/// A turn of the server: it finds a line of each of `speakers`, and everyone else hears it.
fn turn(server: &Server, streams: &mut [TcpStream], speakers: &[usize]) -> anyhow::Result<()> {
    let line = [b"x".repeat(LINE - 1), b"\n".to_vec()].concat();
    server.pause()?;
    for &speaker in speakers {
        streams[speaker].write_all(&line)?;
    }
    server.resume()?;
    for (hearer, stream) in streams.iter_mut().enumerate() {
        let heard = speakers.iter().filter(|speaker| **speaker != hearer).count();
        stream.read_exact(&mut vec![0; heard * LINE])?;
    }
    Ok(())
}

/// The table of bytes copied for a delivery.
///
/// # Errors
/// Nothing was counted, or in another form; a design is missing.
pub fn bytes(root: &Path) -> io::Result<String> {
    let copies: Copies = serde_json::from_slice(&fs::read(root.join(FILE))?)?;
    table("bytes that the program copies for a delivery", |design, clients| {
        let found = copies.work.iter().find(|it| it.design == design && it.clients == clients);
        let found = found.map(|it| it.bytes as f64 / it.delivered as f64);
        found.ok_or_else(|| io::Error::other(format!("{FILE} lacks {design} with {clients}")))
    })
}
