use conformance::Verdict;
use harness::harmless;

use crate::Row;

/// What went wrong, for a learner: a sentence, and what there is to know, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What it looks like.
    pub summary: String,
    /// What there is to know: a label and a text of one or more lines.
    pub parts: Vec<(&'static str, String)>,
}

impl Explanation {
    pub(crate) fn of(row: &Row) -> Option<Self> {
        let mut parts = vec![("why it matters", row.case.why.to_owned())];
        let (mut summary, failure) = match &row.verdict {
            Verdict::Fail(failure) => (String::new(), failure),
            Verdict::Unexpected(designed, Some(failure)) => {
                parts.push(("by design", designed.clone()));
                ("It fails, but not in the way that is designed here. ".to_owned(), failure)
            }
            Verdict::Unexpected(designed, None) => {
                parts.push(("by design", designed.clone()));
                let summary = "It passes, though it is designed to fail here.".to_owned();
                return Some(Self { summary, parts });
            }
            Verdict::Inconclusive(reason) => {
                parts.push(("missing", reason.trim_end().to_owned()));
                parts.push(("to run it again", run_again(row)));
                let summary = "What has to come before the check was not reached.".to_owned();
                return Some(Self { summary, parts });
            }
            _ => return None,
        };
        if let Some(symptom) = row.symptom {
            summary += &symptom.to_string();
        }
        let requirement = failure.requirement.as_deref().unwrap_or(row.case.title);
        parts.push(("requirement", requirement.to_owned()));
        parts.push(("expected", failure.expected.clone()));
        parts.push(("actual", failure.actual.clone()));
        if let Some(signature) = &failure.signature
            && !failure.actual.contains(signature)
        {
            parts.push(("signature", signature.clone()));
        }
        let scene = &failure.scene;
        if let Some(exit) = scene.exit {
            parts.push(("the server ended", exit.to_string()));
        }
        if !scene.threads.is_empty() {
            parts.push(("what it was doing", few(&scene.threads)));
        }
        if !scene.stderr.is_empty() {
            let last = &scene.stderr[scene.stderr.len().saturating_sub(LOG_LINES)..];
            let last: Vec<_> = last.iter().map(|line| harmless(line)).collect();
            parts.push(("its last words", last.join("\n")));
        }
        parts.push(("to run it again", run_again(row)));
        Some(Self { summary, parts })
    }
}

/// How many lines of the server's log are shown.
const LOG_LINES: usize = 8;

/// The first lines, and how many there are more.
fn few(lines: &[String]) -> String {
    const MOST: usize = 6;
    let mut text = lines[..lines.len().min(MOST)].join("\n");
    if lines.len() > MOST {
        text += &format!("\nand {} more", lines.len() - MOST);
    }
    text
}

fn run_again(row: &Row) -> String {
    let label = match row.again {
        Some(word) if word == row.verdict.word() => "; it was the same when run again".to_owned(),
        Some(word) => format!("; unstable: {word} when run again"),
        None => String::new(),
    };
    format!("{} --seed {}{label}", row.case.id, row.seed)
}
