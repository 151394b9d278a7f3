//! The built book: whether its links lead somewhere, and whether it asks anything of the network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use html5gum::{Token, Tokenizer};

use crate::Problem;
use crate::markdown::files_under;

/// What is wrong with the book that was built into `directory`.
///
/// - Every link inside the book leads to a file, and to a place in it that exists.
/// - Nothing is fetched from elsewhere: no script, style, font or image. Links to other sites are
///   fine, since nothing is asked of them before somebody follows one.
/// - No code block can be run: mdBook asks the Rust playground about those.
///
/// # Errors
/// A file cannot be read.
pub fn problems(directory: &Path) -> io::Result<Vec<Problem>> {
    let mut pages = BTreeMap::new();
    let mut problems = Vec::new();
    for file in files_under(directory)? {
        let name = file.strip_prefix(directory).unwrap_or(&file).to_owned();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("html") => drop(pages.insert(name, Page::read(&fs::read_to_string(&file)?))),
            Some("css") => {
                let style = fs::read_to_string(&file)?;
                let asks = style_asks_the_network(&style).map(|what| problem(&name, 0, what));
                problems.extend(asks);
            }
            _ => {}
        }
    }
    for (name, page) in &pages {
        for (line, reference) in &page.references {
            let wrong = match reference {
                Reference::Runnable => Some("a code block that mdBook offers to run".to_owned()),
                Reference::Fetch(url) if is_external(url) => {
                    Some(format!("{url} is asked of the network"))
                }
                Reference::Link(url) if is_external(url) => None,
                Reference::Fetch(url) | Reference::Link(url) => {
                    broken(directory, &pages, name, url)
                }
            };
            problems.extend(wrong.map(|what| problem(name, *line, what)));
        }
    }
    problems.sort();
    Ok(problems)
}

fn problem(file: &Path, line: usize, what: String) -> Problem {
    Problem { file: file.to_owned(), line, what }
}

/// What matters of a page.
struct Page {
    ids: BTreeSet<String>,
    /// By line.
    references: Vec<(usize, Reference)>,
}

enum Reference {
    /// Followed when somebody clicks.
    Link(String),
    /// Fetched to show the page.
    Fetch(String),
    /// A code block with a button to run it.
    Runnable,
}

impl Page {
    fn read(html: &str) -> Self {
        let mut page = Self { ids: BTreeSet::new(), references: Vec::new() };
        let emitter = html5gum::emitters::default::DefaultEmitter::<usize>::new_with_span();
        let (mut line, mut counted) = (1, 0);
        for token in Tokenizer::new_with_emitter(html, emitter) {
            let Ok(Token::StartTag(tag)) = token else { continue };
            line += html[counted..tag.span.start].matches('\n').count();
            counted = tag.span.start;
            let name = text(&tag.name);
            for (attribute, value) in &tag.attributes {
                let value = text(value);
                match text(attribute).as_str() {
                    "id" | "name" => drop(page.ids.insert(value)),
                    "class" if value.split_whitespace().any(|class| class == "playground") => {
                        page.references.push((line, Reference::Runnable));
                    }
                    "href" if name == "a" => page.references.push((line, Reference::Link(value))),
                    "href" | "src" | "data" | "poster" | "action" => {
                        page.references.push((line, Reference::Fetch(value)));
                    }
                    _ => {}
                }
            }
        }
        page
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_external(url: &str) -> bool {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    url.starts_with("//")
        || scheme.is_some_and(|scheme| {
            scheme != "data" && scheme.chars().all(|c| c.is_ascii_alphanumeric())
        })
}

/// What is wrong with a link inside the book.
fn broken(
    directory: &Path,
    pages: &BTreeMap<PathBuf, Page>,
    from: &Path,
    url: &str,
) -> Option<String> {
    if url.starts_with("data:") {
        return None;
    }
    let (path, fragment) = match url.split_once('#') {
        Some((path, fragment)) => (path, Some(fragment)),
        None => (url, None),
    };
    let path = path.split('?').next().unwrap_or_default();
    let target = match path {
        "" => from.to_owned(),
        path if path.starts_with('/') => return Some(format!("{url} leads out of the book")),
        path => crate::sources::normal(&from.with_file_name("").join(path)),
    };
    let target = if directory.join(&target).is_dir() { target.join("index.html") } else { target };
    if !directory.join(&target).is_file() {
        return Some(format!("{url} leads to no file"));
    }
    let page = pages.get(&target)?;
    // An empty one is the top of the page.
    let fragment = fragment.filter(|fragment| !fragment.is_empty())?;
    (!page.ids.contains(fragment)).then(|| format!("{url} leads to no place on that page"))
}

/// The first thing that a style sheet fetches from elsewhere.
fn style_asks_the_network(style: &str) -> Option<String> {
    ["url(", "@import"].iter().find_map(|start| {
        let mut fetched = style.match_indices(start).map(|(at, _)| &style[at + start.len()..]);
        fetched.find_map(|rest| {
            let url = rest.trim_start().trim_start_matches(['"', '\'']);
            let url = url.split(['"', '\'', ')', ';']).next().unwrap_or_default();
            is_external(url).then(|| format!("{url} is asked of the network"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_or_fetched_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("a.html", "<h1 id=top>a</h1><a href=b.html#x>good</a><a href=#top>good</a>");
        write(
            "b.html",
            "<p id=x><a href='https://example.org/'>good</a>\n\
             <a href=no.html></a>\n<a href=a.html#no></a>\n<script src='//cdn.example/x.js'>\n\
             </script><img src=no.png>\n<code class='a playground'></code>",
        );
        write("c.css", "a { background: url(x.png) } @import 'https://fonts.example/f.css';");
        let problems = problems(directory.path()).unwrap();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "b.html:2: no.html leads to no file",
                "b.html:3: a.html#no leads to no place on that page",
                "b.html:4: //cdn.example/x.js is asked of the network",
                "b.html:5: no.png leads to no file",
                "b.html:6: a code block that mdBook offers to run",
                "c.css: https://fonts.example/f.css is asked of the network",
            ]
        );
    }

    #[test]
    fn what_is_external_has_a_scheme_or_a_host() {
        for url in ["https://a", "mailto:a", "//a/b", "ws://a"] {
            assert!(is_external(url), "{url}");
        }
        for url in ["a.html", "#a", "data:image/png;base64,", "a/b.html?x=1:2", ""] {
            assert!(!is_external(url), "{url}");
        }
    }
}
