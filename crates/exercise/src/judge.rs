use std::collections::{HashSet, VecDeque};
use std::iter;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use conformance::{
    Case, Examined, Failure, Profile, Subject, Symptom, Verdict, covers, examine_within,
};

use crate::Exercise;

/// Runs the cases that say whether an exercise is solved.
#[derive(Clone, Debug)]
pub struct Judge {
    exercise: Exercise,
    subject: Subject,
    /// What holds for the cases that have to turn: they pass.
    turned: Profile,
    /// What holds for all others: what the base does.
    others: Profile,
    seed: u64,
}

/// How far a check has got.
pub enum Step<'a> {
    /// This case begins.
    Begins(&'static Case),
    /// This is what came of one.
    Ends(&'a Judged),
}

/// What a case says about a program.
pub struct Judged {
    /// The case.
    pub case: &'static Case,
    /// Whether it is one that has to turn.
    pub turns: bool,
    /// How it fails before the work is done, if it does: its mark says how.
    pub before: Option<String>,
    /// What came out.
    pub verdict: Verdict,
    /// What a failure looks like from outside.
    pub(crate) symptom: Option<Symptom>,
    /// It failed at first, and not when it ran alone.
    pub(crate) unstable: bool,
}

/// What all cases say about a program.
pub struct Report {
    /// The cases that have to turn, as far as they were run: up to the first that did not.
    pub turned: Vec<Judged>,
    /// The other cases, as far as they were run: none where one did not turn. For their order see
    /// [`Judge::cases`].
    pub others: Vec<Judged>,
    /// How many of the others were left out, since the verdict was clear without them.
    pub left_out: usize,
}

/// What a report amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything turned, and nothing else has changed for the worse.
    Solved,
    /// Something has not turned, or no longer works.
    NotYet,
    /// A case that has to turn could not be run here, so nothing is known.
    Unknown,
}

impl Judge {
    /// A judge of `program`, which was made for `exercise`. All that is random in the cases follows
    /// from `seed`.
    pub fn new(exercise: &Exercise, program: PathBuf, seed: u64) -> Self {
        let (mark, base) = (&exercise.mark, &exercise.base);
        let mut others = base.clone();
        others.designed.extend(mark.designed.clone());
        others.info.extend(mark.info.iter().cloned());
        others.not_applicable.extend(mark.not_applicable.clone());
        let turned = Profile {
            designed: [].into(),
            info: [].into(),
            not_applicable: [].into(),
            ..base.clone()
        };
        let subject = Subject::program(program, base.clone());
        Self { exercise: exercise.clone(), subject, turned, others, seed }
    }

    /// Runs the cases that have to turn, up to the first that does not. If all do, runs the others,
    /// until one is certainly broken: a server that hangs takes long in each of them. `tell` is told
    /// when a case begins, and when it ends.
    pub fn check(&self, tell: impl Fn(Step<'_>) + Sync) -> Report {
        let mut report = Report { turned: Vec::new(), others: Vec::new(), left_out: 0 };
        for case in self.cases(true) {
            tell(Step::Begins(case));
            let judged = self.run(case);
            tell(Step::Ends(&judged));
            let turned = judged.is_good();
            report.turned.push(judged);
            if !turned {
                return report;
            }
        }
        report.others = self.run_others(tell);
        report.left_out = self.cases(false).len() - report.others.len();
        report
    }

    /// The cases that apply: those that have to turn, in the order in which the mark names them, or
    /// all others but the heavy ones: the exercise's own, what the stage does for its clients, from
    /// the simple to the rare, and how it starts and ends, which hardly works where that does not.
    pub fn cases(&self, turns: bool) -> Vec<&'static Case> {
        let mark = &self.exercise.mark;
        let mut cases: Vec<_> = self
            .exercise
            .all_cases()
            .filter(|case| mark.turns(case.id) == turns && (turns || !case.heavy))
            .filter(|case| case.needs.mode(&self.subject.profile.modes).is_some())
            .collect();
        cases.sort_by_key(|case| {
            let named = mark.turns.iter().position(|key| covers(key, case.id));
            let is_own = case.id.starts_with(&self.exercise.name);
            (named, !is_own, case.id.starts_with("proc/"))
        });
        cases
    }

