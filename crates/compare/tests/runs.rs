//! Whole runs that meet trouble: a server that dies, too few open files, an interrupt.
//!
//! This program is also what it measures and who measures: `--serve` is a server, and `--measure` a
//! run in a process of its own, which can be limited and interrupted.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, mem, thread};

use anyhow::{Context, ensure};
use compare::results::Measurement;
use compare::{Effort, Plan, Results, Scenario, store};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["--serve", port, after] => serve(port, after.parse().expect("a number of messages")),
        ["--measure", root, scenario, own @ ..] => measure(Path::new(root), scenario, own),
        _ => {
            let mut arguments = Arguments::from_args();
            // Each has both cores for itself.
            arguments.test_threads = Some(1);
            let trial = |name: &str, test: fn() -> anyhow::Result<()>| {
                Trial::test(name, move || {
                    test().map_err(|error| Failed::from(format!("{error:#}")))
                })
            };
            let trials = vec![
                trial("a_server_that_dies_in_the_middle_is_named", a_server_that_dies),
                trial("few_open_files_make_a_smaller_run", few_open_files),
                trial("two_servers_of_one_name_are_refused", two_of_one_name),
                trial("an_interrupt_leaves_what_was_measured", || interrupted(Signal::INT)),
                trial("who_is_killed_leaves_no_server_behind", || interrupted(Signal::KILL)),
            ];
            libtest_mimic::run(&arguments, trials).exit_code()
        }
    }
}

fn a_server_that_dies() -> anyhow::Result<()> {
    let run = Run::new()?;
    let status = run.command("rate", &[("one", NEVER), ("dies", 1000), ("two", NEVER)]).status()?;
    let results = run.results()?;
    ensure!(status.success(), "it failed: {status}");
    let dies = find(&results, "dies")?;
    ensure!(dies.failed && dies.outcome == "crashed", "it {}", dies.outcome);
    let round = dies.rounds.last().context("it was measured")?;
    ensure!(round.last_lines == [LAST_WORDS], "its last lines: {:?}", round.last_lines);
    for other in ["one", "two"] {
        let other = find(&results, other)?;
        ensure!(!other.failed && !other.rounds.is_empty(), "{}: {}", other.subject, other.outcome);
    }
    run.leaves_nothing_behind()
}

fn few_open_files() -> anyhow::Result<()> {
    let run = Run::new()?;
    let status =
        harness::limited("ulimit -n 256", &run.command("storm", &[("one", NEVER)])).status()?;
    ensure!(status.success(), "it failed: {status}");
    let results = run.results()?;
    let load = &find(&results, "one")?.load;
    ensure!(load.clients == 100, "{load}");
    let note = results.notes.join(" ");
    ensure!(
        note.contains("100 clients instead of 1,000. The limit on open files is 256."),
        "{note}"
    );
    ensure!(note.contains("`ulimit -n 1064` raises it"), "{note}");
    run.leaves_nothing_behind()
}

fn two_of_one_name() -> anyhow::Result<()> {
    let run = Run::new()?;
    let status = run.command("rate", &[("one", NEVER), ("two", NEVER), ("one", NEVER)]).status()?;
    ensure!(!status.success() && run.servers_seen() == 0, "it was measured: {status}");
    run.leaves_nothing_behind()
}

fn interrupted(signal: Signal) -> anyhow::Result<()> {
    let run = Run::new()?;
    // However late the signal comes, it does not come after all of them.
    let servers = ["one", "two", "3", "4", "5", "6", "7", "8", "9", "last"].map(|it| (it, NEVER));
    let mut measuring = run.command("rate", &servers).spawn()?;
    // The second server is there: the first has been measured.
    wait_until("the second server", || run.servers_seen() >= 2)?;
    let id = i32::try_from(measuring.id()).ok().and_then(Pid::from_raw);
    kill_process(id.context("it has an id")?, signal)?;
    let status = measuring.wait()?;
    if signal == Signal::INT {
        ensure!(status.code() == Some(INTERRUPTED), "it ended with {status}");
        let results = run.results()?;
        ensure!(results.interrupted, "it does not say that it was interrupted");
        find(&results, "one")?;
        ensure!(find(&results, "last").is_err(), "what was not begun has figures");
    } else {
        ensure!(!status.success(), "it ended with {status}");
    }
    run.leaves_nothing_behind()
}

