//! What a learner is told.

use std::fmt;

use conformance::{Failure, Verdict};

use crate::{Beginning, Exercise, Judged, Report};

/// What a failure looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symptom {
    /// It did not even listen.
    NoStart,
    /// It ended, or one of its threads did.
    Crash,
    /// Other bytes came than should.
    WrongBytes,
    /// It sleeps, and nothing will wake it.
    Hang,
    /// It works all the time, and nothing comes of it. Percent of one core.
    Spin(u32),
    /// It serves one client, and lets another wait.
    Starves,
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
    /// What `failure` looks like, of a server that has used `load` cores while the case ran.
    pub(crate) fn of(failure: &Failure, load: f64) -> Self {
        let scene = &failure.scene;
        let actual = failure.actual.as_str();
        let begins = |texts: &[&str]| texts.iter().any(|text| actual.starts_with(text));
        let waited_in_vain = begins(&["nothing came for", "it stayed "]);
        if failure.requirement.as_deref() == Some("the server starts") {
            Self::NoStart
        } else if scene.exit.is_some() || scene.stderr.iter().any(|it| it.contains("panicked at")) {
            Self::Crash
        } else if actual.contains("is another one") {
            Self::WrongBytes
        } else if begins(&["the server is stuck"]) {
            Self::Hang
        } else if begins(&["nothing came while a flood"]) {
            Self::Starves
        } else if load > 0.5 && (waited_in_vain || actual.contains("clock ticks")) {
            Self::Spin((load * 100.0) as u32)
        } else if begins(&["the stream ended", "the connection was reset"]) {
            Self::Closed
        } else if waited_in_vain {
            Self::Silence
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoStart => "The server does not start.",
            Self::Crash => "The server crashed, or one of its threads did.",
            Self::WrongBytes => "Wrong bytes came; the first of them stands above the ^.",
            Self::Hang => {
                "The server hangs: all its threads sleep, and only somebody else can wake them."
            }
            Self::Spin(percent) => {
                return write!(
                    f,
                    "The server spins: it used {percent} % of a core, and nothing came of it."
                );
            }
            Self::Starves => "The server is busy with one client, and another one gets nothing.",
            Self::Closed => "The server closed a connection that should have stayed.",
            Self::Silence => {
                "Nothing came. The server is not asleep for good: it waits for a time, or for \
                 itself."
            }
            Self::Endless => "It went on and on, and was stopped in the end.",
            Self::Other => "Something came out that should not.",
        })
    }
}

impl Report {
    /// The report in a learner's words, several lines. It ends without a line's end.
    pub fn explain(&self, exercise: &Exercise) -> String {
        let mut text = format!("{}  {}\n\n", exercise.name, exercise.title);
        for judged in &self.turned {
            text += &row(if judged.is_good() { "passed" } else { "NOT YET" }, judged);
        }
        let (good, bad): (Vec<_>, Vec<_>) = self.others.iter().partition(|it| it.is_good());
        for judged in &bad {
            text += &row("BROKEN", judged);
        }
        let as_before = good.iter().filter(|it| !matches!(it.verdict, Verdict::Inconclusive(_)));
        match as_before.count() {
            0 => {}
            count => {
                text += &format!("  passed   {count} other cases, as {}\n", exercise.mark.base)
            }
        }
        for judged in good {
            match &judged.verdict {
                Verdict::Unexpected(..) => text += &row("more", judged),
                Verdict::Inconclusive(_) => text += &row("unknown", judged),
                _ => {}
            }
        }
        text += "\n";
        match self.turned.iter().chain(bad).find(|judged| !judged.is_good()) {
            Some(judged) => text += &explain(judged, exercise),
            None => text += &format!("{} is solved.", exercise.name),
        }
        text
    }
}

fn row(word: &str, judged: &Judged) -> String {
    format!("  {word:7}  {}  {}\n", judged.case.id, judged.case.title)
}

