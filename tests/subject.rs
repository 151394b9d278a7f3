use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::{Case, Needs, Reach, catalogue};

/// Who hears what a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The client itself.
    Echo,
    /// Everyone else.
    Broadcast,
}

/// A server to be checked, and what is known of it beforehand.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The server.
    pub target: Target,
    /// What is known of it.
    pub profile: Profile,
}

/// What there is of a server.
#[derive(Clone, Debug)]
pub enum Target {
    /// A program and its first arguments, which takes our flags after them: `--port`, and `--mode`
    /// if it has more than one.
    Program(PathBuf, Vec<String>),
    /// Any command and its arguments. `{port}` in them, or the variable PORT, gives it its port.
    Command(Vec<String>),
    /// A server that runs already.
    Address(SocketAddr),
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
    /// A program that takes our flags.
    pub fn program(program: impl Into<PathBuf>, profile: Profile) -> Self {
        Self { target: Target::Program(program.into(), Vec::new()), profile }
    }

    /// The mode in which the server runs `case`.
    ///
    /// # Errors
    /// The reason why the case does not apply.
    pub fn mode_for(&self, case: &Case) -> Result<Mode, String> {
        if let Some(reason) = self.profile.not_applicable.get(case.id) {
            return Err(reason.clone());
        }
        if case.reach > self.target.reach() {
            return Err(match case.reach {
                Reach::Flags => "it gives flags that only our servers take".to_owned(),
                _ => "it needs the process".to_owned(),
            });
        }
        let mode = case.needs.mode(&self.profile.modes);
        mode.ok_or_else(|| match case.needs {
            Needs::Echo => "the server does not echo".to_owned(),
            Needs::Broadcast => "the server does not broadcast".to_owned(),
            Needs::Any => "the server has no mode".to_owned(),
        })
    }

    /// The command that starts the server in `mode` on `port`, 0 for any free one.
    ///
    /// # Panics
    /// There is only an address: [`Subject::mode_for`] refuses cases that start anything then.
    pub fn command(&self, mode: Mode, port: u16) -> Command {
        match &self.target {
            Target::Program(..) => {
                let mut command = self.bare_command();
                command.args(["--port", &port.to_string()]);
                if self.profile.modes.len() > 1 {
                    command.args(["--mode", &mode.to_string()]);
                }
                command
            }
            Target::Command(words) => {
                let port = if port == 0 { harness::free_port() } else { port }.to_string();
                let mut words = words.iter().map(|word| word.replace("{port}", &port));
                let mut command = Command::new(words.next().unwrap_or_default());
                command.args(words).env("PORT", port);
                command
            }
            Target::Address(address) => panic!("{address} is no command"),
        }
    }

    /// The program that takes our flags, with its first arguments only.
    ///
    /// # Panics
    /// It is no such program: [`Subject::mode_for`] refuses cases that give flags then.
    pub fn bare_command(&self) -> Command {
        let Target::Program(program, first) = &self.target else { panic!("it takes no flags") };
        let mut command = Command::new(program);
        command.args(first);
        command
    }
}

impl Target {
    /// What a case may have hold of.
    pub fn reach(&self) -> Reach {
        match self {
            Self::Program(..) => Reach::Flags,
            Self::Command(_) => Reach::Process,
            Self::Address(_) => Reach::Address,
        }
    }
}

impl Profile {
    /// What is expected of a server without any flaw.
    pub fn good(modes: Vec<Mode>) -> Self {
        Self {
            modes,
            example_modes: BTreeMap::new(),
            helpers: 0,
            stops_in_order: false,
            designed: BTreeMap::new(),
            info: Vec::new(),
            not_applicable: BTreeMap::new(),
        }
    }

    /// The same server without its flaws.
    pub fn without_flaws(self) -> Self {
        Self { helpers: 0, designed: BTreeMap::new(), info: Vec::new(), ..self }
    }

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
        let is_known = |key: &str| catalogue().any(|case| covers(key, case.id));
        ids.map(String::as_str).find(|key| !is_known(key))
    }

    /// The signature with which the case `id` is to fail, if it is.
    pub fn designed(&self, id: &str) -> Option<&str> {
        let family = || self.designed.iter().find(|(key, _)| covers(key, id));
        let found = self.designed.get_key_value(id).or_else(family);
        found.map(|(_, signature)| signature.as_str())
    }
}

/// Whether a manifest's `key` speaks of the case `id`: it is the id, or the beginning of several
/// that ends in `/`.
pub fn covers(key: &str, id: &str) -> bool {
    key == id || key.ends_with('/') && id.starts_with(key)
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

    fn echo_server(target: Target) -> Subject {
        Subject { target, profile: toml::from_str(r#"modes = ["echo"]"#).unwrap() }
    }

    #[test]
    fn a_command_is_given_its_port() {
        let words = ["serve", "--on=127.0.0.1:{port}"].map(str::to_owned).into();
        let command = echo_server(Target::Command(words)).command(Mode::Echo, 4000);
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["--on=127.0.0.1:4000"]);
        assert!(command.get_envs().any(|it| it == ("PORT".as_ref(), Some("4000".as_ref()))));
    }

    #[test]
    fn a_case_that_cannot_be_run_has_its_reason() {
        const OF_THE_PROCESS: Case = Case::any("x/01", "", |_| crate::passed());
        const FROM_OUTSIDE: Case = OF_THE_PROCESS.from_outside();
        const WITH_FLAGS: Case = OF_THE_PROCESS.with_flags();
        const BROADCAST: Case = Case::broadcast("x/02", "", |_| crate::passed());
        let address = echo_server(Target::Address(([127, 0, 0, 1], 7).into()));
        let command = echo_server(Target::Command(vec!["serve".to_owned()]));
        assert_eq!(address.mode_for(&FROM_OUTSIDE), Ok(Mode::Echo));
        assert!(address.mode_for(&OF_THE_PROCESS).is_err());
        assert_eq!(command.mode_for(&OF_THE_PROCESS), Ok(Mode::Echo));
        assert!(command.mode_for(&WITH_FLAGS).is_err());
        assert!(command.mode_for(&BROADCAST).unwrap_err().contains("broadcast"));
    }

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
