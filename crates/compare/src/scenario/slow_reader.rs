use std::time::Duration;

use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace, Trouble};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "slow-reader",
    question: "One client stops reading: what happens to the others, and to memory?",
    metrics: &[
        Metric::Delivered,
        Metric::LatencyP50,
        Metric::LatencyP99,
        Metric::LatencyMax,
        Metric::MemoryPeak,
        Metric::ServerCpu,
    ],
    loads,
    timing: |effort| match effort {
        Effort::Quick => Timing::millis(200, 4000),
        Effort::Normal | Effort::Thorough => Timing::millis(500, 6000),
    },
};

/// When the client stops reading, since the window began.
pub(crate) const STOPS_READING: Duration = Duration::from_secs(1);

/// Eight megabytes a second to each: what the kernel keeps for one reader is full in a moment, and
/// sixteen more after two seconds.
fn loads(_: Effort) -> Vec<Load> {
    let load = Load::new(Mode::Broadcast, 20, 1024, Pace::PerSecond(8000.0));
    vec![Load { trouble: Some(Trouble::SlowReader), ..load }]
}
