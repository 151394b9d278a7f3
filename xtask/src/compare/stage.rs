use std::fmt;

use serde::Serialize;

/// A stage as this command sees it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stage {
    /// Two digits, as in the name of its package.
    #[serde(rename = "stage")]
    pub(crate) number: &'static str,
    /// Its model in one word.
    #[serde(skip)]
    pub(crate) model: &'static str,
    /// Whether it takes `--mode echo|broadcast`; the others only echo.
    #[serde(skip)]
    pub(crate) has_modes: bool,
}

/// All of them, in order.
pub(crate) const STAGES: [Stage; 7] = [
    Stage { number: "01", model: "blocking", has_modes: false },
    Stage { number: "02", model: "threads", has_modes: false },
    Stage { number: "03", model: "pool", has_modes: false },
    Stage { number: "04", model: "callbacks", has_modes: true },
    Stage { number: "05", model: "round robin", has_modes: false },
    Stage { number: "06", model: "readiness", has_modes: true },
    Stage { number: "07", model: "tokio", has_modes: true },
];

/// What the stages are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Each connection wants back what it sends.
    Echo,
    /// Every line goes to everyone else.
    Broadcast,
}

impl Stage {
    /// The stage of that number, with or without its leading zero.
    pub(crate) fn parse(text: &str) -> Result<&'static Self, String> {
        let number = text.trim().trim_start_matches("stage-").trim_start_matches('0');
        STAGES
            .iter()
            .find(|stage| stage.number.trim_start_matches('0') == number)
            .ok_or_else(|| "there are the stages 01 to 07".to_owned())
    }

    pub(crate) fn package(&self) -> String {
        format!("stage-{}", self.number)
    }

    pub(crate) fn can(&self, workload: Workload) -> bool {
        workload == Workload::Echo || self.has_modes
    }

    /// The arguments that start it for a workload, on any free port.
    pub(crate) fn arguments(&self, workload: Workload) -> Vec<String> {
        let mut arguments = vec!["--port".to_owned(), "0".to_owned()];
        if self.has_modes {
            arguments.extend(["--mode".to_owned(), workload.to_string()]);
        }
        arguments
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.model)
    }
}

impl Workload {
    /// With how many clients it is measured.
    pub(crate) fn sizes(self) -> [usize; 3] {
        match self {
            Self::Echo => [1, 50, 1000],
            Self::Broadcast => [10, 100, 1000],
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_known_by_its_number_however_it_is_written() {
        for text in ["05", "5", " 05", "stage-05"] {
            assert_eq!(Stage::parse(text).unwrap().number, "05");
        }
        for text in ["", "0", "08", "five"] {
            assert!(Stage::parse(text).is_err(), "{text}");
        }
    }
}
