//! What changed since an earlier run, beyond the noise.

use crate::metric::Metric;
use crate::results::{Load, Measurement, Results};

/// Something that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What the subject is called.
    pub subject: String,
    /// The scenario, and what was asked.
    pub what: String,
    /// How, in a few words: `out/s 10 K -> 12 K (+20 %)`.
    pub how: String,
    /// Whether it is a change for the better; none where that cannot be said.
    pub is_better: Option<bool>,
}

/// Below this share of difference nothing is told: two runs differ by that much for no reason,
/// however close the rounds of each were.
const NOISE: f64 = 0.05;

/// What changed from `earlier` to `later`: outcomes, and those medians whose rounds do not overlap.
/// Only what both have measured is compared, and of each scenario only what answers its question.
pub fn changes(earlier: &Results, later: &Results) -> Vec<Change> {
    let mut changes = Vec::new();
    for (scenario, after) in later.measurements() {
        let Some(before) = find(earlier, &scenario.id, &after.subject, &after.load) else {
            continue;
        };
        let change = |how: String, is_better| Change {
            subject: later.subject(&after.subject).map_or_else(String::new, |it| it.label()),
            what: format!("{}, {}", scenario.id, after.load),
            how,
            is_better,
        };
        if before.outcome != after.outcome {
            let is_better = match (before.works(), after.works()) {
                (true, false) => Some(false),
                (false, true) => Some(true),
                _ => None,
            };
            changes.push(change(format!("{} -> {}", before.outcome, after.outcome), is_better));
            continue;
        }
        for &metric in &scenario.metrics {
            changes
                .extend(difference(metric, before, after).map(|(how, is)| change(how, Some(is))));
        }
    }
    changes
}

/// Why the two cannot be compared as they stand, if so: figures do not carry to another machine.
pub fn objection(earlier: &Results, later: &Results) -> Option<String> {
    let (before, after) = (&earlier.machine, &later.machine);
    // Runs of earlier versions do not say: then there is no pair.
    let mut controls = before.congestion_control.iter().zip(&after.congestion_control);
    let is_same = before.cpu == after.cpu
        && before.cores == after.cores
        && controls.all(|(before, after)| before == after);
    (!is_same).then(|| {
        format!(
            "the earlier run was on another machine ({before}): only ratios within each run say \
             anything"
        )
    })
}

fn find<'a>(
    results: &'a Results,
    scenario: &str,
    subject: &str,
    load: &Load,
) -> Option<&'a Measurement> {
    let mut measurements = results.measurements();
    let is_it = |(it, measurement): &(&crate::results::Scenario, &Measurement)| {
        it.id == scenario && measurement.subject == subject && measurement.load == *load
    };
    measurements.find(is_it).map(|(_, measurement)| measurement)
}

/// How a metric changed, and whether for the better; none where it did not.
fn difference(metric: Metric, before: &Measurement, after: &Measurement) -> Option<(String, bool)> {
    let (before, after) = (before.summary.get(&metric)?, after.summary.get(&metric)?);
    let share = (after.median - before.median) / before.median;
    if !before.differs_from(after) || !share.is_finite() || share.abs() < NOISE {
        return None;
    }
    let how = format!(
        "{} {} -> {} ({:+.0} %)",
        metric.label(),
        metric.show(before.median),
        metric.show(after.median),
        share * 100.0
    );
    Some((how, (share > 0.0) == metric.more_is_better()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Median;

    fn sample() -> Results {
        serde_json::from_str(include_str!("../tests/sample.json")).expect("the sample is valid")
    }

    /// The sample with its first figure, out/s of stage 01, replaced.
    fn with(low: f64, high: f64) -> Results {
        let mut results = sample();
        let median = Median { median: (low + high) / 2.0, low, high };
        results.scenarios[0].measurements[0].summary.insert(Metric::ReceivedPerSecond, median);
        results
    }

    #[test]
    fn nothing_changed_where_rounds_overlap_or_hardly_differ() {
        assert_eq!(changes(&sample(), &sample()), []);
        assert_eq!(changes(&with(90.0, 110.0), &with(105.0, 150.0)), []);
        assert_eq!(changes(&with(100.0, 100.0), &with(104.0, 104.0)), []);
    }

    #[test]
    fn what_changed_is_told_with_its_direction() {
        let [change] = &changes(&with(90.0, 110.0), &with(150.0, 170.0))[..] else {
            panic!("one figure changed");
        };
        assert_eq!(change.how, "out/s 100 -> 160 (+60 %)");
        assert_eq!((change.subject.as_str(), change.is_better), ("01 blocking", Some(true)));
    }

    #[test]
    fn another_outcome_is_a_change() {
        let mut later = sample();
        "lost 3 bytes".clone_into(&mut later.scenarios[0].measurements[0].outcome);
        let [change] = &changes(&sample(), &later)[..] else { panic!("one outcome changed") };
        assert_eq!(change.how, "works -> lost 3 bytes");
        assert_eq!(change.is_better, Some(false));
    }

    #[test]
    fn another_machine_is_an_objection() {
        let mut later = sample();
        assert_eq!(objection(&sample(), &later), None);
        later.machine.cores += 1;
        assert!(objection(&sample(), &later).is_some());
    }

    #[test]
    fn another_congestion_control_is_an_objection_where_both_are_known() {
        let with = |name: Option<&str>| {
            let mut results = sample();
            results.machine.congestion_control = name.map(str::to_owned);
            results
        };
        assert_eq!(objection(&with(None), &with(Some("bbr"))), None);
        assert_eq!(objection(&with(Some("bbr")), &with(Some("bbr"))), None);
        let objection = objection(&with(Some("cubic")), &with(Some("bbr")));
        assert!(objection.expect("they differ").contains("TCP with cubic"));
    }
}
