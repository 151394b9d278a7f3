use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::catalogue;

/// Who hears what a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The client itself.
    Echo,
    /// Everyone else.
    Broadcast,
}

/// A server program to be checked, and what is known of it beforehand.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The program. It takes `--port`, and `--mode` if it has more than one.
    pub program: PathBuf,
    /// What is known of it.
    pub profile: Profile,
}

/// What a stage states of itself in its manifest, under `[package.metadata.conformance]`: the only
/// place that says what a stage is expected to fail.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// The modes it has.
    pub modes: Vec<Mode>,
    /// The modes of its examples, where those are others.
    #[serde(default)]
    pub example_modes: BTreeMap<String, Vec<Mode>>,
    /// How many further connections it takes until a client is served: the harness supplies them
    /// where a case is about something else.
    #[serde(default)]
    pub helpers: usize,
    /// Whether a signal stops it in order: its clients see the end of the stream, and it ends
    /// with exit status 0. Else it may take the signal's default action.
    #[serde(default)]
    pub stops_in_order: bool,
    /// Cases that it fails on purpose, and the signature of each failure. The key is a case's id,
    /// or the beginning of several, ending in `/`.
    #[serde(default)]
    pub designed: BTreeMap<String, String>,
    /// Cases whose findings are information here, and not judged.
    #[serde(default)]
    pub info: Vec<String>,
    /// Cases that do not apply, and the reason.
    #[serde(default)]
    pub not_applicable: BTreeMap<String, String>,
}

/// Why a manifest yields no profile.
#[derive(Debug)]
pub enum ProfileError {
    /// It could not be read.
    Unreadable(PathBuf, std::io::Error),
    /// It has no table `[package.metadata.conformance]`, or one that does not fit.
    Malformed(PathBuf, toml::de::Error),
}

impl Subject {
    /// The command that starts the server in `mode` on `port`, 0 for any free one.
    pub fn command(&self, mode: Mode, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--port", &port.to_string()]);
        if self.profile.modes.len() > 1 {
            command.args(["--mode", &mode.to_string()]);
        }
        command
    }
}

impl Profile {
    /// Reads the manifest in the directory `package`.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn read(package: &Path) -> Result<Self, ProfileError> {
        #[derive(Deserialize)]
        struct Manifest {
            package: Package,
        }
        #[derive(Deserialize)]
        struct Package {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            conformance: Profile,
        }
        let path = package.join("Cargo.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ProfileError::Unreadable(path.clone(), error))?;
        let manifest: Manifest =
            toml::from_str(&text).map_err(|error| ProfileError::Malformed(path, error))?;
        Ok(manifest.package.metadata.conformance)
    }

    /// An entry about a case that is not in the catalogue, if there is one.
    pub fn unknown_case(&self) -> Option<&str> {
        let ids = self.designed.keys().chain(&self.info).chain(self.not_applicable.keys());
        let is_known = |key: &str| {
            let family = key.ends_with('/');
            catalogue().any(|case| case.id == key || family && case.id.starts_with(key))
        };
        ids.map(String::as_str).find(|key| !is_known(key))
    }

    /// The signature with which the case `id` is to fail, if it is.
    pub fn designed(&self, id: &str) -> Option<&str> {
        let family =
            || self.designed.iter().find(|(key, _)| key.ends_with('/') && id.starts_with(*key));
        let found = self.designed.get_key_value(id).or_else(family);
        found.map(|(_, signature)| signature.as_str())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
        })
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Malformed(path, error) => {
                write!(f, "{}, [package.metadata.conformance]: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for ProfileError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_of_its_own_goes_before_its_family() {
        let profile: Profile = toml::from_str(
            r#"
            modes = ["echo"]
            designed = { "echo/" = "asleep in accept", "echo/08" = "asleep in recv on a" }
            "#,
        )
        .unwrap();
        assert_eq!(profile.designed("echo/01"), Some("asleep in accept"));
        assert_eq!(profile.designed("echo/08"), Some("asleep in recv on a"));
        assert_eq!(profile.designed("conc/01"), None);
    }
}
