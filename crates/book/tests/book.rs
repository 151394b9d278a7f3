//! What can be said about the book's sources without building it.

#[test]
fn every_include_and_every_anchor_leads_to_something() {
    let problems = book::sources::problems(book::root()).unwrap();
    assert!(problems.is_empty(), "{}", list(&problems));
}

#[test]
fn the_generated_diffs_are_current() {
    let stale = book::diffs::stale(book::root()).unwrap();
    assert!(stale.is_empty(), "run `cargo xtask book generate`: {stale:?}");
}

fn list(problems: &[book::Problem]) -> String {
    problems.iter().map(|problem| format!("\n{problem}")).collect()
}
