//! Includes and anchors: whether the code in the book is the code that is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use crate::Problem;
use crate::markdown::{self, Page, line_of};

/// What is wrong with the book's includes, and with the anchors in the project's sources.
///
/// - The file of an include exists; its anchor exists there once, ends, and holds something.
/// - Lines are included by anchor, never by number: numbers drift.
/// - Whoever includes a whole file does not show anchors to the reader.
/// - Every anchor is used, be it in another stage: what the stages have in common is marked alike,
///   or `diff` between them would show it.
/// - All Rust on a page is included.
///
/// # Errors
/// A file of the project cannot be read.
pub fn problems(root: &Path) -> io::Result<Vec<Problem>> {
    let pages = markdown::pages(root)?;
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for page in &pages {
        for include in includes(&page.text) {
            let line = include.line;
            if let Err(what) = resolve(root, page, include, &mut used) {
                problems.push(Problem { file: page.file.clone(), line, what });
            }
        }
        for block in markdown::blocks(&page.text).iter().filter(|it| it.language() == "rust") {
            if !block.text.trim_start().starts_with("{{#include") {
                let what = "Rust that is written here, and not included: nothing compiles it";
                problems.push(Problem {
                    file: page.file.clone(),
                    line: block.line,
                    what: what.to_owned(),
                });
            }
        }
    }
    for file in project_files(root)? {
        let Ok(text) = fs::read_to_string(root.join(&file)) else { continue };
        let (anchors, wrong) = Anchors::find(&text);
        problems.extend(wrong.into_iter().map(|(line, what)| Problem {
            file: file.clone(),
            line,
            what,
        }));
        for (name, anchor) in anchors.0 {
            if !used.iter().any(|(other, used)| *used == name && in_stage(other) == in_stage(&file))
            {
                let what = format!("the anchor {name} is used nowhere in the book");
                problems.push(Problem { file: file.clone(), line: anchor.line, what });
            }
        }
    }
    problems.sort();
    Ok(problems)
}

struct Include {
    line: usize,
    /// `include`, `title` and so on.
    kind: String,
    target: String,
}

/// What mdBook would replace: `{{#kind target}}`, wherever it stands on the page.
fn includes(text: &str) -> Vec<Include> {
    let mut includes = Vec::new();
    for (start, _) in text.match_indices("{{#") {
        let inside = text[start + 3..].split("}}").next().unwrap_or_default();
        if !text[..start].ends_with('\\')
            && let Some((kind, target)) = inside.split_once(char::is_whitespace)
        {
            includes.push(Include {
                line: line_of(text, start),
                kind: kind.to_owned(),
                target: target.trim().to_owned(),
            });
        }
    }
    includes
}

/// Notes the anchor that is used, or says what is wrong.
fn resolve(
    root: &Path,
    page: &Page,
    include: Include,
    used: &mut BTreeSet<(PathBuf, String)>,
) -> Result<(), String> {
    let Include { kind, target, .. } = include;
    match kind.as_str() {
        "include" => {}
        "title" => return Ok(()),
        _ => return Err(format!("the book does not use {{{{#{kind}}}}}")),
    }
    let (path, anchor) = match target.split_once(':') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target.as_str(), None),
    };
    let file = normal(&page.file.with_file_name("").join(path));
    let text = fs::read_to_string(root.join(&file))
        .map_err(|error| format!("cannot include {}: {error}", file.display()))?;
    let (anchors, _) = Anchors::find(&text);
    let Some(anchor) = anchor else {
        return match anchors.0.is_empty() || path.ends_with(".md") {
            true => Ok(()),
            false => Err(format!("{path} as a whole shows its anchors: include one of them")),
        };
    };
    if anchor.starts_with(|first: char| first.is_ascii_digit() || first == ':') {
        return Err(format!("{target} is included by line numbers, which drift: use an anchor"));
    }
    let Some(found) = anchors.0.get(anchor) else {
        return Err(format!("{} has no anchor {anchor}", file.display()));
    };
    if found.is_empty {
        return Err(format!("the anchor {anchor} of {} holds nothing", file.display()));
    }
    used.insert((file, anchor.to_owned()));
    Ok(())
}

/// The complete anchors of a file by name.
struct Anchors(BTreeMap<String, Anchor>);

struct Anchor {
    line: usize,
    is_empty: bool,
}

impl Anchors {
    /// The anchors, and what is wrong with others, by line.
    fn find(text: &str) -> (Self, Vec<(usize, String)>) {
        let mut complete = BTreeMap::new();
        let mut wrong = Vec::new();
        let mut open: BTreeMap<&str, Anchor> = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            match mark(text) {
                Some(Mark::Start(name)) => {
                    let anchor = Anchor { line, is_empty: true };
                    if complete.contains_key(name) || open.insert(name, anchor).is_some() {
                        wrong.push((line, format!("the anchor {name} begins twice")));
                    }
                }
                Some(Mark::End(name)) => match open.remove(name) {
                    Some(anchor) => drop(complete.insert(name.to_owned(), anchor)),
                    None => wrong.push((line, format!("the anchor {name} ends without a begin"))),
                },
                None if !text.trim().is_empty() => {
                    open.values_mut().for_each(|anchor| anchor.is_empty = false);
                }
                None => {}
            }
        }
        let endless = |(name, anchor): (&str, Anchor)| (anchor.line, format!("{name} has no end"));
        wrong.extend(open.into_iter().map(endless));
        (Self(complete), wrong)
    }
}

