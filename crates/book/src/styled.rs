//! What a page looks like beyond Markdown: the parts of a transcript's lines are marked, so that a
//! style sheet can tell them apart; a listing says which file it is from, and a method stands at the
//! left margin there as a function does; a case's name leads to what is said of it; and a flag is
//! not broken at its dashes.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use crate::markdown::{self, Block};
use crate::sources;
use crate::transcript::{Parts, Sign};

/// How many colours there are for clients; the next one gets the first again.
const COLOURS: usize = 4;
/// The longest word of code, in characters, that a phone has room for.
const PHONE: usize = 32;

/// The page, with a caption over each listing, before mdBook has replaced the includes: later nobody
/// knows the file. `file` is the page's own, from the root of the workspace.
pub fn captions(page: &str, file: &Path) -> String {
    let captioned = markdown::blocks(page).into_iter().filter_map(|block| {
        let (_, target) = block.text.trim().strip_prefix("{{#include")?.split_once(' ')?;
        let path = target.trim_end_matches('}').split(':').next()?;
        let listing = sources::normal(&file.with_file_name("").join(path));
        let start = block.range.start;
        Some((start..start, caption(&listing.display().to_string()) + "\n"))
    });
    replaced(page, captioned.collect())
}

/// What stands over a listing.
pub fn caption(text: &str) -> String {
    format!("<p class=\"caption\">{text}</p>\n")
}

/// The page, its transcripts replaced by HTML and its code moved to the left; short code with dashes
/// is kept on one line, and each case that it names is linked to `cases`, if there is such a page.
pub fn page(page: &str, cases: Option<&str>) -> String {
    let mut replacements: Vec<(Range<usize>, String)> = Vec::new();
    for block in markdown::blocks(page) {
        let replacement = match block.language() {
            "transcript" => Some(transcript(&block.text)),
            "rust" => at_the_margin(&block, page),
            _ => None,
        };
        replacements.extend(replacement.map(|text| (block.range, text)));
    }
    replacements.extend(markdown::codes(page).into_iter().filter_map(|(code, range)| {
        let text = match cases {
            Some(cases) if is_case(&code) => {
                format!("[`{code}`]({cases}#{})", code.replace('/', "-"))
            }
            _ if code.contains('-') && code.len() <= PHONE => {
                format!("<code class=\"whole\">{}</code>", escaped(&code))
            }
            _ => return None,
        };
        Some((range, text))
    }));
    replaced(page, replacements)
}

/// The page with these parts replaced.
fn replaced(page: &str, mut replacements: Vec<(Range<usize>, String)>) -> String {
    replacements.sort_by_key(|(range, _)| range.start);
    let mut replaced = String::with_capacity(page.len());
    let mut from = 0;
    for (range, text) in replacements {
        replaced += &page[from..range.start];
        replaced += &text;
        from = range.end;
    }
    replaced + &page[from..]
}

