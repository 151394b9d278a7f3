//! `cargo xtask check --kill-matrix`: what the cases make of every server of known truth.

use std::num::NonZero;
use std::path::Path;
use std::thread;

use anyhow::Context;
use conformance::Case;
use specimens::{Cell, Expectation, Matrix, Shot, specimens};

/// Runs `cases`, and prints the matrix. The exit status is 1 if a cell is not what it has to be.
pub(crate) fn run(root: &Path, cases: &[&'static Case]) -> anyhow::Result<u8> {
    let program = check::build(root, &[("specimens", "specimen")])?;
    let program = program.get("specimen").context("cargo names no program")?;
    harness::kill_servers_on_interrupt().context("cannot catch Ctrl-C")?;
    let specimens = specimens();
    let mut shots: Vec<_> = specimens.iter().flat_map(Shot::all).collect();
    shots.retain(|shot| cases.iter().any(|case| case.id == shot.case.id));

    let bar = super::progress_bar(shots.len());
    // Servers that do nothing are mostly waited for.
    let workers = 2 * thread::available_parallelism().map_or(1, NonZero::get);
    let matrix = Matrix::run(&shots, program, workers, |cell| {
        bar.inc(1);
        bar.set_message(format!("{} {}", cell.shot.specimen.name, cell.shot.case.id));
    });
    bar.finish_and_clear();

    let wrong: Vec<_> = matrix.cells.iter().filter(|cell| !cell.is_as_expected()).collect();
    let mut text = strips(&matrix, cases);
    wrong.iter().for_each(|cell| text += &format!("\n{cell}\n"));
    let caught = matrix.cells.iter().filter(|cell| cell.is_caught()).count();
    text += &format!(
        "\n{} servers, {} runs: {caught} failures found, {} runs not as they have to be\n",
        specimens.len(),
        matrix.cells.len(),
        wrong.len()
    );
    super::print(&text);
    Ok(u8::from(!wrong.is_empty()))
}

/// A line for each specimen and mode, with a sign for each case.
fn strips(matrix: &Matrix<'_>, cases: &[&'static Case]) -> String {
    let families: Vec<_> = cases.chunk_by(|a, b| a.family() == b.family()).collect();
    let all = |sign: &dyn Fn(&Case) -> char| {
        let strip = families.iter().map(|family| family.iter().map(|it| sign(it)).collect());
        strip.collect::<Vec<String>>().join(" ")
    };
    let mut text =
        "X is caught as it must be, x fails too, · passes, ! is not as it has to be\n".to_owned();
    let names: Vec<_> = families
        .iter()
        .map(|family| format!("{:width$.width$}", family[0].family(), width = family.len()))
        .collect();
    text += &format!("\n{}\n", names.join(" "));
    for cells in matrix.cells.chunk_by(|a, b| key(a) == key(b)) {
        let shot = cells[0].shot;
        let sign = |case: &Case| match cells.iter().find(|cell| cell.shot.case.id == case.id) {
            None => ' ',
            Some(cell) if !cell.is_as_expected() => '!',
            Some(cell) => match cell.shot.expectation() {
                Expectation::Caught(_) => 'X',
                _ if cell.is_caught() => 'x',
                _ => '·',
            },
        };
        let strip = all(&sign);
        let separator = if cases.len() > 24 { "\n    " } else { "  " };
        text += &format!("{strip}{separator}{} ({})\n", shot.specimen.name, shot.mode);
    }
    text
}

/// What one line is about.
fn key<'c>(cell: &Cell<'c>) -> (&'c str, conformance::Mode) {
    (cell.shot.specimen.name.as_str(), cell.shot.mode)
}
