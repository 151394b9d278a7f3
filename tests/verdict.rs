use std::fmt;

use crate::{Case, Failure, Finding, Outcome, Problem, Profile, Symptom};

/// What a case says about a server, in the light of what was expected of that server.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The contract is kept.
    Pass,
    /// The contract allows it, and does not prefer it.
    NonStrict(String),
    /// The flaw that this stage keeps on purpose has shown, with its signature.
    Designed(String),
    /// The contract is broken.
    Fail(Failure),
    /// The flaw that this stage keeps on purpose did not show, or showed differently: the book
    /// would be wrong. With the signature that was expected.
    Unexpected(String, Option<Failure>),
    /// A precondition was not reached: nothing was checked.
    Inconclusive(String),
    /// The server lacks what the case is about.
    NotApplicable(String),
    /// Measured, not judged.
    Info(String),
}

/// Compares what `case` reports with what `profile` says of the server.
pub fn judge(case: &Case, profile: &Profile, outcome: Outcome) -> Verdict {
    if let Some(reason) = profile.not_applicable.get(case.id) {
        return Verdict::NotApplicable(reason.clone());
    }
    let outcome = outcome.map_err(|problem| *problem);
    if profile.info.iter().any(|id| id == case.id) {
        return Verdict::Info(match outcome {
            Ok(Finding::Passed) => "passed".to_owned(),
            Ok(Finding::NonStrict(text) | Finding::Measured(text)) => text,
            Err(Problem::Failed(failure)) => failure.actual,
            Err(Problem::Inconclusive(reason)) => return Verdict::Inconclusive(reason),
        });
    }
    match (outcome, profile.designed(case.id)) {
        (Err(Problem::Inconclusive(reason)), _) => Verdict::Inconclusive(reason),
        (Err(Problem::Failed(failure)), Some(designed)) => {
            if failure.signature.as_deref() == Some(designed) {
                Verdict::Designed(designed.to_owned())
            } else if is_unproved(&failure) {
                Verdict::Designed(format!("{designed} (NON-CAUSAL: not proved on this system)"))
            } else {
                Verdict::Unexpected(designed.to_owned(), Some(failure))
            }
        }
        (Ok(_), Some(designed)) => Verdict::Unexpected(designed.to_owned(), None),
        (Err(Problem::Failed(failure)), None) => Verdict::Fail(failure),
        (Ok(Finding::Passed), None) => Verdict::Pass,
        (Ok(Finding::NonStrict(text)), None) => Verdict::NonStrict(text),
        (Ok(Finding::Measured(text)), None) => Verdict::Info(text),
    }
}

/// Where nothing is known of threads and queues, a wait in vain has no signature. What the case saw
/// then is the order alone: served when somebody else had acted, and not before.
fn is_unproved(failure: &Failure) -> bool {
    !harness::kernel::IS_READABLE && failure.signature.is_none() && failure.kind == Symptom::Silence
}

impl Verdict {
    /// Whether everything is as expected of this server.
    pub fn is_as_expected(&self) -> bool {
        match self {
            Self::Pass
            | Self::NonStrict(_)
            | Self::Designed(_)
            | Self::NotApplicable(_)
            | Self::Info(_) => true,
            Self::Fail(_) | Self::Unexpected(..) | Self::Inconclusive(_) => false,
        }
    }

    /// The verdict as one word in capitals.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::NonStrict(_) => "NON-STRICT",
            Self::Designed(_) => "DESIGNED",
            Self::Fail(_) => "FAIL",
            Self::Unexpected(..) => "UNEXPECTED",
            Self::Inconclusive(_) => "INCONCLUSIVE",
            Self::NotApplicable(_) => "N/A",
            Self::Info(_) => "INFO",
        }
    }
}

impl fmt::Display for Verdict {
    /// The word, and below it what there is to say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.word())?;
        match self {
            Self::Pass => Ok(()),
            Self::NonStrict(text)
            | Self::Designed(text)
            | Self::Inconclusive(text)
            | Self::NotApplicable(text)
            | Self::Info(text) => writeln!(f, "{text}"),
            Self::Fail(failure) => write!(f, "{failure}"),
            Self::Unexpected(designed, None) => {
                writeln!(f, "the designed flaw did not show: {designed}")
            }
            Self::Unexpected(designed, Some(failure)) => {
                writeln!(f, "the designed flaw showed differently: {designed}")?;
                write!(f, "{failure}")
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requirement, expected, actual, signature, scene, .. } = self;
        if let Some(requirement) = requirement {
            writeln!(f, "requirement: {requirement}")?;
        }
        writeln!(f, "expected:    {expected}")?;
        writeln!(f, "actual:      {actual}")?;
        writeln!(f, "signature:   {}", signature.as_deref().unwrap_or("none"))?;
        write!(f, "{scene}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passed;

    const CASE: Case = Case::echo("conc/01", "a case", |_| passed());

    fn verdict(profile: &str, outcome: Outcome) -> &'static str {
        let profile = format!("modes = [\"echo\"]\n{profile}");
        judge(&CASE, &toml::from_str(&profile).unwrap(), outcome).word()
    }

    fn failed(signature: Option<&str>) -> Outcome {
        Err(Box::new(Problem::Failed(Failure {
            requirement: None,
            expected: String::new(),
            actual: String::new(),
            signature: signature.map(str::to_owned),
            kind: crate::Symptom::Other,
            scene: harness::Scene::default(),
        })))
    }

    #[test]
    fn without_a_word_in_the_manifest_a_case_has_to_pass() {
        assert_eq!(verdict("", passed()), "PASS");
        assert_eq!(verdict("", failed(Some("asleep in accept"))), "FAIL");
        assert_eq!(verdict("", Ok(Finding::NonStrict("RST".to_owned()))), "NON-STRICT");
    }

    #[test]
    fn a_designed_flaw_counts_only_with_its_signature() {
        let designed = r#"designed = { "conc/01" = "asleep in accept" }"#;
        assert_eq!(verdict(designed, failed(Some("asleep in accept"))), "DESIGNED");
        assert_eq!(verdict(designed, failed(Some("asleep in recv on a"))), "UNEXPECTED");
        assert_eq!(verdict(designed, failed(None)), "UNEXPECTED");
        assert_eq!(verdict(designed, passed()), "UNEXPECTED");
    }

    #[test]
    fn what_was_not_reached_is_never_a_pass() {
        let inconclusive = || Err(Box::new(Problem::Inconclusive("full".to_owned())));
        assert_eq!(verdict("", inconclusive()), "INCONCLUSIVE");
        assert_eq!(verdict(r#"designed = { "conc/" = "x" }"#, inconclusive()), "INCONCLUSIVE");
        assert_eq!(verdict(r#"info = ["conc/01"]"#, inconclusive()), "INCONCLUSIVE");
    }

    #[test]
    fn information_is_not_judged() {
        assert_eq!(verdict(r#"info = ["conc/01"]"#, failed(None)), "INFO");
        assert_eq!(verdict("", Ok(Finding::Measured("201 threads".to_owned()))), "INFO");
    }
}
