use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "echo",
    question: "How many messages a second come back, if every connection waits for each?",
    metrics: &[
        Metric::ReceivedPerSecond,
        Metric::LatencyP50,
        Metric::LatencyP99,
        Metric::ServerCpu,
        Metric::ServerCoreBusy,
        Metric::MemoryPerClient,
        Metric::Threads,
    ],
    loads,
    timing: |effort| match effort {
        Effort::Quick => Timing::millis(100, 250),
        Effort::Normal => Timing::millis(150, 450),
        Effort::Thorough => Timing::millis(500, 1500),
    },
};

fn loads(effort: Effort) -> Vec<Load> {
    let load = |clients, bytes, depth| Load::new(Mode::Echo, clients, bytes, Pace::InFlight(depth));
    let mut loads = vec![load(1, 64, 1), load(50, 64, 1), load(1000, 64, 1)];
    if effort == Effort::Thorough {
        loads.extend([load(50, 4096, 1), load(1000, 4096, 1), load(50, 64, 16)]);
    }
    loads
}
