//! `cargo xtask book`: the book, built, served and checked.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;

/// The mdBook that is installed where there is none; any of its series will do.
const VERSION: &str = "0.5.4";
const SERIES: &str = "mdbook v0.5.";

/// Where the book is served. 3000 is the servers' port.
const HOST: &str = "127.0.0.1";
const PORT: &str = "3080";

/// Builds the book and serves it on http://127.0.0.1:3080/, again after each change.
///
/// It needs an mdBook 0.5: the one on PATH, or one under target/tools, which is installed there at
/// the first use (some minutes).
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Build it into target/book
    Build,
    /// Serve it, and open it in a browser
    Open {
        /// At this page, by the name of its file: `stage-05`
        page: Option<String>,
    },
    /// Build it and check includes, anchors, diffs, links, and that no page asks the network
    Check,
    /// Write what is generated anew: the diffs between stages, and the measured figures
    Generate,
    /// Measure anew what the book tells of, for `generate`: some ten minutes
    ///
    /// The other figures of the book are from runs of `cargo xtask compare`: CONTRIBUTING.md names
    /// them.
    Measure {
        /// What to measure
        #[arg(value_enum, default_values_t = Measured::value_variants().to_vec())]
        what: Vec<Measured>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Measured {
    /// The five policies of backpressure, with a client that does not read
    Policies,
    /// The system calls of a broadcast; needs `perf`, and root
    Growth,
    /// The bytes that a broadcast copies; needs `valgrind`
    Copies,
}

/// Does what `options` say.
///
/// # Errors
///
/// mdBook cannot be run or installed, or ends with a failure; a file cannot be written.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    match &options.action {
        None => serve(None),
        Some(Action::Open { page }) => open(page.as_deref()),
        Some(Action::Build) => {
            let status = mdbook()?.arg("build").status().context("cannot run mdBook")?;
            ensure!(status.success(), "the book does not build");
            Ok(ExitCode::SUCCESS)
        }
        Some(Action::Check) => check(),
        Some(Action::Generate) => {
            ::book::generated::write(::book::root()).context("cannot generate")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Action::Measure { what }) => {
            for what in what {
                match what {
                    Measured::Policies => ::book::policies::measure(::book::root())?,
                    Measured::Growth => ::book::growth::measure(::book::root())?,
                    Measured::Copies => ::book::copies::measure(::book::root())?,
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Serves the book, and opens it at `page` as soon as it is there: an address below the book's own.
fn serve(page: Option<&str>) -> anyhow::Result<ExitCode> {
    let serve = mdbook()?.arg("serve").args(["--hostname", HOST, "--port", PORT]).spawn();
    let mut serve = serve.context("cannot run mdBook")?;
    if let Some(page) = page {
        let is_there = || TcpStream::connect(format!("{HOST}:{PORT}")).is_ok();
        while serve.try_wait()?.is_none() && !is_there() {
            thread::sleep(Duration::from_millis(100));
        }
        let url = format!("http://{HOST}:{PORT}/{page}");
        if let Err(error) = opener::open_browser(&url) {
            anstream::eprintln!("no browser can be opened ({error}): the page is {url}");
        }
    }
    ensure!(serve.wait()?.success(), "mdBook has failed");
    Ok(ExitCode::SUCCESS)
}

fn open(page: Option<&str>) -> anyhow::Result<ExitCode> {
    let Some(page) = page else { return serve(Some("")) };
    let pages = ::book::markdown::chapters(::book::root())?;
    ensure!(
        pages.iter().any(|it| it == page),
        "the book has no page `{page}`; it has {}",
        pages.join(", ")
    );
    serve(Some(&format!("{page}.html")))
}

/// Prints what is wrong with the book, its transcripts excepted: `cargo test -p book` plays those.
fn check() -> anyhow::Result<ExitCode> {
    let root = ::book::root();
    let mut wrong: Vec<String> =
        ::book::sources::problems(root)?.iter().map(ToString::to_string).collect();
    for file in ::book::generated::stale(root)? {
        wrong.push(format!("{}: not current: cargo xtask book generate", file.display()));
    }
    let output = mdbook()?.arg("build").stderr(Stdio::piped()).output();
    let output = output.context("cannot run mdBook")?;
    let messages = String::from_utf8_lossy(&output.stderr);
    eprint!("{messages}");
    ensure!(output.status.success(), "the book does not build");
    // mdBook goes on after an include that leads nowhere or a tag that nobody closes.
    let is_warning = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    wrong.extend(messages.lines().filter(is_warning).map(str::to_owned));
    let built = root.join("target/book");
    wrong.extend(::book::html::problems(&built)?.iter().map(ToString::to_string));
    for problem in &wrong {
        anstream::eprintln!("{problem}");
    }
    match wrong.len() {
        0 => Ok(ExitCode::SUCCESS),
        1 => bail!("the book has a problem"),
        count => bail!("the book has {count} problems"),
    }
}

/// An mdBook of the right series, to be run on the book.
fn mdbook() -> anyhow::Result<Command> {
    let tools = ::book::root().join("target/tools");
    let own = tools.join("bin").join(format!("mdbook{}", std::env::consts::EXE_SUFFIX));
    let found = [PathBuf::from("mdbook"), own.clone()].into_iter().find(is_of_the_series);
    let program = match found {
        Some(program) => program,
        None => {
            anstream::eprintln!("no mdBook 0.5 on PATH: installing {VERSION} under target/tools");
            let mut install = artifacts::cargo();
            install.args(["install", "mdbook", "--version", VERSION, "--locked", "--debug"]);
            install.env("CARGO_PROFILE_DEV_DEBUG", "none"); // It builds faster.
            let status = install.arg("--root").arg(&tools).status().context("cannot run cargo")?;
            ensure!(status.success(), "mdBook cannot be installed");
            own
        }
    };
    let mut command = Command::new(program);
    command.current_dir(::book::root().join("book"));
    Ok(command)
}

fn is_of_the_series(program: &PathBuf) -> bool {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.stdout.starts_with(SERIES.as_bytes()))
}
