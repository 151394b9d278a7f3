//! The exercises themselves are checked: each is complete, each skeleton is its stage's listing and
//! fails its mark for the reason that the mark states, and each solution passes its mark, with
//! everything else as the stage has it. Where the stage itself is the solution, its own tests say
//! that.
//!
//! Where somebody learns (there is a file `.exercises.toml`), what stands in `src` is theirs, and
//! only the solutions are checked.
//!
//! What takes longer than all others together is left to
//! `cargo test -p exercise -- --include-ignored`: the stages pass it in every run.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use anyhow::{Context, bail};
use conformance::{Case, Verdict};
use exercise::{Beginning, Built, Exercise, Judge, Judged, Part, Progress};
use libtest_mimic::{Arguments, Failed, Trial};
use similar::{Algorithm, DiffTag, capture_diff_slices};

/// Cases that take long.
const LONG: [&str; 1] = ["close/04"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let trials = match trials(&root) {
        Ok(trials) => trials,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    // Cases wait more than they work.
    let threads = arguments.test_threads.unwrap_or(4);
    libtest_mimic::run(&Arguments { test_threads: Some(threads), ..arguments }, trials).exit_code()
}

fn trials(root: &Path) -> anyhow::Result<Vec<Trial>> {
    if let Err(error) = harness::kill_servers_on_interrupt() {
        eprintln!("cannot watch for interrupts: {error}");
    }
    let exercises: Vec<_> = exercise::find_all(root)?.into_iter().map(Arc::new).collect();
    let learning = root.join(Progress::FILE).exists();
    if learning {
        let file = Progress::FILE;
        eprintln!("there is a file {file}: what stands in src is a learner's, and is not checked");
    }
    let parts: &[Part] = if learning { &[Part::Solution] } else { &[Part::Work, Part::Solution] };
    let programs: Vec<_> =
        exercises.iter().flat_map(|it| parts.iter().map(move |&part| (&**it, part))).collect();
    let Built::Programs(programs) = exercise::build(root, &programs)? else {
        bail!("an exercise does not compile");
    };

    // Cases that must be alone hold it for writing, all others for reading.
    let company = Arc::new(RwLock::new(()));
    let mut trials = Vec::new();
    for exercise in &exercises {
        let own = Arc::clone(exercise);
        trials.push(trial(exercise, "is complete", move || is_complete(&own)));
        if !learning {
            let (own, root) = (Arc::clone(exercise), root.to_owned());
            let run = move || is_the_listing(&own, &root);
            trials.push(trial(exercise, "is the stage's listing", run));
        }
        for &part in parts {
            let (name, program) = match part {
                Part::Work => ("skeleton", exercise.package()),
                Part::Solution => ("solution", exercise.solution()),
            };
            let program = programs.get(&program).context("cargo names no program")?;
            let judge = Judge::new(exercise, program.clone(), fastrand::u64(..1_000_000));
            let mut cases = judge.cases(true);
            let is_the_stage = exercise.mark.begins_with == Beginning::Flaw;
            if part == Part::Solution {
                let others = judge.cases(false).into_iter();
                let is_own = |case: &&Case| case.id.starts_with(&exercise.name);
                cases.extend(others.filter(|case| !is_the_stage || is_own(case)));
            }
            for case in cases {
                let (judge, company) = (judge.clone(), Arc::clone(&company));
                let run = move || {
                    let _alone = case.alone.then(|| company.write());
                    let _in_company = (!case.alone).then(|| company.read());
                    let judged = judge.run(case);
                    match part {
                        Part::Work => fails_as_stated(&judged),
                        Part::Solution => is_as_it_should_be(&judged),
                    }
                };
                let what = format!("{name}: {} {}", case.id, case.title);
                let long = LONG.contains(&case.id);
                trials.push(trial(exercise, &what, run).with_ignored_flag(long));
            }
        }
    }
    Ok(trials)
}

fn trial(
    exercise: &Exercise,
    what: &str,
    run: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Trial {
    Trial::test(format!("{} {what}", exercise.name), || run().map_err(Failed::from))
}

/// The learner finds everything: a task, three hints, a mark that speaks of real cases.
fn is_complete(exercise: &Exercise) -> Result<(), String> {
    let readme = exercise.directory.join("README.md");
    let readme = fs::read_to_string(&readme).map_err(|error| format!("{readme:?}: {error}"))?;
    let hints = exercise.hints().map_err(|error| format!("{error:#}"))?;
    let short = format!("`cargo xtask exercise check {}`", exercise.name);
    ensure(readme.contains(&short), || format!("README.md does not say {short}"))?;
    let chapter =
        readme.split("`cargo xtask book open ").nth(1).and_then(|it| it.split('`').next());
    let page = |chapter| {
        let page = format!("../../book/src/{chapter}.md");
        Path::new(env!("CARGO_MANIFEST_DIR")).join(page).exists()
    };
    ensure(chapter.is_some_and(page), || format!("README.md names no chapter: {chapter:?}"))?;
    ensure(readme.lines().count() <= 30, || "README.md is more than a few lines".to_owned())?;
    ensure(hints.iter().all(|hint| hint.trim().len() > 20), || "a hint is empty".to_owned())?;
    ensure(exercise.title.len() <= 52, || "the title is too long for the list".to_owned())?;
    let after = exercise.mark.after.as_deref().unwrap_or(&exercise.mark.base);
    let stage = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(after);
    ensure(stage.exists(), || format!("it comes after {after}, which is no stage"))?;
    let unknown = exercise.unknown_case();
    ensure(unknown.is_none(), || format!("the mark speaks of {unknown:?}, which does not exist"))
}

/// Each line of the stage's listing is in the skeleton, in the same order: the skeleton only adds
/// lines. Its header is its own, and it may take more flags. Where there is a flaw to be found, a
/// few lines differ.
fn is_the_listing(exercise: &Exercise, root: &Path) -> Result<(), String> {
    let may_lack = match exercise.mark.begins_with {
        Beginning::Listing => 0,
        Beginning::Flaw => 20,
        Beginning::Own => return Ok(()),
    };
    let lines = |path: &Path| -> Result<Vec<String>, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{path:?}: {error}"))?;
        let others = ["//!", "// ANCHOR", "Args::parse("];
        let is_common = |line: &&str| !others.iter().any(|other| line.contains(other));
        Ok(text.lines().filter(is_common).map(str::to_owned).collect())
    };
    let stage = root.join("crates").join(&exercise.mark.base).join("src");
    let mut lacks = Vec::new();
    for entry in fs::read_dir(&stage).map_err(|error| error.to_string())? {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        let (old, new) =
            (lines(&stage.join(&name))?, lines(&exercise.directory.join("src").join(&name))?);
        let changes = capture_diff_slices(Algorithm::Myers, &old, &new);
        let changes = changes.iter().filter(|change| change.tag() != DiffTag::Equal);
        lacks.extend(changes.flat_map(|change| old[change.old_range()].to_vec()));
    }
    ensure(lacks.len() <= may_lack, || {
        format!("src lacks, or has in another place:\n{}", lacks.join("\n"))
    })
}

fn fails_as_stated(judged: &Judged) -> Result<(), String> {
    ensure(judged.is_as_before(), || {
        format!("it should fail with {:?}, but: {}", judged.before, judged.verdict)
    })
}

fn is_as_it_should_be(judged: &Judged) -> Result<(), String> {
    let good = match &judged.verdict {
        // The readings need Linux.
        Verdict::Inconclusive(_) => !harness::kernel::IS_READABLE,
        Verdict::Pass => true,
        verdict => verdict.is_as_expected() && !judged.turns,
    };
    ensure(good, || judged.verdict.to_string())
}

fn ensure(condition: bool, failure: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(failure()) }
}
