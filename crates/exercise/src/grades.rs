//! What a check of several exercises came to, for programs that read it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite, XmlString};
use serde::Serialize;

use crate::{Exercise, Judged, Report, Standing};

/// One grade for each exercise that was checked.
#[derive(Debug, Default, Serialize)]
pub struct Grades {
    /// In the order of the exercises.
    pub exercises: Vec<Grade>,
}

/// What the check of one exercise came to.
#[derive(Debug, Serialize)]
pub struct Grade {
    /// Its name: `05-accept`.
    pub name: String,
    /// What there is to do.
    pub title: String,
    /// The stage that it belongs to.
    pub stage: String,
    /// How hard it is, from 1 to 3.
    pub level: u8,
    /// What it amounts to.
    pub result: Outcome,
    /// What the learner is told.
    pub explanation: String,
    /// How long building and judging took, in seconds.
    pub seconds: f64,
    /// The cases that were run.
    pub cases: Vec<CaseGrade>,
}

/// What the check of an exercise amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All cases that have to turn have, and nothing else has changed for the worse.
    Solved,
    /// Something has not turned, or no longer works.
    NotYet,
    /// It does not compile.
    DoesNotCompile,
    /// A case that has to turn could not be run on this machine.
    NotJudged,
}

/// What one case says.
#[derive(Debug, Serialize)]
pub struct CaseGrade {
    /// The case's id.
    pub id: String,
    /// What happens in it.
    pub title: String,
    /// Whether it is one that has to turn.
    pub turns: bool,
    /// Whether it is no reason against the work.
    pub good: bool,
    /// The verdict, as one word.
    pub verdict: String,
}

impl Grade {
    /// The grade of an exercise; without a report it does not compile.
    pub fn new(exercise: &Exercise, report: Option<&Report>, took: Duration) -> Self {
        let result = match report.map(Report::standing) {
            Some(Standing::Solved) => Outcome::Solved,
            Some(Standing::NotYet) => Outcome::NotYet,
            Some(Standing::Unknown) => Outcome::NotJudged,
            None => Outcome::DoesNotCompile,
        };
        let explanation =
            report.map_or("It does not compile.".to_owned(), |report| report.explain(exercise));
        let cases =
            report.into_iter().flat_map(|report| report.turned.iter().chain(&report.others));
        Self {
            name: exercise.name.clone(),
            title: exercise.title.clone(),
            stage: exercise.mark.base.clone(),
            level: exercise.mark.level,
            result,
            explanation,
            seconds: took.as_secs_f64(),
            cases: cases.map(CaseGrade::new).collect(),
        }
    }
}

impl CaseGrade {
    fn new(judged: &Judged) -> Self {
        Self {
            id: judged.case.id.to_owned(),
            title: judged.case.title.to_owned(),
            turns: judged.turns,
            good: judged.is_good(),
            verdict: judged.verdict.word().to_owned(),
        }
    }
}

impl Grades {
    /// How many exercises are solved.
    pub fn solved(&self) -> usize {
        self.exercises.iter().filter(|grade| grade.result == Outcome::Solved).count()
    }

    /// The grades as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings, numbers and lists") + "\n"
    }

    /// The grades in the format of JUnit: a suite for each stage, a test case for each exercise.
    /// One that could not be judged is an error.
    pub fn junit(&self) -> String {
        let mut document = quick_junit::Report::new("exercises");
        for of_stage in self.exercises.chunk_by(|a, b| a.stage == b.stage) {
            let mut suite = TestSuite::new(of_stage[0].stage.as_str());
            suite.add_test_cases(of_stage.iter().map(test_case));
            document.add_test_suite(suite);
        }
        document.to_string().expect("a String takes all")
    }
}

fn test_case(grade: &Grade) -> TestCase {
    let (kind, message) = match grade.result {
        Outcome::Solved => (None, "solved"),
        Outcome::NotYet => (Some(NonSuccessKind::Failure), "not solved yet"),
        Outcome::DoesNotCompile => (Some(NonSuccessKind::Failure), "it does not compile"),
        Outcome::NotJudged => (Some(NonSuccessKind::Error), "it could not be judged here"),
    };
    let status = kind.map_or_else(TestCaseStatus::success, |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(message).set_description(XmlString::new(&grade.explanation));
        status
    });
    let mut case = TestCase::new(format!("{} {}", grade.name, grade.title), status);
    case.set_classname(grade.stage.as_str()).set_time(Duration::from_secs_f64(grade.seconds));
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grade(name: &str, stage: &str, result: Outcome) -> Grade {
        Grade {
            name: name.to_owned(),
            title: "Do <this> & that".to_owned(),
            stage: stage.to_owned(),
            level: 1,
            result,
            explanation: "b: 6 bytes\u{1b}".to_owned(),
            seconds: 0.5,
            cases: Vec::new(),
        }
    }

    #[test]
    fn json_and_junit_carry_every_exercise_and_its_result() {
        let grades = Grades {
            exercises: vec![
                grade("01-count", "stage-01", Outcome::Solved),
                grade("01-idle", "stage-01", Outcome::NotYet),
                grade("02-limit", "stage-02", Outcome::NotJudged),
            ],
        };
        assert_eq!(grades.solved(), 1);
        let json: serde_json::Value = serde_json::from_str(&grades.json()).unwrap();
        assert_eq!(json["exercises"][1]["result"], "not-yet");
        let xml = grades.junit();
        for count in [r#"tests="3""#, r#"failures="1""#, r#"errors="1""#] {
            assert!(xml.contains(count), "{xml}");
        }
        assert!(xml.contains(r#"<testsuite name="stage-01" tests="2""#), "{xml}");
        assert!(xml.contains("Do &lt;this&gt; &amp; that"));
    }
}
