//! `cargo xtask check`: judge a server, ours or anybody's, by the catalogue of cases.

mod kill_matrix;

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use check::{Plan, Report, Server, Stage};
use clap::ValueEnum;
use conformance::{Case, Profile, Reach, Subject, Target, catalogue};
use indicatif::{ProgressBar, ProgressStyle};

/// Judge a server by the catalogue of cases: one of ours, or anybody's
///
/// Each case starts the server afresh, plays its clients, and asks the kernel what the server does
/// meanwhile. ✓ is as required, ◆ the flaw that a stage keeps on purpose, ✗ wrong, ? could not be
/// checked, – does not apply.
#[derive(clap::Args)]
#[command(
    override_usage = "cargo xtask check STAGE... [CASE]...\n       \
                      cargo xtask check --all-stages [CASE]...\n       \
                      cargo xtask check --mode MODE [CASE]... -- COMMAND...\n       \
                      cargo xtask check --mode MODE --addr HOST:PORT [CASE]...\n       \
                      cargo xtask check --kill-matrix [CASE]...",
    after_help = AFTER_HELP
)]
pub(crate) struct Options {
    /// Stages (`stage-05`) and cases: an id (`conc/02`) or a family (`echo`) [default: all cases]
    #[arg(value_name = "STAGE|CASE")]
    words: Vec<String>,

    /// A server in any language. `{port}` in it, or the variable PORT, says where to listen
    #[arg(last = true, value_name = "COMMAND", help_heading = "What to judge")]
    command: Vec<String>,
    /// Judge all seven stages
    #[arg(long, help_heading = "What to judge", conflicts_with_all = ["addr", "command", "mode"])]
    all_stages: bool,
    /// Judge a server that runs already: what needs its process does not apply
    #[arg(
        long,
        value_name = "HOST:PORT",
        help_heading = "What to judge",
        conflicts_with = "command"
    )]
    addr: Option<String>,
    /// Who hears a client of a server that is not ours: itself, or everyone else
    #[arg(long, value_enum, help_heading = "What to judge")]
    mode: Option<Mode>,
    /// Run every server of known truth against every case: a case that catches none proves nothing
    #[arg(long, help_heading = "What to judge",
          conflicts_with_all = ["addr", "all_stages", "command", "expect", "mode"])]
    kill_matrix: bool,
    /// Judge the server as if it were this stage; `good` is one without flaws [default: what it is]
    #[arg(long, value_name = "STAGE|good", help_heading = "What to judge")]
    expect: Option<String>,

    /// The heavy cases, too: thousands of clients, minutes
    #[arg(long, help_heading = "How")]
    all: bool,
    /// Run each case so often, each time with other bytes
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "How",
          value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Draw what is random from this number, as a report names it [default: a new one]
    #[arg(long, value_name = "S", help_heading = "How")]
    seed: Option<u64>,
    /// Only list the cases, and what each needs
    #[arg(long, help_heading = "How")]
    list: bool,

    /// Write the report as JSON, wire logs and all
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    json: Option<PathBuf>,
    /// Write the report in the format of JUnit
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    junit: Option<PathBuf>,
    /// Write the report as one page: cases by servers, each cell with its wire log
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    html: Option<PathBuf>,
    /// Write the matrix of the book from this run
    #[arg(long, requires = "all_stages", conflicts_with = "words", help_heading = "Reports")]
    write_book: bool,
}

const AFTER_HELP: &str = "\
Examples:
  cargo xtask check stage-03 conc            several clients at once
  cargo xtask check stage-05 --expect good   is it repaired?
  cargo xtask check --mode echo -- python3 my_server.py {port}
  cargo xtask check --mode broadcast bcast/01 --addr 127.0.0.1:3000

A command is ready when it, or a process that it has started, listens: nobody
connects to find out. HARNESS_PATIENCE=5 waits five times as long, for a slow
machine. NO_COLOR=1 takes the colours away.

Exit status: 0 all as expected, 1 something is wrong, 2 bad arguments,
3 something, or all of it, could not be checked (and nothing is known to be
wrong), 4 the server could not be started or reached.";

const BAD_ARGUMENTS: u8 = 2;
const NOT_STARTED: u8 = 4;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Echo,
    Broadcast,
}

/// Why nothing was judged.
enum Refusal {
    /// Bad arguments.
    Usage(anyhow::Error),
    /// No server; or a report that cannot be written.
    Start(anyhow::Error),
}

/// Does what `options` say. What keeps it from judging is said on stderr.
pub(crate) fn run(options: &Options) -> ExitCode {
    let (code, error) = match act(options) {
        Ok(code) => return ExitCode::from(code),
        Err(Refusal::Usage(error)) => (BAD_ARGUMENTS, error),
        Err(Refusal::Start(error)) => (NOT_STARTED, error),
    };
    anstream::eprintln!("error: {error:#}");
    ExitCode::from(code)
}

