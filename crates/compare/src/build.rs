//! The build of what is measured.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Where each binary is, by its name.
pub(crate) type Binaries = HashMap<String, PathBuf>;

/// Builds these packages of the workspace at `root` in release mode. Cargo's own messages go to
/// stderr as ever.
///
/// # Errors
///
/// The build fails.
pub(crate) fn release(root: &Path, packages: &[String]) -> anyhow::Result<Binaries> {
    let named = packages.iter().flat_map(|package| ["-p", package]);
    let build = artifacts::build(root, ["--release"].into_iter().chain(named));
    let build = build.context("cannot run cargo")?;
    if !build.status.success() {
        bail!("the build failed ({})", build.status);
    }
    let binaries = build.by_name();
    if let Some(package) = packages.iter().find(|package| !binaries.contains_key(*package)) {
        bail!("cargo built no binary for {package}");
    }
    Ok(binaries)
}