/// What is wrong with the first case that is not as it should be.
fn explain(judged: &Judged, exercise: &Exercise) -> String {
    let Judged { case, turns, verdict, symptom, unstable, .. } = judged;
    let mut text = String::new();
    let Some(failure) = judged.failure() else {
        return match verdict {
            Verdict::Inconclusive(reason) => {
                format!("{} could not be checked here: {reason}", case.id)
            }
            _ => format!("{}: {verdict}", case.id),
        };
    };
    text += &match verdict {
        _ if *turns && judged.is_as_before() => match exercise.mark.begins_with {
            Beginning::Listing => format!("It still does what {} does. ", exercise.mark.base),
            Beginning::Flaw | Beginning::Own => "It still does what it did at first. ".to_owned(),
        },
        _ if *turns => String::new(),
        Verdict::Unexpected(designed, _) => {
            format!("{} fails here, too, but in another way: {designed}. ", exercise.mark.base)
        }
        _ => format!("This was right in {}. ", exercise.mark.base),
    };
    if *unstable {
        text += "It went wrong once and then right: a race, or an overloaded machine. ";
    }
    text += &symptom.map_or(String::new(), |symptom| symptom.to_string());
    let mut text = textwrap::fill(&text, COLUMNS);
    text += &format!("\n\n  why it matters   {}\n", indent(case.why));
    let requirement = failure.requirement.as_deref().unwrap_or(case.title);
    text += &format!("  what must hold   {}\n", indent(requirement));
    text += &format!("  what should be   {}\n", indent(&failure.expected));
    text += &format!("  what was         {}\n", indent(&failure.actual));
    if let Some(exit) = failure.scene.exit {
        text += &format!("  how it ended     {exit}\n");
    }
    let log = &failure.scene.stderr;
    if !log.is_empty() {
        let last: Vec<_> = log[log.len().saturating_sub(LOG_LINES)..]
            .iter()
            .map(|line| line.escape_debug().to_string())
            .collect();
        text += &format!("  its last words   {}\n", indent(&last.join("\n")));
    }
    text.trim_end().to_owned()
}

/// How wide the text is at most.
const COLUMNS: usize = 79;
/// How many lines of the server's log are shown.
const LOG_LINES: usize = 6;

/// Further lines stand under the first, 19 columns from the left.
fn indent(text: &str) -> String {
    const WIDTH: usize = COLUMNS - 19;
    let wrap = |line: &str| match line.starts_with(' ') {
        // A drawing: it stays as it is.
        true => vec![line.to_owned()],
        false => textwrap::wrap(line, WIDTH).into_iter().map(Into::into).collect(),
    };
    text.lines().flat_map(wrap).collect::<Vec<_>>().join("\n                   ")
}

#[cfg(test)]
mod tests {
    use harness::{Cause, Difference, End, Scene, Trouble};

    use super::*;

    fn symptom(cause: Cause, load: f64) -> Symptom {
        let (who, expected) = ("a".to_owned(), "6 bytes".to_owned());
        let trouble = Box::new(Trouble { who, expected, cause, scene: Scene::default() });
        Symptom::of(&Failure::from(trouble), load)
    }

    /// The harness tells causes apart by type, a failure by text: this holds the two together.
    #[test]
    fn each_cause_is_known_by_its_symptom() {
        let difference = Difference::find(b"hello", 0, b"hallo").unwrap();
        assert_eq!(symptom(Cause::Different(difference), 0.9), Symptom::WrongBytes);
        assert_eq!(symptom(Cause::Ended(End::Eof, 3), 0.9), Symptom::Closed);
        assert_eq!(symptom(Cause::Ended(End::Reset, 3), 0.0), Symptom::Closed);
        assert_eq!(symptom(Cause::Starved(1 << 27), 0.9), Symptom::Starves);
        let stuck = harness::Stuck { sleepers: vec![], unread: vec![], not_accepted: 0 };
        assert_eq!(symptom(Cause::Stuck(stuck, 0), 0.9), Symptom::Hang);
        assert_eq!(symptom(Cause::TimedOut(0), 0.97), Symptom::Spin(97));
        assert_eq!(symptom(Cause::TimedOut(0), 0.01), Symptom::Silence);
        assert_eq!(symptom(Cause::Unchanged("3".to_owned()), 0.97), Symptom::Spin(97));
    }

    #[test]
    fn a_panic_is_a_crash_whatever_came_of_it() {
        let mut failure = Failure::new("b is served", "6 bytes", "the stream ended in order (FIN)");
        assert_eq!(Symptom::of(&failure, 0.0), Symptom::Closed);
        failure.scene.stderr.push("thread 'main' panicked at src/main.rs:5:9:".to_owned());
        assert_eq!(Symptom::of(&failure, 0.0), Symptom::Crash);
    }

    #[test]
    fn long_texts_are_wrapped_and_drawings_are_not() {
        let text = indent(&format!("{}\n  expected  {}^", "word ".repeat(30), " ".repeat(70)));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() <= 79));
        assert!(lines[lines.len() - 1].ends_with('^'));
    }
}
