//! mdBook's preprocessor for this book. It runs twice. As `mdbook-style captions`, before the includes
//! are replaced, it says of each listing which file it is from. As `mdbook-style pages`, after that,
//! it makes what is typed and what is answered in a transcript look different, and moves code to
//! the left margin.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [_, "supports", "html"] => Ok(()),
        [_, "supports", _] => return ExitCode::FAILURE,
        ["captions"] => preprocess(|_| book::styled::captions),
        ["pages"] => preprocess(|book| {
            let cases = has_page(book, CASES).then_some(CASES);
            move |page: &str, file: &Path| {
                book::styled::page(page, cases.filter(|_| !file.ends_with(CASES)))
            }
        }),
        other => Err(anyhow::anyhow!("neither captions nor pages, but {other:?}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads `[context, book]` and writes the book, its pages changed by what `make` makes for it, as
/// mdBook's protocol has it.
fn preprocess<C: Fn(&str, &Path) -> String>(make: impl Fn(&Value) -> C) -> anyhow::Result<()> {
    let mut input: Value =
        serde_json::from_reader(io::stdin().lock()).context("mdBook's input is no JSON")?;
    let Some(book) = input.get_mut(1) else { bail!("mdBook's input has no book") };
    let change = make(book);
    change_pages(book, &change);
    serde_json::to_writer(io::stdout().lock(), book).context("cannot answer mdBook")
}

/// The page that says what each case is about.
const CASES: &str = "cases.md";

fn has_page(value: &Value, page: &str) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| has_page(value, page)),
        Value::Object(fields) => {
            fields.get("path").and_then(Value::as_str) == Some(page)
                || fields.values().any(|value| has_page(value, page))
        }
        _ => false,
    }
}

/// Changes the chapters, wherever they stand in the book. Each knows its file, below `book/src`.
fn change_pages(value: &mut Value, change: &impl Fn(&str, &Path) -> String) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| change_pages(value, change)),
        Value::Object(fields) => {
            let path = fields.get("path").and_then(Value::as_str).unwrap_or_default();
            let file = Path::new("book/src").join(path);
            for (name, value) in fields {
                match value {
                    Value::String(page) if name == "content" => *page = change(page, &file),
                    value => change_pages(value, change),
                }
            }
        }
        _ => {}
    }
}
