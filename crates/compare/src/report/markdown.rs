use std::fmt::{self, Write};

use super::finding::finding;
use super::table::{Kind, Table, notes};
use crate::results::Results;

/// The same tables as in the terminal, for a page.
///
/// # Errors
///
/// None, in truth: a string takes everything.
pub fn markdown(results: &Results) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for scenario in results.scenarios.iter().filter(|it| !it.measurements.is_empty()) {
        writeln!(out, "## {}\n\n{}\n", scenario.id, scenario.question)?;
        if let Some(finding) = finding(results, scenario) {
            writeln!(out, "**{finding}**\n")?;
        }
        let table = Table::of(results, scenario);
        let columns = table.head.len();
        writeln!(out, "|{} |", table.head.join(" | "))?;
        writeln!(out, "|---{}|", "|--:".repeat(columns - 1))?;
        for group in &table.groups {
            writeln!(out, "| **{}** {}|", group.title, "| ".repeat(columns - 1))?;
            for row in &group.rows {
                let cells = row.cells.join(" | ");
                let missing = " |".repeat(columns - 1 - row.cells.len());
                let failed = if row.kind == Kind::Failed { "**" } else { "" };
                writeln!(out, "| {} | {failed}{}{failed} |{missing}", row.label, cells.trim_end())?;
            }
        }
        writeln!(out)?;
    }
    for note in notes(results) {
        // An asterisk at the beginning would make a list.
        writeln!(out, "- {}", note.replace('*', "\\*"))?;
    }
    Ok(out)
}
