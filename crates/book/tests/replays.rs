//! One test for each transcript and each console block of the book.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use book::console::{self, Session};
use book::markdown::{self, Block};
use book::programs::{Invocation, Program, Programs};
use book::transcript::{Step, Transcript};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    if let Err(error) = harness::kill_servers_on_interrupt() {
        eprintln!("cannot watch for interrupts: {error}");
    }
    let arguments = Arguments::from_args();
    let pages = match markdown::pages(book::root()) {
        Ok(pages) => pages,
        Err(error) => {
            eprintln!("cannot read the book: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut scenes = Vec::new();
    for page in &pages {
        for block in markdown::blocks(&page.text) {
            let name = format!("{}:{}", page.file.display(), block.line);
            scenes.extend(Scene::of(&block).map(|scene| (name, scene)));
        }
    }
    let used: BTreeSet<_> = scenes.iter().flat_map(|(_, scene)| scene.programs()).collect();
    let programs = Arc::new(Built { used, programs: OnceLock::new() });
    let trials = scenes.into_iter().map(|(name, scene)| {
        let programs = Arc::clone(&programs);
        Trial::ignorable_test(name, move || scene.play(&programs))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// A block of the book that can be played.
enum Scene {
    Transcript(Transcript),
    Console(Vec<Session>),
    Malformed(String),
}

impl Scene {
    fn of(block: &Block) -> Option<Self> {
        match block.language() {
            "transcript" => Some(match Transcript::parse(&block.text, block.line) {
                Ok(transcript) => Self::Transcript(transcript),
                Err(malformed) => Self::Malformed(format!("line {}: {malformed}", malformed.line)),
            }),
            "console" if !block.has("ignore") => match console::sessions(&block.text) {
                Ok(sessions) if sessions.is_empty() => None,
                Ok(sessions) => Some(Self::Console(sessions)),
                Err(what) => Some(Self::Malformed(what)),
            },
            _ => None,
        }
    }

    fn programs(&self) -> BTreeSet<Program> {
        let of_step = |step: &Step| match step {
            Step::Start(Invocation { program, .. }) => Some(program.clone()),
            _ => None,
        };
        match self {
            Self::Transcript(transcript) => {
                transcript.lines.iter().filter_map(|line| of_step(&line.step)).collect()
            }
            Self::Console(sessions) => {
                sessions.iter().map(|session| session.invocation.program.clone()).collect()
            }
            Self::Malformed(_) => BTreeSet::new(),
        }
    }

    fn play(&self, built: &Built) -> Result<Completion, Failed> {
        let is_script = |program: &Program| matches!(program, Program::Script(_));
        if self.programs().iter().any(is_script) && !book::programs::has_python() {
            return Ok(Completion::ignored_with("there is no python3"));
        }
        match self {
            Self::Malformed(what) => return Err(what.into()),
            Self::Transcript(transcript) => {
                let replayed = book::replay(transcript, built.programs()?);
                replayed.map_err(|it| format!("line {}\n{it}", it.line))?;
            }
            Self::Console(sessions) => {
                for session in sessions {
                    console::run(session, built.programs()?).map_err(|it| format!("{it:#}"))?;
                }
            }
        }
        Ok(Completion::Completed)
    }
}

/// The programs, built when the first test needs one.
struct Built {
    used: BTreeSet<Program>,
    programs: OnceLock<Result<Programs, String>>,
}

impl Built {
    fn programs(&self) -> Result<&Programs, &str> {
        let build =
            || Programs::build(book::root(), &self.used).map_err(|error| format!("{error:#}"));
        self.programs.get_or_init(build).as_ref().map_err(String::as_str)
    }
}
