use load::{Report, Window};
use serde::Serialize;

use super::Settings;
use super::machine::{CoreTime, Machine, Placement, Reading};
use super::measure::Job;
use super::stage::{Stage, Workload};

/// Everything that was measured, as `--json` writes it.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    /// Which fields there are: raised when one changes its meaning.
    pub(crate) schema: u32,
    pub(crate) unix_time: u64,
    pub(crate) commit: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) machine: Machine,
    pub(crate) placement: Placement,
    /// What the content of all messages is made from.
    pub(crate) seed: u64,
    /// What the reader has to know beside the figures.
    pub(crate) notes: Vec<String>,
    pub(crate) runs: Vec<Run>,
}

/// One stage, one workload, one size, one round.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) workload: Workload,
    #[serde(flatten)]
    pub(crate) stage: &'static Stage,
    pub(crate) clients: usize,
    pub(crate) round: usize,
    /// `works`, or the plain word for what it does instead.
    pub(crate) outcome: String,
    /// Whether the stage did what it must not do.
    pub(crate) failed: bool,
    /// What that rests on.
    pub(crate) evidence: Option<String>,
    /// The stage's last words, if it failed.
    pub(crate) stderr: Vec<String>,
    /// None where it failed, or did nothing.
    pub(crate) figures: Option<Figures>,
}

/// What was measured within the window.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// How long the window was.
    pub(crate) seconds: f64,
    pub(crate) connected: usize,
    pub(crate) served: usize,
    /// Messages that clients sent, each second.
    pub(crate) sent_per_second: f64,
    /// Messages that clients received, each second.
    pub(crate) received_per_second: f64,
    pub(crate) latency: Latency,
    /// The share of a core that the server's process took.
    pub(crate) server_cpu: f64,
    /// The share of its time that the server's core was busy, soft interrupts included.
    pub(crate) server_core_busy: f64,
    /// The same of the generator's thread and its core.
    pub(crate) generator_cpu: f64,
    pub(crate) generator_core_busy: f64,
    /// Whether the generator had so little time to spare that it may be the limit, not the server.
    pub(crate) generator_bound: bool,
    /// Cores' worth of time that other processes took from the two; sampled, so that a single
    /// value may be off by a tenth and more, and negative.
    pub(crate) foreign_cpu: f64,
    /// The server's anonymous memory before anyone came and at the end of the window, in bytes.
    pub(crate) memory_before: u64,
    pub(crate) memory: u64,
    pub(crate) threads: u64,
}

/// Nanoseconds from the moment a message was to leave until it arrived.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) samples: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// The median of some rounds, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Median {
    pub(crate) value: f64,
    /// Half the distance of the outermost, as a share of the median.
    pub(crate) spread: f64,
}

impl Run {
    pub(crate) fn is_of(&self, job: &Job) -> bool {
        (self.workload, self.stage, self.clients) == (job.workload, job.stage, job.clients)
    }

    pub(crate) fn works(&self) -> bool {
        self.outcome == "works"
    }
}

impl Figures {
    /// Above this share of its core, the generator may be the limit.
    const BOUND: f64 = 0.8;

    /// What `report` says happened in `window`, with the readings before anyone came and at both
    /// ends of the window.
    pub(crate) fn new(
        report: &Report,
        window: &Window,
        [before, from, to]: &[Reading; 3],
        is_shared: bool,
    ) -> Self {
        let elapsed = (to.at - from.at).as_secs_f64();
        let share = |from: std::time::Duration, to: std::time::Duration| {
            to.saturating_sub(from).as_secs_f64() / elapsed
        };
        let busy = |from: CoreTime, to: CoreTime| (1.0 - share(from.idle, to.idle)).max(0.0);
        let server_cpu = share(from.server_cpu, to.server_cpu);
        let generator_cpu = window.generator_cpu.as_secs_f64() / window.length.as_secs_f64();
        let generator_core_busy = busy(from.generator_core, to.generator_core);
        let mut processes = share(from.server_core.processes, to.server_core.processes);
        if !is_shared {
            processes += share(from.generator_core.processes, to.generator_core.processes);
        }
        let quantile = |quantile| window.latency.value_at_quantile(quantile);
        Self {
            seconds: window.length.as_secs_f64(),
            connected: report.connected,
            served: report.served,
            sent_per_second: window.sent_per_second(),
            received_per_second: window.received_per_second(),
            latency: Latency {
                samples: window.latency.len(),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: window.latency.max(),
            },
            server_cpu,
            server_core_busy: busy(from.server_core, to.server_core),
            generator_cpu,
            generator_core_busy,
            generator_bound: generator_core_busy > Self::BOUND && !is_shared,
            foreign_cpu: processes - server_cpu - generator_cpu,
            memory_before: before.memory,
            memory: to.memory,
            threads: to.threads,
        }
    }

    /// What a client costs, in bytes.
    pub(crate) fn memory_per_client(&self) -> f64 {
        self.memory.saturating_sub(self.memory_before) as f64 / self.connected.max(1) as f64
    }
}

impl Median {
    /// The median of `values`; none of none.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let value = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        let spread = if value > 0.0 { (last - first) / 2.0 / value } else { 0.0 };
        Some(Self { value, spread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_knows_how_far_the_others_are() {
        let median = |values: &[f64]| Median::of(values.iter().copied());
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[5.0]), Some(Median { value: 5.0, spread: 0.0 }));
        assert_eq!(median(&[9.0, 8.0, 10.0]).map(|median| median.value), Some(9.0));
        assert_eq!(median(&[12.0, 8.0]), Some(Median { value: 10.0, spread: 0.2 }));
    }
}
