//! A whole run: who is measured, in which order, and when it is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;
use crossbeam_channel::{Receiver, unbounded};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::build::{self, Binaries};
use crate::format::{bytes, count};
use crate::machine::{self, Cores};
use crate::measure::Bench;
use crate::metric::Metric;
use crate::peers;
use crate::results::{
    Ceiling, Effort, Load, Machine, Mark, Measurement, Mode, Options, Pace, Results, Round,
    Scenario as Answer, Subject,
};
use crate::scenario::Scenario;
use crate::subject::{Candidate, MANY_CORES, Own};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenarios, in this order.
    pub scenarios: Vec<&'static Scenario>,
    /// The numbers of the stages.
    pub stages: Vec<String>,
    /// Whether the peers run beside them.
    pub peers: bool,
    /// Servers of the user's own.
    pub own: Vec<Own>,
    /// How much time it may take.
    pub effort: Effort,
    /// Where the workspace is.
    pub root: PathBuf,
}

/// Measures what is planned. It ends early, with what it has, when something arrives on
/// `interrupts`. Progress goes to stderr, if that is a terminal.
///
/// # Errors
///
/// Nothing could be measured: the build failed, two servers have the same name, or the kernel does
/// not say what is needed.
pub fn run(plan: &Plan, interrupts: &Receiver<i32>) -> anyhow::Result<Results> {
    let mut packages: Vec<_> = plan.stages.iter().map(|number| format!("stage-{number}")).collect();
    // Who measures only servers of his own has none of ours built, and no ceiling.
    let is_own_only = packages.is_empty() && !plan.peers;
    let binaries = if is_own_only {
        Binaries::new()
    } else {
        packages.push(peers::REFERENCE.to_owned());
        build::release(&plan.root, &packages)?
    };
    let mut notes = Vec::new();
    let mut candidates = Candidate::stages(&plan.stages, &binaries);
    let cores = Cores::choose()?;
    if let Some(several) = cores.several().filter(|_| plan.effort != Effort::Quick) {
        let one = candidates.iter().position(|it| it.subject.id == MANY_CORES);
        if let Some(index) = one {
            candidates.insert(index + 1, candidates[index].on_cores(several));
        }
    }
    if plan.peers {
        candidates.extend(peers::peers(&plan.root, &binaries, &mut notes)?);
    }
    candidates.extend(plan.own.iter().map(Candidate::own));
    let mut names = BTreeSet::new();
    if let Some(twice) = candidates.iter().find(|it| !names.insert(&it.subject.id)) {
        bail!("two servers are called {}: their figures would be mixed", twice.subject.id);
    }
    let open_files = machine::raise_open_file_limit()?;
    let bench = Bench { cores, seed: fastrand::u64(..), interrupts };
    let mut results = Results {
        schema: Results::SCHEMA,
        unix_time: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs()),
        seconds: 0.0,
        interrupted: false,
        commit: machine::commit(&plan.root),
        machine: Machine::read(open_files)?,
        placement: bench.cores.placement,
        options: Options { effort: plan.effort, rounds: rounds(plan.effort), seed: bench.seed },
        notes,
        subjects: Vec::new(),
        scenarios: Vec::new(),
    };
    let mut jobs = Vec::new();
    for (index, &scenario) in plan.scenarios.iter().enumerate() {
        results.scenarios.push(Answer {
            id: scenario.id.to_owned(),
            question: scenario.question.to_owned(),
            metrics: scenario.metrics.to_vec(),
            ceilings: Vec::new(),
            measurements: Vec::new(),
        });
        for load in (scenario.loads)(plan.effort) {
            let Some(load) = load.that_fits(open_files, &mut results.notes) else { continue };
            for candidate in candidates.iter().filter(|it| it.can(load.mode)) {
                jobs.push(Job { index, scenario, load: load.clone(), candidate });
                let measurements = &mut results.scenarios[index].measurements;
                measurements.push(Measurement::empty(&candidate.subject, &load));
            }
        }
    }
    results.subjects = candidates.iter().map(|candidate| candidate.subject.clone()).collect();

    let begin = Instant::now();
    let is_over = calibrate(&bench, &jobs, peers::reference(&binaries), plan, &mut results)?
        && measure_all(&bench, &jobs, plan, &mut results)?;
    results.interrupted = !is_over;
    results.seconds = begin.elapsed().as_secs_f64();
    for scenario in &mut results.scenarios {
        scenario.measurements.retain(|measurement| !measurement.rounds.is_empty());
        scenario.mark_generator_bound();
    }
    let is_measured = |subject: &Subject| {
        let of = |it: &Measurement| it.subject == subject.id;
        results.scenarios.iter().any(|scenario| scenario.measurements.iter().any(of))
    };
    results.subjects = results.subjects.iter().filter(|it| is_measured(it)).cloned().collect();
    Ok(results)
}

/// Where Ctrl-C and its relatives arrive from now on, instead of ending this process.
///
/// # Errors
///
/// The handler could not be installed.
pub fn interrupts() -> io::Result<Receiver<i32>> {
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

/// One thing to measure.
struct Job<'a> {
    /// Which of the scenarios.
    index: usize,
    scenario: &'static Scenario,
    load: Load,
    candidate: &'a Candidate,
}

