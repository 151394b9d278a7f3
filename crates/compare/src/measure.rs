//! One measurement: start a server, drive it, read what the kernel says, stop it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::Receiver;
use harness::Server;
use load::{Broadcast, Echo, Progress, Report, Verdict, Watcher, Window};
use rustix::process::Signal;

use crate::machine::{self, CoreTime, Cores, Place, Reading};
use crate::metric::Metric;
use crate::results::{Load, Mark, Mode, Pace, Round, Slice, Trouble};
use crate::scenario::{COLD, PAUSE, STOPS_READING, Timing};
use crate::subject::Candidate;

/// What all measurements have in common.
pub(crate) struct Bench<'a> {
    pub(crate) cores: Cores,
    pub(crate) seed: u64,
    pub(crate) interrupts: &'a Receiver<i32>,
}

/// Above so many cores' worth, other programs disturb. Readings are coarse: less means nothing.
const FOREIGN_LOAD: f64 = 0.15;
/// How long without any byte before what is still owed is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many of a failed server's last lines are kept.
const LAST_LINES: usize = 5;
/// Fewer clients than these say nothing of what one costs in memory.
const FEW: usize = 50;

impl Bench<'_> {
    /// Starts the server, drives it and stops it. Returns none if interrupted meanwhile.
    pub(crate) fn measure(
        &self,
        candidate: &Candidate,
        load: &Load,
        timing: Timing,
        number: usize,
    ) -> anyhow::Result<Option<Round>> {
        let mut round = Round {
            number,
            outcome: String::new(),
            failed: false,
            evidence: None,
            last_lines: Vec::new(),
            seconds: 0.0,
            metrics: BTreeMap::new(),
            timeline: Vec::new(),
            marks: Vec::new(),
        };
        let mut command = candidate.command(load.mode).context("it has no such mode")?;
        let place = self.cores.place(candidate.cores, load.trouble == Some(Trouble::SameCore));
        let started = self
            .cores
            .place_server(&place, || Server::start(&mut command))
            .context("cannot choose the core to run on")?;
        let server = match started {
            Ok(server) => server,
            Err(error) => {
                round.outcome = "no start".to_owned();
                round.failed = true;
                round.evidence = Some(error.to_string());
                return Ok(Some(round));
            }
        };
        Cores::place_generator(&place).context("cannot choose the core to run on")?;
        let mut readings = Readings::begin(&server, place, load);
        let mut watcher = |progress| {
            readings.follow(progress);
            let is_interrupted = !self.interrupts.is_empty();
            if is_interrupted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let report = match self.drive(candidate, load, timing, server.address(), &mut watcher) {
            Err(load::Error::Stopped) => return Ok(None),
            report => report.context("the load generator failed")?,
        };

        round.outcome = report.verdict.to_string();
        round.failed = report.verdict.is_failure();
        round.evidence = report.evidence.clone();
        let mut stderr = server.stderr();
        if report.verdict != Verdict::Works
            && let Some(status) = exit_status(&server, &report)
        {
            // One that it has started may keep the pipe open; then what came has to do.
            stderr = server.stderr_to_end().unwrap_or(stderr);
            round.outcome = "crashed".to_owned();
            round.failed = true;
            round.evidence = Some(format!("the server ended by itself: {status}"));
        }
        if round.failed {
            round.last_lines = stderr[stderr.len().saturating_sub(LAST_LINES)..].to_vec();
        } else if let Some(window) = &report.window {
            round.seconds = window.length.as_secs_f64();
            readings.fill(&mut round, load, &report, window);
        }
        Ok(Some(round))
    }

    /// Puts the load on the server, from the generator's core.
    fn drive<'a>(
        &self,
        candidate: &Candidate,
        load: &Load,
        timing: Timing,
        server: SocketAddr,
        watcher: &'a mut Watcher<'a>,
    ) -> Result<Report, load::Error> {
        let pace = match load.pace {
            Pace::InFlight(depth) => load::Pace::InFlight(depth),
            Pace::PerSecond(rate) => load::Pace::PerSecond(rate),
            Pace::AtMostPerSecond(rate) => load::Pace::AtMostPerSecond(rate),
            Pace::Silent => load::Pace::Silent,
        };
        let is = |trouble| load.trouble == Some(trouble);
        let Timing { warm_up, window } = if is(Trouble::Cold) { COLD } else { timing };
        match load.mode {
            Mode::Echo => Echo {
                connections: load.clients,
                message: load.bytes,
                pace,
                storm: is(Trouble::Storm),
                flooder: is(Trouble::Flooder),
                warm_up,
                window,
                patience: PATIENCE,
                seed: self.seed,
            }
            .run(server, watcher),
            Mode::Broadcast => Broadcast {
                clients: load.clients,
                senders: load.senders.unwrap_or(load.clients),
                protocol: candidate.protocol,
                line: load.bytes,
                pace,
                slow_reader: is(Trouble::SlowReader).then_some(STOPS_READING),
                verify_one_in: Broadcast::sample(load.clients),
                warm_up,
                window,
                patience: PATIENCE,
                seed: self.seed,
            }
            .run(server, watcher),
        }
    }
}

