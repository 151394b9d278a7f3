//! `cargo xtask exercise`: what there is to do, and whether it is done.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use exercise::{Beginning, Built, Exercise, Judge, Part, Progress, Standing, Unknown};
use indicatif::{ProgressBar, ProgressStyle};

/// Exercises: change a stage, and have the change judged
///
/// Each exercise is a package under crates/exercises: a stage's listing with a place marked `todo`,
/// or with a flaw to be found; a README that says what to do, three hints and a solution. NAME is its name, or a part of it
/// that no other has: `05` or `accept`. Without NAME it is the first one that is not solved.
#[derive(clap::Args)]
#[command(after_help = "Exit status of check: 0 when it is solved, 1 when it is not, 2 for bad \
                        arguments, 3 when it cannot be judged on this machine, 4 when it does not \
                        compile. What you have done is kept in .exercises.toml.")]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Show what there is to do, and what is done
    List,
    /// Build and judge an exercise
    Check {
        /// Which exercise
        name: Option<String>,
    },
    /// Give the next hint
    Hint {
        /// Which exercise
        name: Option<String>,
    },
    /// Show what the solution changes
    Solution {
        /// Which exercise
        name: Option<String>,
    },
}

const NOT_SOLVED: u8 = 1;
const BAD_ARGUMENTS: u8 = 2;
const NOT_JUDGED: u8 = 3;
const DOES_NOT_COMPILE: u8 = 4;

/// Does what `options` say. What keeps it from judging is said on stderr.
pub(crate) fn run(options: &Options) -> ExitCode {
    act(options).unwrap_or_else(|error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::from(NOT_JUDGED)
    })
}

fn act(options: &Options) -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the root")?;
    let exercises = exercise::find_all(root)?;
    let progress = Progress::read(root)?;
    let name = match &options.action {
        Action::List => return Ok(list(&exercises, &progress)),
        Action::Check { name } | Action::Hint { name } | Action::Solution { name } => name,
    };
    let exercise = match name {
        Some(name) => match exercise::find(&exercises, name) {
            Ok(exercise) => exercise,
            Err(unknown) => return Ok(refuse(&unknown)),
        },
        None => match progress.next(&exercises) {
            Some(exercise) => exercise,
            None => {
                print("All exercises are solved. To go back to one, name it.\n");
                return Ok(ExitCode::SUCCESS);
            }
        },
    };
    match options.action {
        Action::Check { .. } => check(root, &exercises, exercise, progress),
        Action::Hint { .. } => hint(exercise, progress),
        Action::List | Action::Solution { .. } => solution(exercise),
    }
}

fn list(exercises: &[Exercise], progress: &Progress) -> ExitCode {
    let mut text = String::new();
    for exercise in exercises {
        let record = progress.of(exercise);
        let solved = if record.solved { "x" } else { " " };
        let hints = match record.hints {
            0 => String::new(),
            1 => "1 hint".to_owned(),
            hints => format!("{hints} hints"),
        };
        let level = "*".repeat(exercise.mark.level.into());
        let line =
            format!("[{solved}] {:10} {level:3} {:52} {hints}", exercise.name, exercise.title);
        text += line.trim_end();
        text += "\n";
    }
    text += &match progress.next(exercises) {
        Some(next) => format!(
            "\nNext: read crates/exercises/{}/README.md, change what it says,\n\
             and then: cargo xtask exercise check\n",
            next.name
        ),
        None => "\nAll are solved.\n".to_owned(),
    };
    print(&text);
    ExitCode::SUCCESS
}

