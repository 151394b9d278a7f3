use std::time::{Duration, Instant};

use harness::Log;

use crate::{Bench, Case, Subject, Symptom, Verdict, judge};

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
    let mode = match subject.mode_for(case) {
        Ok(mode) => mode,
        Err(reason) => {
            let (symptom, logs, took) = (None, Vec::new(), Duration::ZERO);
            return Examined { verdict: Verdict::NotApplicable(reason), symptom, logs, took };
        }
    };
    let begin = Instant::now();
    let run = || (case.run)(&Bench::new(subject, mode, seed));
    let (outcome, observed) = harness::observe(deadline(case), run);
    let took = begin.elapsed();
    let symptom = match &outcome {
        Err(problem) if !observed.overdue => problem.symptom(),
        Err(_) => Some(Symptom::Endless),
        Ok(_) => None,
    };
    let verdict = judge(case, &subject.profile, outcome);
    Examined { verdict, symptom, logs: observed.logs, took }
}

/// How long a case may take in all, however much happens.
fn deadline(case: &Case) -> Duration {
    harness::patience() * if case.heavy { 60 } else { 12 }
}