/// What is read of the server while it is driven: before anyone came, at both ends of the window,
/// and its memory in between.
struct Readings<'a> {
    server: &'a Server,
    pid: i32,
    place: Place,
    before: Option<Reading>,
    from: Option<Reading>,
    to: Option<Reading>,
    memory: Vec<u64>,
    /// Whether memory is read ten times a second; that takes the generator's time.
    samples_memory: bool,
    /// How often the server's threads have woken up, where that is asked.
    counts_wakeups: bool,
    wakeups: (u64, u64),
    /// When the server is made to stand still, since the window began, if it is yet to.
    pause: Option<Range<Duration>>,
}

impl<'a> Readings<'a> {
    fn begin(server: &'a Server, place: Place, load: &Load) -> Self {
        let pid = server.pid();
        Self {
            server,
            pid,
            before: Reading::take(pid, &place),
            place,
            from: None,
            to: None,
            memory: Vec::new(),
            samples_memory: load.trouble == Some(Trouble::SlowReader),
            counts_wakeups: load.pace == Pace::Silent,
            wakeups: (0, 0),
            pause: (load.trouble == Some(Trouble::Pause)).then_some(PAUSE),
        }
    }

    fn follow(&mut self, progress: Progress) {
        match progress {
            Progress::Measuring if self.from.is_none() => {
                if self.counts_wakeups {
                    self.wakeups.0 = machine::wakeups(self.pid);
                }
                self.from = Reading::take(self.pid, &self.place);
            }
            Progress::Measuring if self.pause.is_some() => self.pause(),
            Progress::Measuring if self.samples_memory => {
                self.memory.extend(Reading::memory(self.pid));
            }
            Progress::Measured => {
                self.to = Reading::take(self.pid, &self.place);
                if self.counts_wakeups {
                    self.wakeups.1 = machine::wakeups(self.pid);
                }
            }
            _ => {}
        }
    }

    /// Stops the server, or lets it go on, if it is time for that.
    fn pause(&mut self) {
        let (Some(pause), Some(from)) = (&mut self.pause, self.from) else { return };
        // Whether it could be done, the latencies tell.
        if from.at.elapsed() >= pause.end {
            let _ = self.server.signal(Signal::CONT);
            self.pause = None;
        } else if from.at.elapsed() >= pause.start {
            let _ = self.server.signal(Signal::STOP);
        }
    }

