//! Who is measured: the stages, and others beside them.

use std::process::Command;

use crate::build::Binaries;
use crate::results::{Kind, Mode, Subject};

/// A server that can be measured: who it is, and how it is started.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) subject: Subject,
    /// Program and arguments for echo, if it can do that.
    pub(crate) echo: Option<Vec<String>>,
    /// The same for broadcast.
    pub(crate) broadcast: Option<Vec<String>>,
}

/// The seven stages: number, model, and whether it takes `--mode`; the others only echo.
pub const STAGES: [(&str, &str, bool); 7] = [
    ("01", "blocking", false),
    ("02", "threads", false),
    ("03", "pool", false),
    ("04", "callbacks", true),
    ("05", "round robin", false),
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
                    },
                    echo: Some(start("echo")),
                    broadcast: has_modes.then(|| start("broadcast")),
                })
            })
            .collect()
    }

    /// The command that starts it for this mode, if it can do that.
    pub(crate) fn command(&self, mode: Mode) -> Option<Command> {
        let words = match mode {
            Mode::Echo => self.echo.as_ref(),
            Mode::Broadcast => self.broadcast.as_ref(),
        }?;
        let (program, arguments) = words.split_first()?;
        let mut command = Command::new(program);
        command.args(arguments);
        Some(command)
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
    fn a_stage_is_known_by_its_number_however_it_is_written() {
        for text in ["05", "5", " 05", "stage-05"] {
            assert_eq!(parse_stage(text).unwrap(), "05");
        }
        for text in ["", "0", "08", "five"] {
            assert!(parse_stage(text).is_err(), "{text}");
        }
    }
}
