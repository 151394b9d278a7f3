use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace, Trouble};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "storm",
    question: "Everyone connects at the same moment: how long until the last one is served?",
    metrics: &[
        Metric::ServedPerSecond,
        Metric::SlowestConnection,
        Metric::MemoryPerClient,
        Metric::Threads,
    ],
    loads,
    timing: |_| Timing::millis(0, 100),
};

fn loads(effort: Effort) -> Vec<Load> {
    let clients = if effort == Effort::Quick { 1000 } else { 10_000 };
    let load = Load::new(Mode::Echo, clients, 64, Pace::Silent);
    vec![Load { trouble: Some(Trouble::Storm), ..load }]
}