/// A line that begins or ends an anchor.
#[derive(Debug, PartialEq)]
enum Mark<'a> {
    Start(&'a str),
    End(&'a str),
}

fn mark(line: &str) -> Option<Mark<'_>> {
    let line = line.trim_start();
    let comment = ["//", "#", "<!--"].iter().find_map(|it| line.strip_prefix(it))?.trim_start();
    let name =
        |rest: &'_ str| rest.trim_start().split([' ', '\t']).next().unwrap_or_default().len();
    if let Some(rest) = comment.strip_prefix("ANCHOR:") {
        return Some(Mark::Start(&rest.trim_start()[..name(rest)]));
    }
    let rest = comment.strip_prefix("ANCHOR_END:")?;
    Some(Mark::End(&rest.trim_start()[..name(rest)]))
}

/// Whether a line only begins or ends an anchor.
pub(crate) fn is_mark(line: &str) -> bool {
    mark(line).is_some()
}

/// The files that may hold anchors for the book, from the root. The exercises begin as copies of
/// the stages, with anchors and all, and the book does not include them.
fn project_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for directory in ["book/python", "crates", "tests", "xtask"] {
        let directory = root.join(directory);
        if directory.exists() {
            files.extend(markdown::files_under(&directory)?);
        }
    }
    let from_root = |file: PathBuf| file.strip_prefix(root).map(Path::to_owned).unwrap_or(file);
    let mut files: Vec<_> = files.into_iter().map(from_root).collect();
    files.retain(|file| {
        let has_anchors =
            file.extension().is_some_and(|it| it == "rs" || it == "py" || it == "toml");
        has_anchors && !file.starts_with("crates/exercises")
    });
    Ok(files)
}

/// The place of a file in its stage, or in the project.
fn in_stage(file: &Path) -> &Path {
    let mut components = file.components();
    let stage = components.by_ref().take(2).last().map(|it| it.as_os_str().to_string_lossy());
    match stage.is_some_and(|stage| stage.starts_with("stage-")) {
        true => components.as_path(),
        false => file,
    }
}

/// `a/b/../c` as `a/c`: links inside the project only, so no symbolic ones are met.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if normal.pop() => {}
            Component::CurDir => {}
            component => normal.push(component),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let problems = problems(root.path()).unwrap();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_project_has_no_problem() {
        let problems = project(&[
            ("book/src/a.md", "```rust,ignore\n{{#include ../../crates/s/src/main.rs:x}}\n```\n"),
            ("crates/s/src/main.rs", "// ANCHOR: x\nfn x() {}\n// ANCHOR_END: x\n"),
            ("book/src/b.md", "{{#include ../../crates/stage-01/a.rs:x}}"),
            ("crates/stage-01/a.rs", "// ANCHOR: x\nfn x() {}\n// ANCHOR_END: x\n"),
            ("crates/stage-02/a.rs", "// ANCHOR: x\nfn x() {}\n// ANCHOR_END: x\n"),
            ("crates/exercises/e/main.rs", "// ANCHOR: x\nfn x() {}\n// ANCHOR_END: x\n"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn every_include_that_shows_nothing_is_named() {
        let page = "{{#include ../no.md}}\n{{#include ../../crates/s.rs:no}}\n\
                    {{#include ../../crates/s.rs:empty}}\n{{#include ../../crates/s.rs:3:4}}\n\
                    {{#include ../../crates/s.rs}}\n\\{{#include escaped.rs}}\n";
        let code = [
            "// ANCHOR: empty",
            "",
            "// ANCHOR_END: empty",
            "// ANCHOR: unused",
            "x",
            "// ANCHOR_END: unused",
            "// ANCHOR: endless",
        ]
        .join("\n");
        let problems = project(&[("book/src/a.md", page), ("crates/s.rs", &code)]);
        let expected = [
            "book/src/a.md:1: cannot include book/no.md: ",
            "book/src/a.md:2: crates/s.rs has no anchor no",
            "book/src/a.md:3: the anchor empty of crates/s.rs holds nothing",
            "book/src/a.md:4: ../../crates/s.rs:3:4 is included by line numbers",
            "book/src/a.md:5: ../../crates/s.rs as a whole shows its anchors",
            "crates/s.rs:1: the anchor empty is used nowhere",
            "crates/s.rs:4: the anchor unused is used nowhere",
            "crates/s.rs:7: endless has no end",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
        }
    }

    #[test]
    fn rust_that_nothing_compiles_is_a_problem() {
        let problems = project(&[("book/src/a.md", "text\n\n```rust\nfn a() {}\n```\n")]);
        assert!(problems[0].starts_with("book/src/a.md:4: Rust that is written here"));
    }

    #[test]
    fn a_mark_is_a_comment_of_its_own() {
        assert_eq!(mark("    // ANCHOR: echo"), Some(Mark::Start("echo")));
        assert_eq!(mark("<!-- ANCHOR_END: main -->"), Some(Mark::End("main")));
        assert_eq!(mark("let a = \"// ANCHOR: x\";"), None);
    }
}
