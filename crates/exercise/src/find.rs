use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use conformance::{Case, Mode, Profile, catalogue, covers};
use serde::Deserialize;
use similar::TextDiff;

use crate::cases;

/// One exercise: a package that a learner changes.
#[derive(Clone, Debug)]
pub struct Exercise {
    /// The name of its folder, which begins with the stage's number: `05-accept`.
    pub name: String,
    /// What there is to do, in one line.
    pub title: String,
    /// Where it stands.
    pub directory: PathBuf,
    /// How it is judged.
    pub mark: Mark,
    /// What is known of the stage that it begins with.
    pub base: Profile,
}

/// How an exercise is judged: `[package.metadata.exercise]` of its manifest. What `turns` names
/// has to pass; for the other tables see [`Profile`]: they hold where the work makes a case come
/// out in another way than for the stage. A key is a case's id, or the beginning of several,
/// ending in `/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mark {
    /// The stage that it belongs to: `stage-05`.
    pub base: String,
    /// How hard it is: from 1, a few lines in one place, to 3, an hour or more.
    pub level: u8,
    /// The stage after whose exercises it comes, if it is for a chapter behind that stage's.
    pub after: Option<String>,
    /// What the learner begins with.
    #[serde(default)]
    pub begins_with: Beginning,
    /// The modes of its server, where those are not the stage's.
    pub modes: Option<Vec<Mode>>,
    /// The cases that fail in the beginning and have to pass.
    pub turns: Vec<String>,
    /// With which signature they fail, where the stage's manifest does not say it; for a failure
    /// that has none, a part of the text that says what was.
    #[serde(default)]
    pub before: BTreeMap<String, String>,
    /// Cases that still fail, though with another signature than the stage.
    #[serde(default)]
    pub designed: BTreeMap<String, String>,
    /// Cases that are no longer judged.
    #[serde(default)]
    pub info: Vec<String>,
    /// Cases that no longer apply, and the reason.
    #[serde(default)]
    pub not_applicable: BTreeMap<String, String>,
}

/// What a learner begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beginning {
    /// The stage's listing, with a place marked `todo`.
    #[default]
    Listing,
    /// The stage's listing with a flaw put in. The stage itself is the solution.
    Flaw,
    /// A server of its own.
    Own,
}

/// No exercise is called that, or more than one.
#[derive(Debug, PartialEq, Eq)]
pub struct Unknown {
    name: String,
    nearest: Vec<String>,
}

/// All exercises under `root` in the order in which they are meant to be solved: stage by stage, the
/// easy ones first.
///
/// # Errors
/// A folder is not an exercise.
pub fn find_all(root: &Path) -> anyhow::Result<Vec<Exercise>> {
    let folder = root.join("crates/exercises");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder:?}"))?;
    let directories = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    let mut exercises = directories
        .into_iter()
        .filter(|directory| directory.join("Cargo.toml").exists())
        .map(|directory| Exercise::read(root, directory))
        .collect::<anyhow::Result<Vec<_>>>()?;
    exercises.sort_by_cached_key(|Exercise { mark, name, .. }| {
        let stage = mark.after.as_ref().unwrap_or(&mark.base);
        (stage.clone(), mark.after.is_some(), mark.level, name.clone())
    });
    Ok(exercises)
}

/// The exercise that is meant by `name`: its name, or a part of it that no other has, as `05` or
/// `accept`.
///
/// # Errors
/// There is none, or more than one.
pub fn find<'e>(exercises: &'e [Exercise], name: &str) -> Result<&'e Exercise, Unknown> {
    const SIMILAR: f64 = 0.7;
    let wanted = name.strip_prefix("exercise-").unwrap_or(name).to_lowercase();
    if let Some(exercise) = exercises.iter().find(|exercise| exercise.name == wanted) {
        return Ok(exercise);
    }
    let nearest: Vec<_> =
        exercises.iter().filter(|exercise| exercise.name.contains(&wanted)).collect();
    if let [exercise] = nearest.as_slice() {
        return Ok(exercise);
    }
    let names = |exercises: Vec<&Exercise>| {
        exercises.into_iter().map(|exercise| exercise.name.clone()).collect()
    };
    if !wanted.is_empty() && !nearest.is_empty() {
        return Err(Unknown { name: name.to_owned(), nearest: names(nearest) });
    }
    let is_similar = |exercise: &&Exercise| {
        let word = exercise.name.split_once('-').map_or("", |(_, word)| word);
        let wanted_word = wanted.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        strsim::jaro_winkler(&exercise.name, &wanted).max(strsim::jaro_winkler(word, wanted_word))
            >= SIMILAR
    };
    let nearest = exercises.iter().filter(is_similar).collect();
    Err(Unknown { name: name.to_owned(), nearest: names(nearest) })
}

