use anyhow::Context;
use askama::Template;

use super::finding::finding;
use super::plot::{Axis, Look, Plot, Scale, Series};
use super::table::{Kind, Table, notes};
use crate::format;
use crate::metric::{Metric, Unit};
use crate::results::{Kind as Origin, Load, Measurement, Results, Round, Scenario, Slice, Subject};

/// The report: one file without anything from elsewhere, for a browser, a projector or paper.
///
/// # Errors
///
/// None is known: a string takes everything.
pub fn html(results: &Results) -> anyhow::Result<String> {
    let sections = results
        .scenarios
        .iter()
        .filter(|scenario| !scenario.measurements.is_empty())
        .map(|scenario| Section::of(results, scenario))
        .collect::<anyhow::Result<_>>()?;
    let page = Page {
        results,
        machine: results.machine.to_string(),
        scorecard: scorecard(results),
        sections,
        failures: failures(results),
        notes: notes(results),
    };
    page.render().context("the page cannot be written")
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    results: &'a Results,
    machine: String,
    scorecard: Vec<Score>,
    sections: Vec<Section>,
    failures: Vec<Failure>,
    notes: Vec<String>,
}

/// What one subject is like, over all scenarios.
struct Score {
    label: String,
    /// Whether all that it was asked came out right, and else what was wrong.
    correct: Result<(), String>,
    cells: [String; 5],
}

struct Section {
    id: String,
    question: String,
    finding: Option<String>,
    figures: String,
    table: Table,
}

/// The plots of a scenario, with a key to their lines.
#[derive(Template)]
#[template(path = "figures.html")]
struct Figures {
    /// Who has which kind of line.
    key: Vec<(Look, String)>,
    /// What each shows, and its SVG.
    plots: Vec<(String, String)>,
}

struct Failure {
    title: String,
    evidence: String,
    last_lines: Vec<String>,
}

impl Section {
    fn of(results: &Results, scenario: &Scenario) -> anyhow::Result<Self> {
        Ok(Self {
            id: scenario.id.clone(),
            question: scenario.question.clone(),
            finding: finding(results, scenario),
            figures: figures(results, scenario)?,
            table: Table::of(results, scenario),
        })
    }
}

/// The style sheet of the plots, for any page with light and dark colours.
pub const PLOT_STYLE: &str = include_str!("../../templates/plot.css");