fn act(options: &Options) -> Result<u8, Refusal> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the root");
    let stages = Stage::all(root).map_err(Refusal::Usage)?;
    let (named, prefixes) = sort_words(&options.words, &stages).map_err(Refusal::Usage)?;
    let cases = choose(&prefixes, options.all);
    if options.list {
        print(&list(&cases));
        return Ok(0);
    }
    if options.kill_matrix {
        return kill_matrix::run(root, &cases).map_err(Refusal::Start);
    }
    let servers = servers(options, root, &stages, &named)?;
    harness::kill_servers_on_interrupt().context("cannot catch Ctrl-C").map_err(Refusal::Start)?;
    servers.iter().try_for_each(must_start).map_err(Refusal::Start)?;
    let files = Files::create(options).map_err(Refusal::Usage)?;

    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let plan = Plan { cases, seed, repeat: options.repeat };
    let bar = progress_bar(plan.cases.len() * servers.len());
    let report = check::run(&plan, &servers, |server, row| {
        bar.inc(1);
        bar.set_message(format!("{} {}", servers[server].name, row.case.id));
    });
    bar.finish_and_clear();
    print(&check::text::render(&report));
    files.write(&report).map_err(Refusal::Start)?;
    if options.write_book {
        check::book::write(root, &stages, &report).map_err(Refusal::Start)?;
    }
    Ok(report.exit_code())
}

/// Which of the words are stages, and which the beginnings of cases.
fn sort_words<'s>(
    words: &[String],
    stages: &'s [Stage],
) -> anyhow::Result<(Vec<&'s Stage>, Vec<String>)> {
    let (mut named, mut prefixes) = (Vec::new(), Vec::new());
    for word in words {
        if let Some(stage) = stages.iter().find(|stage| stage.name == *word) {
            named.push(stage);
        } else if catalogue().any(|case| case.is_under(word)) {
            prefixes.push(word.clone());
        } else {
            let names = stages.iter().map(|stage| stage.name.as_str());
            let known = names.chain(catalogue().flat_map(|case| [case.id, case.family()]));
            let nearest = known.max_by(|a, b| {
                let likeness = |it| strsim::jaro_winkler(it, word);
                likeness(a).total_cmp(&likeness(b))
            });
            let nearest = nearest.unwrap_or_default();
            bail!(
                "there is no stage or case {word}: {nearest} comes nearest, --list shows all; \
                 a command stands after --"
            );
        }
    }
    Ok((named, prefixes))
}

/// The cases under the prefixes; all if there are none. A heavy one has to be asked for.
fn choose(prefixes: &[String], all: bool) -> Vec<&'static Case> {
    let is_wanted = |case: &&Case| match prefixes {
        [] => all || !case.heavy,
        _ => prefixes.iter().any(|it| case.is_under(it) && (all || !case.heavy || it == case.id)),
    };
    catalogue().filter(is_wanted).collect()
}

fn list(cases: &[&Case]) -> String {
    let mut text = String::new();
    for case in cases {
        let mut needs = vec![match case.needs {
            conformance::Needs::Echo => "echo",
            conformance::Needs::Broadcast => "broadcast",
            conformance::Needs::Any => "any mode",
        }];
        needs.push(match case.reach {
            Reach::Address => "an address",
            Reach::Process => "the process",
            Reach::Flags => "our flags",
        });
        needs.extend(case.alone.then_some("alone"));
        needs.extend(case.heavy.then_some("heavy"));
        text += &format!("{:9} {}\n          {}\n", case.id, case.title, needs.join(", "));
    }
    text
}

/// What is to be judged, ready to be started.
fn servers(
    options: &Options,
    root: &Path,
    stages: &[Stage],
    named: &[&Stage],
) -> Result<Vec<Server>, Refusal> {
    let ours: Vec<_> = if options.all_stages { stages.iter().collect() } else { named.to_vec() };
    let is_foreign = options.addr.is_some() || !options.command.is_empty();
    let usage = |text: &str| Err(Refusal::Usage(anyhow::anyhow!("{text}")));
    match (ours.as_slice(), is_foreign) {
        ([], false) => {
            return usage("what is to be judged? A stage, --all-stages, --addr, or -- COMMAND");
        }
        ([_, ..], true) => {
            return usage("a stage and a server of your own cannot be judged at once");
        }
        _ => {}
    }
    let expected = expected(options, stages).map_err(Refusal::Usage)?;
    if !is_foreign {
        if options.mode.is_some() {
            return usage("a stage knows its modes: --mode is for other servers");
        }
        let subjects = Stage::build(root, &ours).map_err(Refusal::Start)?;
        let server = |(stage, subject): (&&Stage, Subject)| match &expected {
            Some((name, profile)) => {
                // Modes and flags are the stage's own, whatever it is judged as.
                let own = &stage.profile;
                let profile = match profile {
                    Some(other) => Profile { modes: own.modes.clone(), ..other.clone() },
                    None => own.clone().without_flaws(),
                };
                let not_applicable = own.not_applicable.clone();
                let subject = Subject { profile: Profile { not_applicable, ..profile }, ..subject };
                Server { name: stage.name.clone(), expect: name.clone(), subject }
            }
            None => Server { name: stage.name.clone(), expect: stage.name.clone(), subject },
        };
        return Ok(ours.iter().zip(subjects).map(server).collect());
    }

    let Some(mode) = options.mode else {
        return usage("who hears a client? --mode echo: itself; --mode broadcast: everyone else");
    };
    let modes = vec![match mode {
        Mode::Echo => conformance::Mode::Echo,
        Mode::Broadcast => conformance::Mode::Broadcast,
    }];
    let (expect, profile) = match expected {
        Some((name, Some(stage))) => (name, Profile { modes, ..stage }),
        _ => ("good".to_owned(), Profile::good(modes)),
    };
    let (name, target) = match &options.addr {
        Some(text) => (text.clone(), Target::Address(resolve(text).map_err(Refusal::Start)?)),
        None => (options.command.join(" "), Target::Command(options.command.clone())),
    };
    Ok(vec![Server { name, expect, subject: Subject { target, profile } }])
}

