//! Who is measured: the stages, and others beside them.

use std::process::Command;
use std::str::FromStr;

use load::Protocol;

use crate::build::Binaries;
use crate::results::{Kind, Mode, Subject};

/// A server that can be measured: who it is, and how it is started.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) subject: Subject,
    /// How it is started for echo, if it can do that.
    pub(crate) echo: Option<Start>,
    /// The same for broadcast.
    pub(crate) broadcast: Option<Start>,
    /// What it speaks then.
    pub(crate) protocol: Protocol,
    /// How many cores it gets.
    pub(crate) cores: usize,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// Program and arguments. It prints `listening on ADDRESS`.
    Words(Vec<String>),
    /// A line for the shell, with `{port}` where its port belongs.
    Line(String),
}

/// A server of the user's own: `NAME=COMMAND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    name: String,
    /// Empty for both.
    modes: Vec<Mode>,
    command: String,
}

impl FromStr for Own {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = "it is NAME=COMMAND, or NAME:broadcast=COMMAND";
        let (name, command) = text.split_once('=').ok_or(usage)?;
        let (name, mode) = name.split_once(':').unwrap_or((name, ""));
        let modes = match mode {
            "" if command.contains("{mode}") => vec![Mode::Echo, Mode::Broadcast],
            "" | "echo" => vec![Mode::Echo],
            "broadcast" => vec![Mode::Broadcast],
            other => return Err(format!("there is no mode {other}: echo or broadcast")),
        };
        let name = name.trim();
        if name.is_empty() || command.trim().is_empty() {
            return Err(usage.to_owned());
        }
        Ok(Self { name: name.to_owned(), modes, command: command.to_owned() })
    }
}

/// The stage that can use several cores.
pub(crate) const MANY_CORES: &str = "07";

/// The seven stages: number, model, and whether it takes `--mode`; the others only echo.
pub const STAGES: [(&str, &str, bool); 7] = [
    ("01", "blocking", false),
    ("02", "threads", false),
    ("03", "pool", false),
    ("04", "callbacks", true),
    ("05", "coroutines", false),
    ("06", "readiness", true),
    ("07", "tokio", true),
];

impl Candidate {
    /// The stages with these numbers, built.
    pub(crate) fn stages(numbers: &[String], binaries: &Binaries) -> Vec<Self> {
        STAGES
            .iter()
            .filter(|(number, ..)| numbers.iter().any(|it| it == number))
            .filter_map(|&(number, model, has_modes)| {
                let program = binaries.get(&format!("stage-{number}"))?.display().to_string();
                let start = |mode: &str| {
                    let mut command = vec![program.clone(), "--port".to_owned(), "0".to_owned()];
                    if has_modes {
                        command.extend(["--mode".to_owned(), mode.to_owned()]);
                    }
                    command
                };
                Some(Self {
                    subject: Subject {
                        id: number.to_owned(),
                        name: model.to_owned(),
                        kind: Kind::Stage,
                        cores: None,
                    },
                    echo: Some(Start::Words(start("echo"))),
                    broadcast: has_modes.then(|| Start::Words(start("broadcast"))),
                    protocol: Protocol::Lines,
                    cores: 1,
                })
            })
            .collect()
    }

    /// The same server on so many cores, with a thread for each.
    pub(crate) fn on_cores(&self, cores: usize) -> Self {
        let mut it = self.clone();
        it.subject.id = format!("{}x{cores}", it.subject.id);
        it.subject.cores = Some(cores);
        it.cores = cores;
        for start in [&mut it.echo, &mut it.broadcast].into_iter().flatten() {
            if let Start::Words(words) = start {
                words.extend(["--threads".to_owned(), cores.to_string()]);
            }
        }
        it
    }

    /// A server of the user's own.
    pub(crate) fn own(own: &Own) -> Self {
        let start = |mode, word| {
            let line = own.command.replace("{mode}", word);
            own.modes.contains(&mode).then_some(Start::Line(line))
        };
        Self {
            subject: Subject {
                id: own.name.clone(),
                name: own.name.clone(),
                kind: Kind::Yours,
                cores: None,
            },
            echo: start(Mode::Echo, "echo"),
            broadcast: start(Mode::Broadcast, "broadcast"),
            protocol: Protocol::Lines,
            cores: 1,
        }
    }

    /// Whether it can do this.
    pub(crate) fn can(&self, mode: Mode) -> bool {
        self.start(mode).is_some()
    }

    /// The command that starts it for this mode, if it can do that. One that has to be told its
    /// port finds it in the variable `PORT`, too.
    pub(crate) fn command(&self, mode: Mode) -> Option<Command> {
        match self.start(mode)? {
            Start::Words(words) => words.split_first().map(|(program, arguments)| {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }),
            Start::Line(line) => {
                let port = harness::free_port().to_string();
                let mut command = Command::new("sh");
                command.arg("-c").arg(line.replace("{port}", &port)).env("PORT", port);
                Some(command)
            }
        }
    }

    fn start(&self, mode: Mode) -> Option<&Start> {
        match mode {
            Mode::Echo => self.echo.as_ref(),
            Mode::Broadcast => self.broadcast.as_ref(),
        }
    }
}

impl Subject {
    /// What tables call it: `06 readiness`.
    pub fn label(&self) -> String {
        if self.kind == Kind::Stage {
            format!("{} {}", self.id, self.name)
        } else {
            self.name.clone()
        }
    }
}

/// The number of the stage that `text` means, with or without its leading zero.
///
/// # Errors
///
/// There is none.
pub fn parse_stage(text: &str) -> Result<String, String> {
    let number = text.trim().trim_start_matches("stage-").trim_start_matches('0');
    STAGES
        .iter()
        .find(|(stage, ..)| stage.trim_start_matches('0') == number)
        .map(|(stage, ..)| (*stage).to_owned())
        .ok_or_else(|| "there are the stages 01 to 07".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_your_own_says_what_it_can() {
        let own = |text: &str| Candidate::own(&text.parse().unwrap());
        let modes = |text| [Mode::Echo, Mode::Broadcast].map(|mode| own(text).can(mode));
        assert_eq!(modes("mine=./mine {port}"), [true, false]);
        assert_eq!(modes("mine:broadcast=./mine {port} x=1"), [false, true]);
        assert_eq!(modes("mine=./mine {mode}"), [true, true]);
        for wrong in ["./mine", "=./mine", "mine=", "mine:chat=./mine"] {
            assert!(wrong.parse::<Own>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stage_is_known_by_its_number_however_it_is_written() {
        for text in ["05", "5", " 05", "stage-05"] {
            assert_eq!(parse_stage(text).unwrap(), "05");
        }
        for text in ["", "0", "08", "five"] {
            assert!(parse_stage(text).is_err(), "{text}");
        }
    }
}