/// The plots of a scenario as HTML without an empty line, for a page with [`PLOT_STYLE`]; nothing
/// where there are none.
///
/// # Errors
///
/// None is known: a string takes everything.
pub fn figures(results: &Results, scenario: &Scenario) -> anyhow::Result<String> {
    let mut plots = Vec::new();
    for plot in over_time(results, scenario).into_iter().chain(over_clients(results, scenario)) {
        plots.push((plot.title.clone(), plot.svg().context("a plot cannot be drawn")?));
    }
    if plots.is_empty() {
        return Ok(String::new());
    }
    let of = |(index, it): (usize, &Subject)| {
        let is_in = scenario.measurements.iter().any(|of| of.subject == it.id);
        is_in.then(|| (Look(index), it.label()))
    };
    let key = results.subjects.iter().enumerate().filter_map(of).collect();
    let page = Figures { key, plots }.render().context("the plots cannot be written")?;
    // In Markdown an empty line would end it.
    Ok(page.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"))
}

/// The metrics that get a plot, where the scenario asks for them.
const PLOTTED: [Metric; 8] = [
    Metric::ReceivedPerSecond,
    Metric::LatencyP50,
    Metric::LatencyP99,
    Metric::MemoryPerClient,
    Metric::ServerCoreBusy,
    Metric::ServerCpu,
    Metric::ServerCoreTimePerMessage,
    Metric::Threads,
];

/// A plot of each metric over the number of clients, where there were several.
fn over_clients(results: &Results, scenario: &Scenario) -> Vec<Plot> {
    // Loads that differ in more than their clients are no line.
    let loads = scenario.loads();
    let Some(first) = loads.first() else { return Vec::new() };
    let is_alike = |load: &Load| Load { clients: first.clients, ..load.clone() } == **first;
    let sizes = loads.iter().filter(|load| is_alike(load)).count();
    if sizes < 2 {
        return Vec::new();
    }
    let metrics = PLOTTED.iter().filter(|metric| scenario.metrics.contains(metric));
    metrics
        .map(|&metric| {
            let points = |subject: &str| {
                let mut line = Vec::new();
                let mut dots = Vec::new();
                for it in scenario
                    .measurements
                    .iter()
                    .filter(|it| it.subject == subject && is_alike(&it.load) && it.works())
                {
                    let x = it.load.clients as f64;
                    line.extend(it.median(metric).map(|median| [x, median]));
                    let values = it.rounds.iter().filter_map(|round| round.metrics.get(&metric));
                    dots.extend(values.map(|value| [x, *value]));
                }
                (line, dots)
            };
            let scale = match metric.unit() {
                Unit::Share => Scale::Linear,
                _ => Scale::Logarithmic,
            };
            Plot {
                id: format!("{}-{metric}", scenario.id),
                title: in_words(metric, "number of clients"),
                x: Axis {
                    label: "clients",
                    scale: Scale::Logarithmic,
                    show: |value| format::count(value.round() as usize),
                },
                y: Axis { label: metric.label(), scale, show: metric.format() },
                series: series(results, points),
            }
        })
        .filter(|plot| !plot.series.is_empty())
        .collect()
}

/// Plots of what happened within the window, where that was kept: of the last round of each.
fn over_time(results: &Results, scenario: &Scenario) -> Vec<Plot> {
    let last = |subject: &str| -> Option<&Round> {
        let of = |it: &&Measurement| it.subject == subject;
        scenario.measurements.iter().rfind(of)?.rounds.last()
    };
    if !results.subjects.iter().any(|it| last(&it.id).is_some_and(|it| !it.timeline.is_empty())) {
        return Vec::new();
    }
    type Read = fn(&Slice) -> Option<f64>;
    let kinds: [(&str, &'static str, Metric, Read); 3] = [
        ("received", "out/s", Metric::ReceivedPerSecond, |it| Some(it.received_per_second)),
        ("latency", "p99", Metric::LatencyP99, |it| it.latency_p99.map(|it| it as f64)),
        ("memory", "memory", Metric::MemoryPeak, |it| it.memory.map(|it| it as f64)),
    ];
    kinds
        .into_iter()
        .map(|(name, label, metric, read)| {
            let points = |subject: &str| {
                let slices = last(subject).map_or(&[][..], |round| &round.timeline);
                let line = slices.iter().filter_map(|slice| Some([slice.at, read(slice)?]));
                (line.collect(), Vec::new())
            };
            let scale = if name == "latency" { Scale::Logarithmic } else { Scale::Linear };
            Plot {
                id: format!("{}-{name}-over-time", scenario.id),
                title: in_words(metric, "time in seconds"),
                x: Axis { label: "seconds", scale: Scale::Linear, show: |it| format!("{it}") },
                y: Axis { label, scale, show: metric.format() },
                series: series(results, points),
            }
        })
        .filter(|plot| !plot.series.is_empty())
        .collect()
}

/// A series for each subject that has points.
fn series(
    results: &Results,
    points: impl Fn(&str) -> (Vec<[f64; 2]>, Vec<[f64; 2]>),
) -> Vec<Series> {
    let of = |(index, subject): (usize, &Subject)| {
        let (line, dots) = points(&subject.id);
        let short = if subject.kind == Origin::Stage { &subject.id } else { &subject.name };
        let short = short.clone();
        let series = Series { label: subject.label(), short, look: Look(index), line, dots };
        (!series.line.is_empty()).then_some(series)
    };
    results.subjects.iter().enumerate().filter_map(of).collect()
}

/// What a plot shows.
fn in_words(metric: Metric, over: &str) -> String {
    let what = match metric {
        Metric::ReceivedPerSecond => "Messages received a second",
        Metric::LatencyP50 => "Median latency",
        Metric::LatencyP99 => "Latency, 99th percentile",
        Metric::MemoryPerClient => "Memory a client",
        Metric::MemoryPeak => "Memory",
        Metric::ServerCoreBusy => "How busy the core was",
        Metric::ServerCpu => "Processor time, in cores",
        Metric::ServerCoreTimePerMessage => "Core time a message",
        Metric::Threads => "Threads",
        other => other.label(),
    };
    format!("{what}, over the {over}")
}

/// Stage × what matters. What was not measured is a dash.
fn scorecard(results: &Results) -> Vec<Score> {
    results
        .subjects
        .iter()
        .map(|subject| {
            let of = |id: &str| -> Vec<&Measurement> {
                let all = results.measurements().filter(|(scenario, _)| scenario.id == id);
                all.map(|(_, it)| it).filter(|it| it.subject == subject.id).collect()
            };
            // The heaviest load that it stood.
            let value = |id: &str, metric: Metric| {
                let measurements = of(id);
                let last = measurements.iter().rev().find(|it| it.works())?;
                Some((metric.show(last.median(metric)?), last.load.clients))
            };
            let at = |value: Option<(String, usize)>| {
                value.map_or_else(
                    || "–".to_owned(),
                    |(text, clients)| format!("{text} ({})", format::count(clients)),
                )
            };
            let plain = |value: Option<(String, usize)>| {
                value.map_or_else(|| "–".to_owned(), |(text, _)| text)
            };
            let slow = of("slow-reader");
            let slow = slow.first().map_or("–", |it| if it.works() { "no" } else { "yes" });
            let wrong = results
                .measurements()
                .find(|(_, it)| it.subject == subject.id && it.failed)
                .map(|(_, it)| it.outcome.clone());
            Score {
                label: subject.label(),
                correct: wrong.map_or(Ok(()), Err),
                cells: [
                    plain(value("idle", Metric::ServerCpu)),
                    at(value("idle", Metric::MemoryPerClient)),
                    at(value("echo", Metric::LatencyP50)),
                    at(value("echo", Metric::LatencyP99)),
                    slow.to_owned(),
                ],
            }
        })
        .collect()
}

fn failures(results: &Results) -> Vec<Failure> {
    let failed = results.measurements().filter(|(_, it)| it.failed);
    failed
        .filter_map(|(scenario, measurement)| {
            let round = measurement.rounds.iter().find(|round| round.failed)?;
            let label = results.subject(&measurement.subject)?.label();
            Some(Failure {
                title: format!("{label}, {}, {}: {}", scenario.id, measurement.load, round.outcome),
                evidence: round.evidence.clone().unwrap_or_default(),
                last_lines: round.last_lines.clone(),
            })
        })
        .collect()
}
