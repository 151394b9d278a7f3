use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "ladder",
    question: "More and more connections: where does each server break, and how?",
    metrics: &[
        Metric::ReceivedPerSecond,
        Metric::LatencyP50,
        Metric::LatencyP99,
        Metric::ServerCoreBusy,
        Metric::MemoryPerClient,
        Metric::Threads,
    ],
    loads,
    timing: |effort| match effort {
        Effort::Quick => Timing::millis(50, 150),
        Effort::Normal => Timing::millis(100, 300),
        Effort::Thorough => Timing::millis(300, 1000),
    },
};

fn loads(effort: Effort) -> Vec<Load> {
    let steps: &[usize] = match effort {
        Effort::Quick => &[1, 30, 1000],
        Effort::Normal | Effort::Thorough => &[1, 10, 30, 100, 1000, 3000, 10_000],
    };
    let load = |&clients| Load::new(Mode::Echo, clients, 64, Pace::InFlight(1));
    steps.iter().map(load).collect()
}
