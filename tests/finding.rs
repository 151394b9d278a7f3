use harness::{Cause, Scene, Server, StartError, Trouble};

use crate::Symptom;

/// What a case reports: a finding, or the first problem. `?` on anything of the harness makes a
/// problem of it, with the case's title as the requirement.
pub type Outcome = Result<Finding, Box<Problem>>;

/// What a case found where the server kept the contract.
#[derive(Clone, Debug)]
pub enum Finding {
    /// As required.
    Passed,
    /// Allowed, and not what one would wish for.
    NonStrict(String),
    /// A measurement that is not judged.
    Measured(String),
}

/// Why a case has no finding.
#[derive(Debug)]
pub enum Problem {
    /// The server did not do what is required.
    Failed(Failure),
    /// A precondition was not reached, so that nothing was checked.
    Inconclusive(String),
}

/// A requirement that was not met.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the contract demands; none where that is the case's title.
    pub requirement: Option<String>,
    /// What should have happened.
    pub expected: String,
    /// What happened.
    pub actual: String,
    /// The fixed text that a designed flaw is recognised by: for a server that is stuck,
    /// [`harness::Stuck::signature`].
    pub signature: Option<String>,
    /// What it looks like by itself; [`Failure::symptom`] looks at the scene, too.
    pub kind: Symptom,
    /// The server at that moment.
    pub scene: Scene,
}

/// A case that found everything as required.
pub fn passed() -> Outcome {
    Ok(Finding::Passed)
}

/// Goes on if `condition` holds; else it is a failure.
///
/// # Errors
/// The condition does not hold.
pub fn ensure(condition: bool, failure: impl FnOnce() -> Failure) -> Result<(), Box<Problem>> {
    if condition { Ok(()) } else { Err(failure().into()) }
}

/// The server's resident memory, `before` bytes once, has never grown by `most` bytes or more.
///
/// # Errors
/// It has: `requirement` is not kept. Or the memory cannot be read.
pub fn ensure_growth_below(
    most: usize,
    server: &Server,
    before: u64,
    requirement: &str,
) -> Result<(), Box<Problem>> {
    const MIB: usize = 1 << 20;
    let growth = server.peak_rss_bytes()?.saturating_sub(before) as usize;
    ensure(growth < most, || {
        let expected = format!("less than {} MiB more than before", most / MIB);
        Failure::new(requirement, expected, format!("{} MiB more", growth / MIB))
            .looks_like(Symptom::TooMuch)
            .at(server)
    })
}

impl Failure {
    /// `requirement` was not met: `expected` and `actual` say how.
    pub fn new(requirement: &str, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self {
            requirement: Some(requirement.to_owned()),
            expected: expected.into(),
            actual: actual.into(),
            signature: None,
            kind: Symptom::Other,
            scene: Scene::default(),
        }
    }

    /// The failure shows what this server is doing now.
    pub fn at(mut self, server: &Server) -> Self {
        self.scene = server.scene();
        self
    }

    /// The failure is recognised by this text.
    pub fn signature(mut self, signature: impl Into<String>) -> Self {
        self.signature = Some(signature.into());
        self
    }
}

/// Says what a step of a case is for.
pub trait Require<T> {
    /// If the step fails, this requirement is not met. A signature stays.
    ///
    /// # Errors
    /// The step failed.
    fn require(self, requirement: &str) -> Result<T, Box<Problem>>;

    /// If the step fails, that looks like this.
    ///
    /// # Errors
    /// The step failed.
    fn looks_like(self, kind: Symptom) -> Result<T, Box<Problem>>;

    /// What must still hold after a designed flaw has shown, for example that the client who had
    /// to wait is served at last. If it does not, the failure has no signature: it is never taken
    /// for the flaw.
    ///
    /// # Errors
    /// The step failed.
    fn afterwards(self, requirement: &str) -> Result<T, Box<Problem>>;

    /// The step only prepares what is to be checked. If it fails, the case is inconclusive, unless
    /// the server has crashed.
    ///
    /// # Errors
    /// The step failed.
    fn precondition(self, what: &str) -> Result<T, Box<Problem>>;
}

impl<T, E: Into<Box<Problem>>> Require<T> for Result<T, E> {
    fn require(self, requirement: &str) -> Result<T, Box<Problem>> {
        self.map_err(|error| {
            let mut problem = error.into();
            if let Problem::Failed(failure) = &mut *problem {
                failure.requirement = Some(requirement.to_owned());
            }
            problem
        })
    }

    fn looks_like(self, kind: Symptom) -> Result<T, Box<Problem>> {
        self.map_err(|error| {
            let mut problem = error.into();
            if let Problem::Failed(failure) = &mut *problem {
                failure.kind = kind;
            }
            problem
        })
    }

    fn afterwards(self, requirement: &str) -> Result<T, Box<Problem>> {
        self.require(requirement).map_err(|mut problem| {
            if let Problem::Failed(failure) = &mut *problem {
                failure.signature = None;
            }
            problem
        })
    }

    fn precondition(self, what: &str) -> Result<T, Box<Problem>> {
        self.map_err(|error| {
            let reason = match *error.into() {
                // It never will be reached, and that is the server's doing.
                Problem::Failed(failure) if failure.scene.is_crash() => {
                    let requirement = Some("the server goes on".to_owned());
                    return Failure { requirement, ..failure }.into();
                }
                Problem::Failed(Failure { expected, actual, scene, .. }) => {
                    format!("it needs that {what}: expected {expected}; {actual}\n{scene}")
                }
                Problem::Inconclusive(reason) => format!("it needs that {what}: {reason}"),
            };
            Box::new(Problem::Inconclusive(reason))
        })
    }
}

impl From<Failure> for Box<Problem> {
    fn from(failure: Failure) -> Self {
        Box::new(Problem::Failed(failure))
    }
}

impl From<Box<Trouble>> for Box<Problem> {
    fn from(trouble: Box<Trouble>) -> Self {
        match &trouble.cause {
            Cause::Io(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                Box::new(Problem::Inconclusive(trouble.to_string()))
            }
            _ => Failure::from(trouble).into(),
        }
    }
}

impl From<Box<Trouble>> for Failure {
    fn from(trouble: Box<Trouble>) -> Self {
        Self {
            requirement: None,
            kind: Symptom::of(&trouble),
            expected: format!("{}: {}", trouble.who, trouble.expected),
            actual: trouble.cause.to_string(),
            signature: trouble.stuck().map(harness::Stuck::signature),
            scene: trouble.scene,
        }
    }
}

impl From<StartError> for Box<Problem> {
    fn from(error: StartError) -> Self {
        Box::new(Problem::Failed(Failure {
            requirement: Some("the server starts".to_owned()),
            expected: "that it listens".to_owned(),
            // What it said on stderr is in the scene.
            actual: match &error {
                StartError::Ended(output) if output.stdout.is_empty() => {
                    format!("it ended without listening: {}", output.status)
                }
                StartError::Silent { .. } => {
                    format!("it printed no line for {:?}", harness::patience())
                }
                error => error.to_string(),
            },
            signature: None,
            kind: Symptom::NoStart,
            scene: error.scene(),
        }))
    }
}
