use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Instant;

use rustix::process::Signal;

use crate::client::End;
use crate::difference::Difference;
use crate::stuck::Stuck;

/// What a wait or a comparison came to.
pub type Result<T> = std::result::Result<T, Box<Trouble>>;

/// What a wait met instead of what it waited for.
#[derive(Debug)]
pub struct Trouble {
    /// Whom it happened to: a client's name, or `server`.
    pub who: String,
    /// What was waited for, in words.
    pub expected: String,
    /// What came instead.
    pub cause: Cause,
    /// When that was met. What it means is found out after it, which may take a second.
    pub seen: Instant,
    /// The server once it was found out.
    pub scene: Scene,
}

/// What came instead of what was waited for.
#[derive(Debug)]
pub enum Cause {
    /// Other bytes.
    Different(Difference),
    /// The stream ended after so many bytes of what was waited for.
    Ended(End, usize),
    /// Nothing, and nothing will: the server is stuck, after so many bytes of what was waited for.
    Stuck(Stuck, usize),
    /// Nothing, while a [`Flood`](crate::Flood) got so many bytes.
    Starved(usize),
    /// Nothing for as long as [`patience`](crate::patience) lasts, after so many bytes.
    TimedOut(usize),
    /// A value that did not become the one waited for, and stopped changing.
    Unchanged(String),
    /// The machinery itself failed: a reading, a connection.
    Io(io::Error),
}

/// The state of a server, for the report of a failure.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// How the server ended, if it did.
    pub exit: Option<ExitStatus>,
    /// What each of its threads was doing, in words.
    pub threads: Vec<String>,
    /// Its last lines on stderr.
    pub stderr: Vec<String>,
    /// How many cores' worth of processor time it has used since its start; none if unknown.
    pub load: Option<f64>,
}

impl Scene {
    /// Whether the server has ended with an error of its own: by its exit status, or by a signal
    /// that nobody has sent it.
    pub fn is_crash(&self) -> bool {
        let sent = [Signal::INT, Signal::TERM, Signal::KILL].map(Signal::as_raw);
        self.exit.is_some_and(|exit| match exit.signal() {
            Some(signal) => !sent.contains(&signal),
            None => !exit.success(),
        })
    }
}

impl Trouble {
    /// The proof, where the server was stuck.
    pub fn stuck(&self) -> Option<&Stuck> {
        match &self.cause {
            Cause::Stuck(stuck, _) => Some(stuck),
            _ => None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, but {}", self.who, self.expected, self.cause)
    }
}

impl std::error::Error for Trouble {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = |bytes: &usize| match bytes {
            0 => String::new(),
            bytes => format!(" after {bytes} bytes"),
        };
        match self {
            Self::Different(difference) => write!(f, "{difference}"),
            Self::Ended(end, bytes) => write!(f, "{end}{}", after(bytes)),
            Self::Stuck(stuck, bytes) => write!(f, "the server is stuck{}: {stuck}", after(bytes)),
            Self::Starved(bytes) => {
                write!(f, "nothing came while a flood got {} MiB", bytes >> 20)
            }
            Self::TimedOut(bytes) => {
                write!(f, "nothing came for {:?}{}", crate::patience(), after(bytes))
            }
            Self::Unchanged(value) => {
                write!(f, "it stayed {value} for {:?}", crate::patience())
            }
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// A line that a server has printed, with nothing in it that a terminal would obey.
pub fn harmless(line: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    line.chars().map(escape).collect()
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(exit) = self.exit {
            writeln!(f, "server ended: {exit}")?;
        }
        for thread in &self.threads {
            writeln!(f, "{thread}")?;
        }
        if !self.stderr.is_empty() {
            writeln!(f, "last lines on stderr:")?;
        }
        self.stderr.iter().try_for_each(|line| writeln!(f, "  {}", line.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_dies_of_itself_has_crashed_and_who_was_killed_has_not() {
        let ended = |exit| Scene { exit: Some(ExitStatus::from_raw(exit)), ..Scene::default() };
        let by = |signal: Signal| ended(signal.as_raw());
        assert!(ended(1 << 8).is_crash() && by(Signal::SEGV).is_crash());
        assert!(by(Signal::PIPE).is_crash() && by(Signal::ABORT).is_crash());
        assert!(
            !ended(0).is_crash() && !by(Signal::TERM).is_crash() && !by(Signal::KILL).is_crash()
        );
        assert!(!Scene::default().is_crash());
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(harmless("'\u{1b}[2J'"), "'\\u{1b}[2J'");
    }
}
