//! What the book shows of the catalogue: every case with the reason why it matters, and the matrix
//! of what the stages make of them.
//!
//! Both are files under `book/src/generated`. The cases follow from the catalogue alone. The matrix
//! is written from a run, and [`disagreements`] holds it against the manifests and the catalogue
//! without one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use conformance::{Case, Reach, Verdict, catalogue};

use crate::{Kind, Report, Row, Stage};

/// The anchor of a case on the page: `conc-01`.
pub fn anchor(case: &Case) -> String {
    case.id.replace('/', "-")
}

/// The families, in a few words each.
const FAMILIES: [(&str, &str); 8] = [
    ("proc", "The server as a process"),
    ("echo", "One client and its own bytes"),
    ("conc", "Several clients at once"),
    ("close", "How clients leave"),
    ("bcast", "Who hears what"),
    ("host", "A hostile world"),
    ("res", "What clients leave behind"),
    ("scale", "Thousands"),
];

/// Writes both files from a run of all cases against all stages.
///
/// # Errors
/// The run is not as expected, so that the book would be wrong; or a file cannot be written.
pub fn write(root: &Path, stages: &[Stage], report: &Report) -> anyhow::Result<()> {
    ensure!(report.exit_code() == 0, "the matrix of the book is written from a run that is right");
    ensure!(report.servers.len() == stages.len(), "the matrix of the book has all stages");
    let [cases, matrix] = files(root);
    fs::create_dir_all(cases.parent().context("it is in a directory")?)?;
    fs::write(&cases, cases_page()).with_context(|| format!("cannot write {}", cases.display()))?;
    fs::write(&matrix, matrix_page(report))
        .with_context(|| format!("cannot write {}", matrix.display()))
}

/// Where the committed files differ from the catalogue and the manifests.
///
/// # Errors
/// A file or a manifest cannot be read.
pub fn disagreements(root: &Path) -> anyhow::Result<Vec<String>> {
    let [cases, matrix] = files(root);
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut found = Vec::new();
    if read(&cases)? != cases_page() {
        found.push("cases.md is not what the catalogue says".to_owned());
    }
    let stages = Stage::all(root)?;
    let matrix = read(&matrix)?;
    let mut rows = matrix.lines().filter(|line| line.starts_with("| ["));
    for case in catalogue() {
        let Some(row) = rows.next().filter(|row| row.contains(&format!("[{}]", case.id))) else {
            found.push(format!("matrix.md has no row for {} at its place", case.id));
            break;
        };
        let cells = row.trim_matches('|').split('|').skip(2).map(str::trim);
        for (stage, cell) in stages.iter().zip(cells) {
            let expected = expected(case, stage);
            if !expected.iter().any(|kind| sign_of(cell) == kind.sign()) {
                found.push(format!("matrix.md says {cell} for {} on {}", case.id, stage.name));
            }
        }
    }
    if rows.next().is_some() {
        found.push("matrix.md has more rows than the catalogue has cases".to_owned());
    }
    Ok(found)
}

/// What may come of a case on a stage. Whether a case judges or measures only itself knows.
fn expected(case: &Case, stage: &Stage) -> Vec<Kind> {
    let profile = &stage.profile;
    let mode = case.needs.mode(&profile.modes);
    if mode.is_none() || profile.not_applicable.contains_key(case.id) {
        vec![Kind::NotApplicable]
    } else if profile.info.iter().any(|id| id == case.id) {
        vec![Kind::Info]
    } else if profile.designed(case.id).is_some() {
        vec![Kind::Designed]
    } else {
        vec![Kind::Good, Kind::Info]
    }
}

/// The sign in a cell of the matrix: one that is a link, or has a remark, has more behind it.
fn sign_of(cell: &str) -> &str {
    cell.trim_start_matches('[').split([']', '*']).next().unwrap_or_default()
}

fn files(root: &Path) -> [PathBuf; 2] {
    ["cases.md", "matrix.md"].map(|name| root.join("book/src/generated").join(name))
}

const NOTE: &str = "<!-- Written by `cargo xtask check --all-stages --all --write-book`. -->\n\n";

