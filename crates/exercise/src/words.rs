//! What a learner is told.

use conformance::Verdict;

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

/// A text for a terminal: its paragraphs and list items are filled anew, and code stays as it is.
pub fn narrow(markdown: &str) -> String {
    let mut text = String::new();
    let mut item = String::new();
    for line in markdown.lines().chain([""]) {
        let is_code = line.starts_with("    ");
        let goes_on =
            !(line.is_empty() || is_code || line.starts_with("- ") || line.starts_with('#'));
        if !goes_on && !item.is_empty() {
            let hanging = if is_item(&item) { "  " } else { "" };
            let options = textwrap::Options::new(COLUMNS).subsequent_indent(hanging);
            text += &(textwrap::fill(&item, options) + "\n");
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
    }

    #[test]
    fn long_texts_are_wrapped_and_drawings_are_not() {
        let text = indent(&format!("{}\n  expected  {}^", "word ".repeat(30), " ".repeat(70)));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() <= 79));
        assert!(lines[lines.len() - 1].ends_with('^'));
    }
}