    /// Runs one case. A learner does not wait as long as a test may: where all is well, no case
    /// takes a tenth of this.
    pub fn run(&self, case: &'static Case) -> Judged {
        let turns = self.exercise.mark.turns(case.id);
        let profile = if turns { &self.turned } else { &self.others };
        let subject = Subject { profile: profile.clone(), ..self.subject.clone() };
        let deadline = harness::patience() * if case.heavy { 60 } else { 3 };
        let Examined { verdict, symptom, .. } = examine_within(deadline, case, &subject, self.seed);
        let symptom =
            symptom.filter(|_| matches!(verdict, Verdict::Fail(_) | Verdict::Unexpected(..)));
        let before = self.exercise.mark.before(case.id).or(self.exercise.base.designed(case.id));
        Judged { case, turns, before: before.map(str::to_owned), verdict, symptom, unstable: false }
    }

    /// Several at a time, except those that measure, until one fails. What failed is run again, alone:
    /// only then is it known what it looks like. What is left is run alone, too. The first that fails
    /// alone makes the verdict clear, and nothing is run after it.
    fn run_others(&self, tell: impl Fn(Step<'_>) + Sync) -> Vec<Judged> {
        let cases = self.cases(false);
        let run = |case| {
            tell(Step::Begins(case));
            let judged = self.run(case);
            tell(Step::Ends(&judged));
            judged
        };
        let place = |judged: &Judged| cases.iter().position(|case| case.id == judged.case.id);
        let together = cases.iter().copied().filter(|case| !case.alone);
        let mut together = run_until_one_fails(together.collect(), run);
        together.sort_by_key(place);
        let (mut all, failed): (Vec<_>, Vec<_>) = together.into_iter().partition(Judged::is_good);
        let run_ids: HashSet<_> = all.iter().chain(&failed).map(|judged| judged.case.id).collect();
        let again = failed.into_iter().map(|first| match self.run(first.case) {
            second if second.is_good() => Judged { unstable: true, ..first },
            second => second,
        });
        let left = cases.iter().filter(|case| !run_ids.contains(case.id)).map(|case| run(case));
        for judged in again.chain(left) {
            let is_clear = !judged.is_good() && !judged.unstable;
            all.push(judged);
            if is_clear {
                break;
            }
        }
        all.sort_by_key(place);
        all
    }
}

/// Runs cases, a few at a time. Once one has failed, none is begun.
fn run_until_one_fails(
    cases: VecDeque<&'static Case>,
    run: impl Fn(&'static Case) -> Judged + Sync,
) -> Vec<Judged> {
    const AT_A_TIME: usize = 4;
    let waiting = Mutex::new(cases);
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || lock().pop_front();
    let run = |case| {
        let judged = run(case);
        if !judged.is_good() {
            lock().clear();
        }
        judged
    };
    thread::scope(|scope| {
        let work = || iter::from_fn(next).map(run).collect::<Vec<_>>();
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        // A worker panics where a case does, and that was printed already.
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}

impl Judged {
    /// The failure, if it is one that nobody expected.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.verdict {
            Verdict::Fail(failure) | Verdict::Unexpected(_, Some(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Whether it fails as it does before the work is done.
    pub fn is_as_before(&self) -> bool {
        let (Some(failure), Some(before)) = (self.failure(), &self.before) else { return false };
        match &failure.signature {
            Some(signature) => signature == before,
            None => failure.actual.contains(before),
        }
    }

    /// Whether the verdict is no reason against the work. A case that passes though the stage fails
    /// it is more than was asked for.
    pub fn is_good(&self) -> bool {
        match &self.verdict {
            Verdict::Unexpected(_, None) => true,
            Verdict::Inconclusive(_) => !self.turns,
            verdict => verdict.is_as_expected(),
        }
    }
}

impl Report {
    /// What it amounts to.
    pub fn standing(&self) -> Standing {
        match self.turned.iter().chain(&self.others).find(|judged| !judged.is_good()) {
            None => Standing::Solved,
            Some(Judged { verdict: Verdict::Inconclusive(_), .. }) => Standing::Unknown,
            Some(_) => Standing::NotYet,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{find, find_all};

    #[test]
    fn what_says_most_about_a_broken_server_comes_first() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let exercises = find_all(&root).unwrap();
        let exercise = find(&exercises, "05-accept").unwrap();
        let judge = Judge::new(exercise, PathBuf::new(), 0);
        let ids: Vec<_> = judge.cases(false).iter().map(|case| case.id).collect();
        assert_eq!(ids[..2], ["05-accept/01", "conc/01"]);
        assert!(ids[ids.len() - 1].starts_with("proc/"), "{ids:?}");
    }
}
