use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::Exercise;

/// What a learner has done so far: a file in the root, which `cargo clean` leaves alone and git
/// does not know.
#[derive(Debug)]
pub struct Progress {
    path: PathBuf,
    records: BTreeMap<String, Record>,
}

/// What was done of one exercise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Record {
    /// It passed when it was last checked.
    pub solved: bool,
    /// How many hints were given.
    pub hints: usize,
}

impl Progress {
    /// The file's name.
    pub const FILE: &str = ".exercises.toml";

    /// What is known under `root`. Where there is no file, nothing was done.
    ///
    /// # Errors
    /// The file cannot be read, or is none of ours.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(Self::FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {path:?}")),
        };
        let records = toml::from_str(&text).with_context(|| {
            format!("{path:?} is damaged: repair it, or delete it to begin anew")
        })?;
        Ok(Self { path, records })
    }

    /// What was done of an exercise.
    pub fn of(&self, exercise: &Exercise) -> Record {
        self.records.get(&exercise.name).cloned().unwrap_or_default()
    }

    /// The first exercise that is not solved.
    pub fn next<'e>(&self, exercises: &'e [Exercise]) -> Option<&'e Exercise> {
        exercises.iter().find(|exercise| !self.of(exercise).solved)
    }

    /// Changes the record of an exercise, and writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(
        &mut self,
        exercise: &Exercise,
        change: impl FnOnce(&mut Record),
    ) -> anyhow::Result<()> {
        change(self.records.entry(exercise.name.clone()).or_default());
        let text = "# What `cargo xtask exercise` knows of your work.\n".to_owned()
            + &toml::to_string(&self.records)?;
        // In one step: whoever is interrupted keeps the old file or the new one.
        let new = self.path.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.path))
            .with_context(|| format!("cannot write {:?}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exercise(name: &str) -> Exercise {
        Exercise {
            name: name.to_owned(),
            title: String::new(),
            directory: PathBuf::new(),
            mark: toml::from_str("base = 'stage-01'\nlevel = 1\nturns = []").unwrap(),
            base: toml::from_str("modes = ['echo']").unwrap(),
        }
    }

    #[test]
    fn what_was_noted_is_there_next_time() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let exercises = [exercise("01-count"), exercise("05-accept")];
        let [first, second] = &exercises;

        let mut progress = Progress::read(root).unwrap();
        assert_eq!(progress.next(&exercises).unwrap().name, first.name);
        progress.note(first, |record| record.solved = true).unwrap();
        progress.note(second, |record| record.hints += 1).unwrap();

        let progress = Progress::read(root).unwrap();
        assert_eq!(progress.of(first), Record { solved: true, hints: 0 });
        assert_eq!(progress.of(second), Record { solved: false, hints: 1 });
        assert_eq!(progress.next(&exercises).unwrap().name, second.name);

        // After an update: an exercise that is gone, and a key of a later version.
        fs::write(root.join(Progress::FILE), "[gone]\nsolved = true\n[05-accept]\nlater = 1")
            .unwrap();
        let mut progress = Progress::read(root).unwrap();
        progress.note(first, |record| record.solved = true).unwrap();
        assert!(fs::read_to_string(root.join(Progress::FILE)).unwrap().contains("[gone]"));

        fs::write(root.join(Progress::FILE), "x").unwrap();
        assert!(format!("{:#}", Progress::read(root).unwrap_err()).contains("damaged"));
    }
}
