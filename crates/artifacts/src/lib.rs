//! Builds programs of the workspace with cargo, and says where they are.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;

/// What a build came to.
#[derive(Debug)]
pub struct Build {
    /// How cargo ended.
    pub status: ExitStatus,
    /// The programs that it made, or found to be current.
    pub executables: Vec<Executable>,
}

/// A program that cargo has built.
#[derive(Debug)]
pub struct Executable {
    /// The manifest of its package.
    pub manifest: PathBuf,
    /// What it is in its package: `bin`, `example`.
    pub kind: String,
    /// Its name there.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Runs `cargo build` with these arguments in `root`. Cargo's own messages go to stderr, also
/// those that say why something does not compile.
///
/// # Errors
/// Cargo could not be run.
pub fn build<S: AsRef<OsStr>>(
    root: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> io::Result<Build> {
    let mut command = cargo();
    command.current_dir(root).args(["build", "--message-format=json-render-diagnostics"]);
    let mut child = command.args(arguments).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().expect("it is piped");
    let mut executables = Vec::new();
    for line in BufReader::new(stdout).lines() {
        // Cargo adds kinds of messages as it likes: what is no artifact is of no interest.
        let Ok(artifact) = serde_json::from_str::<Artifact>(&line?) else { continue };
        let Artifact { manifest_path: manifest, target: Target { name, kind }, executable } =
            artifact;
        if let Some(path) = executable {
            let kind = kind.into_iter().next().unwrap_or_default();
            executables.push(Executable { manifest, kind, name, path });
        }
    }
    Ok(Build { status: child.wait()?, executables })
}

/// The cargo that runs us, else the one on PATH.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl Build {
    /// Where each program is, by its name.
    pub fn by_name(self) -> HashMap<String, PathBuf> {
        self.executables.into_iter().map(|it| (it.name, it.path)).collect()
    }
}

/// The part of cargo's message that says where a program is.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}