    /// Writes into `round` what was measured.
    fn fill(&self, round: &mut Round, load: &Load, report: &Report, window: &Window) {
        let mut set = |metric, value| {
            round.metrics.insert(metric, value);
        };
        let received = window.received_per_second();
        if load.pace != Pace::Silent {
            set(Metric::SentPerSecond, window.sent_per_second());
            set(Metric::ReceivedPerSecond, received);
            let quantiles = [
                (Metric::LatencyP50, 0.5),
                (Metric::LatencyP90, 0.9),
                (Metric::LatencyP99, 0.99),
                (Metric::LatencyP999, 0.999),
                (Metric::LatencyMax, 1.0),
            ];
            for (metric, quantile) in quantiles.into_iter().filter(|_| !window.latency.is_empty()) {
                set(metric, window.latency.value_at_quantile(quantile) as f64);
            }
        }
        if let Some(delivered) = window.delivered {
            set(Metric::Delivered, delivered);
        }
        if load.trouble == Some(Trouble::Storm) {
            let seconds = report.arrival.served.as_secs_f64();
            set(Metric::ServedPerSecond, report.served as f64 / seconds.max(1e-9));
            set(Metric::SlowestConnection, report.arrival.connected.as_nanos() as f64);
        }
        let (Some(before), Some(from), Some(to)) = (self.before, self.from, self.to) else {
            return; // the server is gone
        };
        let elapsed = (to.at - from.at).as_secs_f64();
        let share = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / elapsed;
        let busy = |cores: usize, from: CoreTime, to: CoreTime| {
            (cores as f64 - share(from.idle, to.idle)).max(0.0)
        };
        let server = share(from.server_cpu, to.server_cpu);
        let server_core = busy(self.place.server.len(), from.server_core, to.server_core);
        let generator = window.generator_cpu.as_secs_f64() / window.length.as_secs_f64();
        let generator_core = busy(1, from.generator_core, to.generator_core);
        let is_shared = self.place.is_shared();
        let mut processes = share(from.server_core.processes, to.server_core.processes);
        if !is_shared {
            processes += share(from.generator_core.processes, to.generator_core.processes);
        }
        // The two are counted more finely than a core's ticks, and with what they do in softirqs.
        let foreign = (processes - server - generator).max(0.0);
        set(Metric::ServerCpu, server);
        set(Metric::ServerCoreBusy, server_core);
        set(Metric::GeneratorCpu, generator);
        set(Metric::GeneratorCoreBusy, generator_core);
        set(Metric::ForeignCpu, foreign);
        if window.received > 0 {
            set(Metric::ServerCoreTimePerMessage, server_core * 1e9 / received);
            set(Metric::GeneratorCeiling, received / generator_core.clamp(0.01, 1.0));
        }
        let peak = self.memory.iter().copied().chain([from.memory, to.memory]).max();
        set(Metric::MemoryPeak, peak.unwrap_or_default() as f64);
        if report.connected >= FEW {
            let each =
                |from: u64, to: u64| to.saturating_sub(from) as f64 / report.connected as f64;
            set(Metric::MemoryPerClient, each(before.memory, to.memory));
            if load.pace == Pace::Silent {
                set(Metric::KernelMemoryPerClient, each(before.kernel_memory, to.kernel_memory));
            }
        }
        set(Metric::Threads, to.threads as f64);
        if self.counts_wakeups {
            let (from, to) = self.wakeups;
            set(Metric::WakeupsPerSecond, to.saturating_sub(from) as f64 / elapsed);
        }
        if matches!(load.trouble, Some(Trouble::SlowReader | Trouble::Flooder)) {
            round.timeline = self.timeline(window);
        }
        if is_shared {
            round.marks.push(Mark::SharedCore);
        }
        if foreign > FOREIGN_LOAD {
            round.marks.push(Mark::ForeignLoad);
        }
    }

    fn timeline(&self, window: &Window) -> Vec<Slice> {
        let memory = self.memory.iter().copied().map(Some).chain(std::iter::repeat(None));
        let slice = |(slice, memory): (&load::Slice, Option<u64>)| Slice {
            at: slice.end.as_secs_f64(),
            received_per_second: slice.received as f64 / slice.length.as_secs_f64().max(1e-9),
            latency_p50: slice.latency.map(|(p50, _)| p50),
            latency_p99: slice.latency.map(|(_, p99)| p99),
            memory,
        };
        window.timeline.iter().zip(memory).map(slice).collect()
    }
}

/// How the server ended, if it did. Its connections are closed a little before that can be known.
fn exit_status(server: &Server, report: &Report) -> Option<ExitStatus> {
    let mut tries = if matches!(report.verdict, Verdict::Closed(_)) { 200 } else { 1 };
    loop {
        tries -= 1;
        match server.exit_status() {
            None if tries > 0 => thread::sleep(Duration::from_millis(10)),
            status => return status,
        }
    }
}
