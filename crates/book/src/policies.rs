//! What becomes of a room with one client that does not read, under each policy: measured on the
//! example `queue_per_client` of stage 07.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use harness::Server;
use serde::{Deserialize, Serialize};

use crate::kept;
use crate::programs::{Invocation, Program, Programs};

/// Where the measurement is kept, from the root of the workspace.
pub const FILE: &str = "book/measured/policies.json";

const POLICIES: [&str; 5] = ["block", "grow", "drop", "disconnect", "pause"];
/// How much a wants to say, in lines of this length.
const TALK: usize = 64 * MIB;
const LINE: usize = 1024;
/// How far a client may be behind.
const MAX_BACKLOG: usize = 8 * MIB;
const NEWCOMERS: usize = 10;
/// When nothing has moved for so long, nothing is expected to.
const SETTLED: Duration = Duration::from_millis(1500);
const MIB: usize = 1024 * 1024;

/// What one policy came to. Sizes are in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Room {
    /// Its name, as `--policy` takes it.
    pub policy: String,
    /// What a could send while s did not read.
    pub sent: usize,
    /// What b heard meanwhile.
    pub heard: usize,
    /// The most memory that the server held then.
    pub memory: u64,
    /// How many of ten newcomers were let in then.
    pub let_in: usize,
    /// What s got when it read at last.
    pub got: usize,
    /// How much of what a had said by then it never got.
    pub missed: usize,
    /// Whether its connection was ended, so that it knows.
    pub ended: bool,
}

/// Measures all five and keeps what came out.
///
/// # Errors
/// The example cannot be built or started; a file cannot be written.
pub fn measure(root: &Path) -> anyhow::Result<()> {
    let program =
        Program::Example { package: "stage-07".to_owned(), name: "queue_per_client".to_owned() };
    let programs = Programs::build(root, &BTreeSet::from([program.clone()]))?;
    let mut rooms = Vec::new();
    for policy in POLICIES {
        let backlog = MAX_BACKLOG.to_string();
        let words =
            ["--port", "0", "--threads", "1", "--max-backlog", &backlog, "--policy", policy];
        let arguments = words.map(str::to_owned).to_vec();
        let invocation = Invocation { program: program.clone(), arguments, quiet: false };
        let mut command = programs.command(&invocation);
        let server = Server::start(&mut command)?;
        rooms.push(room(policy, &server)?);
    }
    kept::keep(root, FILE, &rooms)
}

/// What is measured, as a table.
///
/// # Errors
/// Nothing was measured, or in another form.
pub fn table(root: &Path) -> io::Result<String> {
    let json = std::fs::read(root.join(FILE))?;
    let rooms: Vec<Room> = serde_json::from_slice(&json)?;
    let size = |bytes: usize| match bytes.div_ceil(MIB) {
        // A figure and its unit stay on one line.
        mib if bytes >= TALK => format!("all {mib}\u{a0}MiB"),
        mib => format!("{mib}\u{a0}MiB"),
    };
    let mut text = "| policy | a could send | b heard | newcomers let in | server's memory | \
                    s, when it reads at last |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for room in rooms {
        let Room { policy, sent, heard, memory, let_in, got, missed, ended } = room;
        let slow = match (missed > 0, ended) {
            (_, true) => format!("gets {}, then the end", size(got)),
            (true, false) => {
                // Rounded down, since the others are rounded up: together they are all.
                let missing = missed / MIB;
                format!("gets {}; {missing}\u{a0}MiB are missing, and nothing says so", size(got))
            }
            (false, false) => format!("gets {}", size(got)),
        };
        text += &format!(
            "| {policy} | {} | {} | {let_in} of {NEWCOMERS} | {} MiB | {slow} |\n",
            size(sent),
            size(heard),
            memory / MIB as u64,
        );
    }
    Ok(text)
}

/// s connects and does not read. a says all it can, and b listens, until nothing moves any more.
/// Then newcomers arrive, and at last s reads.
fn room(policy: &str, server: &Server) -> anyhow::Result<Room> {
    let connect = || -> io::Result<TcpStream> {
        let stream = TcpStream::connect(server.address())?;
        // What waits looks every now and then whether it is to stop.
        stream.set_read_timeout(Some(SETTLED / 10))?;
        stream.set_write_timeout(Some(SETTLED / 10))?;
        Ok(stream)
    };
    let (s, b, a) = (connect()?, connect()?, connect()?);
    let [sent, heard, got] = [const { AtomicUsize::new(0) }; 3];
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let talking = scope.spawn(|| talk(&a, &sent, &stop));
        let listening = scope.spawn(|| listen(&b, &stop, |bytes| add(&heard, bytes.len())));
        settle(&[&sent, &heard]);
        let (sent_at_first, heard_at_first) = (get(&sent), get(&heard));
        let memory = server.peak_rss_bytes();
        let newcomers: io::Result<Vec<_>> = (0..NEWCOMERS).map(|_| connect()).collect();
        thread::sleep(SETTLED);
        let log = server.stdout();
        let let_in = log.iter().filter(|line| line.starts_with("connection from")).count();
        // They would not read, either.
        drop(newcomers?);

        let reading = scope.spawn(|| listen(&s, &stop, |bytes| add(&got, bytes.len())));
        settle(&[&got, &sent]);
        stop.store(true, Ordering::Relaxed);
        // An end of theirs is the server's doing, and shows in what they sent and heard.
        let _ = (talking.join(), listening.join());
        let ended = reading.join().unwrap_or(Ok(true))?;
        Ok(Room {
            policy: policy.to_owned(),
            sent: sent_at_first,
            heard: heard_at_first,
            memory: memory?,
            let_in: let_in.saturating_sub(3),
            missed: get(&sent) - get(&got),
            got: get(&got),
            ended,
        })
    })
}

/// Sends lines until all is said or `stop` says so.
fn talk(mut stream: &TcpStream, sent: &AtomicUsize, stop: &AtomicBool) -> io::Result<()> {
    let line = [&[b'x'; LINE - 1], b"\n".as_slice()].concat();
    for _ in 0..TALK / LINE {
        let mut rest = line.as_slice();
        while !rest.is_empty() && !stop.load(Ordering::Relaxed) {
            match stream.write(rest) {
                Ok(written) => {
                    add(sent, written);
                    rest = &rest[written..];
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Reads until the end (true), or until `stop` says so.
fn listen(
    mut stream: &TcpStream,
    stop: &AtomicBool,
    mut hear: impl FnMut(&[u8]),
) -> io::Result<bool> {
    let mut buffer = vec![0; 256 * 1024];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(received) => hear(&buffer[..received]),
            Err(error) if is_timeout(&error) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Waits until none of the counters moves any more.
fn settle(counters: &[&AtomicUsize]) {
    let read = || counters.iter().map(|counter| get(counter)).collect::<Vec<_>>();
    let mut last = read();
    loop {
        thread::sleep(SETTLED);
        let now = read();
        if now == last {
            return;
        }
        last = now;
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn add(counter: &AtomicUsize, bytes: usize) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

fn get(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}
