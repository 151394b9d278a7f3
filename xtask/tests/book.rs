//! What can be said about the book's sources without building it.

use book::Problem;

#[test]
fn every_include_and_every_anchor_leads_to_something() {
    let problems = book::sources::problems(book::root()).unwrap();
    assert!(problems.is_empty(), "{}", list(&problems));
}

#[test]
fn what_is_generated_is_current() {
    let stale = book::generated::stale(book::root()).unwrap();
    assert!(stale.is_empty(), "run `cargo xtask book generate`: {stale:?}");
}

#[test]
fn every_command_names_what_exists() {
    let mut problems = Vec::new();
    for page in book::markdown::pages(book::root()).unwrap() {
        for block in book::markdown::blocks(&page.text) {
            if block.language() != "console" {
                continue;
            }
            let wrong = book::console::commands(&block.text)
                .filter_map(|it| book::console::names_what_is_not_there(book::root(), it));
            let (file, line) = (&page.file, block.line);
            problems.extend(wrong.map(|what| Problem { file: file.clone(), line, what }));
        }
    }
    assert!(problems.is_empty(), "{}", list(&problems));
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n{problem}")).collect()
}