/// How many rounds there are.
fn rounds(effort: Effort) -> usize {
    match effort {
        Effort::Quick => 1,
        Effort::Normal => 3,
        Effort::Thorough => 5,
    }
}

/// No further round begins that would probably end later than this. The usual run is to take less
/// than two minutes; whoever asks for more has time.
fn budget(plan: &Plan) -> Duration {
    let is_usual = plan.scenarios.iter().all(|it| Scenario::DEFAULT.contains(&it.id))
        && !plan.peers
        && plan.own.is_empty();
    Duration::from_secs(match plan.effort {
        Effort::Quick => 25,
        Effort::Normal if is_usual => 110,
        Effort::Normal => 15 * 60,
        Effort::Thorough => 29 * 60,
    })
}

/// Measures in rounds, A B C A B C, so that whatever else the machine does meanwhile hits all
/// alike. Returns false if it was interrupted.
fn measure_all(
    bench: &Bench,
    jobs: &[Job],
    plan: &Plan,
    results: &mut Results,
) -> anyhow::Result<bool> {
    let effort = plan.effort;
    let rounds = rounds(effort);
    let progress = progress_bar(jobs.len() * rounds)?;
    let begin = Instant::now();
    // How long each took the last time; nothing, when it has shown that it cannot do it.
    let mut took = vec![Duration::ZERO; jobs.len()];
    for round in 1..=rounds {
        if round > 1 && begin.elapsed() + took.iter().sum::<Duration>() > budget(plan) {
            results.notes.push(format!(
                "Only {} of {rounds} rounds: another one would have taken too long.",
                round - 1
            ));
            break;
        }
        for (job, took) in jobs.iter().zip(&mut took) {
            if effort == Effort::Quick && job.is_beyond(&results.scenarios[job.index]) {
                progress.inc(1);
                continue;
            }
            let measurement = job.measurement(results);
            // Who cannot do this will not do it in the next round either.
            if measurement.rounds.iter().all(|round| round.outcome == Measurement::WORKS) {
                progress.set_message(format!("round {round}: {}", job.describe()));
                let timing = (job.scenario.timing)(effort);
                let begin = Instant::now();
                let Some(measured) = bench.measure(job.candidate, &job.load, timing, round)? else {
                    return Ok(false);
                };
                measurement.rounds.push(measured);
                measurement.summarize();
                *took = if measurement.works() { begin.elapsed() } else { Duration::ZERO };
            }
            progress.inc(1);
        }
    }
    if effort == Effort::Quick {
        return Ok(true);
    }
    let left = || budget(plan).saturating_sub(begin.elapsed());
    for (job, took) in jobs.iter().zip(took) {
        let message = format!("again, less disturbed: {}", job.describe());
        progress.set_message(message);
        if !measure_again(bench, job, plan, took, left, job.measurement(results))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Measures each round once more that other programs have disturbed, as far as there is time `left`
/// for what takes `took`, and keeps the quieter one. Returns false if it was interrupted.
fn measure_again(
    bench: &Bench,
    job: &Job,
    plan: &Plan,
    took: Duration,
    left: impl Fn() -> Duration,
    measurement: &mut Measurement,
) -> anyhow::Result<bool> {
    let timing = (job.scenario.timing)(plan.effort);
    for round in &mut measurement.rounds {
        if !round.marks.contains(&Mark::ForeignLoad) || took.is_zero() || left() < took {
            continue;
        }
        let Some(again) = bench.measure(job.candidate, &job.load, timing, round.number)? else {
            return Ok(false);
        };
        // A failure that only happens while others work is a failure.
        let foreign = |round: &Round| round.metrics.get(&Metric::ForeignCpu).copied();
        if again.failed || (!round.failed && foreign(&again) < foreign(round)) {
            *round = again;
        }
    }
    measurement.summarize();
    Ok(true)
}

/// Finds out what the generator itself can do, where what is received a second is asked for: it
/// drives a server that does as little as one can. Returns false if it was interrupted.
fn calibrate(
    bench: &Bench,
    jobs: &[Job],
    reference: Option<Candidate>,
    plan: &Plan,
    results: &mut Results,
) -> anyhow::Result<bool> {
    let Some(reference) = reference else { return Ok(true) };
    let is_asked =
        |job: &&Job| job.scenario.metrics.contains(&Metric::ReceivedPerSecond) && !job.is_unusual();
    for job in jobs.iter().filter(is_asked) {
        let ceilings = &mut results.scenarios[job.index].ceilings;
        if ceilings.iter().any(|it| it.load == job.load) {
            continue;
        }
        let timing = (job.scenario.timing)(plan.effort);
        let Some(round) = bench.measure(&reference, &job.load, timing, 0)? else {
            return Ok(false);
        };
        let metric = |metric| round.metrics.get(&metric).copied();
        // A clock that leaves the generator idle says nothing of what it could do.
        let is_driven = matches!(job.load.pace, Pace::InFlight(_))
            || metric(Metric::GeneratorCoreBusy).is_some_and(|busy| busy > 0.5);
        let ceiling = metric(Metric::GeneratorCeiling)
            .zip(metric(Metric::ReceivedPerSecond))
            .filter(|_| is_driven);
        ceilings.extend(ceiling.map(|(per_second, received_per_second)| Ceiling {
            load: job.load.clone(),
            per_second,
            received_per_second,
        }));
    }
    Ok(true)
}

impl Job<'_> {
    /// Whether its subject could not do the same with fewer clients: to find that out again takes
    /// seconds.
    fn is_beyond(&self, scenario: &Answer) -> bool {
        let is_smaller = |load: &Load| {
            let same = Load { clients: self.load.clients, ..load.clone() } == self.load;
            same && load.clients < self.load.clients
        };
        scenario.measurements.iter().any(|it| {
            let is_tried = it.subject == self.candidate.subject.id && !it.rounds.is_empty();
            is_tried && is_smaller(&it.load) && !it.works()
        })
    }

    /// What becomes of it.
    fn measurement<'a>(&self, results: &'a mut Results) -> &'a mut Measurement {
        let mut measurements = results.scenarios[self.index].measurements.iter_mut();
        measurements
            .find(|it| it.subject == self.candidate.subject.id && it.load == self.load)
            .expect("there is one for each job")
    }

    /// Whether what its load does to the server, or to the generator, is not usual.
    fn is_unusual(&self) -> bool {
        self.load.trouble.is_some()
    }

    fn describe(&self) -> String {
        format!("{}, {}, {}", self.scenario.id, self.load, self.candidate.subject.label())
    }
}

