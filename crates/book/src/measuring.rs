//! The figures of the chapter on measuring, and the plots: from kept runs, as [`crate::measured`].
//!
//! `book/measured/measuring.json` is what
//! `cargo xtask compare lies headline slow-reader --stages 04,06,07 --format json` wrote.

use std::path::Path;

use anyhow::Context;
use chrono::DateTime;
use compare::metric::Metric;
use compare::results::{Load, Measurement, Pace, Trouble};
use compare::{Results, report};

use crate::kept::{self, Kept};

/// Where that run is kept, from the root of the workspace.
const FILE: &str = "book/measured/measuring.json";

/// The style sheet of the plots, from the root of the workspace.
pub(crate) const STYLE: &str = "book/theme/plot.css";

/// The stage that is measured rightly and wrongly.
const SUBJECT: &str = "06";

/// The page of parts that the chapter includes, one for each anchor.
///
/// # Errors
/// A run cannot be read, or lacks a figure that the book tells of.
pub(crate) fn page(root: &Path) -> anyhow::Result<String> {
    Ok(kept::page(parts(root)?))
}

fn parts(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let run = Kept::read(root, FILE)?;
    let of = |clients, trouble| {
        let is_it = move |load: &Load| {
            load.clients == clients && load.trouble == trouble && !has_clock(load)
        };
        run.find("lies", SUBJECT, is_it)
    };
    let right = of(50, None)?;
    let mut parts: Vec<_> = [
        (
            "same-core",
            table(
                ("06", ECHO),
                &[
                    ("1 connection; each has a core", of(1, None)?),
                    ("1 connection; both on one core", of(1, Some(Trouble::SameCore))?),
                    ("50 connections; each has a core", right),
                    ("50 connections; both on one core", of(50, Some(Trouble::SameCore))?),
                ],
            ),
        ),
        ("ceiling", ceiling(&run)?),
        (
            "cold",
            table(
                ("06, 50 connections", ECHO),
                &[
                    ("two seconds, after a warm-up", right),
                    ("the first twentieth of a second", of(50, Some(Trouble::Cold))?),
                ],
            ),
        ),
        ("soft-interrupts", table(("06, 50 connections", CORES), &[("echo", right)])),
        (
            "pause",
            table(
                ("06 stands still for a second; the next message is sent by", PAUSED),
                &[
                    ("who has been answered", run.find("lies", SUBJECT, is_closed)?),
                    (
                        "the clock",
                        run.find("lies", SUBJECT, |it| matches!(it.pace, Pace::PerSecond(_)))?,
                    ),
                ],
            ),
        ),
        ("slow-reader", slow_reader(&run)?),
        ("headline", headline(&run)?),
        ("machine", machine(&run.results)),
    ]
    .into_iter()
    .map(|(anchor, text)| (anchor.to_owned(), text))
    .collect();

    let run = Kept::read(root, crate::measured::FILE)?;
    parts.push(("rounds".to_owned(), rounds(&run)?));
    for id in ["echo", "broadcast"] {
        let plots = report::figures(&run.results, run.scenario(id)?)?;
        parts.push((format!("plots-{id}"), plots));
    }
    Ok(parts)
}

/// What is in the columns of a table, and what stands over each.
type Columns = &'static [(Metric, &'static str)];

const ECHO: Columns = &[
    (Metric::ReceivedPerSecond, "round trips a second"),
    (Metric::LatencyP50, "p50"),
    (Metric::LatencyP99, "p99"),
];
const PAUSED: Columns =
    &[(Metric::LatencyP50, "p50"), (Metric::LatencyP99, "p99"), (Metric::LatencyMax, "longest")];
const CORES: Columns = &[
    (Metric::ServerCpu, "cores that its process used"),
    (Metric::ServerCoreBusy, "cores that were busy for it"),
];

fn table((head, columns): (&str, Columns), rows: &[(&str, &Measurement)]) -> String {
    let mut text = format!("| {head} |");
    columns.iter().for_each(|(_, label)| text += &format!(" {label} |"));
    text += &format!("\n|---|{}\n", "---|".repeat(columns.len()));
    for (label, measurement) in rows {
        text += &format!("| {label} |");
        for (metric, _) in columns {
            text += &format!(" {} |", shown(measurement, *metric));
        }
        text += "\n";
    }
    text
}

