//! The programs that a reader is told to start, by the command that starts them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use artifacts::Executable;

/// A command that the book tells the reader to type, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What it starts.
    pub program: Program,
    /// What it passes on to it.
    pub arguments: Vec<String>,
    /// Whether what it prints on stderr is thrown away.
    pub quiet: bool,
}

/// A program of this project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The binary of a package.
    Binary {
        /// The package, and the binary's name.
        package: String,
    },
    /// An example of a package.
    Example {
        /// The package.
        package: String,
        /// The example's name.
        name: String,
    },
    /// A script in Python, from the root.
    Script(PathBuf),
}

impl Invocation {
    /// Takes apart `cargo run [-q] -p PACKAGE [--example NAME] [-- ARGUMENTS]` or
    /// `python3 book/python/NAME.py [ARGUMENTS]`, either with `2>/dev/null` at its end.
    ///
    /// # Errors
    /// It is another command: the text says which are known.
    pub fn parse(command: &str) -> Result<Self, String> {
        let known = "known are `cargo run [-q] -p PACKAGE [--example NAME] [-- ARGUMENTS]` and \
                     `python3 book/python/NAME.py [ARGUMENTS]`";
        let mut words: Vec<&str> = command.split_whitespace().collect();
        let quiet = words.pop_if(|last| *last == "2>/dev/null").is_some();
        let parsed = match words.as_slice() {
            ["python3", script, arguments @ ..] if script.starts_with("book/python/") => {
                Some((Program::Script(script.into()), arguments))
            }
            ["cargo", "run", "-q", rest @ ..] | ["cargo", "run", rest @ ..] => cargo_run(rest),
            _ => None,
        };
        let (program, arguments) = parsed.ok_or(format!("`{command}`: {known}"))?;
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        Ok(Self { program, arguments, quiet })
    }
}

fn cargo_run<'w, 'a>(words: &'w [&'a str]) -> Option<(Program, &'w [&'a str])> {
    let own = words.iter().position(|&word| word == "--").unwrap_or(words.len());
    let program = match words[..own] {
        ["-p", package] => Program::Binary { package: package.to_owned() },
        ["-p", package, "--example", name] => {
            Program::Example { package: package.to_owned(), name: name.to_owned() }
        }
        _ => return None,
    };
    Some((program, words.get(own + 1..).unwrap_or_default()))
}

/// Where the programs are that the book starts.
#[derive(Debug)]
pub struct Programs {
    root: PathBuf,
    built: BTreeMap<Program, PathBuf>,
}

impl Programs {
    /// Builds what cargo has to build of `programs`, as a reader would.
    ///
    /// # Errors
    /// The build fails, or there is no such program.
    pub fn build(root: &Path, programs: &BTreeSet<Program>) -> anyhow::Result<Self> {
        let mut built = BTreeMap::new();
        let mut arguments = vec!["--quiet"];
        let mut packages = BTreeSet::new();
        for program in programs {
            match program {
                Program::Binary { package } => {
                    packages.insert(package);
                    arguments.extend(["--bin", package]);
                }
                Program::Example { package, name } => {
                    packages.insert(package);
                    arguments.extend(["--example", name]);
                }
                Program::Script(_) => {}
            }
        }
        for package in &packages {
            arguments.extend(["-p", package]);
        }
        if !packages.is_empty() {
            let build = artifacts::build(root, &arguments).context("cannot run cargo")?;
            if !build.status.success() {
                bail!("the programs of the book do not build: cargo build {}", arguments.join(" "));
            }
            built = build.executables.into_iter().filter_map(known).collect();
        }
        for program in programs {
            if !built.contains_key(program) && !matches!(program, Program::Script(_)) {
                bail!("cargo built no {program:?}");
            }
        }
        Ok(Self { root: root.to_owned(), built })
    }

    /// The command that starts a program, its output and its errors on one pipe, as on a
    /// terminal. The process keeps its id.
    ///
    /// # Panics
    /// The program was not among those that were built.
    pub fn command(&self, invocation: &Invocation) -> Command {
        let mut command = Command::new("sh");
        let errors = if invocation.quiet { "exec \"$@\" 2>/dev/null" } else { "exec \"$@\" 2>&1" };
        command.current_dir(&self.root).args(["-c", errors, "sh"]);
        match &invocation.program {
            Program::Script(script) => command.arg("python3").arg(script),
            program => command.arg(self.built.get(program).expect("all that are used are built")),
        };
        command.args(&invocation.arguments);
        command
    }
}

/// Whether there is a Python to run scripts with; without one, what needs it is not checked.
pub fn has_python() -> bool {
    let mut python = Command::new("python3");
    python.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// What the book calls it.
fn known(executable: Executable) -> Option<(Program, PathBuf)> {
    let Executable { manifest, kind, name, path } = executable;
    // Each package of this project is named as its directory is.
    let package = manifest.parent()?.file_name()?.to_string_lossy().into_owned();
    match kind.as_str() {
        "bin" => Some((Program::Binary { package }, path)),
        "example" => Some((Program::Example { package, name }, path)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_apart() {
        let stage = Invocation::parse("cargo run -p stage-03 -- --workers 1").unwrap();
        assert_eq!(stage.program, Program::Binary { package: "stage-03".to_owned() });
        assert_eq!(stage.arguments, ["--workers", "1"]);
        let example = Invocation::parse("cargo run -q -p stage-05 --example counter").unwrap();
        let (package, name) = ("stage-05".to_owned(), "counter".to_owned());
        assert_eq!(example.program, Program::Example { package, name });
        let script = Invocation::parse("python3 book/python/stage_04.py").unwrap();
        assert_eq!(script.program, Program::Script("book/python/stage_04.py".into()));
        let quiet = Invocation::parse("python3 book/python/stage_04.py 2>/dev/null").unwrap();
        assert_eq!(quiet, Invocation { quiet: true, ..script });
    }

    #[test]
    fn other_commands_are_refused() {
        for command in ["rm -rf /", "cargo run", "python3 other.py", "cargo run -p a b"] {
            assert!(Invocation::parse(command).is_err(), "{command}");
        }
    }
}