impl Measurement {
    fn empty(subject: &Subject, load: &Load) -> Self {
        Self {
            subject: subject.id.clone(),
            load: load.clone(),
            outcome: String::new(),
            failed: false,
            summary: BTreeMap::new(),
            marks: Vec::new(),
            rounds: Vec::new(),
        }
    }
}

impl Load {
    /// This load, or a smaller one where limits do not allow it, with a note; none where even that
    /// is too much.
    fn that_fits(self, open_files: u64, notes: &mut Vec<String>) -> Option<Self> {
        let files = usize::try_from(open_files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
        let memory = usize::try_from(machine::available_memory() / 2 / MEMORY_PER_CLIENT);
        let most = files.min(memory.unwrap_or(usize::MAX));
        if self.clients <= most {
            return Some(self);
        }
        let why = if files < self.clients {
            format!(
                "The limit on open files is {}. Where the hard limit allows it (`ulimit -Hn`), \
                 `ulimit -n {}` raises it.",
                count(open_files as usize),
                self.clients as u64 + OTHER_FILES
            )
        } else {
            format!("Only {} of memory are free.", bytes(machine::available_memory() as f64))
        };
        // A power of ten is easier to compare than whatever just fits.
        let fitting = (most > 0).then(|| 10_usize.pow(most.ilog10()))?;
        let pace = match self.pace {
            Pace::PerSecond(rate) => Pace::PerSecond(rate * fitting as f64 / self.clients as f64),
            Pace::AtMostPerSecond(rate) => {
                Pace::AtMostPerSecond(rate * fitting as f64 / self.clients as f64)
            }
            other => other,
        };
        let smaller = Self {
            clients: fitting,
            senders: self.senders.map(|senders| senders.min(fitting)),
            pace,
            ..self.clone()
        };
        notes.push(format!("{} clients instead of {}. {why}", count(fitting), count(self.clients)));
        (fitting > 1 || self.mode == Mode::Echo).then_some(smaller)
    }
}

/// Files that the generator has open beside its connections, with room to spare. The server has
/// fewer.
const OTHER_FILES: u64 = 64;
/// What a client may need at worst, both ends of its connection and a thread of its own included.
const MEMORY_PER_CLIENT: u64 = 128 * 1024;

/// A bar on stderr; nothing where stderr is no terminal.
fn progress_bar(steps: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:12} {pos:>2}/{len} {wide_msg} {eta:>4} left")?;
    let progress = ProgressBar::new(steps as u64).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(200));
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(clients: usize, open_files: u64) -> (Option<Load>, Vec<String>) {
        let load = Load::new(Mode::Echo, clients, 64, Pace::PerSecond(1000.0));
        let mut notes = Vec::new();
        let fitting = load.that_fits(open_files, &mut notes);
        (fitting, notes)
    }

    #[test]
    fn a_load_within_the_limits_stays_as_it_is() {
        let (load, notes) = fit(1000, 20_000);
        assert_eq!(load.map(|load| load.clients), Some(1000));
        assert!(notes.is_empty());
    }

    #[test]
    fn few_open_files_make_a_smaller_load_and_a_note() {
        let (load, notes) = fit(1000, 256);
        let load = load.unwrap();
        assert_eq!((load.clients, load.pace), (100, Pace::PerSecond(100.0)));
        assert!(notes[0].starts_with("100 clients instead of 1,000."), "{notes:?}");
        assert_eq!(fit(10, OTHER_FILES).0, None);
    }
}
