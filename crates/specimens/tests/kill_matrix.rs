//! Each specimen, on the cases that must catch it and on some that it must pass.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::RwLock;
use std::thread;

use conformance::{Case, Reach, catalogue};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use specimens::{Expectation, Shot, Specimen, specimens};

/// How many cases a specimen must pass that are not about its fault.
const CONTROLS: usize = 5;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Servers that do nothing are mostly waited for.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(2 * cores);
    if let Err(error) = harness::kill_servers_on_interrupt() {
        eprintln!("cannot watch for interrupts: {error}");
    }
    let mut specimens = specimens();
    let (a, b) = (specimens.clone(), specimens.clone());
    let mut trials = vec![
        Trial::test("every case can fail", move || every_case_can_fail(&a)),
        Trial::test("every entry applies", move || every_entry_applies(&b)),
    ];
    // Those that run all cases take longest.
    specimens.sort_by_key(|specimen| !specimen.is_right());
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    trials.extend(specimens.into_iter().map(|specimen| {
        let name = specimen.name.clone();
        let run = move || match specimen.script.is_some() && !has_python {
            true => Ok(Completion::ignored_with("there is no python3 to run it")),
            false => is_as_expected(&specimen).map(|()| Completion::Completed),
        };
        Trial::ignorable_test(name, run)
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Cases that measure, and judge nothing.
const MEASURED: &[&str] = &["res/04", "scale/03"];

/// Cases that must be alone hold it for writing, all others for reading.
static COMPANY: RwLock<()> = RwLock::new(());

fn is_as_expected(specimen: &Specimen) -> Result<(), Failed> {
    let program = Path::new(env!("CARGO_BIN_EXE_specimen"));
    for shot in shots(specimen) {
        let _alone = shot.case.alone.then(|| COMPANY.write());
        let _in_company = (!shot.case.alone).then(|| COMPANY.read());
        let cell = shot.run(program);
        if !cell.is_as_expected() {
            return Err(cell.to_string().into());
        }
    }
    Ok(())
}

/// Each case has a specimen that it must catch: or it proves nothing.
fn every_case_can_fail(specimens: &[Specimen]) -> Result<(), Failed> {
    let shots: Vec<_> = specimens.iter().flat_map(Shot::all).collect();
    let can_fail =
        |case: &Case| shots.iter().any(|shot| shot.case.id == case.id && shot.is_to_be_caught());
    let judges = |case: &&Case| !MEASURED.contains(&case.id);
    let idle: Vec<_> = catalogue().filter(judges).filter(|case| !can_fail(case)).collect();
    match idle.is_empty() {
        true => Ok(()),
        false => {
            let ids: Vec<_> = idle.iter().map(|case| case.id).collect();
            Err(format!("no specimen has to be caught by {}", ids.join(", ")).into())
        }
    }
}

/// Each entry of the manifest speaks of cases that there are, and that apply.
fn every_entry_applies(specimens: &[Specimen]) -> Result<(), Failed> {
    for specimen in specimens {
        let applies = |id: &&String| Shot::all(specimen).any(|shot| shot.case.id == **id);
        if let Some(id) = specimen.caught.keys().find(|id| !applies(id)) {
            return Err(format!("{}: {id} does not apply", specimen.name).into());
        }
    }
    Ok(())
}

/// The cases that must catch it, and controls, from all over the catalogue. What is right has to pass
/// more: what is odd all that a client can see of it, and the good server everything but what is
/// heavy.
fn shots(specimen: &Specimen) -> impl Iterator<Item = Shot<'_>> {
    let (passes, others): (Vec<_>, Vec<_>) =
        Shot::all(specimen).partition(|shot| shot.expectation() == Expectation::Passes);
    let caught = others.into_iter().filter(Shot::is_to_be_caught);
    let is_odd = specimen.is_right() && specimen.name != "good";
    let is_due = |shot: &Shot<'_>| match is_odd {
        true => shot.case.reach == Reach::Address,
        false => !shot.case.heavy,
    };
    let due: Vec<_> = passes.into_iter().filter(is_due).collect();
    let controls = if specimen.is_right() { due.len() } else { CONTROLS.min(due.len()) };
    let step = due.len().checked_div(controls).unwrap_or(1);
    caught.chain(due.into_iter().step_by(step.max(1)).take(controls))
}
