use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::Exercise;

/// Puts the skeleton back in place of what stands in `src`. That is kept: returns where.
///
/// # Errors
/// Git does not know the skeleton; then nothing was changed.
pub fn reset(root: &Path, exercise: &Exercise) -> anyhow::Result<PathBuf> {
    let source = exercise.directory.join("src");
    let commit = skeleton(root, &exercise.directory)?;
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

/// The commit that has the skeleton as it was meant: the last one that changed what learners leave
/// alone, which is the book, the judge, and what stands beside `src`. So it is the right one after
/// an update, and also where the learner's own work was committed.
fn skeleton(root: &Path, directory: &Path) -> anyhow::Result<String> {
    let mut source = OsString::from(":(exclude)");
    source.push(directory.join("src"));
    let log = ["log", "-1", "--format=%H", "--", "book", "crates/exercise"].map(OsStr::new);
    let commit = git(root, &[&log[..], &[directory.as_ref(), source.as_ref()]].concat())?;
    ensure!(!commit.is_empty(), "git does not know {}", directory.display());
    Ok(commit.trim().to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: [&str; 4] = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"];

    fn commit(root: &Path, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let run = |words: &[&str]| git(root, &words.iter().map(OsStr::new).collect::<Vec<_>>());
        run(&["add", "--all"]).unwrap();
        run(&[&NOBODY[..], &["commit", "--quiet", "--no-gpg-sign", "-m", "x"]].concat()).unwrap();
        run(&["rev-parse", "HEAD"]).unwrap().trim().to_owned()
    }

    #[test]
    fn the_skeleton_is_the_projects_newest_and_never_the_learners() {
        let clone = tempfile::tempdir().unwrap();
        let root = clone.path();
        git(root, &["init", "--quiet"].map(OsStr::new)).unwrap();
        let directory = root.join("crates/exercises/01-count");
        assert!(skeleton(root, &directory).is_err(), "nothing was committed");

        let source = "crates/exercises/01-count/src/main.rs";
        commit(root, &[(source, "old"), ("crates/exercises/01-count/README.md", "count")]);
        let newest = commit(root, &[(source, "new"), ("book/src/stage-01.md", "mended")]);
        let own = [(source, "solved"), ("crates/stage-01/src/main.rs", "tried"), ("notes", "mine")];
        let learners = commit(root, &own);
        assert_ne!(newest, learners);
        assert_eq!(skeleton(root, &directory).unwrap(), newest);
    }
}
