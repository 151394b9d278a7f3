use std::time::{Duration, Instant};

use harness::Log;

use crate::{Bench, Case, Problem, Subject, Symptom, Verdict, judge};

/// What came of one case, run once against one server.
#[derive(Debug)]
pub struct Examined {
    /// What the case says about the server.
    pub verdict: Verdict,
    /// What its failure looks like.
    pub symptom: Option<Symptom>,
    /// The wire logs of the servers that it started.
    pub logs: Vec<Log>,
    /// How long it took.
    pub took: Duration,
}

/// Runs `case` once and judges it. All that is random in it follows from `seed`.
///
/// The waits of a case end by themselves; a server that goes on for ever, so that there is always
/// something to wait for, is killed in the end.
pub fn examine(case: &Case, subject: &Subject, seed: u64) -> Examined {
    examine_within(harness::patience() * if case.heavy { 60 } else { 12 }, case, subject, seed)
}

/// As [`examine`], for those who do not want to wait so long: `deadline` is how long the case may
/// take in all, however much happens. A server that is right, and slow, fails where it is short.
pub fn examine_within(deadline: Duration, case: &Case, subject: &Subject, seed: u64) -> Examined {
    let mode = match subject.mode_for(case) {
        Ok(mode) => mode,
        Err(reason) => {
            let (symptom, logs, took) = (None, Vec::new(), Duration::ZERO);
            return Examined { verdict: Verdict::NotApplicable(reason), symptom, logs, took };
        }
    };
    let begin = Instant::now();
    let run = || (case.run)(&Bench::new(subject, mode, seed));
    let (mut outcome, observed) = harness::observe(deadline, run);
    let took = begin.elapsed();
    if let (Err(problem), Some(scene)) = (&mut outcome, observed.overdue)
        && let Problem::Failed(failure) = &mut **problem
    {
        // What came then is what came of killing it.
        failure.actual = format!("not there yet after {deadline:?}, when the case was ended");
        (failure.kind, failure.signature, failure.scene) = (Symptom::Endless, None, scene);
    }
    let symptom = outcome.as_ref().err().and_then(|problem| problem.symptom());
    let verdict = judge(case, &subject.profile, outcome);
    Examined { verdict, symptom, logs: observed.logs, took }
}
