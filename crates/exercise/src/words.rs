//! What a learner is told.

use conformance::{Failure, Symptom, Verdict};
use harness::{Scene, harmless};

use crate::{Beginning, Exercise, Judged, Report};

impl Report {
    /// The report in a learner's words, several lines. It ends without a line's end.
    pub fn explain(&self, exercise: &Exercise) -> String {
        let mut text = format!("{}  {}\n\n", exercise.name, exercise.title);
        for judged in &self.turned {
            text += &row(if judged.is_good() { "passed" } else { "NOT YET" }, judged);
        }
        let (good, bad): (Vec<_>, Vec<_>) = self.others.iter().partition(|it| it.is_good());
        for judged in &bad {
            let was_right = was_right(judged, exercise);
            text += &row(if was_right { "BROKEN" } else { "NOT YET" }, judged);
        }
        let as_before = good.iter().filter(|it| !matches!(it.verdict, Verdict::Inconclusive(_)));
        match as_before.count() {
            0 => {}
            1 => text += &format!("  passed   1 other case, as {}\n", exercise.mark.base),
            count => {
                text += &format!("  passed   {count} other cases, as {}\n", exercise.mark.base)
            }
        }
        if self.left_out > 0 {
            text += &format!("  not run  {} others, since the verdict is clear\n", self.left_out);
        }
        for judged in good {
            match &judged.verdict {
                Verdict::Unexpected(..) => text += &row("more", judged),
                // Where something is broken, it is no news.
                Verdict::Inconclusive(_) if bad.is_empty() => text += &row("unknown", judged),
                _ => {}
            }
        }
        text += "\n";
        // One that is certain says more.
        let wrong = self.turned.iter().chain(bad).filter(|judged| !judged.is_good());
        match wrong.min_by_key(|judged| judged.unstable) {
            Some(judged) => text += &explain(judged, exercise),
            None => text += &format!("{} is solved.", exercise.name),
        }
        text
    }
}

/// Whether it is a case of the exercise's own, which the stage knows nothing of.
fn is_own(judged: &Judged, exercise: &Exercise) -> bool {
    judged.case.id.starts_with(&exercise.name)
}

/// Whether a case is known to pass before the work is done. A listing with a flaw in it may fail
/// one of its own.
fn was_right(judged: &Judged, exercise: &Exercise) -> bool {
    !judged.turns && (!is_own(judged, exercise) || exercise.mark.begins_with == Beginning::Listing)
}

fn row(word: &str, judged: &Judged) -> String {
    let (start, hanging) = (format!("  {word:7}  {}  ", judged.case.id), " ".repeat(11));
    let options = textwrap::Options::new(COLUMNS).subsequent_indent(&hanging);
    textwrap::fill(&format!("{start}{}", judged.case.title), options) + "\n"
}

