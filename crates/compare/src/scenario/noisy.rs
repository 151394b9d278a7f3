use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace, Trouble};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "noisy",
    question: "One client sends all it can: how long do the polite ones wait beside it?",
    metrics: &[
        Metric::LatencyP50,
        Metric::LatencyP99,
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

/// With the first load nobody floods: the two are to be compared.
fn loads(_: Effort) -> Vec<Load> {
    let load = Load::new(Mode::Echo, 11, 64, Pace::PerSecond(1000.0));
    vec![load.clone(), Load { trouble: Some(Trouble::Flooder), ..load }]
}