/// Whether this is the name of a case of the catalogue: `conc/01`.
fn is_case(name: &str) -> bool {
    name.split_once('/').is_some_and(|(family, number)| {
        family.bytes().all(|byte| byte.is_ascii_lowercase())
            && !family.is_empty()
            && number.len() == 2
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The block with its code moved to the left; none if it stands there, or in something else that
/// its lines are indented for.
fn at_the_margin(block: &Block, page: &str) -> Option<String> {
    let lines = || block.text.lines().filter(|line| !line.trim().is_empty());
    let margin = lines().map(|line| line.len() - line.trim_start().len()).min()?;
    let is_outermost = page[..block.range.start].ends_with('\n');
    let fence = page[block.range.clone()].split(|c| c != '`').next()?;
    if margin == 0 || !is_outermost || fence.is_empty() {
        return None;
    }
    let code: String = block
        .text
        .lines()
        .flat_map(|line| [line.get(margin..).unwrap_or_default(), "\n"])
        .collect();
    Some(format!("{fence}{}\n{code}{fence}", block.info))
}

/// The transcript on one line of HTML: so it stays whole in lists and quotes, and with empty lines.
fn transcript(text: &str) -> String {
    let mut html = "<pre class=\"transcript\">".to_owned();
    let mut clients: Vec<&str> = Vec::new();
    for line in text.lines() {
        let Parts { who, sign, text, comment } = Parts::of(line);
        let of_whom = match who {
            "" => "nobody".to_owned(),
            "server" | "look" => who.to_owned(),
            client => {
                let index = clients.iter().position(|it| *it == client).unwrap_or(clients.len());
                if index == clients.len() {
                    clients.push(client);
                }
                format!("client-{}", index % COLOURS + 1)
            }
        };
        let kind = match sign {
            Some(Sign::Command | Sign::Input) => "typed",
            Some(Sign::Output) if text.starts_with('(') && text.ends_with(')') => "evidence",
            _ => "seen",
        };
        let sign = sign.map_or("", |sign| match sign {
            Sign::Command => "$ ",
            Sign::Input => "> ",
            Sign::Output => ": ",
        });
        html += &format!("<span class=\"line {of_whom}\">");
        if !who.is_empty() {
            html += &format!("<b>{}</b>", escaped(&format!("{who}{sign}")));
        }
        html += &format!("<span class=\"{kind}\">{}</span>", escaped(text));
        if !comment.is_empty() {
            html += &format!("<i>{}</i>", escaped(comment));
        }
        html += "&#10;</span>";
    }
    html + "</pre>\n"
}

/// Text that neither HTML nor Markdown finds anything in.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii_punctuation() => {
                write!(escaped, "&#{};", u32::from(c)).expect("a string takes everything");
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_one_line_whose_parts_are_marked() {
        let text = "before\n\n```transcript\na$ nc h 1   # x\n\na: (end)\n```\n\nafter\n";
        let line = "<pre class=\"transcript\">\
            <span class=\"line client-1\"><b>a&#36; </b><span class=\"typed\">nc h 1</span>\
            <i>   &#35; x</i>&#10;</span>\
            <span class=\"line nobody\"><span class=\"seen\"></span>&#10;</span>\
            <span class=\"line client-1\"><b>a&#58; </b><span class=\"evidence\">&#40;end&#41;\
            </span>&#10;</span></pre>";
        assert_eq!(page(text, None), format!("before\n\n{line}\n\n\nafter\n"));
    }

    #[test]
    fn a_listing_says_which_file_it_is_from() {
        let text =
            "x\n\n```rust,ignore\n{{#include ../../crates/a/b.rs:run}}\n```\n\n```text\ny\n```\n";
        let caption = "<p class=\"caption\">crates/a/b.rs</p>\n\n```rust";
        let captioned = text.replace("```rust", caption);
        assert_eq!(captions(text, Path::new("book/src/x.md")), captioned);
    }

    #[test]
    fn other_blocks_stay_as_they_are() {
        let text = "```rust\nfn a() {}\n```\n\n- item\n  ```rust\n      b();\n  ```\n";
        assert_eq!(page(text, Some("cases.md")), text);
    }

    #[test]
    fn a_case_is_linked_wherever_it_is_named() {
        let text = "see `conc/01`, [`echo/01`](x.md), `a/b` and\n\n```text\n`conc/01`\n```\n";
        let linked = text.replacen("`conc/01`", "[`conc/01`](cases.md#conc-01)", 1);
        assert_eq!(page(text, Some("cases.md")), linked);
        assert_eq!(page(text, None), text);
    }

    #[test]
    fn a_flag_is_kept_on_one_line() {
        let whole = "say <code class=\"whole\">&#45;&#45;port 1</code>, not `port`\n";
        assert_eq!(page("say `--port 1`, not `port`\n", None), whole);
    }

    #[test]
    fn a_method_moves_to_the_left() {
        let text = "x\n\n```rust,ignore\n    fn a() {\n\n        b();\n    }\n```\n\ny\n";
        let moved = "x\n\n```rust,ignore\nfn a() {\n\n    b();\n}\n```\n\ny\n";
        assert_eq!(page(text, None), moved);
    }
}
