use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, presets};

use super::finding::finding;
use super::table::{Kind, Table, notes};
use crate::format::wrap;
use crate::results::{Results, Scenario};

const TITLE: Style = Style::new().bold();
const HEAD: Style = Style::new().dimmed();
const LIMIT: Style = AnsiColor::Yellow.on_default();
const FAILURE: Style = AnsiColor::Red.on_default().bold();
const WIDTH: usize = 80;

/// A table for each scenario, at most 80 columns wide, with escape codes for colours.
///
/// # Errors
///
/// None, in truth: a string takes everything.
pub fn text(results: &Results) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for scenario in results.scenarios.iter().filter(|it| !it.measurements.is_empty()) {
        write_scenario(&mut out, results, scenario)?;
        writeln!(out)?;
    }
    write_failures(&mut out, results)?;
    for note in notes(results) {
        for line in wrap(&note, WIDTH) {
            writeln!(out, "{HEAD}{line}{HEAD:#}")?;
        }
    }
    Ok(out)
}

fn write_scenario(out: &mut String, results: &Results, scenario: &Scenario) -> fmt::Result {
    for line in wrap(&format!("{}: {}", scenario.id, scenario.question), WIDTH) {
        writeln!(out, "{TITLE}{line}{TITLE:#}")?;
    }
    for line in finding(results, scenario).iter().flat_map(|finding| wrap(finding, WIDTH)) {
        writeln!(out, "{line}")?;
    }
    let table = Table::of(results, scenario);
    let mut lines = comfy_table::Table::new();
    lines.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    lines.set_header(table.head.iter().enumerate().map(|(index, head)| {
        // What stands behind the first figure, mark or not, is as wide as a mark.
        if index == 1 { format!("{head}  ") } else { head.clone() }
    }));
    let rows = || table.groups.iter().flat_map(|group| &group.rows);
    for row in rows() {
        let label = format!("  {}", row.label);
        let cells = if row.kind == Kind::Failed { &[][..] } else { &row.cells };
        lines.add_row(std::iter::once(&label).chain(cells));
    }
    for (index, column) in lines.column_iter_mut().enumerate() {
        let alignment = if index == 0 { CellAlignment::Left } else { CellAlignment::Right };
        column.set_cell_alignment(alignment);
        column.set_padding((0, if index == 0 { 1 } else { 2 }));
    }
    let width = rows().map(|row| row.label.chars().count()).max().unwrap_or(0) + 4;
    let lines = lines.to_string();
    let mut lines = lines.lines().map(str::trim_end);
    writeln!(out, "{HEAD}{}{HEAD:#}", lines.next().unwrap_or_default())?;
    for group in &table.groups {
        writeln!(out, "{TITLE}{}{TITLE:#}", group.title)?;
        for (row, line) in group.rows.iter().zip(&mut lines) {
            match row.kind {
                Kind::Works => writeln!(out, "{line}")?,
                Kind::Limited => writeln!(out, "{LIMIT}{line}{LIMIT:#}")?,
                // Instead of all figures.
                Kind::Failed => {
                    let label = format!("  {}", row.label);
                    let outcome = row.cells.concat();
                    writeln!(out, "{FAILURE}{label:<width$}{outcome}{FAILURE:#}")?;
                }
            }
        }
    }
    Ok(())
}

/// What is known of failures, and why others did less than was asked.
fn write_failures(out: &mut String, results: &Results) -> fmt::Result {
    for (scenario, measurement) in results.measurements().filter(|(_, it)| it.failed) {
        let Some(round) = measurement.rounds.iter().find(|round| round.failed) else { continue };
        let label = results
            .subject(&measurement.subject)
            .map_or_else(|| measurement.subject.clone(), |subject| subject.label());
        let (id, load) = (&scenario.id, &measurement.load);
        let what = format!("{label}, {id}, {load}, round {}: {}", round.number, round.outcome);
        writeln!(out, "{FAILURE}{what}{FAILURE:#}")?;
        for line in round.evidence.iter().flat_map(|evidence| wrap(evidence, WIDTH - 2)) {
            writeln!(out, "  {}", line.trim_start())?;
        }
        for line in round.last_lines.iter().filter(|line| !line.is_empty()) {
            writeln!(out, "  its log: {line}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
