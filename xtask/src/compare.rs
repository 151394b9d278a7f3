use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use crossbeam_channel::{Receiver, unbounded};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::machine::{Machine, Placement};
use self::measure::{Bench, Job};
use self::results::{Results, Run};
use self::stage::{STAGES, Stage, Workload};

mod build;
mod machine;
mod measure;
mod results;
mod stage;
mod table;

/// Measure the stages side by side: throughput, latency, CPU, memory
///
/// Builds the stages in release mode and drives each over loopback, on a core of its own where
/// there are two. `echo` runs on all seven: each connection sends 64 bytes and waits until they
/// are back. `broadcast` runs on 04, 06 and 07: clients send lines, and every line goes to every
/// other client.
///
/// Everything that arrives is checked. A stage that loses, repeats or changes a byte gets that for
/// a result and no figure. A stage that cannot serve all clients by design gets a plain word, such
/// as `serves 20`: that is a result too.
///
/// How to read it: only what was measured in the same run can be compared. Each figure is the
/// median of the rounds; where two stages differ by less than the spread beside it (±), they do
/// not differ. A closed loop shows what a server can do at most, not how it does under a given
/// load.
#[derive(clap::Args)]
#[command(after_help = "Exit status: 0 when all was measured, 1 when a stage failed (lost data, \
                        crashed) or nothing could be measured, 2 for bad arguments, 130 after \
                        Ctrl-C. The table goes to stdout, progress to stderr.")]
pub struct Options {
    /// One short round of everything, in under half a minute: to see that it works
    #[arg(long)]
    quick: bool,

    /// Only these stages
    #[arg(long, value_delimiter = ',', value_name = "01,07", value_parser = Stage::parse)]
    stages: Vec<&'static Stage>,

    /// Also write every figure of every round to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How everything is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Settings {
    rounds: usize,
    /// No further round begins that would end later than this.
    budget_seconds: u64,
    echo: Drive,
    broadcast: Drive,
}

/// How the load generator drives a server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Drive {
    /// How long a message or line is.
    bytes: usize,
    /// Messages in flight: of each connection of an echo, of the whole room of a broadcast.
    in_flight: usize,
    /// How long it runs before it counts, and how long it counts.
    warm_up_ms: u64,
    window_ms: u64,
}

/// Runs the command, and says with which status it ends.
///
/// # Errors
///
/// Nothing could be measured: the build failed, the file could not be written.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let interrupts = interrupts().context("cannot catch Ctrl-C")?;
    if let Some(file) = &options.json {
        // Not after two minutes, if it cannot be written.
        fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let stages = options.stages();
    let binaries = build::release(&stages)?;
    let placement = Placement::choose()?;
    let limit = machine::raise_open_file_limit()?;
    let mut results = Results {
        schema: 1,
        unix_time: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs()),
        commit: machine::commit(),
        settings: options.settings(),
        machine: Machine::read()?,
        placement,
        seed: fastrand::u64(..),
        notes: Vec::new(),
        runs: Vec::new(),
    };
    let jobs = jobs(&stages, limit, &mut results.notes);
    let bench = Bench { binaries, placement, seed: results.seed, interrupts };
    let interrupted = !measure_all(&bench, &jobs, &mut results)?;

    table::print(&results)?;
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&results)?;
        fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    if interrupted {
        anstream::eprintln!("interrupted: this is what was measured until then");
        return Ok(ExitCode::from(130));
    }
    let failed = results.runs.is_empty() || results.runs.iter().any(|run| run.failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Options {
    fn stages(&self) -> Vec<&'static Stage> {
        let is_asked_for = |stage: &&Stage| {
            self.stages.is_empty() || self.stages.iter().any(|it| it.number == stage.number)
        };
        STAGES.iter().filter(is_asked_for).collect()
    }

    fn settings(&self) -> Settings {
        let echo = |warm_up_ms, window_ms| Drive { bytes: 64, in_flight: 1, warm_up_ms, window_ms };
        let broadcast =
            |warm_up_ms, window_ms| Drive { bytes: 32, in_flight: 256, warm_up_ms, window_ms };
        if self.quick {
            Settings {
                rounds: 1,
                budget_seconds: 25,
                echo: echo(100, 250),
                broadcast: broadcast(150, 300),
            }
        } else {
            Settings {
                rounds: 3,
                budget_seconds: 110,
                echo: echo(200, 600),
                broadcast: broadcast(300, 800),
            }
        }
    }
}

impl Settings {
    fn of(&self, workload: Workload) -> Drive {
        match workload {
            Workload::Echo => self.echo,
            Workload::Broadcast => self.broadcast,
        }
    }
}

/// What one round consists of. Sizes that the limit on open files does not allow are left out,
/// with a note.
fn jobs(stages: &[&'static Stage], limit: u64, notes: &mut Vec<String>) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut left_out = Vec::new();
    for workload in [Workload::Echo, Workload::Broadcast] {
        for clients in workload.sizes() {
            if clients as u64 + machine::OTHER_FILES > limit {
                left_out.push(format!("{workload} with {}", table::clients(workload, clients)));
                continue;
            }
            let able = stages.iter().filter(|stage| stage.can(workload));
            jobs.extend(able.map(|&stage| Job { workload, clients, stage }));
        }
    }
    if !left_out.is_empty() {
        notes.push(format!(
            "Left out, for want of open files (the limit is {limit}): {}. In a shell of root, \
             `ulimit -n 4096` raises the limit.",
            left_out.join(", ")
        ));
    }
    jobs
}

/// Measures in rounds, so that whatever else the machine does meanwhile hits all stages alike.
/// Returns false if it was interrupted.
fn measure_all(bench: &Bench, jobs: &[Job], results: &mut Results) -> anyhow::Result<bool> {
    let Settings { rounds, budget_seconds, .. } = results.settings;
    let budget = Duration::from_secs(budget_seconds);
    let progress = progress_bar(jobs.len() * rounds)?;
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    for round in 1..=rounds {
        let round_begin = Instant::now();
        if begin.elapsed() + longest > budget {
            results.notes.push(format!(
                "Only {} of {rounds} rounds: another one would have taken too long.",
                round - 1
            ));
            break;
        }
        for job in jobs {
            // A stage that cannot do this will not do it in the next round either.
            let is_settled = |run: &Run| run.is_of(job) && !run.works();
            if !results.runs.iter().any(is_settled) {
                progress.set_message(if rounds > 1 {
                    format!("round {round}: {job}")
                } else {
                    job.to_string()
                });
                let Some(run) = bench.measure(job, round, results.settings.of(job.workload))?
                else {
                    progress.finish_and_clear();
                    return Ok(false);
                };
                results.runs.push(run);
            }
            progress.inc(1);
        }
        longest = longest.max(round_begin.elapsed());
    }
    progress.finish_and_clear();
    Ok(true)
}

/// A bar on stderr; nothing where stderr is no terminal.
fn progress_bar(steps: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:12} {pos:>2}/{len} {wide_msg} {eta:>4} left")?;
    let progress = ProgressBar::new(steps as u64).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(200));
    Ok(progress)
}

/// Where Ctrl-C and its relatives arrive. The second one ends the process at once.
fn interrupts() -> anyhow::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = unbounded();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            // When nobody listens any more, the process is about to end anyway.
            let _ = sender.send(signal);
        }
    })?;
    Ok(receiver)
}
