use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::Exercise;

/// Puts the skeleton back in place of what stands in `src`. That is kept: returns where.
///
/// The skeleton comes from git: from the last commit that changed what only the project changes,
/// the solution and the manifest. So it is the right one after an update, and also where the
/// learner's own work was committed.
///
/// # Errors
/// Git does not know; then nothing was changed.
pub fn reset(root: &Path, exercise: &Exercise) -> anyhow::Result<PathBuf> {
    let source = exercise.directory.join("src");
    let solution = exercise.solution_folder();
    let manifest = exercise.directory.join("Cargo.toml");
    let log = ["log", "-1", "--format=%H", "--"].map(OsStr::new);
    let commit = git(root, &[&log[..], &[solution.as_ref(), manifest.as_ref()]].concat())?;
    let commit = commit.trim();
    ensure!(!commit.is_empty(), "git does not know {}", exercise.directory.display());

    let kept = kept_in(root, exercise)?;
    fs::rename(&source, &kept).with_context(|| format!("cannot move {}", source.display()))?;
    let from = format!("--source={commit}");
    let restore = ["restore", &from, "--worktree", "--"].map(OsStr::new);
    if let Err(error) = git(root, &[&restore[..], &[source.as_ref()]].concat()) {
        // It may have begun. Then the learner's work stays where it was moved.
        return match fs::rename(&kept, &source) {
            Ok(()) => Err(error),
            Err(_) => Err(error.context(format!("your work is in {}", kept.display()))),
        };
    }
    Ok(kept)
}

/// A place that is not taken.
fn kept_in(root: &Path, exercise: &Exercise) -> anyhow::Result<PathBuf> {
    let folder = root.join("target/exercises");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut places = (1..).map(|number| folder.join(format!("{}.{number}", exercise.name)));
    Ok(places.find(|place| !place.exists()).expect("numbers do not end"))
}

fn git(root: &Path, arguments: &[&OsStr]) -> anyhow::Result<String> {
    let output = Command::new("git").current_dir(root).args(arguments).output();
    let output = output.context("cannot run git, which knows what the skeleton was")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("git knows of no skeleton: {}", words.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