/// What the generator can do, and how near to it the stages came.
fn ceiling(run: &Kept) -> anyhow::Result<String> {
    let ceiling = run.scenario("lies")?.ceilings.iter().find(|it| it.load.clients == 50);
    let ceiling = ceiling.context("the generator was not measured")?;
    let mut text =
        "| 50 connections | round trips a second | of the ceiling |\n|---|---|---|\n".to_owned();
    let rate = Metric::ReceivedPerSecond;
    text += &format!("| the generator itself | {} | |\n", rate.show(ceiling.per_second));
    for stage in ["04", SUBJECT, "07"] {
        let it = run.find("lies", stage, |load| *load == ceiling.load)?;
        let share = it.median(rate).unwrap_or_default() / ceiling.per_second * 100.0;
        text += &format!("| {stage} | {} | {share:.0} % |\n", shown(it, rate));
    }
    Ok(text)
}

/// What single rounds said of the same thing.
fn rounds(run: &Kept) -> anyhow::Result<String> {
    let mut text =
        "| 1 connection | round trips a second, round by round |\n|---|---|\n".to_owned();
    for stage in ["04", SUBJECT, "07"] {
        let measurement = run.find("echo", stage, |load| load.clients == 1)?;
        let rate = |round: &compare::results::Round| {
            round
                .metrics
                .get(&Metric::ReceivedPerSecond)
                .map(|it| Metric::ReceivedPerSecond.show(*it))
        };
        let rates: Vec<_> = measurement.rounds.iter().filter_map(rate).collect();
        text += &format!("| {} | {} |\n", label(&run.results, stage), rates.join(", "));
    }
    Ok(text)
}

fn slow_reader(run: &Kept) -> anyhow::Result<String> {
    let mut text =
        "| 20 clients, 8,000 lines a second | p50 | p99 | delivered |\n|---|---|---|---|\n"
            .to_owned();
    for stage in ["04", SUBJECT] {
        let it = run.find("slow-reader", stage, |_| true)?;
        let [p50, p99, delivered] =
            [Metric::LatencyP50, Metric::LatencyP99, Metric::Delivered].map(|of| shown(it, of));
        text += &format!("| {} | {p50} | {p99} | {delivered} |\n", label(&run.results, stage));
    }
    Ok(text)
}

fn headline(run: &Kept) -> anyhow::Result<String> {
    let mut text =
        "| | lines a second in | out | delivered | p99 |\n|---|---|---|---|---|\n".to_owned();
    for load in run.scenario("headline")?.loads() {
        let it = run.find("headline", SUBJECT, |it| it == load)?;
        let [sent, received, delivered, p99] = [
            Metric::SentPerSecond,
            Metric::ReceivedPerSecond,
            Metric::Delivered,
            Metric::LatencyP99,
        ]
        .map(|of| shown(it, of));
        text += &format!("| {load} | {sent} | {received} | {delivered} | {p99} |\n");
    }
    Ok(text)
}

fn machine(run: &Results) -> String {
    let seconds = i64::try_from(run.unix_time).unwrap_or_default();
    let day = DateTime::from_timestamp(seconds, 0).unwrap_or_default().date_naive();
    let commit = run.commit.as_deref().unwrap_or("unknown");
    format!("{}; commit {commit}, {day}", run.machine)
}

fn has_clock(load: &Load) -> bool {
    matches!(load.pace, Pace::PerSecond(_) | Pace::AtMostPerSecond(_))
}

fn is_closed(load: &Load) -> bool {
    matches!(load.pace, Pace::AtMostPerSecond(_))
}

fn label(run: &Results, stage: &str) -> String {
    run.subject(stage).map_or_else(|| stage.to_owned(), compare::results::Subject::label)
}

fn shown(measurement: &Measurement, metric: Metric) -> String {
    measurement.median(metric).map_or_else(|| "–".to_owned(), |value| metric.show(value))
}
