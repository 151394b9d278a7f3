use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use conformance::{Profile, Subject};
use serde::Deserialize;

/// One of the project's stages.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The name of its package: `stage-05`.
    pub name: String,
    /// What its manifest says of it: the model in one sentence.
    pub description: String,
    /// What is expected of it.
    pub profile: Profile,
}

impl Stage {
    /// All stages under `root`, in order.
    ///
    /// # Errors
    /// A manifest cannot be read, or speaks of a case that does not exist.
    pub fn all(root: &Path) -> anyhow::Result<Vec<Self>> {
        let mut stages = Vec::new();
        for entry in std::fs::read_dir(root.join("crates"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("stage-") {
                let profile = Profile::read(&entry.path())?;
                if let Some(key) = profile.unknown_case() {
                    bail!("{name} speaks of the case {key}, which does not exist");
                }
                let description = description(&entry.path())?;
                stages.push(Self { name, description, profile });
            }
        }
        stages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(stages)
    }

    /// Builds stages under `root`, and gives the program of each. Cargo's own messages go to
    /// stderr.
    ///
    /// # Errors
    /// A stage does not compile.
    pub fn build(root: &Path, stages: &[&Self]) -> anyhow::Result<Vec<Subject>> {
        let names: Vec<_> = stages.iter().map(|it| (it.name.as_str(), it.name.as_str())).collect();
        let mut found = build(root, &names)?;
        let subject = |stage: &&Self| {
            let program = found.remove(&stage.name).context("cargo names no program")?;
            Ok(Subject::program(program, stage.profile.clone()))
        };
        stages.iter().map(subject).collect()
    }
}

/// Builds programs, each of them a package and the name of its binary, in the workspace at `root`,
/// and says where they are. Cargo's own messages go to stderr.
///
/// # Errors
/// One does not compile.
pub fn build(root: &Path, programs: &[(&str, &str)]) -> anyhow::Result<HashMap<String, PathBuf>> {
    let arguments =
        programs.iter().flat_map(|(package, binary)| ["--package", package, "--bin", binary]);
    let build = artifacts::build(root, arguments).context("cannot run cargo")?;
    if !build.status.success() {
        bail!("the build failed");
    }
    Ok(build.by_name())
}

/// What the manifest in `package` says under `description`.
fn description(package: &Path) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        description: String,
    }
    let text = std::fs::read_to_string(package.join("Cargo.toml"))?;
    Ok(toml::from_str::<Manifest>(&text)?.package.description)
}
