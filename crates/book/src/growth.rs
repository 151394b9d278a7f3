//! How the work of a broadcast grows with the room: the system calls of each design, counted by the
//! kernel while our own generator drives it, and beside it what writes of that size could carry at
//! most.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use compare::Cores;
use compare::results::Machine;
use compare::statistics::Median;
use harness::Server;
use load::{Broadcast, Pace, Progress, Protocol, Verdict};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::kept;

/// Where the measurement is kept, from the root of the workspace.
pub const FILE: &str = "book/measured/growth.json";

/// What a design is called, the package, its example if it is one, and its arguments.
pub(crate) type Design =
    (&'static str, &'static str, Option<&'static str>, &'static [&'static str]);

/// All of them, from the plainest on.
pub(crate) const DESIGNS: [Design; 5] = [
    ("each line to each client (04)", "stage-04", None, &["--mode", "broadcast"]),
    ("a queue for each client", "stage-07", Some("queue_per_client"), &["--threads", "1"]),
    ("one log, on our own loop (06)", "stage-06", None, &["--mode", "broadcast"]),
    ("one log, on tokio (07)", "stage-07", None, &["--mode", "broadcast", "--threads", "1"]),
    ("one log, directly on epoll", "reference", None, &[]),
];
/// Those of them that stay within a few writes a turn, whatever is on its way.
const LOGS: [&str; 3] = [DESIGNS[2].0, DESIGNS[3].0, DESIGNS[4].0];
pub(crate) const CLIENTS: [usize; 3] = [10, 100, 1000];
pub(crate) const LINE: usize = 32;
/// Lines on their way in the whole room.
pub(crate) const IN_FLIGHT: usize = 256;
/// How often everything is measured, in turns; of a figure the median counts.
const ROUNDS: usize = 3;
/// The largest room: each client says ten lines a second, all hear all, and a core has no rest. Here
/// a design is as fast as it can be, whoever waits for whom.
const FULL: Room = Room { clients: 4000, pace: Pace::PerSecond(40_000.0) };
/// What writes pieces of a given size, and nothing else.
const BARE_WRITES: &str = "bare_writes";

/// What is counted: all calls, and those that write.
const ALL: &str = "raw_syscalls:sys_enter";
const WRITES: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];

/// Who talks, and how much.
#[derive(Clone, Copy)]
struct Room {
    clients: usize,
    pace: Pace,
}

/// What was measured, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// The machine: ratios of figures taken side by side carry to another one, the figures do not.
    pub machine: Machine,
    /// Each design in each room, several times.
    pub work: Vec<Work>,
}

/// What one design did in one window of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// What the design is called.
    pub design: String,
    /// How many clients were in the room; all of them talk.
    pub clients: usize,
    /// How long the window was.
    pub seconds: f64,
    /// Lines that left for the server.
    pub sent: u64,
    /// Lines that reached somebody.
    pub delivered: u64,
    /// The server's system calls.
    pub calls: u64,
    /// How many of them were writes.
    pub writes: u64,
    /// How many writes of as many bytes as these had on average a core can do in a second that has
    /// nothing else to do, to as many clients: measured right after it.
    pub bare_writes_per_second: f64,
}

impl Work {
    /// How many lines a write carried on average.
    fn lines_per_write(&self) -> f64 {
        self.delivered as f64 / self.writes as f64
    }

    /// Bytes of lines that reached somebody in a second.
    fn bytes_per_second(&self) -> f64 {
        (self.delivered as usize * LINE) as f64 / self.seconds
    }

    /// And what bare writes of the same size carry.
    fn bare_bytes_per_second(&self) -> f64 {
        self.bare_writes_per_second * self.piece() as f64
    }

    /// How many bytes a write had on average.
    fn piece(&self) -> usize {
        (self.lines_per_write() * LINE as f64).round() as usize
    }
}

