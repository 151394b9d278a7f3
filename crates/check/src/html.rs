//! A report as one page that needs nothing else: a table of cases by servers, each cell of which
//! opens what was seen.

use std::time::Duration;

use askama::Template;
use harness::Log;

use crate::{Count, Explanation, Kind, Report, Row};

/// The page.
pub fn render(report: &Report) -> String {
    let servers: Vec<_> = report
        .servers
        .iter()
        .zip(1..)
        .map(|(it, number)| Column {
            label: label(&it.server.name, number),
            name: it.server.name.clone(),
            judged_as: it.server.judged_as().map(str::to_owned),
        })
        .collect();
    let page = Page {
        title: servers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", "),
        overall: match report.exit_code() {
            0 => Kind::Good,
            3 => Kind::Inconclusive,
            _ => Kind::Bad,
        }
        .word(),
        summary: summary(report.count()),
        families: families(report),
        legend: [
            (Kind::Good, "as required"),
            (Kind::Designed, "fails as designed"),
            (Kind::Bad, "wrong"),
            (Kind::Inconclusive, "could not be checked"),
            (Kind::Info, "measured"),
            (Kind::NotApplicable, "does not apply"),
        ]
        .map(|(kind, word)| (kind.sign(), kind.word(), word)),
        servers,
        seconds: format!("{:.1} s", report.took.as_secs_f64()),
        seed: report.seed,
        style: include_str!("../templates/report.css"),
        script: include_str!("../templates/report.js"),
    };
    page.render().expect("a String takes all")
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    title: String,
    overall: &'static str,
    summary: String,
    servers: Vec<Column>,
    legend: [(&'static str, &'static str, &'static str); 6],
    families: Vec<Family>,
    seconds: String,
    seed: u64,
    style: &'static str,
    script: &'static str,
}

/// A server.
struct Column {
    label: String,
    name: String,
    judged_as: Option<String>,
}

struct Family {
    name: &'static str,
    rows: Vec<Line>,
}

/// A case.
struct Line {
    id: &'static str,
    title: &'static str,
    why: &'static str,
    cells: Vec<Cell>,
}

/// A case against a server.
struct Cell {
    key: String,
    label: String,
    server: String,
    class: &'static str,
    sign: &'static str,
    verdict: &'static str,
    remark: String,
    explanation: Option<Explanation>,
    logs: Vec<Wire>,
}

struct Wire {
    events: Vec<OneEvent>,
}

struct OneEvent {
    /// How many are left out before it.
    gap: usize,
    at: String,
    who: String,
    kind: &'static str,
    bytes: usize,
    text: String,
}

/// What stands at the head of a column, which is narrow: `05`, or the server's number.
fn label(name: &str, number: usize) -> String {
    match name.strip_prefix("stage-") {
        Some(stage) => stage.to_owned(),
        None => number.to_string(),
    }
}

fn summary(count: Count) -> String {
    let Count { good, designed, info, not_applicable, inconclusive, bad } = count;
    let head = match (bad, inconclusive) {
        (0, 0) if count.is_of_nothing() => "Nothing was checked".to_owned(),
        (0, 0) => "All as expected".to_owned(),
        (0, _) => format!("{inconclusive} could not be checked"),
        (_, 0) => format!("{bad} wrong"),
        _ => format!("{bad} wrong, {inconclusive} could not be checked"),
    };
    let others = [
        (good, "as required"),
        (designed, "fail as designed"),
        (info, "measured"),
        (not_applicable, "not applicable"),
    ];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    let others: Vec<_> = others.map(|(count, word)| format!("{count} {word}")).collect();
    match others.as_slice() {
        [] => format!("{head}."),
        others => format!("{head}; {}.", others.join(", ")),
    }
}

/// The rows of the table. All servers were judged by the same cases.
fn families(report: &Report) -> Vec<Family> {
    let Some(first) = report.servers.first() else { return Vec::new() };
    let places: Vec<_> = (0..first.rows.len()).collect();
    let family = |place: usize| first.rows[place].case.family();
    let line = |&place: &usize| {
        let case = first.rows[place].case;
        let cells = report.servers.iter().zip(1..);
        let cells = cells.map(|(it, number)| cell(&it.rows[place], &it.server.name, number));
        Line { id: case.id, title: case.title, why: case.why, cells: cells.collect() }
    };
    places
        .chunk_by(|&a, &b| family(a) == family(b))
        .map(|places| Family { name: family(places[0]), rows: places.iter().map(line).collect() })
        .collect()
}

fn cell(row: &Row, server: &str, number: usize) -> Cell {
    let kind = row.kind();
    let verdict = row.verdict.word();
    let remark = row.remark().unwrap_or_default();
    let label = format!("{} on {server}: {verdict} {remark}", row.case.id);
    Cell {
        key: format!("{}-{number}", row.case.id.replace('/', "-")),
        label: label.trim_end().to_owned(),
        server: server.to_owned(),
        class: kind.word(),
        sign: kind.sign(),
        verdict,
        remark,
        explanation: row.explanation(),
        logs: row.logs.iter().map(wire).collect(),
    }
}

fn wire(log: &Log) -> Wire {
    let gap_before = (log.left_out > 0).then_some(log.head.len());
    let event = |(place, event): (usize, &harness::Event)| OneEvent {
        gap: if gap_before == Some(place) { log.left_out } else { 0 },
        at: milliseconds(event.at),
        who: event.who.clone(),
        kind: event.kind.word(),
        bytes: event.bytes,
        text: event.text.clone(),
    };
    Wire { events: log.events().enumerate().map(event).collect() }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