fn check(
    root: &Path,
    exercises: &[Exercise],
    exercise: &Exercise,
    mut progress: Progress,
) -> anyhow::Result<ExitCode> {
    let Some(program) = build(root, exercise)? else {
        print(&format!(
            "\n{}  {}\n\nIt does not compile: the compiler says why, above. Begin with its first \
             error.\n",
            exercise.name, exercise.title
        ));
        return Ok(ExitCode::from(DOES_NOT_COMPILE));
    };
    harness::kill_servers_on_interrupt().context("cannot catch Ctrl-C")?;
    let judge = Judge::new(exercise, program, fastrand::u64(..1_000_000));
    let bar = progress_bar(judge.cases(true).len() + judge.cases(false).len())?;
    let report = judge.check(|judged| {
        bar.inc(1);
        bar.set_message(judged.case.id);
    });
    bar.finish_and_clear();

    let mut text = format!("\n{}\n", report.explain(exercise));
    let standing = report.standing();
    if standing != Standing::Unknown {
        progress.note(exercise, |record| record.solved = standing == Standing::Solved)?;
    }
    let code = match standing {
        Standing::Solved => {
            text += &format!(
                "\nCompare: cargo xtask exercise solution {}\n{}\n",
                exercise.name,
                match progress.next(exercises) {
                    Some(next) => format!("Next:    {}  {}", next.name, next.title),
                    None => "All exercises are solved.".to_owned(),
                }
            );
            0
        }
        Standing::NotYet => {
            text += &match Exercise::HINTS - progress.of(exercise).hints.min(Exercise::HINTS) {
                0 => format!("\nStuck? cargo xtask exercise solution {}\n", exercise.name),
                left => {
                    format!("\nStuck? cargo xtask exercise hint {} ({left} left)\n", exercise.name)
                }
            };
            NOT_SOLVED
        }
        Standing::Unknown => NOT_JUDGED,
    };
    print(&text);
    Ok(ExitCode::from(code))
}

/// The program that a learner has written; none if it does not compile.
fn build(root: &Path, exercise: &Exercise) -> anyhow::Result<Option<PathBuf>> {
    match exercise::build(root, &[(exercise, Part::Work)])? {
        Built::DoesNotCompile => Ok(None),
        Built::Programs(mut programs) => {
            let program = programs.remove(&exercise.package());
            Ok(Some(program.context("cargo names no program")?))
        }
    }
}

fn hint(exercise: &Exercise, mut progress: Progress) -> anyhow::Result<ExitCode> {
    let hints = exercise.hints()?;
    let given = (progress.of(exercise).hints + 1).min(hints.len());
    progress.note(exercise, |record| record.hints = given)?;
    let Some(hint) = hints.get(given - 1) else { return Ok(ExitCode::SUCCESS) };
    print(&format!("{}: hint {given} of {}\n\n{hint}", exercise.name, hints.len()));
    if given == hints.len() {
        print(&format!(
            "\nThat was the last one. cargo xtask exercise solution {}\n",
            exercise.name
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn solution(exercise: &Exercise) -> anyhow::Result<ExitCode> {
    let Exercise { name, mark, .. } = exercise;
    print(&format!(
        "{}\nAbove: what the solution changes in {}. All of it:\n\
         {}\n\
         To run it: cargo run -p {} --example {}\n",
        exercise.solution_diff()?,
        match mark.begins_with {
            Beginning::Listing => &mark.base,
            Beginning::Flaw | Beginning::Own => "your work",
        },
        match mark.begins_with {
            Beginning::Flaw => format!("crates/{}/src", mark.base),
            Beginning::Listing | Beginning::Own => format!("crates/exercises/{name}/solution"),
        },
        exercise.package(),
        exercise.solution()
    ));
    Ok(ExitCode::SUCCESS)
}

fn refuse(unknown: &Unknown) -> ExitCode {
    anstream::eprintln!("error: {unknown}");
    ExitCode::from(BAD_ARGUMENTS)
}

/// On a terminal only.
fn progress_bar(cases: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cases  {msg}")?;
    Ok(ProgressBar::new(cases as u64).with_style(style))
}

fn print(text: &str) {
    // Nobody may be there to read it any more (`| head`): not a reason to fail.
    let _ = io::stdout().write_all(text.as_bytes());
}
