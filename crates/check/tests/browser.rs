//! The report in a real browser: it complains about nothing, fetches nothing, fits a phone, and
//! every cell opens by keyboard.

use std::process::ExitCode;

use browser::{Key, Page, wait_until};
use check::{Plan, Server, html, run};
use conformance::{Case, Finding, Mode, Problem, Profile, Subject, Target, passed};

const CASES: &[Case] = &[
    Case::echo("echo/01", "it passes", |bench| {
        let _server = bench.start()?;
        passed()
    })
    .why("It shows a pass, and a wire log with <markup> & \"quotes\" in it."),
    Case::echo("echo/02", "it says hello, as a server with a rather long title would", |bench| {
        let server = bench.start()?;
        let mut a = server.connect("a")?;
        a.exchange(b"<b>hello</b>\n", b"hello\n")?;
        passed()
    })
    .why("It shows a failure."),
    Case::echo("host/01", "it is not known", |_| {
        Err(Box::new(Problem::Inconclusive("the moon is full".to_owned())))
    })
    .why("It shows what is missing."),
    Case::echo("host/02", "it is measured", |_| Ok(Finding::Measured("201 threads".to_owned())))
        .why("It shows a measurement."),
    Case::broadcast("bcast/01", "it is another mode", |_| passed())
        .why("It shows what is left out."),
];

fn main() -> ExitCode {
    browser::test(looks_well)
}

/// Whether there was a browser to see it.
fn looks_well() -> anyhow::Result<bool> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("report.html");
    std::fs::write(&file, page())?;
    let Some(mut page) = Page::open(&file, 1280, 800)? else { return Ok(false) };

    let count = page.evaluate("document.querySelectorAll('td button').length")?;
    anyhow::ensure!(count == CASES.len() * 7, "there are {count} cells");
    for width in [1280, 390] {
        page.resize(width, 800)?;
        for dark in [false, true] {
            page.prefer_dark(dark)?;
            fits(&mut page, "the page")?;
        }
        opens_by_keyboard(&mut page)?;
    }
    page.must_be_quiet()?;
    println!("{count} cells open by keyboard, and nothing is wrong");
    Ok(true)
}

/// Tab goes from the first cell on, each of which has a name; Enter opens, Escape closes and gives the
/// focus back.
fn opens_by_keyboard(page: &mut Page) -> anyhow::Result<()> {
    page.evaluate("document.querySelector('td button').focus()")?;
    let mut opened = Vec::new();
    for number in 0..CASES.len() * 7 {
        if number > 0 {
            page.press(Key::Tab)?;
        }
        let name = page.evaluate("document.activeElement.getAttribute('aria-label')")?;
        let name = name.as_str().unwrap_or_default().to_owned();
        anyhow::ensure!(!name.is_empty() && !opened.contains(&name), "the cell {name:?} again");
        page.press(Key::Enter)?;
        wait_until(page, "document.querySelector('dialog').open")?;
        let title = page.evaluate("document.getElementById('opened').textContent")?;
        let id = name.split(' ').next().unwrap_or_default();
        anyhow::ensure!(title.as_str().is_some_and(|it| it.starts_with(id)), "{name}: {title}");
        fits(page, &name)?;
        page.press(Key::Escape)?;
        wait_until(page, "!document.querySelector('dialog').open")?;
        let back = page.evaluate("document.activeElement.getAttribute('aria-label')")?;
        anyhow::ensure!(back == name.as_str(), "after {name} the focus is on {back}");
        opened.push(name);
    }
    Ok(())
}

fn fits(page: &mut Page, what: &str) -> anyhow::Result<()> {
    let wider = "[document.documentElement, document.querySelector('dialog')]\
                 .some((it) => it.scrollWidth > it.clientWidth)";
    anyhow::ensure!(page.evaluate(wider)? == false, "{what} has to be scrolled sideways");
    Ok(())
}

/// A report of seven servers, all of them a shell that does not serve.
fn page() -> String {
    let script = "echo listening on 127.0.0.1:1; exec sleep 1000";
    let target = Target::Program("sh".into(), vec!["-c".to_owned(), script.to_owned()]);
    let profile = Profile::good(vec![Mode::Echo]);
    let server = |number| Server {
        name: format!("stage-{number:02}"),
        expect: "good".to_owned(),
        subject: Subject { target: target.clone(), profile: profile.clone() },
    };
    let plan = Plan { cases: CASES.iter().collect(), seed: 7, repeat: 1 };
    html::render(&run(&plan, &(1..=7).map(server).collect::<Vec<_>>(), |_, _| {}))
}
