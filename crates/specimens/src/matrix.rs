use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;

use conformance::{Case, Examined, Mode, Verdict, examine};

use crate::{Expectation, Specimen};

/// One case, to be run against one specimen in one of its modes.
#[derive(Clone, Copy)]
pub struct Shot<'s> {
    /// The specimen.
    pub specimen: &'s Specimen,
    /// In which mode.
    pub mode: Mode,
    /// The case.
    pub case: &'static Case,
}

/// What came of a [`Shot`].
pub struct Cell<'s> {
    /// What was run.
    pub shot: Shot<'s>,
    /// What came of it.
    pub examined: Examined,
}

/// What came of many.
#[derive(Default)]
pub struct Matrix<'s> {
    /// In the order in which they were to be run.
    pub cells: Vec<Cell<'s>>,
}

impl<'s> Shot<'s> {
    /// Every case that applies to `specimen`, in each of its modes.
    pub fn all(specimen: &'s Specimen) -> impl Iterator<Item = Self> {
        let shots = move |mode| {
            let subject = specimen.subject(mode, Path::new(""));
            let applies = move |case: &&'static Case| subject.mode_for(case).is_ok();
            conformance::catalogue().filter(applies).map(move |case| Self { specimen, mode, case })
        };
        specimen.modes.iter().copied().flat_map(shots)
    }

    /// What has to come of it.
    pub fn expectation(&self) -> Expectation<'s> {
        self.specimen.expectation(self.case)
    }

    /// Whether the case is there to catch the specimen.
    pub fn is_to_be_caught(&self) -> bool {
        matches!(self.expectation(), Expectation::Caught(_))
    }

    /// Runs the case. `program` is the program `specimen`. What is random follows from a fixed
    /// seed: whether a specimen is caught must not be left to chance.
    pub fn run(self, program: &Path) -> Cell<'s> {
        const SEED: u64 = 1;
        let subject = self.specimen.subject(self.mode, program);
        Cell { shot: self, examined: examine(self.case, &subject, SEED) }
    }
}

impl Cell<'_> {
    /// Whether the case did what it is to do with this specimen: caught it, in the way that is
    /// expected, or let it pass.
    pub fn is_as_expected(&self) -> bool {
        let Examined { verdict, symptom, .. } = &self.examined;
        match self.shot.expectation() {
            Expectation::Caught(word) => {
                self.is_caught() && symptom.is_some_and(|symptom| symptom.word() == word)
            }
            Expectation::Fails => true,
            Expectation::Passes => verdict.is_as_expected(),
        }
    }

    /// Whether the case has found something wrong.
    pub fn is_caught(&self) -> bool {
        matches!(self.examined.verdict, Verdict::Fail(_))
    }
}

impl<'s> Matrix<'s> {
    /// Runs `shots`, as many at once as `workers`, and tells `progress` of each that is done.
    /// `program` is the program `specimen`.
    pub fn run(
        shots: &[Shot<'s>],
        program: &Path,
        workers: usize,
        progress: impl Fn(&Cell<'s>) + Sync,
    ) -> Self {
        let next = AtomicUsize::new(0);
        // Cases that must be alone hold it for writing, all others for reading.
        let company = RwLock::new(());
        let cells = Mutex::new(Vec::with_capacity(shots.len()));
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(shot) = shots.get(index) else { return };
                let _alone = shot.case.alone.then(|| company.write());
                let _in_company = (!shot.case.alone).then(|| company.read());
                let cell = shot.run(program);
                progress(&cell);
                cells.lock().unwrap_or_else(PoisonError::into_inner).push((index, cell));
            }
        };
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        let mut cells = cells.into_inner().unwrap_or_else(PoisonError::into_inner);
        cells.sort_by_key(|(index, _)| *index);
        Self { cells: cells.into_iter().map(|(_, cell)| cell).collect() }
    }
}

impl fmt::Display for Cell<'_> {
    /// The specimen, the case, and what came of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shot { specimen, mode, case } = self.shot;
        writeln!(f, "{} ({mode}): {}", specimen.name, specimen.what)?;
        write!(f, "{} {}: {}", case.id, case.title, self.examined.verdict)
    }
}
