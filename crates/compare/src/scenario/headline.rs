use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "headline",
    question: "4,000 clients, a line each 100 ms, every line to everyone else: what holds that?",
    metrics: &[
        Metric::ReceivedPerSecond,
        Metric::SentPerSecond,
        Metric::Delivered,
        Metric::LatencyP50,
        Metric::LatencyP99,
        Metric::ServerCpu,
        Metric::ServerCoreBusy,
        Metric::MemoryPeak,
    ],
    loads,
    timing: |effort| match effort {
        Effort::Quick => Timing::millis(300, 1000),
        Effort::Normal => Timing::millis(1000, 3000),
        Effort::Thorough => Timing::millis(1000, 5000),
    },
};

/// The three readings of the claim: one sender in all, one in each of four processes, and everyone.
/// In between, the moderate load at which batching must not cost a whole core.
fn loads(effort: Effort) -> Vec<Load> {
    let load = |clients, senders: usize, bytes| Load {
        senders: Some(senders),
        ..Load::new(Mode::Broadcast, clients, bytes, Pace::PerSecond(senders as f64 * 10.0))
    };
    match effort {
        Effort::Quick => vec![load(1000, 1, 32), load(1000, 1000, 32)],
        Effort::Normal => {
            vec![load(4000, 1, 32), load(4000, 4, 32), load(1000, 1000, 32), load(4000, 4000, 32)]
        }
        Effort::Thorough => vec![
            load(4000, 1, 32),
            load(4000, 4, 32),
            load(1000, 1000, 32),
            load(4000, 4000, 16),
            load(4000, 4000, 32),
        ],
    }
}
