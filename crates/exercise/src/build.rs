use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::Exercise;

/// Which of an exercise's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What stands in `src`: the skeleton, and later the learner's work.
    Work,
    /// What stands in `solution`.
    Solution,
}

/// What a build came to.
#[derive(Debug)]
pub enum Built {
    /// Where each program is, by the name that [`Exercise::package`] and [`Exercise::solution`]
    /// give it.
    Programs(HashMap<String, PathBuf>),
    /// The compiler has said why, on stderr.
    DoesNotCompile,
}

/// Builds programs of the exercises under `root`. Cargo's own messages go to stderr.
///
/// # Errors
/// Cargo could not be run.
pub fn build(root: &Path, programs: &[(&Exercise, Part)]) -> anyhow::Result<Built> {
    let arguments = programs.iter().flat_map(|(exercise, part)| {
        let [kind, name] = match part {
            Part::Work => ["--bin".to_owned(), exercise.package()],
            Part::Solution => ["--example".to_owned(), exercise.solution()],
        };
        ["--package".to_owned(), exercise.package(), kind, name]
    });
    let build = artifacts::build(root, arguments).context("cannot run cargo")?;
    Ok(match build.status.success() {
        true => Built::Programs(build.by_name()),
        false => Built::DoesNotCompile,
    })
}
