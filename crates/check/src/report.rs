use std::time::Duration;

use conformance::{Case, Mode, Symptom, Verdict};
use harness::Log;

use crate::{Explanation, Server};

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// One for each server, in the order given.
    pub servers: Vec<ServerReport>,
    /// The seed of the first round.
    pub seed: u64,
    /// How long it all took.
    pub took: Duration,
}

/// What came of one server.
#[derive(Debug)]
pub struct ServerReport {
    /// The server.
    pub server: Server,
    /// One for each case, in the order of the catalogue.
    pub rows: Vec<Row>,
}

/// What came of one case against one server.
#[derive(Debug)]
pub struct Row {
    /// The case.
    pub case: &'static Case,
    /// The mode that the server ran in; none if the case does not apply.
    pub mode: Option<Mode>,
    /// What the case says.
    pub verdict: Verdict,
    /// What a failure looks like.
    pub symptom: Option<Symptom>,
    /// What it said when it was run again, where the first verdict was not as expected.
    pub again: Option<&'static str>,
    /// The seed of this round.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
    /// The wire logs of the servers that it started.
    pub logs: Vec<Log>,
}

/// What a verdict amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// PASS, NON-STRICT.
    Good,
    /// DESIGNED.
    Designed,
    /// INFO.
    Info,
    /// N/A.
    NotApplicable,
    /// INCONCLUSIVE.
    Inconclusive,
    /// FAIL, UNEXPECTED.
    Bad,
}

/// How many rows there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Of [`Kind::Good`].
    pub good: usize,
    /// Of [`Kind::Designed`].
    pub designed: usize,
    /// Of [`Kind::Info`].
    pub info: usize,
    /// Of [`Kind::NotApplicable`].
    pub not_applicable: usize,
    /// Of [`Kind::Inconclusive`].
    pub inconclusive: usize,
    /// Of [`Kind::Bad`].
    pub bad: usize,
}

impl Report {
    /// How many rows there are of each kind, of all servers.
    pub fn count(&self) -> Count {
        Count::of(self.servers.iter().flat_map(|server| &server.rows))
    }

    /// The exit status that says it: 0 all as expected, 1 something is not, 3 nothing is known to
    /// be wrong, and something, or all of it, was not checked.
    pub fn exit_code(&self) -> u8 {
        match self.count() {
            Count { bad: 1.., .. } => 1,
            Count { inconclusive: 1.., .. } => 3,
            count if count.is_of_nothing() => 3,
            _ => 0,
        }
    }
}

impl Count {
    /// Whether nothing was checked: no case applies.
    pub(crate) fn is_of_nothing(&self) -> bool {
        let Self { not_applicable, .. } = *self;
        *self == Self { not_applicable, ..Self::default() }
    }

    /// Of these rows.
    pub fn of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Self {
        let mut count = Self::default();
        for row in rows {
            *match row.kind() {
                Kind::Good => &mut count.good,
                Kind::Designed => &mut count.designed,
                Kind::Info => &mut count.info,
                Kind::NotApplicable => &mut count.not_applicable,
                Kind::Inconclusive => &mut count.inconclusive,
                Kind::Bad => &mut count.bad,
            } += 1;
        }
        count
    }
}

impl Row {
    /// What its verdict amounts to.
    pub fn kind(&self) -> Kind {
        Kind::of(&self.verdict)
    }

    /// What there is to say about what went wrong; none if nothing did.
    pub fn explanation(&self) -> Option<Explanation> {
        Explanation::of(self)
    }

    /// A remark of a few words beside the verdict.
    pub fn remark(&self) -> Option<String> {
        let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        match &self.verdict {
            Verdict::Pass => None,
            Verdict::NonStrict(text) => Some(format!("allowed: {}", first_line(text))),
            Verdict::Info(text) | Verdict::NotApplicable(text) => Some(first_line(text)),
            Verdict::Designed(signature) => Some(format!("by design: {signature}")),
            Verdict::Inconclusive(reason) => {
                Some(format!("could not check: {}", first_line(reason)))
            }
            Verdict::Unexpected(_, None) => Some("its designed flaw did not show".to_owned()),
            Verdict::Unexpected(_, Some(_)) => Some("fails otherwise than designed".to_owned()),
            Verdict::Fail(_) => self
                .symptom
                .filter(|symptom| *symptom != Symptom::Other)
                .map(|symptom| symptom.word().to_owned()),
        }
    }
}

impl Kind {
    /// What `verdict` amounts to.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Pass | Verdict::NonStrict(_) => Self::Good,
            Verdict::Designed(_) => Self::Designed,
            Verdict::Info(_) => Self::Info,
            Verdict::NotApplicable(_) => Self::NotApplicable,
            Verdict::Inconclusive(_) => Self::Inconclusive,
            Verdict::Fail(_) | Verdict::Unexpected(..) => Self::Bad,
        }
    }

    /// A sign for it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Designed => "◆",
            Self::Info => "i",
            Self::NotApplicable => "–",
            Self::Inconclusive => "?",
            Self::Bad => "✗",
        }
    }

    /// A word for it, in small letters: the name of its class in HTML, too.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Designed => "designed",
            Self::Info => "info",
            Self::NotApplicable => "not-applicable",
            Self::Inconclusive => "inconclusive",
            Self::Bad => "bad",
        }
    }
}