/// What an interrupted run ends with here.
const INTERRUPTED: i32 = 130;
/// A server that does not die.
const NEVER: usize = usize::MAX;
const LAST_WORDS: &str = "I have had enough";
/// Names the run that a process belongs to: children inherit it.
const MARK: &str = "MEASURED_BELOW";

/// A run in a process of its own, and a directory for its results.
struct Run {
    root: tempfile::TempDir,
}

impl Run {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { root: tempfile::tempdir()? })
    }

    /// Measures these servers, each by its name, and after how many messages it dies.
    fn command(&self, scenario: &str, servers: &[(&str, usize)]) -> Command {
        let me = env::current_exe().expect("a process knows its program");
        let mut command = Command::new(&me);
        command.arg("--measure").arg(self.root.path()).arg(scenario);
        for (name, after) in servers {
            command.arg(format!("{name}='{}' --serve {{port}} {after}", me.display()));
        }
        command.env(MARK, self.root.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn results(&self) -> anyhow::Result<Results> {
        store::read(&self.root.path().join("target/compare/latest"))
    }

    /// How many servers have had a client.
    fn servers_seen(&self) -> usize {
        fs::read_dir(self.root.path()).map_or(0, |files| {
            files
                .flatten()
                .filter(|it| it.file_name().to_string_lossy().starts_with("port-"))
                .count()
        })
    }

    /// Waits until no process is left that this run has started, itself included.
    fn leaves_nothing_behind(&self) -> anyhow::Result<()> {
        wait_until("nothing to be left", || self.processes().is_empty())
            .with_context(|| format!("left behind: {:?}", self.processes()))
    }

    fn processes(&self) -> Vec<PathBuf> {
        let mark = [OsStr::new(MARK), self.root.path().as_os_str()].join(OsStr::new("="));
        let is_of_run = |directory: &PathBuf| {
            // Who is gone by now has none.
            let environment = fs::read(directory.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|it| it == mark.as_encoded_bytes())
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        all.map(|entry| entry.path()).filter(is_of_run).collect()
    }
}

/// Waits for something that will happen; a minute is more than it takes on a busy machine, too.
fn wait_until(what: &str, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !is_so() {
        ensure!(begin.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn find<'a>(results: &'a Results, subject: &str) -> anyhow::Result<&'a Measurement> {
    let mut measurements = results.measurements().map(|(_, it)| it);
    measurements.find(|it| it.subject == subject).with_context(|| format!("{subject} is missing"))
}

/// What `cargo xtask compare --stages none` does.
fn measure(root: &Path, scenario: &str, own: &[&str]) -> ExitCode {
    let plan = Plan {
        scenarios: Scenario::named(scenario).into_iter().collect(),
        stages: Vec::new(),
        peers: false,
        own: own.iter().map(|it| it.parse().expect("NAME=COMMAND")).collect(),
        effort: Effort::Quick,
        root: root.to_owned(),
    };
    let interrupts = compare::interrupts().expect("signals can be caught");
    let results = compare::run(&plan, &interrupts).inspect_err(|error| eprintln!("{error:#}"));
    let Ok(results) = results else { return ExitCode::FAILURE };
    store::keep(&results, root).expect("it can be written");
    ExitCode::from(if results.interrupted { INTERRUPTED as u8 } else { 0 })
}

/// An echo with a thread for each client, which dies after so many messages of all.
fn serve(port: &str, after: usize) -> ! {
    let listener =
        TcpListener::bind(("127.0.0.1", port.parse().expect("a port"))).expect("it is free");
    let root = PathBuf::from(env::var_os(MARK).expect("a run has started it"));
    let left = Arc::new(AtomicUsize::new(after));
    let mut is_seen = false;
    loop {
        let Ok((stream, _)) = listener.accept() else { continue };
        // Not before: whoever has only started a server may not have noted yet whom to end.
        if !mem::replace(&mut is_seen, true) {
            fs::write(root.join(format!("port-{port}")), "").expect("it can be written");
        }
        let left = Arc::clone(&left);
        thread::spawn(move || echo(stream, &left));
    }
}

fn echo(mut stream: TcpStream, left: &AtomicUsize) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if left.fetch_sub(1, Ordering::Relaxed) == 0 {
            // Who reads it has it before the end.
            let _ = writeln!(std::io::stderr(), "{LAST_WORDS}");
            std::process::exit(1);
        }
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
