//! `check`: builds what a learner wrote, and judges it.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use exercise::grades::{Grade, Grades};
use exercise::{Built, Exercise, Judge, Part, Report, Standing, Step};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Course, print};

pub(super) const NOT_SOLVED: u8 = 1;
pub(super) const NOT_JUDGED: u8 = 3;
const DOES_NOT_COMPILE: u8 = 4;

/// Checks one exercise, and says what came out.
pub(super) fn check(course: &mut Course, exercise: &Exercise) -> anyhow::Result<ExitCode> {
    let report = run(course, exercise, Tell::Cases)?;
    print(&words(course, exercise, report.as_ref()));
    Ok(match report.as_ref().map(Report::standing) {
        Some(Standing::Solved) => ExitCode::SUCCESS,
        Some(Standing::NotYet) => NOT_SOLVED.into(),
        Some(Standing::Unknown) => NOT_JUDGED.into(),
        None => DOES_NOT_COMPILE.into(),
    })
}

/// Checks all exercises, one line each, and writes the grades where that was asked for.
pub(super) fn check_all(
    course: &mut Course,
    json: Option<&PathBuf>,
    junit: Option<&PathBuf>,
) -> anyhow::Result<ExitCode> {
    let create = |path: Option<&PathBuf>| {
        let create = |path: &PathBuf| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        path.map(create).transpose()
    };
    // What cannot be written is said before the work.
    let (json, junit) = (create(json)?, create(junit)?);
    let mut grades = Grades::default();
    for exercise in course.exercises.clone() {
        let begin = Instant::now();
        let report = run(course, &exercise, Tell::Nothing)?;
        let word = match report.as_ref().map(Report::standing) {
            Some(Standing::Solved) => "solved",
            Some(Standing::NotYet) => "not yet",
            Some(Standing::Unknown) => "not judged",
            None => "does not compile",
        };
        print(&format!("{:10} {word:16} {}\n", exercise.name, exercise.title));
        grades.exercises.push(Grade::new(&exercise, report.as_ref(), begin.elapsed()));
    }
    for (file, text) in [(json, grades.json()), (junit, grades.junit())] {
        if let Some(mut file) = file {
            file.write_all(text.as_bytes()).context("cannot write the grades")?;
        }
    }
    let (solved, all) = (grades.solved(), grades.exercises.len());
    print(&format!("\n{solved} of {all} are solved.\n"));
    Ok(if solved == all { ExitCode::SUCCESS } else { NOT_SOLVED.into() })
}

/// What is told of a check while it runs where there is no terminal, which has a bar.
#[derive(Clone, Copy)]
pub(super) enum Tell {
    /// Each case that begins.
    Cases,
    Nothing,
}

/// Builds and judges an exercise, and notes whether it is solved; no report where it does not
/// compile, which the compiler has said on stderr.
pub(super) fn run(
    course: &mut Course,
    exercise: &Exercise,
    tell: Tell,
) -> anyhow::Result<Option<Report>> {
    let Built::Programs(mut programs) = exercise::build(&course.root, &[(exercise, Part::Work)])?
    else {
        return Ok(None);
    };
    let program = programs.remove(&exercise.package()).context("cargo names no program")?;
    let judge = Judge::new(exercise, program, fastrand::u64(..1_000_000));
    let bar = progress_bar(judge.cases(true).len() + judge.cases(false).len())?;
    let report = judge.check(|step| match step {
        Step::Begins(case) if bar.is_hidden() => match tell {
            Tell::Cases => anstream::eprintln!("checking {}  {}", case.id, case.title),
            Tell::Nothing => {}
        },
        Step::Begins(case) => bar.set_message(case.id),
        Step::Ends(_) => bar.inc(1),
    });
    bar.finish_and_clear();
    let standing = report.standing();
    if standing != Standing::Unknown {
        course.progress.note(exercise, |record| record.solved = standing == Standing::Solved)?;
    }
    Ok(Some(report))
}

/// What a learner is told: the report, and what to do next.
fn words(course: &Course, exercise: &Exercise, report: Option<&Report>) -> String {
    let Some(report) = report else { return does_not_compile(exercise) };
    let name = &exercise.name;
    let mut text = format!("\n{}\n", report.explain(exercise));
    match report.standing() {
        Standing::Solved => {
            text += &format!("\nCompare: cargo xtask exercise solution {name}\n");
            text += &match course.progress.next(&course.exercises) {
                Some(next) => format!("Next:    {}  {}\n", next.name, next.title),
                None => "All exercises are solved.\n".to_owned(),
            };
        }
        Standing::NotYet => {
            let hints = course.progress.of(exercise).hints.min(Exercise::HINTS);
            text += &match Exercise::HINTS - hints {
                0 => {
                    format!("\nStuck? cargo xtask exercise solution {name} --give-up\n")
                }
                left => format!("\nStuck? cargo xtask exercise hint {name} ({left} left)\n"),
            };
        }
        Standing::Unknown => {}
    }
    text
}

/// What is said after the compiler has.
pub(super) fn does_not_compile(exercise: &Exercise) -> String {
    format!(
        "\n{}  {}\n\nIt does not compile: the compiler says why, above. Begin with its first error.\n",
        exercise.name, exercise.title
    )
}

/// On a terminal only. It shows that time passes, and which case that is for.
fn progress_bar(cases: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cases  {elapsed:>3}  {msg}")?;
    let bar = ProgressBar::new(cases as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    Ok(bar)
}
