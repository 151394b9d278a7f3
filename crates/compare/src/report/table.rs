use crate::format;
use crate::metric::{Metric, Unit};
use crate::results::{Mark, Measurement, Results, Scenario, Subject};
use crate::statistics::Median;

/// A scenario's answer as rows of text.
pub(crate) struct Table {
    /// The head of each column; the first is over the labels.
    pub(crate) head: Vec<String>,
    /// A group for each load.
    pub(crate) groups: Vec<Group>,
}

/// All who were measured under one load.
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
}

/// One who was measured.
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) kind: Kind,
    /// As many as the head has after its first. One only, the outcome, for a failure.
    pub(crate) cells: Vec<String>,
}

/// How a row is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Works,
    /// It did less than was asked, by design or for want of speed.
    Limited,
    /// It lost data, or died.
    Failed,
}

impl Table {
    pub(crate) fn of(results: &Results, scenario: &Scenario) -> Self {
        let has_spread = scenario.measurements.iter().any(|it| it.rounds.len() > 1);
        let mut head = vec![String::new()];
        for (index, metric) in scenario.metrics.iter().enumerate() {
            head.push(metric.label().to_owned());
            if index == 0 && has_spread {
                head.push("±".to_owned());
            }
        }
        let row = |measurement: &Measurement| {
            let subject = results.subject(&measurement.subject);
            Row {
                label: subject.map_or_else(|| measurement.subject.clone(), |it| it.label()),
                kind: Kind::of(measurement),
                cells: cells(scenario, measurement, has_spread),
            }
        };
        let groups = scenario
            .loads()
            .into_iter()
            .map(|load| Group {
                title: load.to_string(),
                rows: scenario.measurements.iter().filter(|it| it.load == *load).map(row).collect(),
            })
            .collect();
        Self { head, groups }
    }
}

impl Kind {
    pub(crate) fn of(measurement: &Measurement) -> Self {
        match (measurement.works(), measurement.failed) {
            (true, _) => Self::Works,
            (false, false) => Self::Limited,
            (false, true) => Self::Failed,
        }
    }
}

/// What stands in the columns of one measurement.
fn cells(scenario: &Scenario, measurement: &Measurement, has_spread: bool) -> Vec<String> {
    if measurement.failed {
        return vec![measurement.outcome.clone()];
    }
    // What few clients had to themselves is not comparable to what all shared.
    let is_partial = !measurement.works() && !measurement.is_behind();
    let mut cells = Vec::new();
    for (index, &metric) in scenario.metrics.iter().enumerate() {
        let median = measurement.summary.get(&metric);
        let is_of_all = matches!(metric.unit(), Unit::PerSecond | Unit::Time)
            || matches!(metric, Metric::Delivered);
        let value = median.filter(|_| !(is_partial && is_of_all));
        let mut cell = value.map_or_else(|| "–".to_owned(), |it| metric.show(it.median));
        if index == 0 {
            if is_partial {
                cell.clone_from(&measurement.outcome);
            }
            cell.push_str(match measurement {
                _ if is_partial => "  ",
                it if it.is_marked(Mark::ForeignLoad) => " !",
                it if it.is_marked(Mark::GeneratorBound) => " *",
                _ => "  ",
            });
        }
        cells.push(cell);
        if index == 0 && has_spread {
            cells.push(value.map_or_else(String::new, |it| format::spread(it.spread())));
        }
    }
    cells
}

/// What is to be known besides, a sentence or two each.
pub(crate) fn notes(results: &Results) -> Vec<String> {
    let any = |is: &dyn Fn(&Measurement) -> bool| results.measurements().any(|(_, it)| is(it));
    let mut notes = Vec::new();
    if any(&|it| it.outcome.starts_with("serves")) {
        notes.push("serves N: only N clients are answered, the others wait.".to_owned());
    }
    if any(&|it| it.outcome == "stalls") {
        notes.push("stalls: clients are answered at first, and then nobody any more.".to_owned());
    }
    if any(&Measurement::is_behind) {
        notes.push(
            "delivers N %: it fell behind the pace; what came, came late, and the latencies of \
             what did not come are not counted."
                .to_owned(),
        );
    }
    if any(&|it| it.is_marked(Mark::GeneratorBound)) {
        notes.push(
            "*: above 80 % of what the generator itself can do: it may be the limit, not the \
             server."
                .to_owned(),
        );
    }
    if any(&|it| it.is_marked(Mark::ForeignLoad)) {
        notes.push(
            "!: other programs took processor time meanwhile: measure again when the machine is \
             idle."
                .to_owned(),
        );
    }
    for metric in Metric::ALL {
        let is_shown = results.scenarios.iter().any(|it| it.metrics.contains(&metric));
        notes.extend(metric.explanation().filter(|_| is_shown).map(str::to_owned));
    }
    for scenario in &results.scenarios {
        notes.extend(ceilings(scenario));
    }
    let rounds = results.measurements().map(|(_, it)| it.rounds.len()).max().unwrap_or(0);
    notes.push(match rounds {
        0 => "Nothing was measured.".to_owned(),
        1 => "One round: there is no spread to judge differences by.".to_owned(),
        rounds => format!("Medians of {rounds} interleaved rounds; ±: half their range."),
    });
    let placement = results.placement;
    notes.push(if placement.is_shared() {
        "Server and generator shared the only core: the figures are of both together.".to_owned()
    } else {
        format!(
            "Server on core {}, generator (one thread) on core {}.",
            placement.server, placement.generator
        )
    });
    notes.extend(results.subjects.iter().filter_map(|it| on_several_cores(results, it)));
    notes.extend(results.notes.iter().cloned());
    let machine = &results.machine;
    notes.push(format!(
        "{machine}, {} of memory; commit {}.",
        format::bytes(machine.memory as f64),
        results.commit.as_deref().unwrap_or("unknown")
    ));
    notes
}

/// Where a subject ran that was given more than one core, and what that left to the generator.
fn on_several_cores(results: &Results, subject: &Subject) -> Option<String> {
    let cores = subject.cores?;
    let of = || results.measurements().map(|(_, it)| it).filter(|it| it.subject == subject.id);
    let busy = |it: &Measurement| it.median(Metric::GeneratorCpu);
    let share = Median::of(of().filter_map(busy));
    let generator = match share.filter(|_| of().any(|it| it.is_marked(Mark::SharedCore))) {
        None => ".".to_owned(),
        Some(share) => format!(
            "; the generator had to share one of them, and used {} to {} of it.",
            format::share(share.low),
            format::share(share.high)
        ),
    };
    Some(format!("{}: a thread on each of {cores} cores{generator}", subject.label()))
}

/// What the generator itself could do in this scenario.
fn ceilings(scenario: &Scenario) -> Option<String> {
    let rates: Vec<_> = scenario
        .ceilings
        .iter()
        .map(|it| format!("{} ({})", format::rate(it.per_second), it.load))
        .collect();
    let is_shown = scenario.metrics.contains(&Metric::ReceivedPerSecond) && !rates.is_empty();
    is_shown.then(|| {
        format!(
            "{}: the generator's own ceiling in messages/s, measured against a server that does \
             as little as one can: {}.",
            scenario.id,
            rates.join("; ")
        )
    })
}
