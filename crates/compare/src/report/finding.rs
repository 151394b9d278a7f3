use crate::metric::Metric;
use crate::results::{Measurement, Results, Scenario};
use crate::scenario::Scenario as Question;
use crate::statistics::Median;

/// What a scenario found, in one sentence: who did best under its heaviest load, and by how much.
/// None where fewer than two did what was asked.
pub(crate) fn finding(results: &Results, scenario: &Scenario) -> Option<String> {
    // There the rows of one server are to be compared, not those of one load.
    if scenario.id == Question::LIES {
        return None;
    }
    let metric = *scenario.metrics.first()?;
    let loads = scenario.loads();
    let (load, ranked) = loads.iter().rev().find_map(|load| {
        let is_rated = |it: &Measurement| {
            it.works() || it.is_behind() || (metric == Metric::Delivered && !it.failed)
        };
        // Who has more cores than the others is not compared with them.
        let has_more = |it: &Measurement| {
            results.subject(&it.subject).is_some_and(|subject| subject.cores.is_some())
        };
        let of = |it: &&Measurement| it.load == **load && is_rated(it) && !has_more(it);
        let mut ranked: Vec<(&Measurement, Median)> = scenario
            .measurements
            .iter()
            .filter(of)
            .filter_map(|it| Some((it, *it.summary.get(&metric)?)))
            .collect();
        ranked.sort_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
        if metric.more_is_better() {
            ranked.reverse();
        }
        (ranked.len() > 1).then_some((load, ranked))
    })?;
    let label = |it: &Measurement| {
        results.subject(&it.subject).map_or_else(|| it.subject.clone(), |subject| subject.label())
    };
    let (best, first) = ranked.first()?;
    let (worst, last) = ranked.last()?;
    let value = |median: &Median| metric.show(median.median);
    let what = unit_word(metric);
    if !differ(first, last) {
        return Some(format!(
            "{load}: no two differ by more than their rounds do ({} to {}{what}).",
            value(first),
            value(last)
        ));
    }
    let level: Vec<_> = ranked[1..]
        .iter()
        .take_while(|(_, median)| !differ(median, first))
        .map(|(it, _)| label(it))
        .collect();
    let level = match &level[..] {
        [] => String::new(),
        names => format!(" (level with {})", names.join(", ")),
    };
    Some(format!(
        "{load}: {} has {}{what}{level}, {} has {}{}.",
        label(best),
        value(first),
        label(worst),
        value(last),
        ratio(first.median, last.median)
    ))
}

/// Whether two differ by more than their rounds do; where there is only one round, by more than a
/// tenth.
fn differ(one: &Median, other: &Median) -> bool {
    let is_one_round = one.low == one.high && other.low == other.high;
    let distance = (one.median - other.median).abs() / one.median.max(other.median);
    one.differs_from(other) && !(is_one_round && distance < 0.1)
}

/// What stands behind the value in a sentence.
fn unit_word(metric: Metric) -> &'static str {
    match metric {
        Metric::ReceivedPerSecond => " messages/s out",
        Metric::LatencyP50 => " at p50",
        Metric::Delivered => " delivered",
        Metric::MemoryPerClient => " a client",
        Metric::ServedPerSecond => " clients served/s",
        _ => "",
    }
}

/// How many times as much the larger is.
fn ratio(one: f64, other: f64) -> String {
    let (small, large) = if one < other { (one, other) } else { (other, one) };
    if small <= 0.0 {
        return String::new();
    }
    match large / small {
        ratio if ratio < 9.95 => format!(": {ratio:.1} times"),
        ratio => format!(": {ratio:.0} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_same_both_ways() {
        assert_eq!(ratio(2.0, 30.0), ": 15 times");
        assert_eq!(ratio(30.0, 2.0), ": 15 times");
        assert_eq!(ratio(1.0, 1.26), ": 1.3 times");
        assert_eq!(ratio(1.0, 0.0), "");
    }
}
