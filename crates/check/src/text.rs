//! A report on a terminal: a tree of verdicts, and what went wrong.
//!
//! The text has colours in it; who prints it takes them out where they are not wanted.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use textwrap::core::display_width;

use crate::{Count, Explanation, Kind, Report, Row, ServerReport};

const WIDTH: usize = 80;

/// The whole report.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for server in &report.servers {
        text += &tree(server);
    }
    for server in &report.servers {
        text += &explanations(server);
    }
    text + &summary(report)
}

/// What the cases say about one server, family by family.
pub fn tree(report: &ServerReport) -> String {
    let server = &report.server;
    let mut text = format!("\n{}{}{:#}", BOLD, server.name, BOLD);
    if let Some(other) = server.judged_as() {
        write!(text, "{DIM}  judged as {other}{DIM:#}").expect("a String takes all");
    }
    text.push('\n');
    for family in report.rows.chunk_by(|a, b| a.case.family() == b.case.family()) {
        text += &branch(family);
    }
    text
}

/// One family. Cases that do not apply for one and the same reason are one line.
fn branch(rows: &[Row]) -> String {
    let family = rows[0].case.family();
    let (apply, others): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row.kind() != Kind::NotApplicable);
    let mut text = match apply.as_slice() {
        [] => String::new(),
        _ => format!("  {BOLD}{family}{BOLD:#}\n"),
    };
    for row in apply {
        text += &line(row);
    }
    let mut reasons: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in others {
        let reason = row.remark().unwrap_or_default();
        match reasons.iter_mut().find(|(it, _)| *it == reason) {
            Some((_, rows)) => rows.push(row),
            None => reasons.push((reason, vec![row])),
        }
    }
    for (reason, rows) in reasons {
        let what = match rows.as_slice() {
            [one] => one.case.id.to_owned(),
            [first, .., last] => {
                format!("{} … {}, {} cases", first.case.id, last.case.id, rows.len())
            }
            [] => unreachable!("each reason has a row"),
        };
        let style = style(Kind::NotApplicable);
        text +=
            &format!("    {style}– {what}: {}{style:#}\n", cut(&reason, WIDTH - 8 - what.len()));
    }
    text
}

fn line(row: &Row) -> String {
    let style = style(row.kind());
    let head = format!("{:9} {}", row.case.id, row.case.title);
    let mut text = format!("    {style}{} {}{style:#}", row.kind().sign(), cut(&head, WIDTH - 6));
    if let Some(remark) = row.remark() {
        let width = 6 + display_width(&head);
        let room = WIDTH.saturating_sub(width + 2);
        if display_width(&remark) <= room {
            text += &format!("  {DIM}{remark}{DIM:#}");
        } else {
            text += &format!("\n                {DIM}{}{DIM:#}", cut(&remark, WIDTH - 16));
        }
    }
    text + "\n"
}

/// What went wrong with one server, case by case.
fn explanations(report: &ServerReport) -> String {
    let mut text = String::new();
    for row in &report.rows {
        let Some(explanation) = row.explanation() else { continue };
        let style = style(row.kind());
        text += &format!(
            "\n{style}{} {}  {}{style:#}  {DIM}{}{DIM:#}\n{}",
            row.kind().sign(),
            row.case.id,
            row.case.title,
            cut(&report.server.name, 24),
            explain(&explanation)
        );
    }
    text
}

/// An explanation as text: the sentence, and under it the parts.
pub fn explain(explanation: &Explanation) -> String {
    const LABEL: usize = 18;
    let summary = textwrap::wrap(&explanation.summary, WIDTH - 2).join("\n  ");
    let mut text = format!("  {summary}\n\n");
    for (label, part) in &explanation.parts {
        let indent = format!("\n{:width$}", "", width = LABEL + 4);
        text += &format!(
            "    {DIM}{label:LABEL$}{DIM:#}{}\n",
            wrapped(part, WIDTH - LABEL - 4).join(&indent)
        );
    }
    text
}

/// Lines of at most `width` columns; what begins further to the right goes on there.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let wrap = |line: &str| {
        let indent = &line[..line.len() - line.trim_start().len()];
        match display_width(line) <= width || indent.len() > width / 2 {
            true => vec![line.to_owned()],
            false => textwrap::wrap(line, textwrap::Options::new(width).subsequent_indent(indent))
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    };
    text.lines().flat_map(wrap).collect()
}

/// One or two lines at the end.
pub fn summary(report: &Report) -> String {
    let count = report.count();
    let Count { good, designed, info, not_applicable, inconclusive, bad } = count;
    let parts = [
        (good, Kind::Good, "as required"),
        (designed, Kind::Designed, "fail as designed"),
        (info, Kind::Info, "measured"),
        (bad, Kind::Bad, "wrong"),
        (inconclusive, Kind::Inconclusive, "could not be checked"),
        (not_applicable, Kind::NotApplicable, "not applicable"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, kind, word)| {
            let style = style(kind);
            format!("{style}{count} {word}{style:#}")
        })
        .collect();
    let note = if count.is_of_nothing() { ": nothing was checked" } else { "" };
    let seconds = report.took.as_secs_f64();
    format!("\n{}{note}\n{DIM}{seconds:.1} s, --seed {}{DIM:#}\n", parts.join(", "), report.seed)
}

fn cut(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for character in text.chars() {
        if display_width(&cut) + 2 > width {
            break;
        }
        cut.push(character);
    }
    cut + "…"
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

fn style(kind: Kind) -> Style {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match kind {
        Kind::Good => colour(AnsiColor::Green),
        Kind::Designed => colour(AnsiColor::Magenta),
        Kind::Info => colour(AnsiColor::Cyan),
        Kind::NotApplicable => Style::new().dimmed(),
        Kind::Inconclusive => colour(AnsiColor::Yellow),
        Kind::Bad => colour(AnsiColor::Red).bold(),
    }
}
