use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "idle",
    question: "What does a connection cost that was served once and now says nothing?",
    metrics: &[
        Metric::MemoryPerClient,
        Metric::KernelMemoryPerClient,
        Metric::Threads,
        Metric::WakeupsPerSecond,
        Metric::ServerCpu,
    ],
    loads,
    timing: |effort| match effort {
        Effort::Quick => Timing::millis(100, 500),
        Effort::Normal => Timing::millis(200, 1000),
        Effort::Thorough => Timing::millis(500, 2000),
    },
};

fn loads(effort: Effort) -> Vec<Load> {
    let load = |clients| Load::new(Mode::Echo, clients, 64, Pace::Silent);
    match effort {
        Effort::Quick => vec![load(200)],
        Effort::Normal => vec![load(1000)],
        Effort::Thorough => vec![load(1000), load(10_000)],
    }
}
