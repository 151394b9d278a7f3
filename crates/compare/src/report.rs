//! The forms in which results are shown.

use anyhow::Context;

use crate::results::Results;

mod finding;
mod html;
mod markdown;
mod plot;
mod table;
mod text;

pub use html::{PLOT_STYLE, figures, html};
pub use markdown::markdown;
pub use text::text;

/// Everything, as `schema.json` describes it.
///
/// # Errors
///
/// A value has no JSON form: none is known.
pub fn json(results: &Results) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(results).context("the results have no JSON form")? + "\n")
}

/// A line for each median: long, as plotting programs and data frames like it.
///
/// # Errors
///
/// A value has no CSV form: none is known.
pub fn csv(results: &Results) -> anyhow::Result<String> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "scenario", "subject", "name", "load", "clients", "outcome", "metric", "median", "low",
        "high", "rounds", "marks",
    ])?;
    for (scenario, measurement) in results.measurements() {
        let name = results.subject(&measurement.subject).map_or("", |subject| &subject.name);
        let marks = serde_json::to_value(&measurement.marks)?;
        let marks: Vec<_> =
            marks.as_array().into_iter().flatten().filter_map(|mark| mark.as_str()).collect();
        let mut row = |metric: &str, [median, low, high]: [String; 3]| {
            table.write_record([
                &scenario.id,
                &measurement.subject,
                name,
                &measurement.load.to_string(),
                &measurement.load.clients.to_string(),
                &measurement.outcome,
                metric,
                &median,
                &low,
                &high,
                &measurement.rounds.len().to_string(),
                &marks.join(" "),
            ])
        };
        if measurement.summary.is_empty() {
            row("", [const { String::new() }; 3])?;
        }
        for (metric, it) in &measurement.summary {
            row(&metric.to_string(), [it.median, it.low, it.high].map(|value| value.to_string()))?;
        }
    }
    Ok(String::from_utf8(table.into_inner()?)?)
}
