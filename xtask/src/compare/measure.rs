use std::fmt;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use harness::Server;
use load::{Broadcast, Echo, Progress, Report, Verdict};

use super::Drive;
use super::build::Binaries;
use super::machine::{Placement, Reading};
use super::results::{Figures, Run};
use super::stage::{Stage, Workload};
use super::table;

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) workload: Workload,
    pub(crate) clients: usize,
    pub(crate) stage: &'static Stage,
}

/// What all measurements have in common.
pub(crate) struct Bench {
    pub(crate) binaries: Binaries,
    pub(crate) placement: Placement,
    pub(crate) seed: u64,
    pub(crate) interrupts: Receiver<i32>,
}

impl Bench {
    /// How long without any byte before what is still owed is given up.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// How many of a failed stage's last lines are kept.
    const LAST_WORDS: usize = 5;

    /// Starts the stage, drives it and stops it. Returns none if interrupted meanwhile.
    pub(crate) fn measure(
        &self,
        job: &Job,
        round: usize,
        drive: Drive,
    ) -> anyhow::Result<Option<Run>> {
        let mut run = Run {
            workload: job.workload,
            stage: job.stage,
            clients: job.clients,
            round,
            outcome: String::new(),
            failed: false,
            evidence: None,
            stderr: Vec::new(),
            figures: None,
        };
        let mut command = Command::new(&self.binaries[&job.stage.package()]);
        command.args(job.stage.arguments(job.workload));
        let started = self
            .placement
            .place_server(|| Server::start(&mut command))
            .context("cannot choose the core to run on")?;
        let server = match started {
            Ok(server) => server,
            Err(error) => {
                run.outcome = "no start".to_owned();
                run.failed = true;
                run.evidence = Some(error.to_string());
                return Ok(Some(run));
            }
        };
        let before = Reading::take(server.pid(), self.placement);
        let (events, generator) = self.start_generator(job, drive, server.address())?;
        let (mut from, mut to) = (None, None);
        loop {
            let progress = select! {
                recv(events) -> progress => progress,
                recv(self.interrupts) -> _ => return Ok(None),
            };
            match progress {
                Ok(Progress::Measuring) if from.is_none() => {
                    from = Reading::take(server.pid(), self.placement);
                }
                Ok(Progress::Draining) if to.is_none() => {
                    to = Reading::take(server.pid(), self.placement);
                }
                Ok(_) => {}
                Err(_) => break, // the run is over
            }
        }
        let report = generator
            .join()
            .map_err(|_| anyhow!("the load generator panicked"))?
            .context("the load generator failed")?;

        run.outcome = report.verdict.to_string();
        run.failed = report.verdict.is_failure();
        run.evidence = report.evidence.clone();
        if report.verdict != Verdict::Works
            && let Some(status) = exit_status(&server, &report)
        {
            run.outcome = "crashed".to_owned();
            run.failed = true;
            run.evidence = Some(format!("the server ended by itself: {status}"));
        }
        if run.failed {
            let stderr = server.stderr();
            run.stderr = stderr[stderr.len().saturating_sub(Self::LAST_WORDS)..].to_vec();
        } else if let (Some(before), Some(from), Some(to)) = (before, from, to)
            && let Some(window) = &report.window
        {
            let readings = [before, from, to];
            run.figures =
                Some(Figures::new(&report, window, &readings, self.placement.is_shared()));
        }
        Ok(Some(run))
    }

    /// Starts the generator in a thread of its own, on its core.
    fn start_generator(
        &self,
        job: &Job,
        drive: Drive,
        server: SocketAddr,
    ) -> anyhow::Result<(Receiver<Progress>, Generator)> {
        let warm_up = Duration::from_millis(drive.warm_up_ms);
        let window = Duration::from_millis(drive.window_ms);
        let (workload, clients) = (job.workload, job.clients);
        let (seed, patience, placement) = (self.seed, Self::PATIENCE, self.placement);
        let run = move |progress: Sender<Progress>| {
            placement.place_generator()?;
            match workload {
                Workload::Echo => Echo {
                    connections: clients,
                    message: drive.bytes,
                    depth: drive.in_flight,
                    warm_up,
                    window,
                    patience,
                    seed,
                }
                .run(server, &progress),
                Workload::Broadcast => Broadcast {
                    clients,
                    line: drive.bytes,
                    in_flight: drive.in_flight,
                    verify_one_in: 10,
                    warm_up,
                    window,
                    patience,
                    seed,
                }
                .run(server, &progress),
            }
        };
        let (sender, receiver) = unbounded();
        let thread = thread::Builder::new().name("generator".to_owned());
        Ok((receiver, thread.spawn(move || run(sender))?))
    }
}

type Generator = thread::JoinHandle<Result<Report, load::Error>>;

/// How the server ended, if it did. Its connections are closed a little before that can be known.
fn exit_status(server: &Server, report: &Report) -> Option<std::process::ExitStatus> {
    let mut tries = if matches!(report.verdict, Verdict::Closed(_)) { 50 } else { 1 };
    loop {
        tries -= 1;
        match server.exit_status() {
            None if tries > 0 => thread::sleep(Duration::from_millis(10)),
            status => return status,
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {}, {}",
            self.workload,
            table::clients(self.workload, self.clients),
            self.stage
        )
    }
}
