use std::fmt;

use harness::{Cause, End, Trouble};

use crate::{Failure, Problem};

/// What a failure looks like from outside, in a learner's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symptom {
    /// It did not even listen.
    NoStart,
    /// It ended, or one of its threads did.
    Crash,
    /// Other bytes came than should.
    WrongBytes,
    /// Lines were lost, repeated, changed, or came in another order.
    WrongLines,
    /// It sleeps, and nothing will wake it.
    Hang,
    /// It works all the time, and nothing comes of it. Percent of one core; 0 becomes what the
    /// scene has measured.
    Spin(u32),
    /// It serves one client, and lets another wait.
    Starves,
    /// It keeps more than it may, or what it should have let go.
    TooMuch,
    /// A connection ended that should have stayed.
    Closed,
    /// Nothing came, though it is not asleep for good.
    Silence,
    /// It went on and on, until the deadline.
    Endless,
    /// Anything else: the requirement says it.
    Other,
}

impl Symptom {
    /// What a wait came to, by itself.
    pub(crate) fn of(trouble: &Trouble) -> Self {
        match &trouble.cause {
            Cause::Different(_) => Self::WrongBytes,
            Cause::Ended(End::Eof | End::Reset, _) => Self::Closed,
            Cause::Stuck(..) => Self::Hang,
            Cause::Starved(_) => Self::Starves,
            Cause::TimedOut(_) | Cause::Unchanged(_) => Self::Silence,
            Cause::Io(_) => Self::Other,
        }
    }

    /// One word for it: `hang`, `wrong bytes`.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoStart => "no start",
            Self::Crash => "crash",
            Self::WrongBytes => "wrong bytes",
            Self::WrongLines => "wrong lines",
            Self::Hang => "hang",
            Self::Spin(_) => "spin",
            Self::Starves => "starvation",
            Self::TooMuch => "too much",
            Self::Closed => "early close",
            Self::Silence => "silence",
            Self::Endless => "endless",
            Self::Other => "other",
        }
    }
}

impl Failure {
    /// What it looks like, with what the server was doing then.
    pub fn symptom(&self) -> Symptom {
        const BUSY: f64 = 0.5;
        let scene = &self.scene;
        let panicked = || scene.stderr.iter().any(|line| line.contains("panicked at"));
        // Python and Java say it so. A thread may end in this way and harm nobody: wrong bytes do
        // not come of it.
        let lost_a_thread =
            || scene.stderr.iter().any(|line| line.starts_with("Exception in thread "));
        match (self.kind, scene.load) {
            (Symptom::NoStart, _) => Symptom::NoStart,
            _ if scene.exit.is_some() || panicked() => Symptom::Crash,
            (Symptom::Hang | Symptom::Closed | Symptom::Silence, _) if lost_a_thread() => {
                Symptom::Crash
            }
            (Symptom::Silence | Symptom::Spin(0), Some(load)) if load > BUSY => {
                Symptom::Spin((load * 100.0) as u32)
            }
            (kind, _) => kind,
        }
    }

    /// It looks like this by itself.
    pub fn looks_like(mut self, kind: Symptom) -> Self {
        self.kind = kind;
        self
    }
}

impl Problem {
    /// What it looks like, if it is a failure.
    pub fn symptom(&self) -> Option<Symptom> {
        match self {
            Self::Failed(failure) => Some(failure.symptom()),
            Self::Inconclusive(_) => None,
        }
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoStart => "The server does not start.",
            Self::Crash => "The server ended, or one of its threads crashed.",
            Self::WrongBytes => "Wrong bytes came; the first of them stands above the ^.",
            Self::Hang => {
                "The server hangs: all its threads sleep, and only somebody else can wake them."
            }
            Self::Spin(0..10) => {
                "The server does not rest: it wakes up again and again, for nothing."
            }
            Self::Spin(percent) => {
                return write!(
                    f,
                    "The server spins: it used {percent} % of a core, and nothing came of it."
                );
            }
            Self::WrongLines => "Lines were lost, repeated, changed, or came in another order.",
            Self::TooMuch => "The server keeps more than it may, or what it should have let go.",
            Self::Starves => "The server is busy with one client, and another one gets nothing.",
            Self::Closed => {
                "The server ended a connection that should have stayed, or not as it should have."
            }
            Self::Silence => {
                "What was waited for did not come. It is not proved that the server sleeps for \
                 good."
            }
            Self::Endless => "It was not done in time: it is far too slow, or goes on for ever.",
            Self::Other => "What is required does not hold.",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use harness::{Difference, Scene, Stuck};

    use super::*;

    fn symptom(cause: Cause, load: f64) -> Symptom {
        let (who, expected) = ("a".to_owned(), "6 bytes".to_owned());
        let scene = Scene { load: Some(load), ..Scene::default() };
        Failure::from(Box::new(Trouble { who, expected, cause, seen: Instant::now(), scene }))
            .symptom()
    }

    #[test]
    fn hang_wrong_bytes_silence_and_spin_are_told_apart() {
        let difference = Difference::find(b"hello", 0, b"hallo").unwrap();
        let stuck = Stuck { sleepers: vec![], unread: vec![], not_accepted: 0 };
        assert_eq!(symptom(Cause::Different(difference), 0.9), Symptom::WrongBytes);
        assert_eq!(symptom(Cause::Ended(End::Eof, 3), 0.9), Symptom::Closed);
        assert_eq!(symptom(Cause::Starved(1 << 27), 0.9), Symptom::Starves);
        assert_eq!(symptom(Cause::Stuck(stuck, 0), 0.9), Symptom::Hang);
        assert_eq!(symptom(Cause::TimedOut(0), 0.97), Symptom::Spin(97));
        assert_eq!(symptom(Cause::TimedOut(0), 0.01), Symptom::Silence);
        assert_eq!(symptom(Cause::Unchanged("3".to_owned()), 0.97), Symptom::Spin(97));
    }

    #[test]
    fn a_panic_is_a_crash_whatever_came_of_it() {
        let trouble = |cause, stderr: Vec<String>| {
            let (who, expected) = ("b".to_owned(), "6 bytes".to_owned());
            let scene = Scene { stderr, ..Scene::default() };
            Failure::from(Box::new(Trouble { who, expected, cause, seen: Instant::now(), scene }))
                .symptom()
        };
        let closed = || Cause::Ended(End::Eof, 0);
        let different = || Cause::Different(Difference::find(b"hello", 0, b"hallo").unwrap());
        assert_eq!(trouble(closed(), vec![]), Symptom::Closed);
        let panic = || vec!["thread 'main' panicked at src/main.rs:5:9:".to_owned()];
        assert_eq!(trouble(closed(), panic()), Symptom::Crash);
        assert_eq!(trouble(different(), panic()), Symptom::Crash);
        let python = || vec!["Exception in thread Thread-1 (handle):".to_owned()];
        assert_eq!(trouble(closed(), python()), Symptom::Crash);
        assert_eq!(trouble(different(), python()), Symptom::WrongBytes);
    }
}
