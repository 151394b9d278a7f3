//! What changed from one stage to the next, generated.
//!
//! Each file under `book/src/generated` is one step, to be included as a whole, or part by part
//! through its anchors. 01→02→03 differ by so few lines that the whole file is one part. From 05
//! to 06 only some functions stay comparable; each of these is a part, as is what 05 has kept of
//! 01. The other steps change the model: there the prose shows both versions.

use std::path::Path;
use std::{fs, io};

use similar::{ChangeTag, DiffOp, DiffTag, TextDiff};

use crate::sources::is_mark;
use crate::styled;

/// One step of the ladder.
struct Step {
    name: &'static str,
    parts: &'static [Part],
}

/// What is compared: a file, or one function of it, in both stages.
struct Part {
    anchor: &'static str,
    old: &'static str,
    new: &'static str,
    function: Option<&'static str>,
}

const STEPS: &[Step] = &[
    Step {
        name: "diff-01-02.md",
        parts: &[Part {
            anchor: "main",
            old: "stage-01/src/main.rs",
            new: "stage-02/src/main.rs",
            function: None,
        }],
    },
    Step {
        name: "diff-02-03.md",
        parts: &[Part {
            anchor: "main",
            old: "stage-02/src/main.rs",
            new: "stage-03/src/main.rs",
            function: None,
        }],
    },
    Step {
        name: "diff-01-05.md",
        parts: &[Part {
            anchor: "echo",
            old: "stage-01/src/main.rs",
            new: "stage-05/src/main.rs",
            function: Some("echo"),
        }],
    },
    Step {
        name: "diff-06-07.md",
        parts: &[Part {
            anchor: "echo",
            old: "stage-06/examples/waker/main.rs",
            new: "stage-07/examples/echo.rs",
            function: Some("echo"),
        }],
    },
    Step {
        name: "diff-05-06.md",
        parts: &[
            Part {
                anchor: "accept_clients",
                old: "stage-05/src/main.rs",
                new: "stage-06/src/main.rs",
                function: Some("accept_clients"),
            },
            Part {
                anchor: "handle_client",
                old: "stage-05/src/main.rs",
                new: "stage-06/src/main.rs",
                function: Some("handle_client"),
            },
        ],
    },
];

/// The pages by file name, as they should be now.
///
/// # Errors
/// A stage cannot be read, or a function is not there any more.
pub fn pages(root: &Path) -> io::Result<Vec<(&'static str, String)>> {
    STEPS.iter().map(|step| Ok((step.name, step.page(root)?))).collect()
}

impl Step {
    fn page(&self, root: &Path) -> io::Result<String> {
        let mut text = String::new();
        for Part { anchor, old, new, function } in self.parts {
            let read = |file: &str| -> io::Result<String> {
                let text = listing(&fs::read_to_string(root.join("crates").join(file))?);
                let Some(name) = function else { return Ok(text) };
                self::function(&text, name).ok_or_else(|| {
                    io::Error::other(format!("{file} has no function {name} any more"))
                })
            };
            let diff = unified(&read(old)?, &read(new)?);
            text += &format!(
                "\n<!-- ANCHOR: {anchor} -->\n{}\n```diff\n{diff}```\n<!-- ANCHOR_END: {anchor} -->\n",
                styled::caption(&format!("from crates/{old} to crates/{new}"))
            );
        }
        Ok(text)
    }
}

/// A source file as the book shows it: without what is said to someone who opens the file, and
/// without the marks for the book.
fn listing(source: &str) -> String {
    let lines = source.lines().filter(|line| !line.starts_with("//!") && !is_mark(line));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.trim_start().to_owned()
}

/// A function with what stands above it, moved to the left margin. The sources are formatted, so
/// that it ends at the brace below its beginning.
fn function(source: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().collect();
    let is_head = |line: &&str| {
        let line = line.trim_start();
        let after = line.split_once("fn ").and_then(|(_, rest)| rest.strip_prefix(name));
        !line.starts_with("//") && after.is_some_and(|rest| rest.starts_with(['(', '<']))
    };
    let head = lines.iter().position(is_head)?;
    let indent = &lines[head][..lines[head].len() - lines[head].trim_start().len()];
    let above = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("#[")
    };
    let start = head - lines[..head].iter().rev().take_while(above).count();
    let end = head + lines[head..].iter().position(|line| *line == format!("{indent}}}"))?;
    let dedented = lines[start..=end].iter().map(|line| line.strip_prefix(indent).unwrap_or(line));
    Some(dedented.flat_map(|line| [line, "\n"]).collect())
}

/// A unified diff. In place of line numbers, which mean nothing on a page, a gap says in which
/// function it goes on.
fn unified(old: &str, new: &str) -> String {
    const CONTEXT: usize = 3;
    let diff = TextDiff::from_lines(old, new);
    let new_lines: Vec<&str> = new.lines().collect();
    let mut text = String::new();
    for group in diff.grouped_ops(CONTEXT) {
        // Not where the hunk begins: its first lines are only for orientation.
        let changed = group.iter().find(|op| op.tag() != DiffTag::Equal);
        let enclosing = changed.and_then(|op| enclosing(&new_lines, op.new_range().start));
        if group.first().is_some_and(|op| op.new_range().start > 0) {
            text += &format!("@@ {}\n", enclosing.map_or("…", |head| head.trim_end_matches(" {")));
        }
        for change in group.iter().flat_map(|op: &DiffOp| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            text += format!("{sign}{}", change.value().trim_end_matches('\n')).trim_end();
            text.push('\n');
        }
    }
    text
}

/// The head of the function that the line at `index` belongs to.
fn enclosing<'a>(lines: &[&'a str], index: usize) -> Option<&'a str> {
    let above = lines[..index].iter().rev();
    let mut outer = above.take_while(|line| **line != "}").filter(|line| line.contains("fn "));
    outer.find(|line| !line.trim_start().starts_with("//")).map(|line| line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_neither_header_nor_marks() {
        let source = "//! Header.\n\nuse a;\n// ANCHOR: x\nfn x() {}\n// ANCHOR_END: x\n";
        assert_eq!(listing(source), "use a;\nfn x() {}\n");
    }

    #[test]
    fn a_function_is_taken_with_what_stands_above_it() {
        let source = "impl A {\n    /// Runs.\n    #[x]\n    pub fn run<F>(&self) {\n        a();\n    }\n}\n";
        let run = "/// Runs.\n#[x]\npub fn run<F>(&self) {\n    a();\n}\n";
        assert_eq!(function(source, "run").as_deref(), Some(run));
        assert_eq!(function(source, "ru"), None);
    }

    #[test]
    fn a_gap_names_the_function_that_follows() {
        let lines: Vec<String> = (0..20).map(|line| format!("    line{line};")).collect();
        let old = format!("fn a() {{\n{}\n}}\n", lines.join("\n"));
        let diff = unified(&old, &old.replace("line15;", "other;"));
        assert!(diff.starts_with("@@ fn a()\n     line12;\n"), "{diff}");
        assert!(diff.contains("-    line15;\n+    other;\n"), "{diff}");
    }
}
