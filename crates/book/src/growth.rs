//! How the work of a broadcast grows with the room: the system calls of each design, counted by the
//! kernel while our own generator drives it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::Server;
use load::{Broadcast, Pace, Progress, Protocol, Verdict};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// Where the measurement is kept, from the root of the workspace.
pub const FILE: &str = "book/measured/growth.json";

/// The designs: what they are called, the package, its example if it is one, and its arguments.
const DESIGNS: [(&str, &str, Option<&str>, &[&str]); 5] = [
    ("each line to each client (04)", "stage-04", None, &["--mode", "broadcast"]),
    ("a queue for each client", "stage-07", Some("queue_per_client"), &["--threads", "1"]),
    ("one log, on our own loop (06)", "stage-06", None, &["--mode", "broadcast"]),
    ("one log, on tokio (07)", "stage-07", None, &["--mode", "broadcast", "--threads", "1"]),
    ("one log, directly on epoll", "reference", None, &[]),
];
const CLIENTS: [usize; 3] = [10, 100, 1000];
const LINE: usize = 32;
/// Lines on their way in the whole room.
const IN_FLIGHT: usize = 256;

/// What is counted: all calls, and those that write.
const ALL: &str = "raw_syscalls:sys_enter";
const WRITES: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];

/// What one design did in one window of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// What the design is called.
    pub design: String,
    /// How many clients were in the room; all of them talk.
    pub clients: usize,
    /// Lines that left for the server.
    pub sent: u64,
    /// Lines that reached somebody.
    pub delivered: u64,
    /// The server's system calls.
    pub calls: u64,
    /// How many of them were writes.
    pub writes: u64,
}

/// Measures all designs and keeps what came out.
///
/// # Errors
/// A server cannot be built or started, or does not do the work; `perf` is missing or may not
/// count; a file cannot be written.
pub fn measure(root: &Path) -> anyhow::Result<()> {
    let packages = DESIGNS.map(|(_, package, ..)| ["-p", package]).concat();
    let examples = DESIGNS.iter().filter_map(|(.., example, _)| *example);
    let named = examples.flat_map(|example| ["--example", example]);
    let arguments = ["--release", "--bins"].into_iter().chain(packages).chain(named);
    let build = artifacts::build(root, arguments).context("cannot run cargo")?;
    ensure!(build.status.success(), "the servers do not build");
    let programs = build.by_name();
    let mut work = Vec::new();
    for (design, package, example, arguments) in DESIGNS {
        for clients in CLIENTS {
            let program = programs.get(example.unwrap_or(package));
            let program = program.with_context(|| format!("cargo built no {package}"))?;
            let mut command = Command::new(program);
            command.args(["--port", "0"]).args(arguments);
            let server = Server::start(&mut command)?;
            let counted =
                count(&server, clients).with_context(|| format!("{design}, {clients}"))?;
            work.push(Work { design: design.to_owned(), ..counted });
        }
    }
    let json = serde_json::to_string_pretty(&work)? + "\n";
    fs::write(root.join(FILE), json).context("cannot keep the measurement")
}

/// Drives a server and counts its calls meanwhile.
fn count(server: &Server, clients: usize) -> anyhow::Result<Work> {
    let plan = Broadcast {
        clients,
        senders: usize::MAX,
        protocol: Protocol::Lines,
        line: LINE,
        pace: Pace::InFlight(IN_FLIGHT),
        slow_reader: None,
        verify_one_in: 10,
        warm_up: Duration::from_millis(500),
        window: Duration::from_secs(2),
        patience: Duration::from_secs(5),
        seed: 1,
    };
    let mut counter = Counter::attach(server.pid())?;
    let mut last = None;
    let mut trouble = Ok(());
    let report = plan.run(server.address(), &mut |progress| {
        if last.replace(progress) != Some(progress) && trouble.is_ok() {
            trouble = match progress {
                Progress::Measuring => counter.tell("enable"),
                Progress::Measured => counter.tell("disable"),
                _ => Ok(()),
            };
        }
        ControlFlow::Continue(())
    })?;
    trouble.context("perf does not listen")?;
    ensure!(report.verdict == Verdict::Works, "the server does not do the work: {report:?}");
    let counts = counter.finish()?;
    let window = report.window.context("nothing was measured")?;
    let of = |event: &str| counts.get(event).copied().with_context(|| format!("no {event}"));
    let mut writes = 0;
    for call in WRITES {
        writes += of(&entry(call))?;
    }
    Ok(Work {
        design: String::new(),
        clients,
        sent: window.sent,
        delivered: window.received,
        calls: of(ALL)?,
        writes,
    })
}

