//! The scenarios: one question each.

use std::time::Duration;

use crate::metric::Metric;
use crate::results::{Effort, Load};

mod broadcast;
mod echo;
mod headline;
mod idle;
mod ladder;
mod lies;
mod noisy;
mod rate;
mod slow_reader;
mod storm;

pub(crate) use lies::{COLD, PAUSE};
pub(crate) use slow_reader::STOPS_READING;

/// A question, and what is measured to answer it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub id: &'static str,
    /// What it asks, in one sentence.
    pub question: &'static str,
    /// What answers it: the columns of its table, the one that matters first.
    pub(crate) metrics: &'static [Metric],
    /// What is asked of the servers.
    pub(crate) loads: fn(Effort) -> Vec<Load>,
    /// How long it runs before it counts, and how long it counts.
    pub(crate) timing: fn(Effort) -> Timing,
}

/// How long a measurement takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// All of them. The first two are the default.
pub const SCENARIOS: [Scenario; 10] = [
    echo::SCENARIO,
    broadcast::SCENARIO,
    rate::SCENARIO,
    headline::SCENARIO,
    idle::SCENARIO,
    storm::SCENARIO,
    slow_reader::SCENARIO,
    noisy::SCENARIO,
    ladder::SCENARIO,
    lies::SCENARIO,
];

impl Scenario {
    /// The names of those that are run when none is named.
    pub const DEFAULT: [&str; 2] = ["echo", "broadcast"];

    /// The one that says how measuring goes wrong, and nothing of servers.
    pub const LIES: &str = lies::SCENARIO.id;

    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.id == name)
    }
}

impl Timing {
    const fn millis(warm_up: u64, window: u64) -> Self {
        Self { warm_up: Duration::from_millis(warm_up), window: Duration::from_millis(window) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_asks_one_question_of_its_own() {
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            assert!(scenario.question.ends_with('?'), "{}", scenario.id);
            assert!(SCENARIOS[..index].iter().all(|other| other.id != scenario.id));
            for effort in [Effort::Quick, Effort::Normal, Effort::Thorough] {
                let loads = (scenario.loads)(effort);
                assert!(!loads.is_empty());
                assert!(loads.iter().all(|load| load.mode == loads[0].mode), "one table each");
            }
        }
        assert!(Scenario::DEFAULT.iter().all(|name| Scenario::named(name).is_some()));
    }
}
