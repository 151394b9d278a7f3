//! `watch`: checks an exercise again whenever a file of it is saved.

use std::io::{self, IsTerminal, Read};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use exercise::{Exercise, Report, Standing};
use notify::{Event, EventKind, RecursiveMode, Watcher};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Course, check, print};

/// How long it is quiet after a save: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(100);
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;

/// Checks `exercise`, and then whatever the keys say, until one of them ends it.
pub(super) fn watch(course: &mut Course, mut exercise: Exercise) -> anyhow::Result<ExitCode> {
    ensure!(io::stdin().is_terminal(), "watch takes its keys from a terminal: use check instead");
    let _keyboard = Keyboard::take()?;
    let (send_key, keys) = unbounded();
    thread::spawn(move || read_keys(&send_key));
    let (send_save, saves) = unbounded();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error is about one event: the next save tells again. Nobody listens at the end.
        if event.is_ok_and(|event| is_change(&event)) {
            let _ = send_save.send(());
        }
    })
    .context("cannot watch files")?;
    'exercise: loop {
        let source = exercise.directory.join("src");
        watcher
            .watch(&source, RecursiveMode::Recursive)
            .with_context(|| format!("cannot watch {}", source.display()))?;
        'check: loop {
            // What was saved until now is in this check.
            drain(&saves, Duration::ZERO);
            show(course, &exercise)?;
            loop {
                select! {
                    recv(saves) -> _ => {
                        drain(&saves, QUIET);
                        continue 'check;
                    }
                    recv(keys) -> key => match key {
                        Ok(b'c') => continue 'check,
                        Ok(b'h') => super::hint(course, &exercise)?,
                        Ok(b'l') => super::list(course),
                        Ok(b'n') => match next_after(course, &exercise) {
                            Some(next) => {
                                watcher.unwatch(&source).context("cannot end watching")?;
                                exercise = next;
                                continue 'exercise;
                            }
                            None => print("There is no other one to be solved.\n"),
                        },
                        Ok(b'q' | CTRL_D) | Err(_) => return Ok(ExitCode::SUCCESS),
                        Ok(_) => {}
                    },
                }
                print(KEYS);
            }
        }
    }
}

const KEYS: &str = "\n[c]heck  [h]int  [n]ext  [l]ist  [q]uit, and every save checks again\n";

/// Checks, on a clean screen.
fn show(course: &mut Course, exercise: &Exercise) -> anyhow::Result<()> {
    let solved = course.exercises.iter().filter(|it| course.progress.of(it).solved).count();
    let all = course.exercises.len();
    let files = format!("crates/exercises/{}", exercise.name);
    print(&format!("\x1b[2J\x1b[H{solved} of {all} solved. Now: {files}/README.md\n\n"));
    let report = check::run(course, exercise, check::Tell::Nothing)?;
    print(&match &report {
        Some(report) => report.explain(exercise) + "\n",
        None => check::does_not_compile(exercise),
    });
    if report.as_ref().map(Report::standing) == Some(Standing::Solved) {
        print(&format!("Compare: cargo xtask exercise solution {}\n", exercise.name));
    }
    print(KEYS);
    Ok(())
}

/// The first exercise after this one that is not solved, or else the first of all.
fn next_after(course: &Course, exercise: &Exercise) -> Option<Exercise> {
    let place = course.exercises.iter().position(|it| it.name == exercise.name)?;
    let (before, after) = course.exercises.split_at(place);
    let mut others = after[1..].iter().chain(before);
    others.find(|it| !course.progress.of(it).solved).cloned()
}

/// Waits until nothing was saved for as long as `quiet`.
fn drain(saves: &Receiver<()>, quiet: Duration) {
    while saves.recv_timeout(quiet).is_ok() {}
}

fn is_change(event: &Event) -> bool {
    matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_))
}

/// Hands on each key. Ctrl-C ends everything at once: also a check that is under way.
fn read_keys(keys: &Sender<u8>) {
    for key in io::stdin().lock().bytes() {
        match key {
            Ok(CTRL_C) => {
                harness::kill_servers();
                Keyboard::give_back();
                process::exit(130);
            }
            Ok(key) if keys.send(key).is_ok() => {}
            _ => return,
        }
    }
}

/// The keyboard, each key of which comes at once and is not shown. Dropping it gives it back.
struct Keyboard;

static BEFORE: std::sync::OnceLock<Termios> = std::sync::OnceLock::new();

impl Keyboard {
    fn take() -> anyhow::Result<Self> {
        let mut modes = tcgetattr(io::stdin()).context("cannot read the terminal's modes")?;
        BEFORE.get_or_init(|| modes.clone());
        // Output stays as it is: others than we write there, too.
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).context("cannot set the terminal")?;
        Ok(Self)
    }

    fn give_back() {
        if let Some(before) = BEFORE.get() {
            // Without a terminal there is nothing to give back.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        Self::give_back();
    }
}
