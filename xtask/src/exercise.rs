//! `cargo xtask exercise`: what there is to do, and whether it is done.

mod check;
mod watch;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use exercise::{Beginning, Exercise, Progress, Record};

/// Exercises: change a stage, and have the change judged
///
/// Each exercise is a package under crates/exercises: a stage's listing with a place marked `todo`,
/// or with a flaw to be found; a README that says what to do, three hints and a solution. NAME is
/// its name, or a part of it that no other has: `05-a` or `accept`. Without NAME it is the first one
/// that is not solved.
#[derive(clap::Args)]
#[command(after_help = "Exit status of check: 0 when it is solved, 1 when it is not, 2 for bad \
                        arguments, 3 when it cannot be judged on this machine, 4 when it does not \
                        compile. With --all: 0 when all are solved, else 1. What you have done is \
                        kept in .exercises.toml.")]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Show what there is to do, how hard it is (from * to ***), and what is done
    List,
    /// Show what to do next: its README
    Next,
    /// Check an exercise again on every save; single keys do the rest
    Watch {
        /// Which exercise
        name: Option<String>,
    },
    /// Build and judge an exercise
    Check {
        /// Which exercise
        name: Option<String>,
        /// All of them, one line each
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// Write the grades as JSON
        #[arg(long, value_name = "FILE", requires = "all", conflicts_with = "name")]
        json: Option<PathBuf>,
        /// Write the grades in the format of JUnit
        #[arg(long, value_name = "FILE", requires = "all", conflicts_with = "name")]
        junit: Option<PathBuf>,
    },
    /// Give the next hint
    Hint {
        /// Which exercise
        name: Option<String>,
    },
    /// Show what the solution changes, once the exercise is solved
    Solution {
        /// Which exercise
        name: Option<String>,
        /// Though it is not solved
        #[arg(long)]
        give_up: bool,
    },
    /// Begin anew: put the skeleton back, and keep your work elsewhere
    Reset {
        /// Which exercise: its name is asked for here
        name: String,
    },
}

/// The exercises, and how far the learner has got.
struct Course {
    root: PathBuf,
    exercises: Vec<Exercise>,
    progress: Progress,
}

const BAD_ARGUMENTS: u8 = 2;

/// Does what `options` say. What keeps it from judging is said on stderr.
pub(crate) fn run(options: &Options) -> ExitCode {
    act(options).unwrap_or_else(|error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::from(check::NOT_JUDGED)
    })
}

fn act(options: &Options) -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the root")?;
    let mut course = Course {
        root: root.to_owned(),
        exercises: exercise::find_all(root)?,
        progress: Progress::read(root)?,
    };
    let course = &mut course;
    harness::kill_servers_on_interrupt().context("cannot catch Ctrl-C")?;
    let name = match &options.action {
        Action::List => {
            list(course);
            return Ok(ExitCode::SUCCESS);
        }
        Action::Check { all: true, json, junit, .. } => {
            return check::check_all(course, json.as_ref(), junit.as_ref());
        }
        Action::Next => &None,
        Action::Reset { name } => &Some(name.clone()),
        Action::Watch { name }
        | Action::Check { name, .. }
        | Action::Hint { name }
        | Action::Solution { name, .. } => name,
    };
    let exercise = match name {
        Some(name) => match exercise::find(&course.exercises, name) {
            Ok(exercise) => exercise,
            Err(unknown) => {
                anstream::eprintln!("error: {unknown}");
                return Ok(ExitCode::from(BAD_ARGUMENTS));
            }
        },
        None => match course.progress.next(&course.exercises) {
            Some(exercise) => exercise,
            None => {
                print("All exercises are solved. To go back to one, name it.\n");
                return Ok(ExitCode::SUCCESS);
            }
        },
    };
    let exercise = exercise.clone();
    match options.action {
        Action::Check { .. } => return check::check(course, &exercise),
        Action::Watch { .. } => return watch::watch(course, exercise),
        Action::Solution { give_up, .. } => return solution(course, &exercise, give_up),
        Action::Hint { .. } => hint(course, &exercise)?,
        Action::Reset { .. } => reset(course, &exercise)?,
        Action::List | Action::Next => next(&exercise)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(course: &Course) {
    let mut text = String::new();
    for exercise in &course.exercises {
        let record = course.progress.of(exercise);
        let solved = if record.solved { "x" } else { " " };
        let level = "*".repeat(exercise.mark.level.into());
        let hints = match record.hints {
            0 => String::new(),
            1 => "1 hint".to_owned(),
            hints => format!("{hints} hints"),
        };
        let line =
            format!("[{solved}] {:10} {level:3} {:52} {hints}", exercise.name, exercise.title);
        text += line.trim_end();
        text += "\n";
    }
    let solved = course.exercises.iter().filter(|it| course.progress.of(it).solved).count();
    text += &format!("\n{solved} of {} are solved.", course.exercises.len());
    text += match course.progress.next(&course.exercises) {
        Some(_) => " What to do now: cargo xtask exercise next\n",
        None => "\n",
    };
    print(&text);
}

fn next(exercise: &Exercise) -> anyhow::Result<()> {
    let path = exercise.directory.join("README.md");
    let readme = fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?;
    print(&format!(
        "{}\nIt is in crates/exercises/{name}. While you work: cargo xtask exercise watch\n",
        exercise::narrow(&readme),
        name = exercise.name
    ));
    Ok(())
}

fn hint(course: &mut Course, exercise: &Exercise) -> anyhow::Result<()> {
    let hints = exercise.hints()?;
    let given = (course.progress.of(exercise).hints + 1).min(hints.len());
    course.progress.note(exercise, |record| record.hints = given)?;
    let Some(hint) = hints.get(given - 1) else { return Ok(()) };
    let hint = exercise::narrow(hint);
    print(&format!("{}: hint {given} of {}\n\n{hint}", exercise.name, hints.len()));
    if given == hints.len() {
        print(&format!(
            "\nThat was the last one. Else: cargo xtask exercise solution {} --give-up\n",
            exercise.name
        ));
    }
    Ok(())
}

fn solution(course: &Course, exercise: &Exercise, give_up: bool) -> anyhow::Result<ExitCode> {
    let Exercise { name, mark, .. } = exercise;
    if !(give_up || course.progress.of(exercise).solved) {
        print(&format!(
            "{name} is not solved yet. A hint: cargo xtask exercise hint {name}\n\
             If you have had enough: cargo xtask exercise solution {name} --give-up\n"
        ));
        return Ok(check::NOT_SOLVED.into());
    }
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

fn reset(course: &mut Course, exercise: &Exercise) -> anyhow::Result<()> {
    let kept = exercise::reset(&course.root, exercise)?;
    course.progress.note(exercise, |record| *record = Record::default())?;
    let kept = kept.strip_prefix(&course.root).unwrap_or(&kept);
    print(&format!(
        "{} is as it was in the beginning. Your work is in {}, until `cargo clean`.\n",
        exercise.name,
        kept.display()
    ));
    Ok(())
}

fn print(text: &str) {
    // Nobody may be there to read it any more (`| head`): not a reason to fail.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}
