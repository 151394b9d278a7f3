//! Where results are kept: one directory a run, and a link to the latest.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::report;
use crate::results::Results;

/// Writes the results, and the report on them, into a new directory below `target/compare` of the
/// workspace `root`. The link `latest` there leads to it. Returns the directory.
///
/// # Errors
///
/// It cannot be written.
pub fn keep(results: &Results, root: &Path) -> anyhow::Result<PathBuf> {
    let all = root.join("target/compare");
    fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
    let directory = new_directory(&all, results.unix_time)?;
    let files = [
        ("results.json", report::json(results)?),
        ("results.csv", report::csv(results)?),
        ("report.html", report::html(results)?),
    ];
    for (name, text) in files {
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let latest = all.join("latest");
    match fs::remove_file(&latest) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", latest.display()));
        }
        _ => {}
    }
    let name = directory.file_name().context("the directory has a name")?;
    symlink(name, &latest).with_context(|| format!("cannot create {}", latest.display()))?;
    Ok(directory)
}

/// Reads results that were kept: the file, or the directory it lies in.
///
/// # Errors
///
/// It cannot be read, or is of another version.
pub fn read(path: &Path) -> anyhow::Result<Results> {
    let file = if path.is_dir() { path.join("results.json") } else { path.to_owned() };
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let results: Results = serde_json::from_str(&text)
        .with_context(|| format!("{} holds no results of this version", file.display()))?;
    anyhow::ensure!(
        results.schema == Results::SCHEMA,
        "{} is of version {}, this program reads version {}",
        file.display(),
        results.schema,
        Results::SCHEMA
    );
    Ok(results)
}

/// A directory that was not there before, named after the second in which the run began.
fn new_directory(all: &Path, unix_time: u64) -> anyhow::Result<PathBuf> {
    for number in 0_u32.. {
        let suffix = if number == 0 { String::new() } else { format!("-{number}") };
        let directory = all.join(format!("{unix_time}{suffix}"));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => {
                result.with_context(|| format!("cannot create {}", directory.display()))?;
                return Ok(directory);
            }
        }
    }
    unreachable!("there are more numbers than directories")
}