/// Measures all designs and keeps what came out.
///
/// # Errors
/// A server cannot be built or started, or does not do the work; `perf` is missing or may not
/// count; a file cannot be written.
pub fn measure(root: &Path) -> anyhow::Result<()> {
    let servers = Servers::build(root)?;
    let cores = Cores::choose()?;
    let mut work = Vec::new();
    for _ in 0..ROUNDS {
        for design in DESIGNS {
            let (name, ..) = design;
            let rooms = CLIENTS.map(|clients| Room { clients, pace: Pace::InFlight(IN_FLIGHT) });
            for room in rooms.into_iter().chain(LOGS.contains(&name).then_some(FULL)) {
                let counted = count(&mut servers.command(design)?, &cores, room);
                let counted = counted.with_context(|| format!("{name}, {}", room.clients))?;
                let mut it = Work { design: name.to_owned(), ..counted };
                let mut command = Command::new(servers.path(BARE_WRITES)?);
                command.args([it.clients, it.piece()].map(|it| it.to_string()));
                it.bare_writes_per_second = bare_writes(&mut command, &cores)?;
                work.push(it);
            }
        }
    }
    let growth = Growth { machine: machine()?, work };
    kept::keep(root, FILE, &growth)
}

/// What is measured on.
pub(crate) fn machine() -> anyhow::Result<Machine> {
    Machine::read(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// The programs of the designs, in the release profile.
pub(crate) struct Servers(HashMap<String, PathBuf>);

impl Servers {
    pub(crate) fn build(root: &Path) -> anyhow::Result<Self> {
        let packages = DESIGNS.map(|(_, package, ..)| ["-p", package]).concat();
        let examples = DESIGNS.iter().filter_map(|(.., example, _)| *example).chain([BARE_WRITES]);
        let named = examples.flat_map(|example| ["--example", example]);
        let arguments = ["--release", "--bins"].into_iter().chain(packages).chain(named);
        let build = artifacts::build(root, arguments).context("cannot run cargo")?;
        ensure!(build.status.success(), "the servers do not build");
        Ok(Self(build.by_name()))
    }

    fn path(&self, name: &str) -> anyhow::Result<&Path> {
        self.0.get(name).map(PathBuf::as_path).with_context(|| format!("cargo built no {name}"))
    }

    /// What starts a design, on any port.
    pub(crate) fn command(&self, design: Design) -> anyhow::Result<Command> {
        let (_, package, example, arguments) = design;
        let mut command = Command::new(self.path(example.unwrap_or(package))?);
        command.args(["--port", "0"]).args(arguments);
        Ok(command)
    }
}

/// Starts a server on a core of its own, drives it, and counts its calls meanwhile.
fn count(command: &mut Command, cores: &Cores, room: Room) -> anyhow::Result<Work> {
    let plan = Broadcast {
        clients: room.clients,
        senders: usize::MAX,
        protocol: Protocol::Lines,
        line: LINE,
        pace: room.pace,
        slow_reader: None,
        verify_one_in: Broadcast::sample(room.clients),
        warm_up: Duration::from_millis(500),
        window: Duration::from_secs(2),
        patience: Duration::from_secs(5),
        seed: 1,
    };
    let server = cores.place_server(&cores.place(1, false), || Server::start(command))??;
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
    let does_it = matches!(report.verdict, Verdict::Works | Verdict::Behind(_));
    ensure!(does_it, "the server does not do the work: {report:?}");
    let counts = counter.finish()?;
    let window = report.window.context("nothing was measured")?;
    let of = |event: &str| counts.get(event).copied().with_context(|| format!("no {event}"));
    let mut writes = 0;
    for call in WRITES {
        writes += of(&entry(call))?;
    }
    Ok(Work {
        design: String::new(),
        clients: room.clients,
        seconds: window.length.as_secs_f64(),
        sent: window.sent,
        delivered: window.received,
        calls: of(ALL)?,
        writes,
        bare_writes_per_second: 0.0,
    })
}

/// What `command` says of bare writes: how many a core can do in a second.
fn bare_writes(command: &mut Command, cores: &Cores) -> anyhow::Result<f64> {
    // It writes on one of two cores.
    let output = cores.place_server(&cores.place(2, false), || command.output())??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// `perf stat` on a server. It counts when it is told to.
struct Counter {
    perf: Child,
    directory: TempDir,
    control: File,
    answers: BufReader<File>,
}

impl Counter {
    fn attach(pid: i32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = |name| directory.path().join(name);
        let [control, answers] = ["control", "answers"].map(path);
        let made = Command::new("mkfifo").args([&control, &answers]).status();
        ensure!(made.context("mkfifo")?.success(), "mkfifo failed");
        let events = WRITES.map(entry).join(",");
        let perf = Command::new("perf")
            .arg("stat")
            .arg(format!("--control=fifo:{},{}", control.display(), answers.display()))
            .args(["--field-separator=,", "--delay=-1", "--event"])
            .arg(format!("{ALL},{events}"))
            .arg(format!("--output={}", path("counts").display()))
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
        let counts = fs::read_to_string(self.directory.path().join("counts"))?;
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
        // It may have ended by itself.
        let _ = (self.perf.kill(), self.perf.wait());
    }
}

/// What the kernel calls the beginning of a system call.
fn entry(call: &str) -> String {
    format!("syscalls:sys_enter_{call}")
}

impl Growth {
    /// What [`measure`] kept.
    ///
    /// # Errors
    /// Nothing was measured, or in another form.
    pub fn read(root: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(root.join(FILE))?)?)
    }

    /// The table of system calls for a thousand deliveries.
    ///
    /// # Errors
    /// A design is missing.
    pub fn calls(&self) -> io::Result<String> {
        self.table("system calls for 1,000 deliveries", |it| {
            1000.0 * it.calls as f64 / it.delivered as f64
        })
    }

    /// The table of lines in a write.
    ///
    /// # Errors
    /// As [`calls`](Self::calls).
    pub fn lines(&self) -> io::Result<String> {
        self.table("lines that a write carries", Work::lines_per_write)
    }

    /// The table of what the writes carried where a core had no rest, beside bare writes.
    ///
    /// # Errors
    /// As [`calls`](Self::calls).
    pub fn limit(&self) -> io::Result<String> {
        let mut text = format!(
            "| {} clients | bytes in a write | megabytes a second | bare writes of as many | that is |\n\
             |---|---:|---:|---:|---:|\n",
            thousands(FULL.clients)
        );
        for design in LOGS {
            let median = |figure: fn(&Work) -> f64| self.median(design, FULL.clients, figure);
            text += &format!(
                "| {design} | {} | {} | {} | {:.0} % |\n",
                significant(median(|it| it.piece() as f64)?),
                significant(median(|it| it.bytes_per_second() / 1e6)?),
                significant(median(|it| it.bare_bytes_per_second() / 1e6)?),
                median(|it| it.bytes_per_second() / it.bare_bytes_per_second() * 100.0)?
            );
        }
        Ok(text)
    }

    fn table(&self, title: &str, figure: impl Fn(&Work) -> f64) -> io::Result<String> {
        table(title, |design, clients| self.median(design, clients, &figure))
    }

    fn median(
        &self,
        design: &str,
        clients: usize,
        figure: impl Fn(&Work) -> f64,
    ) -> io::Result<f64> {
        let rounds = self.work.iter().filter(|it| it.design == design && it.clients == clients);
        let median = Median::of(rounds.map(figure)).map(|it| it.median);
        median.ok_or_else(|| {
            io::Error::other(format!("{FILE} lacks {design} with {clients} clients"))
        })
    }
}

/// A table of one figure for each design in each room.
pub(crate) fn table(
    title: &str,
    figure: impl Fn(&str, usize) -> io::Result<f64>,
) -> io::Result<String> {
    let clients = CLIENTS.map(thousands).join(" | ");
    let mut text = format!("| {title} | {clients} clients |\n|---");
    text += &format!("{}|\n", "|---:".repeat(CLIENTS.len()));
    for (design, ..) in DESIGNS {
        text += &format!("| {design}");
        for clients in CLIENTS {
            text += &format!(" | {}", significant(figure(design, clients)?));
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
