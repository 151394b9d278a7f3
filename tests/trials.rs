use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{Case, Mode, Profile, Subject, Verdict, catalogue, examine};

/// Runs the catalogue as tests of the package in the directory `package`, whose server is
/// `program`: one test for each case that its modes allow.
///
/// Beside libtest's own arguments it takes `--repeat N`, `--seed S`, `--heavy` for the heavy cases,
/// too, and `--binary PROGRAM`, which is then judged as if it were this package's; `--only-mode
/// MODE` says that it has no other mode.
pub fn run_as_tests(program: &str, package: &str) -> ExitCode {
    run(Path::new(program), package, None)
}

/// As [`run_as_tests`], for an example of the package: it has to do what the package's server
/// does, in its own modes ([`Profile::example_modes`]). `cargo test` builds it before, unless it is
/// told which test to run.
pub fn run_example_as_tests(example: &str, package: &str) -> ExitCode {
    let test = std::env::current_exe().unwrap_or_default();
    // Tests are in target/debug/deps, examples in target/debug/examples.
    let target = test.ancestors().nth(2).unwrap_or(Path::new(""));
    run(&target.join("examples").join(example), package, Some(example))
}

fn run(program: &Path, package: &str, example: Option<&str>) -> ExitCode {
    let options = match Options::take(std::env::args_os().collect()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut profile = match Profile::read(Path::new(package)) {
        Ok(profile) => profile,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(modes) = example.and_then(|example| profile.example_modes.get(example)) {
        profile.modes = modes.clone();
    }
    if let Some(mode) = options.only_mode {
        profile.modes = vec![mode];
    }
    if let Some(key) = profile.unknown_case() {
        eprintln!("{package}/Cargo.toml speaks of the case {key}, which does not exist");
        return ExitCode::from(2);
    }
    if let Err(error) = harness::kill_servers_on_interrupt() {
        eprintln!("cannot watch for interrupts: {error}");
    }
    let program = options.binary.clone().unwrap_or_else(|| program.into());
    if let (Some(example), false) = (example, program.is_file()) {
        let name = Path::new(package).file_name().unwrap_or_default().display();
        eprintln!("{} is not there: cargo build -p {name} --example {example}", program.display());
        return ExitCode::from(2);
    }
    let subject = Arc::new(Subject::program(program, profile));
    // Cases that must be alone hold it for writing, all others for reading.
    let company = Arc::new(RwLock::new(()));
    let mut cases: Vec<_> = catalogue()
        .filter_map(|case| Some((case, case.needs.mode(&subject.profile.modes)?)))
        .collect();
    // A case that must be alone waits for all others, and they for it: once is enough.
    cases.sort_by_key(|(case, _)| case.alone);
    let trials = cases
        .into_iter()
        .map(|(case, mode)| {
            let (subject, company) = (Arc::clone(&subject), Arc::clone(&company));
            let (repeat, seed) = (options.repeat, options.seed);
            let run = move || {
                if let Some(reason) = subject.profile.not_applicable.get(case.id) {
                    return Ok(Completion::ignored_with(reason));
                }
                let _alone = case.alone.then(|| company.write());
                let _in_company = (!case.alone).then(|| company.read());
                let mut rounds = (0..repeat)
                    .map(|round| run_once(case, &subject, mode, seed.wrapping_add(round)));
                rounds.try_fold(Completion::Completed, |_, completion| completion)
            };
            Trial::ignorable_test(format!("{} {}", case.id, case.title), run)
                .with_kind(mode.to_string())
                .with_ignored_flag(case.heavy && !options.heavy)
        })
        .collect();
    let mut arguments = Arguments::from_iter(options.rest);
    // Most cases wait for their server most of the time.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(2 * cores);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a case once. A failed one is run again, only to say whether it fails always.
fn run_once(case: &Case, subject: &Subject, mode: Mode, seed: u64) -> Result<Completion, Failed> {
    let run = || examine(case, subject, seed).verdict;
    let verdict = run();
    match &verdict {
        verdict if verdict.is_as_expected() => return Ok(Completion::Completed),
        // The readings need Linux.
        Verdict::Inconclusive(reason) if !harness::kernel::IS_READABLE => {
            return Ok(Completion::ignored_with(reason));
        }
        _ => {}
    }
    let again = run();
    let label = match again.word() == verdict.word() {
        true => "the same again".to_owned(),
        false => format!("unstable: {} when run again", again.word()),
    };
    let Case { id, title, why, .. } = case;
    Err(format!("{id} {title} ({mode})\n{why}\n{verdict}seed {seed}; {label}").into())
}

/// The arguments that are not libtest's.
struct Options {
    repeat: u64,
    seed: u64,
    binary: Option<PathBuf>,
    only_mode: Option<Mode>,
    heavy: bool,
    rest: Vec<OsString>,
}

impl Options {
    fn take(arguments: Vec<OsString>) -> Result<Self, String> {
        // Small, to be typed again.
        let seed = fastrand::u64(..1_000_000);
        let (binary, only_mode, heavy, rest) = (None, None, false, Vec::new());
        let mut options = Self { repeat: 1, seed, binary, only_mode, heavy, rest };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy().into_owned();
            let (name, given) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.into())),
                None => (text.as_str(), None),
            };
            if text == "--heavy" {
                options.heavy = true;
                continue;
            }
            if !matches!(name, "--repeat" | "--seed" | "--binary" | "--only-mode") {
                options.rest.push(argument);
                continue;
            }
            let value: OsString =
                given.or_else(|| arguments.next()).ok_or(format!("{name} needs a value"))?;
            let number = || {
                let number = value.to_str().and_then(|value| value.parse().ok());
                number.ok_or(format!("{name} takes a number, not {}", value.display()))
            };
            match name {
                "--repeat" => {
                    options.repeat = number()?;
                    if options.repeat == 0 {
                        return Err("--repeat 0 would check nothing".to_owned());
                    }
                }
                "--seed" => options.seed = number()?,
                "--only-mode" => {
                    let modes = [Mode::Echo, Mode::Broadcast];
                    let mode = modes.into_iter().find(|mode| value == *mode.to_string());
                    options.only_mode = Some(mode.ok_or("--only-mode takes echo or broadcast")?);
                }
                _ => options.binary = Some(value.into()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(words: &str) -> Result<Options, String> {
        Options::take(words.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn own_arguments_are_taken_out_and_libtests_are_left() {
        let options = take("runner conc/03 --repeat 200 --quiet --heavy --seed=7").unwrap();
        assert_eq!((options.repeat, options.seed, options.heavy), (200, 7, true));
        assert_eq!(options.rest, ["runner", "conc/03", "--quiet"]);
    }

    #[test]
    fn a_value_that_is_no_number_is_refused() {
        assert!(take("runner --repeat many").is_err());
        assert!(take("runner --repeat 0").is_err());
        assert!(take("runner --seed").is_err());
    }
}