/// What is wrong with a case that is not as it should be.
fn explain(judged: &Judged, exercise: &Exercise) -> String {
    let Judged { case, turns, verdict, symptom, unstable, .. } = judged;
    let mut text = String::new();
    let Some(failure) = judged.failure() else {
        return match verdict {
            Verdict::Inconclusive(reason) => {
                let told = format!("{} could not be checked here: {reason}", case.id);
                told.lines()
                    .map(|line| textwrap::fill(line, COLUMNS))
                    .collect::<Vec<_>>()
                    .join("\n")
            }
            _ => format!("{}: {verdict}", case.id),
        };
    };
    text += &match verdict {
        // Not always what the stage does: a listing may have a flaw put in.
        _ if *turns && judged.is_as_before() => "It fails as it did at first. ".to_owned(),
        _ if *turns => String::new(),
        Verdict::Unexpected(designed, _) => {
            format!("{} fails here, too, but in another way: {designed}. ", exercise.mark.base)
        }
        _ if !was_right(judged, exercise) => String::new(),
        _ if is_own(judged, exercise) => "This was right at first. ".to_owned(),
        _ => format!("This was right in {}. ", exercise.mark.base),
    };
    if *unstable {
        text += "It went wrong once and then right: a race, or an overloaded machine. ";
    }
    // That something else came is said below, in the case's own words.
    let symptom_in_words = symptom.filter(|it| *it != Symptom::Other);
    text += &symptom_in_words.map_or(String::new(), |symptom| symptom.to_string());
    let mut text = textwrap::fill(text.trim_end(), COLUMNS);
    text += if text.is_empty() { "" } else { "\n\n" };
    text += &format!("  why it matters   {}\n", indent(case.why));
    // Without one it is the case's title, which stands above.
    if let Some(requirement) = &failure.requirement {
        text += &format!("  what must hold   {}\n", indent(requirement));
    }
    text += &format!("  what should be   {}\n", indent(&what_should_be(failure)));
    text += &format!("  what was         {}\n", indent(&failure.actual));
    if let Some(exit) = failure.scene.exit {
        text += &format!("  how it ended     {exit}\n");
    }
    if matches!(symptom, Some(Symptom::Endless | Symptom::Silence | Symptom::Spin(_))) {
        text += &format!("  what it did      {}\n", indent(&what_it_did(&failure.scene)));
    }
    let log = last_words(&failure.scene.stderr);
    if !log.is_empty() {
        text += &format!("  its last words   {}\n", indent(&log.join("\n")));
    }
    text.trim_end().to_owned()
}

/// What was waited for. Where the bytes that came are shown beside those that should have, not
/// these again, which may be noise.
fn what_should_be(failure: &Failure) -> String {
    let expected = &failure.expected;
    let whole = match failure.kind {
        Symptom::WrongBytes => expected.split_once(" bytes, ").map(|(whole, _)| whole),
        _ => None,
    };
    whole.map_or_else(|| expected.clone(), |whole| format!("{whole} bytes"))
}

/// The end of the server's log, without the backtraces of panics.
fn last_words(log: &[String]) -> Vec<String> {
    let mut in_trace = false;
    let is_word = |line: &&str| {
        let (begins, ends) = (*line == "stack backtrace:", line.starts_with("note: "));
        let is_trace = in_trace || begins || ends;
        in_trace = (in_trace || begins) && !ends;
        !is_trace && !line.is_empty()
    };
    let mut lines = folded(log.iter().map(String::as_str).filter(is_word));
    lines.drain(..lines.len().saturating_sub(LOG_LINES));
    lines
}

/// What the server's threads were doing, and how much processor time it has used.
fn what_it_did(scene: &Scene) -> String {
    // Each line begins with the thread's id and name, up to a colon.
    let doing = scene.threads.iter().map(|line| line.split_once(": ").map_or("", |it| it.1));
    let mut doing: Vec<_> = doing.collect();
    // Whoever runs comes first: among many threads, the others may not be shown.
    doing.sort_unstable_by_key(|doing| (doing.starts_with("asleep"), *doing));
    let mut lines = folded(doing.into_iter());
    lines.truncate(LOG_LINES);
    lines.extend(
        scene.load.map(|load| format!("{:.0} % of a core, since it was started", load * 100.0)),
    );
    lines.join("\n")
}

/// Lines that a terminal may show; the same one several times in a row is one.
fn folded<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<_> = lines.collect();
    let fold = |same: &[&str]| match same {
        [line] => harmless(line),
        same => format!("{} ({} times)", harmless(same[0]), same.len()),
    };
    lines.chunk_by(|a, b| a == b).map(fold).collect()
}

/// How wide the text is at most.
const COLUMNS: usize = 79;
/// How many lines of the server's log are shown.
const LOG_LINES: usize = 6;

/// Further lines stand under the first, 19 columns from the left.
fn indent(text: &str) -> String {
    // A path keeps its hyphens.
    let options =
        textwrap::Options::new(COLUMNS - 19).word_splitter(textwrap::WordSplitter::NoHyphenation);
    let wrap = |line: &str| match line.starts_with(' ') {
        // A drawing: it stays as it is.
        true => vec![line.to_owned()],
        false => textwrap::wrap(line, &options).into_iter().map(Into::into).collect(),
    };
    text.lines().flat_map(wrap).collect::<Vec<_>>().join("\n                   ")
}

