use std::collections::BTreeMap;
use std::path::Path;

use conformance::{Case, Mode, Profile, Subject, Target};
use serde::Deserialize;

/// A server of known truth: an entry of `specimens.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Specimen {
    /// Its name: what the program `specimen` is told to be.
    #[serde(skip)]
    pub name: String,
    /// What is wrong with it, or odd, in a sentence.
    pub what: String,
    /// The modes in which it is judged.
    pub modes: Vec<Mode>,
    /// The cases that must catch it, and what each failure must look like: a [`Symptom::word`].
    ///
    /// [`Symptom::word`]: conformance::Symptom::word
    #[serde(default)]
    pub caught: BTreeMap<String, String>,
    /// More cases that it fails, or may, for the same reason: an id, or a family; `*` is all.
    #[serde(default)]
    pub too: Vec<String>,
    /// The script in `book/python` that it is, where it is not the program `specimen`.
    pub script: Option<String>,
}

/// What has to come of a case that is run against a specimen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation<'s> {
    /// The case is there to catch it, and this is what the failure looks like.
    Caught(&'s str),
    /// It fails, or may.
    Fails,
    /// It passes: the fault is not its business.
    Passes,
}

/// Everything that `specimens.toml` says.
///
/// # Panics
/// It is malformed: every test finds that out.
pub fn specimens() -> Vec<Specimen> {
    let text = include_str!("../specimens.toml");
    let table: BTreeMap<String, Specimen> =
        toml::from_str(text).unwrap_or_else(|error| panic!("specimens.toml: {error}"));
    let named = |(name, specimen)| Specimen { name, ..specimen };
    table.into_iter().map(named).collect()
}

impl Specimen {
    /// The server in one of its modes. `program` is the program `specimen`.
    pub fn subject(&self, mode: Mode, program: &Path) -> Subject {
        let target = match &self.script {
            Some(script) => {
                let script = format!("{}/../../book/python/{script}", env!("CARGO_MANIFEST_DIR"));
                let words = ["python3", &script, "--port", "{port}"].map(str::to_owned);
                Target::Command(words.into())
            }
            None => {
                let words = [&self.name, "--mode", &mode.to_string()].map(str::to_owned);
                Target::Program(program.to_owned(), words.into())
            }
        };
        let stops_in_order = self.script.is_none();
        let profile = Profile { stops_in_order, ..Profile::good(vec![mode]) };
        Subject { target, profile }
    }

    /// What has to come of `case`.
    pub fn expectation(&self, case: &Case) -> Expectation<'_> {
        match self.caught.get(case.id) {
            Some(symptom) => Expectation::Caught(symptom),
            None if self.too.iter().any(|too| case.is_under(too) || too == "*") => {
                Expectation::Fails
            }
            None => Expectation::Passes,
        }
    }

    /// Whether every case has to pass.
    pub fn is_right(&self) -> bool {
        self.caught.is_empty() && self.too.is_empty()
    }
}