/// What --expect says: a name, and the stage's profile or none for a server without flaws.
fn expected(
    options: &Options,
    stages: &[Stage],
) -> anyhow::Result<Option<(String, Option<Profile>)>> {
    let Some(name) = &options.expect else { return Ok(None) };
    if name == "good" {
        return Ok(Some((name.clone(), None)));
    }
    match stages.iter().find(|stage| stage.name == *name) {
        Some(stage) => Ok(Some((name.clone(), Some(stage.profile.clone())))),
        None => bail!("--expect takes a stage (stage-01 … stage-07) or good, not {name}"),
    }
}

fn resolve(text: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = text
        .to_socket_addrs()
        .with_context(|| format!("{text} is no HOST:PORT that can be reached"))?;
    addresses.next().with_context(|| format!("{text} has no address"))
}

/// A server that does not start is said once, and not by every case.
fn must_start(server: &Server) -> anyhow::Result<()> {
    if let Target::Address(address) = server.subject.target {
        let listens = |rows: &[harness::kernel::Socket]| rows.iter().any(|row| row.listening);
        // A connection would be a client. The kernel knows who listens on this machine.
        return match harness::kernel::sockets(address.port()) {
            Ok(rows) if address.ip().is_loopback() && listens(&rows) => Ok(()),
            _ => TcpStream::connect_timeout(&address, harness::patience())
                .map(drop)
                .with_context(|| format!("nobody answers on {address}")),
        };
    }
    let mode = *server.subject.profile.modes.first().context("a server needs a mode")?;
    match harness::Server::start(&mut server.subject.command(mode, 0)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let stderr = error.scene().stderr;
            let last = &stderr[stderr.len().saturating_sub(8)..];
            let last: String =
                last.iter().map(|it| format!("\n  {}", harness::harmless(it))).collect();
            let last = if last.is_empty() { last } else { format!("\nIts last words:{last}") };
            let is_in_quotes = matches!(&server.subject.target, Target::Command(words)
                if matches!(words.as_slice(), [word] if word.contains(' ')));
            let hint = match error {
                harness::StartError::NotRun(_) if is_in_quotes => "; leave out its quotes",
                _ => "",
            };
            bail!("{} does not become a server: {}{hint}{last}", server.name, in_one_line(&error))
        }
    }
}

/// The error without what the process printed, which is shown below it.
fn in_one_line(error: &harness::StartError) -> String {
    match error {
        harness::StartError::Ended(output) => format!("it ended at once ({})", output.status),
        harness::StartError::Silent { .. } => {
            format!("it did not say `listening on …` within {:?}", harness::patience())
        }
        other => other.to_string(),
    }
}

/// The files of the reports, made before anything is run: what cannot be written is said at once.
struct Files {
    json: Option<File>,
    junit: Option<File>,
    html: Option<File>,
}

impl Files {
    fn create(options: &Options) -> anyhow::Result<Self> {
        let create = |path: &Option<PathBuf>| {
            let create = |path: &PathBuf| {
                File::create(path).with_context(|| format!("cannot write {}", path.display()))
            };
            path.as_ref().map(create).transpose()
        };
        Ok(Self {
            json: create(&options.json)?,
            junit: create(&options.junit)?,
            html: create(&options.html)?,
        })
    }

    fn write(self, report: &Report) -> anyhow::Result<()> {
        type Render = fn(&Report) -> String;
        let files: [(Option<File>, Render); 3] = [
            (self.json, check::json::render),
            (self.junit, check::junit::render),
            (self.html, check::html::render),
        ];
        for (file, render) in files {
            if let Some(mut file) = file {
                file.write_all(render(report).as_bytes()).context("cannot write a report")?;
            }
        }
        Ok(())
    }
}

/// On a terminal only.
fn progress_bar(cases: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cases  {msg}");
    ProgressBar::new(cases as u64).with_style(style.expect("the template is right"))
}

fn print(text: &str) {
    // Nobody may be there to read it any more (`| head`): not a reason to fail.
    let _ = anstream::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}