/// A text for a terminal: its paragraphs and list items are filled anew, and code stays as it is.
pub fn narrow(markdown: &str) -> String {
    let mut text = String::new();
    let mut item = String::new();
    for line in markdown.lines().chain([""]) {
        let is_code = line.starts_with("    ");
        let goes_on = !(line.is_empty() || is_code || is_item(line) || line.starts_with('#'));
        if !goes_on && !item.is_empty() {
            let marker = item.split_inclusive(' ').next().filter(|_| is_item(&item));
            let hanging = " ".repeat(marker.map_or(0, str::len));
            // A flag keeps its hyphens.
            let options = textwrap::Options::new(COLUMNS)
                .subsequent_indent(&hanging)
                .word_splitter(textwrap::WordSplitter::NoHyphenation);
            let filled = textwrap::fill(&unbroken(&item), options);
            text += &(filled.replace(NO_BREAK, " ") + "\n");
            item.clear();
        }
        if line.is_empty() || is_code {
            text += &format!("{line}\n");
        } else {
            item += if goes_on && !item.is_empty() { " " } else { "" };
            item += line.trim();
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

const NO_BREAK: &str = "\u{a0}";

/// The text, with spaces in code that no line ends at: a command can be copied.
fn unbroken(text: &str) -> String {
    let part = |(index, part): (usize, &str)| match index % 2 {
        0 => part.to_owned(),
        _ => part.replace(' ', NO_BREAK),
    };
    text.split('`').enumerate().map(part).collect::<Vec<_>>().join("`")
}

/// `- one`, or `1. one`.
fn is_item(line: &str) -> bool {
    line.starts_with("- ")
        || line.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(". ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_filled_anew_and_code_is_not() {
        let code = format!("    {}", "x".repeat(100));
        let text =
            format!("# head\n\n{}\n{}\n\n- one\n  more\n- two\n\n{code}\n", "a ".repeat(50), "b");
        let narrow = narrow(&text);
        assert!(narrow.lines().all(|line| line.len() <= COLUMNS || line == code), "{narrow}");
        assert!(narrow.contains("a b\n\n- one more\n- two\n\n    xxx"), "{narrow}");
        let command = format!("{}`cargo xtask book open bridge`.\n", "word ".repeat(12));
        assert!(super::narrow(&command).contains("\n`cargo xtask book open bridge`.\n"));
        assert_eq!(super::narrow("1. one\n   more\n2. two\n"), "1. one more\n2. two\n");
        let flag = format!("{}`--max-backlog`.\n", "word ".repeat(14));
        assert!(super::narrow(&flag).contains("\n`--max-backlog`.\n"));
    }

    /// What a learner reads of a first case that fails like this.
    fn told(symptom: Symptom, expected: &str, actual: &str, scene: Scene) -> String {
        let exercise = Exercise {
            name: "05-accept".to_owned(),
            title: "Sleep in accept only while there is nobody to serve".to_owned(),
            directory: "crates/exercises/05-accept".into(),
            mark: toml::from_str("base = 'stage-05'\nlevel = 2\nturns = ['conc/03']").unwrap(),
            base: toml::from_str("modes = ['echo']").unwrap(),
        };
        let failure = Failure {
            requirement: None,
            expected: expected.to_owned(),
            actual: actual.to_owned(),
            signature: None,
            kind: symptom,
            scene,
        };
        let case = exercise.all_cases().find(|case| case.id == "conc/03").unwrap();
        let judged = Judged {
            case,
            turns: true,
            before: None,
            verdict: Verdict::Fail(failure),
            symptom: Some(symptom),
            unstable: false,
        };
        let report = Report { turned: vec![judged], others: Vec::new(), left_out: 0 };
        let text = report.explain(&exercise);
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
        text
    }

    #[test]
    fn what_took_too_long_is_told_with_what_the_server_did() {
        let scene = Scene {
            threads: vec!["thread 7 (main): asleep in nanosleep".to_owned()],
            stderr: vec!["cannot accept: try again".to_owned(); 30],
            load: Some(0.02),
            exit: None,
        };
        let actual = "not there yet after 30s, when the case was ended";
        let told = told(Symptom::Endless, "a: 6 bytes, \"hello\\n\"", actual, scene);
        let expected = r#"05-accept  Sleep in accept only while there is nobody to serve

  NOT YET  conc/03  an echo needs nobody else

It was not done in time: it is far too slow, or goes on for ever.

  why it matters   A client's answer must depend on nobody else. A loop that
                   sleeps in `accept` between its clients serves them only when
                   somebody new comes: that is the flaw of stage 05.
  what should be   a: 6 bytes, "hello\n"
  what was         not there yet after 30s, when the case was ended
  what it did      asleep in nanosleep
                   2 % of a core, since it was started
  its last words   cannot accept: try again (30 times)"#;
        assert_eq!(told, expected);
    }

    #[test]
    fn crash_spin_hang_and_wrong_bytes_are_told_apart() {
        let told = |symptom, actual| told(symptom, "a: 6 bytes, \"x\"", actual, Scene::default());
        let crash = told(Symptom::Crash, "the connection was reset (RST)");
        assert!(crash.contains("\n\nThe server ended, or one of its threads crashed.\n\n"));
        let spin = told(Symptom::Spin(97), "nothing came for 10s");
        assert!(spin.contains("\n\nThe server spins: it used 97 % of a core"));
        let hang = told(Symptom::Hang, "the server is stuck: asleep in accept");
        assert!(hang.contains("\n\nThe server hangs: all its threads sleep"));
        let wrong = told(Symptom::WrongBytes, "byte 0 is another one\n  expected  x\n  ...");
        assert!(wrong.contains("\n\nWrong bytes came; the first of them stands above the ^."));
        assert!(wrong.contains("\n  what should be   a: 6 bytes\n"));
        let other = told(Symptom::Other, "no number");
        assert!(other.contains("nobody else\n\n  why it matters"));
    }

    #[test]
    fn of_a_panic_the_words_are_shown_and_not_the_backtrace() {
        let log = [
            "connection from 127.0.0.1:1",
            "",
            "thread 'main' (7) panicked at src/main.rs:5:9:",
            "not yet implemented",
            "stack backtrace:",
            "   0: __rustc::rust_begin_unwind",
            "note: Some details are omitted",
            "",
            "thread 'main' (7) panicked at src/main.rs:5:9:",
            "too",
            "note: run with `RUST_BACKTRACE=1`",
        ];
        let log = log.map(str::to_owned);
        let told = [0, 2, 3, 8, 9].map(|line| log[line].as_str());
        assert_eq!(last_words(&log), told);
    }

    #[test]
    fn a_line_that_comes_again_and_again_is_shown_once() {
        let log = [["one"; 3].as_slice(), &["two"], &["one"; 2]].concat().into_iter();
        assert_eq!(folded(log), ["one (3 times)", "two", "one (2 times)"]);
    }

    #[test]
    fn what_it_did_tells_the_threads_and_their_processor_time() {
        let thread = |id: u32, doing: &str| format!("thread {id} (main): {doing}");
        let scene = Scene {
            threads: vec![
                thread(1, "asleep in futex"),
                thread(2, "running"),
                thread(3, "asleep in futex"),
            ],
            load: Some(0.97),
            ..Scene::default()
        };
        let told = "running\nasleep in futex (2 times)\n97 % of a core, since it was started";
        assert_eq!(what_it_did(&scene), told);
    }

    #[test]
    fn long_texts_are_wrapped_and_drawings_are_not() {
        let text = indent(&format!("{}\n  expected  {}^", "word ".repeat(30), " ".repeat(70)));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() <= 79));
        assert!(lines[lines.len() - 1].ends_with('^'));
    }
}