impl Exercise {
    fn read(root: &Path, directory: PathBuf) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Manifest {
            package: Package,
        }
        #[derive(Deserialize)]
        struct Package {
            description: String,
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            exercise: Mark,
        }
        let path = directory.join("Cargo.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?;
        let manifest: Manifest =
            toml::from_str(&text).with_context(|| format!("{path:?} describes no exercise"))?;
        let Package { description: title, metadata: Metadata { exercise: mark } } =
            manifest.package;
        let mut base = Profile::read(&root.join("crates").join(&mark.base))?;
        if let Some(modes) = &mark.modes {
            base.modes.clone_from(modes);
        }
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, title, directory, mark, base })
    }

    /// The package's name, and its program's: `exercise-05-accept`.
    pub fn package(&self) -> String {
        format!("exercise-{}", self.name)
    }

    /// The solution's name as an example of the package: `solution-05-accept`.
    pub fn solution(&self) -> String {
        format!("solution-{}", self.name)
    }

    /// The hints, from a nudge to nearly there.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn hints(&self) -> anyhow::Result<Vec<String>> {
        let read = |number| {
            let path = self.directory.join(format!("hints/{number}.md"));
            fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))
        };
        (1..=Self::HINTS).map(read).collect()
    }

    /// The folder in which the solution stands.
    pub fn solution_folder(&self) -> PathBuf {
        match self.mark.begins_with {
            Beginning::Flaw => self.stage_folder(),
            Beginning::Listing | Beginning::Own => self.directory.join("solution"),
        }
    }

    /// What the solution changes, as a unified diff: in the stage's listing where the learner began
    /// with that, else in what the learner has now.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn solution_diff(&self) -> anyhow::Result<String> {
        let (old_folder, old_name) = match self.mark.begins_with {
            Beginning::Listing => (self.stage_folder(), &self.mark.base),
            Beginning::Flaw | Beginning::Own => (self.directory.join("src"), &self.name),
        };
        let new_folder = self.solution_folder();
        let mut text = String::new();
        for file in source_files(&new_folder)? {
            let old = read_listing(&old_folder.join(&file))?;
            let new = read_listing(&new_folder.join(&file))?;
            let headers = [format!("{old_name}/{file}"), format!("solution/{file}")];
            let diff = TextDiff::from_lines(&old, &new);
            text += &diff.unified_diff().header(&headers[0], &headers[1]).to_string();
        }
        Ok(text)
    }

    fn stage_folder(&self) -> PathBuf {
        self.directory.join("../..").join(&self.mark.base).join("src")
    }

    /// An entry of the mark about a case that does not exist, if there is one.
    pub fn unknown_case(&self) -> Option<&str> {
        let Mark { turns, before, designed, info, not_applicable, .. } = &self.mark;
        let keys = turns.iter().chain(info).chain(before.keys());
        let mut keys = keys.chain(designed.keys()).chain(not_applicable.keys());
        keys.find(|key| !self.all_cases().any(|case| covers(key, case.id))).map(String::as_str)
    }

    /// The catalogue, and the exercise's own cases.
    pub(crate) fn all_cases(&self) -> impl Iterator<Item = &'static Case> {
        let own = format!("{}/", self.name);
        catalogue().chain(cases::all().filter(move |case| covers(&own, case.id)))
    }

    /// How many hints each exercise has.
    pub const HINTS: usize = 3;
}

impl Mark {
    /// Whether the case `id` has to pass once the work is done.
    pub fn turns(&self, id: &str) -> bool {
        self.turns.iter().any(|key| covers(key, id))
    }

    /// The entry of [`Mark::before`] for the case `id`.
    pub(crate) fn before(&self, id: &str) -> Option<&str> {
        self.before.iter().find(|(key, _)| covers(key, id)).map(|(_, text)| text.as_str())
    }
}

/// The names of the files in `folder`, sorted.
fn source_files(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {folder:?}"))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A listing without what the book marks in it; nothing where there is no such file.
fn read_listing(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => {
            Ok(text.split_inclusive('\n').filter(|line| !line.contains("// ANCHOR")).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {path:?}")),
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no exercise is called `{}`", self.name)?;
        match self.nearest.as_slice() {
            [] => f.write_str("; `cargo xtask exercise list` shows all of them"),
            names => write!(f, "; did you mean {}?", names.join(" or ")),
        }
    }
}

impl std::error::Error for Unknown {}

#[cfg(test)]
mod tests {
    use super::*;

    fn exercises() -> Vec<Exercise> {
        let exercise = |name: &str| Exercise {
            name: name.to_owned(),
            title: String::new(),
            directory: PathBuf::new(),
            mark: toml::from_str("base = 'stage-01'\nlevel = 1\nturns = ['conc/03', 'echo/']")
                .unwrap(),
            base: toml::from_str("modes = ['echo']").unwrap(),
        };
        ["01-count", "05-accept", "05-fair"].map(exercise).into()
    }

    fn found(name: &str) -> Result<String, String> {
        let exercises = exercises();
        find(&exercises, name).map(|it| it.name.clone()).map_err(|unknown| unknown.to_string())
    }

    #[test]
    fn a_name_or_an_unmistakable_part_of_it_is_enough() {
        for name in ["05-accept", "accept", "exercise-05-accept", "05-a", "Accept"] {
            assert_eq!(found(name), Ok("05-accept".to_owned()), "{name}");
        }
        assert_eq!(found("01"), Ok("01-count".to_owned()));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        assert_eq!(
            found("05").unwrap_err(),
            "no exercise is called `05`; did you mean 05-accept or 05-fair?"
        );
        assert_eq!(
            found("cuont").unwrap_err(),
            "no exercise is called `cuont`; did you mean 01-count?"
        );
        assert!(found("").unwrap_err().ends_with("`cargo xtask exercise list` shows all of them"));
        assert!(found("xyzzy").unwrap_err().contains("list"));
    }

    #[test]
    fn a_key_is_a_case_or_the_beginning_of_several() {
        let mark = exercises().remove(0).mark;
        assert!(mark.turns("conc/03") && mark.turns("echo/01"));
        assert!(!mark.turns("conc/01") && !mark.turns("conc/031") && !mark.turns("echo"));
    }
}
