//! What every stage must do: a catalogue of cases, one file for each family.
//!
//! A case runs against a server that it knows only from outside, and reports a [`Finding`] or a
//! [`Problem`]. What a stage is expected to fail, and with which signature, stands in that stage's
//! own manifest ([`Profile`]); [`judge`] compares the two and gives the [`Verdict`].
//!
//! ```text
//! cargo test -p stage-05 --test conformance                            every case of stage 05
//! cargo test -p stage-05 --test conformance -- --heavy                 the heavy ones, too
//! cargo test -p stage-05 --test conformance -- conc/                   one family
//! cargo test -p stage-05 --test conformance -- conc/03 --repeat 200    one case, many times
//! cargo test -p stage-05 --test conformance -- conc/05 --seed 7        with the bytes of that run
//! cargo test -p stage-05 --test conformance -- --binary my_server      of another program
//! cargo test -p stage-05 --test by_hand                                of that example
//! ```
//!
//! The rules that keep cases from being flaky: a positive fact waits for its event; a negative one
//! is shown by a later event on the same path, or by the proof that the server is stuck
//! ([`harness::Stuck`]), never by waiting in vain; races are made certain with
//! [`harness::Server::pause`]; a precondition that was not reached makes a case inconclusive, and
//! never passed.

mod bcast;
mod bench;
mod close;
mod conc;
mod echo;
mod examine;
mod finding;
mod history;
mod host;
mod proc;
mod res;
mod scale;
mod subject;
mod symptom;
mod trials;
mod verdict;

pub use bench::Bench;
pub use examine::{Examined, examine, examine_within};
pub use finding::{
    Failure, Finding, Outcome, Problem, Require, ensure, ensure_growth_below, passed,
};
pub use subject::{Mode, Profile, ProfileError, Subject, Target, covers};
pub use symptom::Symptom;
pub use trials::{run_as_tests, run_example_as_tests};
pub use verdict::{Verdict, judge};

/// One promise of the contract, and the function that checks it:
/// `Case::echo("echo/01", "smoke", smoke).why("…")`.
#[derive(Debug)]
pub struct Case {
    /// Family and number: `conc/01`.
    pub id: &'static str,
    /// What happens.
    pub title: &'static str,
    /// Why it matters: one to three sentences.
    pub why: &'static str,
    /// The mode that the server has to be in.
    pub needs: Needs,
    /// What it has to have hold of.
    pub reach: Reach,
    /// Whether it measures processor time, or needs so much of it that nothing may run beside it.
    pub alone: bool,
    /// Whether it takes so long, or so many descriptors, that it runs only when asked for.
    pub heavy: bool,
    /// Runs it against one server.
    pub run: Run,
}

/// What runs a case: a function, or a closure that captures nothing.
pub type Run = fn(&Bench<'_>) -> Outcome;

/// The mode that a case needs the server to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Everyone hears itself.
    Echo,
    /// Everyone hears the others.
    Broadcast,
    /// Broadcast where the server can, else echo.
    Any,
}

/// What a case has to have hold of. Each is more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// An address to connect to: the case sees what a client sees.
    Address,
    /// The process, started here: under limits, on a port of choice, sent signals, read in /proc.
    Process,
    /// A program that takes our flags: `--host`, `--port`, `--max-line` …
    Flags,
}

impl Case {
    /// A case of a server that echoes.
    pub const fn echo(id: &'static str, title: &'static str, run: Run) -> Self {
        Self::new(id, title, Needs::Echo, run)
    }

    /// A case of a server that broadcasts.
    pub const fn broadcast(id: &'static str, title: &'static str, run: Run) -> Self {
        Self::new(id, title, Needs::Broadcast, run)
    }

    /// A case of any server: in broadcast mode where it has that, else in echo mode.
    pub const fn any(id: &'static str, title: &'static str, run: Run) -> Self {
        Self::new(id, title, Needs::Any, run)
    }

    const fn new(id: &'static str, title: &'static str, needs: Needs, run: Run) -> Self {
        let reach = Reach::Process;
        Self { id, title, why: "", needs, reach, alone: false, heavy: false, run }
    }

    /// Why it matters.
    pub const fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    /// It needs nothing but an address. Else a case may do with the process what it wants.
    pub const fn from_outside(mut self) -> Self {
        self.reach = Reach::Address;
        self
    }

    /// It gives the program flags that only ours take.
    pub const fn with_flags(mut self) -> Self {
        self.reach = Reach::Flags;
        self
    }

    /// Nothing may run beside it.
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// It runs only when asked for: `cargo test … -- --heavy`, `cargo xtask check --all`.
    pub const fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }
}

impl Needs {
    /// The mode in which a server that has `modes` runs the case; none if it cannot.
    pub fn mode(self, modes: &[Mode]) -> Option<Mode> {
        let has = |mode| modes.contains(&mode).then_some(mode);
        match self {
            Self::Echo => has(Mode::Echo),
            Self::Broadcast => has(Mode::Broadcast),
            Self::Any => has(Mode::Broadcast).or(has(Mode::Echo)),
        }
    }
}

impl Case {
    /// The part of its id before the number: `conc`.
    pub fn family(&self) -> &'static str {
        self.id.split('/').next().unwrap_or(self.id)
    }

    /// Whether `prefix` is the beginning of its id, up to a whole part of it: `conc`, `conc/`,
    /// `conc/01`.
    pub fn is_under(&self, prefix: &str) -> bool {
        self.id == prefix || self.family() == prefix.trim_end_matches('/')
    }
}

/// All cases, family by family.
pub fn catalogue() -> impl Iterator<Item = &'static Case> {
    let families = [
        proc::CASES,
        echo::CASES,
        conc::CASES,
        close::CASES,
        bcast::CASES,
        host::CASES,
        res::CASES,
        scale::CASES,
    ];
    families.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_an_id_of_its_own() {
        let ids: BTreeSet<_> = catalogue().map(|case| case.id).collect();
        assert_eq!(ids.len(), catalogue().count());
    }

    #[test]
    fn every_case_says_why_it_matters() {
        let silent: Vec<_> =
            catalogue().filter(|case| case.why.is_empty()).map(|it| it.id).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn a_case_is_chosen_by_its_id_or_its_family() {
        const CASE: Case = Case::echo("conc/01", "", |_| passed());
        assert!(["conc", "conc/", "conc/01"].iter().all(|prefix| CASE.is_under(prefix)));
        assert!(!["con", "conc/0", "conc/02", ""].iter().any(|prefix| CASE.is_under(prefix)));
    }

    #[test]
    fn a_case_for_any_mode_prefers_broadcast() {
        use Mode::{Broadcast, Echo};
        assert_eq!(Needs::Any.mode(&[Echo, Broadcast]), Some(Broadcast));
        assert_eq!(Needs::Any.mode(&[Echo]), Some(Echo));
        assert_eq!(Needs::Broadcast.mode(&[Echo]), None);
    }
}
