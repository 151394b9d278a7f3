//! A report for programs.

use std::time::Duration;

use harness::{Event, Log};
use serde::Serialize;

use crate::{Explanation, Report, Row, ServerReport};

/// The report as JSON: an object with `version` 1 and `servers`, each with its `cases`.
pub fn render(report: &Report) -> String {
    let document = Document {
        version: 1,
        seed: report.seed,
        seconds: seconds(report.took),
        exit_code: report.exit_code(),
        servers: report.servers.iter().map(OneServer::from).collect(),
    };
    serde_json::to_string_pretty(&document).expect("all keys are strings") + "\n"
}

#[derive(Serialize)]
struct Document<'r> {
    version: u32,
    seed: u64,
    seconds: f64,
    exit_code: u8,
    servers: Vec<OneServer<'r>>,
}

#[derive(Serialize)]
struct OneServer<'r> {
    name: &'r str,
    judged_as: &'r str,
    cases: Vec<OneCase<'r>>,
}

#[derive(Serialize)]
struct OneCase<'r> {
    id: &'r str,
    title: &'r str,
    why: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    verdict: &'r str,
    as_expected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symptom: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<OneExplanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_again: Option<&'r str>,
    seed: u64,
    seconds: f64,
    /// One for each server that the case started.
    wire: Vec<Wire>,
}

#[derive(Serialize)]
struct OneExplanation {
    summary: String,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    label: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Wire {
    /// How many events are left out in the middle.
    left_out: usize,
    events: Vec<OneEvent>,
}

#[derive(Serialize)]
struct OneEvent {
    seconds: f64,
    who: String,
    what: String,
    #[serde(skip_serializing_if = "is_zero")]
    bytes: usize,
    text: String,
}

impl<'r> From<&'r ServerReport> for OneServer<'r> {
    fn from(report: &'r ServerReport) -> Self {
        Self {
            name: &report.server.name,
            judged_as: &report.server.expect,
            cases: report.rows.iter().map(OneCase::from).collect(),
        }
    }
}

impl<'r> From<&'r Row> for OneCase<'r> {
    fn from(row: &'r Row) -> Self {
        Self {
            id: row.case.id,
            title: row.case.title,
            why: row.case.why,
            mode: row.mode.map(|mode| mode.to_string()),
            verdict: row.verdict.word(),
            as_expected: row.verdict.is_as_expected(),
            remark: row.remark(),
            symptom: row.symptom.map(|symptom| symptom.word()),
            explanation: row.explanation().map(OneExplanation::from),
            run_again: row.again,
            seed: row.seed,
            seconds: seconds(row.took),
            wire: row.logs.iter().map(Wire::from).collect(),
        }
    }
}

impl From<Explanation> for OneExplanation {
    fn from(Explanation { summary, parts }: Explanation) -> Self {
        let parts = parts.into_iter().map(|(label, text)| Part { label, text }).collect();
        Self { summary, parts }
    }
}

impl From<&Log> for Wire {
    fn from(log: &Log) -> Self {
        Self { left_out: log.left_out, events: log.events().map(OneEvent::from).collect() }
    }
}

impl From<&Event> for OneEvent {
    fn from(event: &Event) -> Self {
        Self {
            seconds: seconds(event.at),
            who: event.who.clone(),
            what: event.kind.word().to_owned(),
            bytes: event.bytes,
            text: event.text.clone(),
        }
    }
}

/// To the microsecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

fn is_zero(bytes: &usize) -> bool {
    *bytes == 0
}
