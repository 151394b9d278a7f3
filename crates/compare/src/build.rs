//! The build of what is measured.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

/// Where each binary is, by its name.
pub(crate) type Binaries = HashMap<String, PathBuf>;

/// Builds these packages in release mode. Cargo's own messages go to stderr as ever.
///
/// # Errors
///
/// The build fails.
pub(crate) fn release(packages: &[String]) -> anyhow::Result<Binaries> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--message-format=json-render-diagnostics"]);
    for package in packages {
        command.args(["-p", package]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut binaries = Binaries::new();
    for line in BufReader::new(stdout).lines() {
        // Cargo adds kinds of messages as it likes: what is no artifact is of no interest.
        let Ok(artifact) = serde_json::from_str::<Artifact>(&line?) else { continue };
        if let Some(executable) = artifact.executable {
            binaries.insert(artifact.target.name, executable);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the build failed ({status})");
    }
    if let Some(package) = packages.iter().find(|package| !binaries.contains_key(*package)) {
        bail!("cargo built no binary for {package}");
    }
    Ok(binaries)
}

/// The part of cargo's message that says where a binary is.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}
