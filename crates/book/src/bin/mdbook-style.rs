//! mdBook's preprocessor for this book: in transcripts, what is typed and what is answered look
//! different, and each terminal has a colour of its own; code stands at the left margin.

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("supports") {
        let is_html = arguments.next().as_deref() == Some("html");
        return if is_html { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match preprocess() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads `[context, book]` and writes the book, as mdBook's protocol has it.
fn preprocess() -> anyhow::Result<()> {
    let mut input: Value =
        serde_json::from_reader(io::stdin().lock()).context("mdBook's input is no JSON")?;
    let book = input.get_mut(1).context("mdBook's input has no book")?;
    let cases = has_page(book, CASES).then_some(CASES);
    style(book, cases);
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

/// Styles the chapters, wherever they stand in the book.
fn style(value: &mut Value, cases: Option<&str>) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| style(value, cases)),
        Value::Object(fields) => {
            let is_cases = fields.get("path").and_then(Value::as_str) == Some(CASES);
            let cases = cases.filter(|_| !is_cases);
            for (name, value) in fields {
                match value {
                    Value::String(page) if name == "content" => {
                        *page = book::styled::page(page, cases);
                    }
                    value => style(value, cases),
                }
            }
        }
        _ => {}
    }
}
