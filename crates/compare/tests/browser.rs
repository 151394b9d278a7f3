//! The report in a real browser: it complains about nothing, fetches nothing, fits a phone, and every
//! plot has a name and a text.

use std::process::ExitCode;

use browser::Page;
use compare::{Results, report};

fn main() -> ExitCode {
    browser::test(looks_well)
}

/// Whether there was a browser to see it.
fn looks_well() -> anyhow::Result<bool> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("report.html");
    let results: Results = serde_json::from_str(include_str!("sample.json"))?;
    std::fs::write(&file, report::html(&results)?)?;
    let Some(mut page) = Page::open(&file, 1280, 800)? else { return Ok(false) };

    for width in [1280, 390] {
        page.resize(width, 800)?;
        for dark in [false, true] {
            page.prefer_dark(dark)?;
            let wider =
                "document.documentElement.scrollWidth > document.documentElement.clientWidth";
            anyhow::ensure!(page.evaluate(wider)? == false, "{width} pixels are too narrow for it");
        }
    }
    let plots = page.evaluate("document.querySelectorAll('figure').length")?;
    anyhow::ensure!(plots.as_u64() > Some(3), "there are {plots} plots");
    let nameless = "[...document.querySelectorAll('figure svg')].filter((svg) =>
        svg.getAttribute('role') !== 'img' || svg.getAttribute('aria-labelledby').split(' ').some(
            (id) => !document.getElementById(id)?.textContent.trim())).length";
    anyhow::ensure!(page.evaluate(nameless)? == 0, "a plot has no text for who cannot see it");
    let unreachable = "[...document.querySelectorAll('.table')].filter((table) =>
        table.tabIndex !== 0).length";
    anyhow::ensure!(page.evaluate(unreachable)? == 0, "a table cannot be scrolled by keyboard");
    let twice = "(() => { const ids = [...document.querySelectorAll('[id]')].map((it) => it.id);
        return ids.length - new Set(ids).size; })()";
    anyhow::ensure!(page.evaluate(twice)? == 0, "two things have the same id");
    page.must_be_quiet()?;
    println!("{plots} plots have names and texts, and nothing is wrong");
    Ok(true)
}