/// Each case with a heading of its own.
fn cases_page() -> String {
    let mut text = NOTE.to_owned();
    let all: Vec<_> = catalogue().collect();
    for family in all.chunk_by(|a, b| a.family() == b.family()) {
        let name = family[0].family();
        let title = FAMILIES.iter().find(|(it, _)| *it == name).map_or("", |(_, title)| title);
        put(&mut text, format_args!("## {title}: {name} {{#{name}}}\n\n"));
        for case in family {
            put(
                &mut text,
                format_args!("### {}: {} {{#{}}}\n\n", case.id, case.title, anchor(case)),
            );
            put(&mut text, format_args!("{}\n\n{}\n\n", case.why, needs(case)));
        }
    }
    text
}

fn needs(case: &Case) -> String {
    let mode = match case.needs {
        conformance::Needs::Echo => "a server that echoes",
        conformance::Needs::Broadcast => "a server that broadcasts",
        conformance::Needs::Any => "any server",
    };
    let reach = match case.reach {
        Reach::Address => ", and of that only the address",
        Reach::Process => "",
        Reach::Flags => ", with our flags",
    };
    let heavy = if case.heavy { " It is heavy: it runs when asked for." } else { "" };
    format!("*Needs {mode}{reach}.{heavy}*")
}

/// The table, and what was measured.
fn matrix_page(report: &Report) -> String {
    let mut text = NOTE.to_owned();
    let names: Vec<_> = report.servers.iter().map(|it| it.server.name.as_str()).collect();
    let links =
        names.iter().map(|name| format!(" [{}]({name}.md) |", name.trim_start_matches("stage-")));
    put(&mut text, format_args!("| case | title |{}\n", links.collect::<String>()));
    put(&mut text, format_args!("|---|---|{}\n", "---|".repeat(names.len())));
    for (place, first) in report.servers[0].rows.iter().enumerate() {
        let cells = report.servers.iter().zip(&names).map(|(it, name)| cell(&it.rows[place], name));
        let Case { id, title, .. } = first.case;
        let anchor = anchor(first.case);
        put(
            &mut text,
            format_args!("| [{id}](#{anchor}) | {title} |{}\n", cells.collect::<String>()),
        );
    }
    text += "\nWhat was measured and not judged in this run:\n\n";
    for (place, first) in report.servers[0].rows.iter().enumerate() {
        let measured = |row: &Row| match &row.verdict {
            Verdict::Info(text) => Some(text.lines().next().unwrap_or_default().to_owned()),
            _ => None,
        };
        let rows = report.servers.iter().zip(&names);
        let figures: Vec<_> = rows
            .filter_map(|(it, name)| Some(format!("{name}: {}", measured(&it.rows[place])?)))
            .collect();
        if !figures.is_empty() {
            let Case { id, title, .. } = first.case;
            put(&mut text, format_args!("- [{id}](#{}), {title}\n", anchor(first.case)));
            figures.iter().for_each(|it| put(&mut text, format_args!("  - {it}\n")));
        }
    }
    text
}

/// One cell. A flaw that is designed leads to the chapter that teaches it.
fn cell(row: &Row, stage: &str) -> String {
    let sign = row.kind().sign();
    match &row.verdict {
        Verdict::Designed(signature) => format!(" [{sign}]({stage}.md \"{signature}\") |"),
        Verdict::NonStrict(_) => format!(" {sign}* |"),
        _ => format!(" {sign} |"),
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_a_title() {
        let untold: Vec<_> = catalogue()
            .map(Case::family)
            .filter(|family| !FAMILIES.iter().any(|(name, _)| name == family))
            .collect();
        assert!(untold.is_empty(), "{untold:?}");
    }

    #[test]
    fn a_sign_is_known_whatever_stands_behind_it() {
        let cells = ["✓", "✓*", "i", "[◆](stage-05.md \"asleep in accept\")"];
        assert_eq!(cells.map(sign_of), ["✓", "✓", "i", "◆"]);
    }

    #[test]
    fn the_committed_matrix_agrees_with_the_manifests_and_the_catalogue() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let found = disagreements(root).unwrap();
        assert!(
            found.is_empty(),
            "cargo xtask check --all-stages --all --write-book\n{}",
            found.join("\n")
        );
    }
}