/// `perf stat` on a server. It counts when it is told to.
struct Counter {
    perf: Child,
    directory: PathBuf,
    control: File,
    answers: BufReader<File>,
}

impl Counter {
    fn attach(pid: i32) -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!("growth-{}-{pid}", std::process::id()));
        fs::create_dir(&directory)?;
        let [control, answers] = ["control", "answers"].map(|name| directory.join(name));
        let made = Command::new("mkfifo").args([&control, &answers]).status();
        ensure!(made.context("mkfifo")?.success(), "mkfifo failed");
        let events = WRITES.map(entry).join(",");
        let perf = Command::new("perf")
            .arg("stat")
            .arg(format!("--control=fifo:{},{}", control.display(), answers.display()))
            .args(["--field-separator=,", "--delay=-1", "--event"])
            .arg(format!("{ALL},{events}"))
            .arg(format!("--output={}", directory.join("counts").display()))
            .arg(format!("--pid={pid}"))
            .stderr(Stdio::null())
            .spawn()
            .context("perf cannot be run: it is in the package linux-perf")?;
        // In this order perf opens them, too: each side waits for the other.
        let answers = BufReader::new(File::open(answers)?);
        let control = OpenOptions::new().write(true).open(control)?;
        Ok(Self { perf, directory, control, answers })
    }

    /// Says a word to perf, and waits until perf has done it.
    fn tell(&mut self, word: &str) -> io::Result<()> {
        writeln!(self.control, "{word}")?;
        if self.answers.read_line(&mut String::new())? == 0 {
            let status = self.perf.wait()?;
            let reason = format!("perf has ended ({status}): to count calls takes root");
            return Err(io::Error::other(reason));
        }
        Ok(())
    }

    /// What was counted, by event.
    fn finish(mut self) -> anyhow::Result<BTreeMap<String, u64>> {
        kill_process(Pid::from_child(&self.perf), Signal::INT)?;
        self.perf.wait()?;
        let counts = fs::read_to_string(self.directory.join("counts"))?;
        let fields = counts.lines().map(|line| line.split(',').collect::<Vec<_>>());
        Ok(fields
            .filter_map(|fields| match fields[..] {
                [count, _, event, ..] => Some((event.to_owned(), count.parse().ok()?)),
                _ => None,
            })
            .collect())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // It may have ended by itself; what it leaves behind is only a file.
        let _ = (self.perf.kill(), self.perf.wait(), fs::remove_dir_all(&self.directory));
    }
}

/// What the kernel calls the beginning of a system call.
fn entry(call: &str) -> String {
    format!("syscalls:sys_enter_{call}")
}

/// The table of system calls for a thousand deliveries.
///
/// # Errors
/// Nothing was measured, or in another form.
pub fn calls(root: &Path) -> io::Result<String> {
    table(root, "system calls for 1,000 deliveries", |it| {
        1000.0 * it.calls as f64 / it.delivered as f64
    })
}

/// The table of lines in a write.
///
/// # Errors
/// As [`calls`].
pub fn lines(root: &Path) -> io::Result<String> {
    table(root, "lines that a write carries", |it| it.delivered as f64 / it.writes as f64)
}

fn table(root: &Path, title: &str, figure: impl Fn(&Work) -> f64) -> io::Result<String> {
    let work: Vec<Work> = serde_json::from_slice(&fs::read(root.join(FILE))?)?;
    let clients = CLIENTS.map(thousands).join(" | ");
    let mut text = format!("| {title} | {clients} clients |\n|---");
    text += &format!("{}|\n", "|---:".repeat(CLIENTS.len()));
    for (design, ..) in DESIGNS {
        text += &format!("| {design}");
        for clients in CLIENTS {
            let found = work.iter().find(|it| it.design == design && it.clients == clients);
            let found = found.ok_or_else(|| {
                io::Error::other(format!("{FILE} lacks {design} with {clients} clients"))
            })?;
            text += &format!(" | {}", significant(figure(found)));
        }
        text += " |\n";
    }
    Ok(text)
}

/// Two digits that matter, and no more than that after the point.
fn significant(number: f64) -> String {
    match number {
        100.0.. => thousands(number.round() as usize),
        10.0.. => format!("{number:.0}"),
        1.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

fn thousands(number: usize) -> String {
    match number {
        1000.. => format!("{},{:03}", number / 1000, number % 1000),
        _ => number.to_string(),
    }
}
