use std::ops::Range;
use std::time::Duration;

use super::{Scenario, Timing};
use crate::metric::Metric;
use crate::results::{Effort, Load, Mode, Pace, Trouble};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "lies",
    question: "The same server, measured rightly and wrongly: how far apart are the figures?",
    metrics: &[
        Metric::ReceivedPerSecond,
        Metric::LatencyP50,
        Metric::LatencyP99,
        Metric::LatencyMax,
        Metric::ServerCpu,
        Metric::ServerCoreBusy,
    ],
    loads,
    timing: |effort| match effort {
        Effort::Quick => Timing::millis(100, 1800),
        Effort::Normal => Timing::millis(300, 2000),
        Effort::Thorough => Timing::millis(500, 4000),
    },
};

/// When a server is made to stand still, since the window began.
pub(crate) const PAUSE: Range<Duration> = Duration::from_millis(500)..Duration::from_millis(1500);

/// How one measures who does not warm up.
pub(crate) const COLD: Timing = Timing::millis(0, 50);

/// One connection and fifty, as it should be and from the server's own core; cold; and a server that
/// stands still, asked by those who wait for an answer, and by the clock.
fn loads(_: Effort) -> Vec<Load> {
    let load =
        |clients, pace, trouble| Load { trouble, ..Load::new(Mode::Echo, clients, 64, pace) };
    vec![
        load(1, Pace::InFlight(1), None),
        load(1, Pace::InFlight(1), Some(Trouble::SameCore)),
        load(50, Pace::InFlight(1), None),
        load(50, Pace::InFlight(1), Some(Trouble::SameCore)),
        load(50, Pace::InFlight(1), Some(Trouble::Cold)),
        load(50, Pace::AtMostPerSecond(20_000.0), Some(Trouble::Pause)),
        load(50, Pace::PerSecond(20_000.0), Some(Trouble::Pause)),
    ]
}
