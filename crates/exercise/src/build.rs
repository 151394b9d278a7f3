use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use serde::Deserialize;

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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--message-format=json-render-diagnostics"]);
    for (exercise, part) in programs {
        command.args(["--package", &exercise.package()]);
        match part {
            Part::Work => command.args(["--bin", &exercise.package()]),
            Part::Solution => command.args(["--example", &exercise.solution()]),
        };
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut found = HashMap::new();
    for line in BufReader::new(stdout).lines() {
        // Cargo adds kinds of messages as it likes: what is no artifact is of no interest.
        let Ok(artifact) = serde_json::from_str::<Artifact>(&line?) else { continue };
        if let Some(executable) = artifact.executable {
            found.insert(artifact.target.name, executable);
        }
    }
    Ok(if child.wait()?.success() { Built::Programs(found) } else { Built::DoesNotCompile })
}

/// The part of cargo's message that says where a program is.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}
