use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "rate",
    question: "How long does an echo take at a fixed pace, from the moment it was meant to leave?",
    metrics: &[
        Metric::LatencyP50,
        Metric::LatencyP99,
        Metric::LatencyP999,
        Metric::LatencyMax,
        Metric::Delivered,
        Metric::ServerCpu,
        Metric::ServerCoreBusy,
    ],
    loads,
    timing: |effort| match effort {
        Effort::Quick => Timing::millis(100, 500),
        Effort::Normal => Timing::millis(300, 2000),
        Effort::Thorough => Timing::millis(500, 3000),
    },
};

fn loads(effort: Effort) -> Vec<Load> {
    let load = |clients, rate| Load::new(Mode::Echo, clients, 64, Pace::PerSecond(rate));
    match effort {
        Effort::Quick => vec![load(50, 20_000.0)],
        Effort::Normal => vec![load(50, 20_000.0), load(1000, 50_000.0)],
        Effort::Thorough => vec![load(50, 5000.0), load(50, 20_000.0), load(1000, 50_000.0)],
    }
}
