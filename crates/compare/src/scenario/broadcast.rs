use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "broadcast",
    question: "How many lines a second reach the others, if everyone sends as fast as they arrive?",
    metrics: &[
        Metric::ReceivedPerSecond,
        Metric::SentPerSecond,
        Metric::LatencyP50,
        Metric::LatencyP99,
        Metric::ServerCpu,
        Metric::ServerCoreBusy,
        Metric::ServerCoreTimePerMessage,
        Metric::MemoryPerClient,
    ],
    loads,
    timing: |effort| match effort {
        Effort::Quick => Timing::millis(150, 300),
        Effort::Normal => Timing::millis(200, 600),
        Effort::Thorough => Timing::millis(500, 2000),
    },
};

fn loads(effort: Effort) -> Vec<Load> {
    let load = |clients| Load::new(Mode::Broadcast, clients, 32, Pace::InFlight(256));
    let mut loads = vec![load(10), load(100), load(1000)];
    if effort == Effort::Thorough {
        loads.extend([load(4000), load(10_000)]);
    }
    loads
}
