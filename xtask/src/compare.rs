//! `cargo xtask compare`: the stages and others side by side, measured.

use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use compare::baseline::{self, Change};
use compare::{
    Effort, Own, Plan, Results, SCENARIOS, STAGES, Scenario, parse_stage, report, store,
};

/// Measure the stages side by side: throughput, latency, CPU, memory
///
/// Builds the stages in release mode and drives each over loopback, on a core of its own where
/// there are two. All that arrives is checked: a stage that loses, repeats or changes a byte gets
/// that for a result and no figure. A stage that by design cannot do what is asked gets a plain
/// word, such as `serves 20`: that is a result too.
///
/// How to read it: only what was measured in the same run can be compared. Each figure is the
/// median of the rounds; where two differ by less than the spread beside it (±), they do not
/// differ. A closed loop (echo, broadcast, ladder) shows what a server can do at most. An open
/// loop (rate, headline, slow-reader, noisy) shows how it does at a given pace, with every latency
/// counted from the moment the message was meant to leave.
///
/// Before the rounds, the load generator is measured itself, against a server that does as little
/// as one can: what reaches 80 % of that is marked. `07x2` is stage 07 with two cores.
///
/// Every run is kept below `target/compare`, and `latest` there is a link to the last one.
#[derive(clap::Args)]
#[command(after_help = after_help(), after_long_help = after_help())]
pub struct Options {
    /// What to measure; echo and broadcast, if nothing is named
    #[arg(value_name = "SCENARIO", value_parser = scenarios())]
    scenarios: Vec<String>,

    /// One short round, in under half a minute: to see that it works. Who cannot serve a few clients
    /// is not asked to serve many
    #[arg(long, conflicts_with = "thorough")]
    quick: bool,

    /// Up to five long rounds of every scenario but lies, with larger sizes, in at most half an hour
    #[arg(long)]
    thorough: bool,

    /// Only these stages; `none` measures only what --with and --peers name
    #[arg(long, value_delimiter = ',', value_name = "01,07", value_parser = parse_stage_or_none)]
    stages: Vec<String>,

    /// Others beside them, as this machine has them: Python, asyncio, uvloop, Node, Go, C, the
    /// shared log directly on epoll, and for broadcasts what one would take instead: NATS and Redis
    #[arg(long)]
    peers: bool,

    /// Another server beside them, given its port as `{port}` or in the variable PORT. It echoes;
    /// `NAME:broadcast=` is one that tells all others, and with `{mode}` it is told which
    #[arg(long, value_name = "NAME=COMMAND")]
    with: Vec<Own>,

    /// Say what changed since an earlier run, beyond the noise: its directory or results.json
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Write everything to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Measure nothing, but show what was kept: a directory below target/compare
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "target/compare/latest")]
    show: Option<PathBuf>,
}

/// The form in which results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for a terminal
    Text,
    /// Everything, each round included
    Json,
    /// A line for each figure
    Csv,
    /// Tables for a page
    Md,
    /// The report, as it is kept beside the results
    Html,
    /// Nothing measured: the JSON schema of what `json` prints
    Schema,
}

/// Runs the command, and says with which status it ends.
///
/// # Errors
///
/// Nothing could be measured: the build failed, the results could not be written.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    if options.format == Format::Schema {
        anstream::print!("{}", Results::schema());
        return Ok(ExitCode::SUCCESS);
    }
    // Not after two minutes, if it cannot be read.
    let earlier = options.baseline.as_deref().map(store::read).transpose()?;
    if let Some(directory) = &options.show {
        let results = store::read(directory)?;
        print(&results, options.format)?;
        earlier.iter().for_each(|earlier| print_changes(earlier, &results));
        return Ok(ExitCode::SUCCESS);
    }
    let interrupts = compare::interrupts().context("cannot catch Ctrl-C")?;
    let results = compare::run(&options.plan(root), &interrupts)?;
    let directory = store::keep(&results, root)?;
    if let Some(file) = &options.json {
        let written = std::fs::write(file, report::json(&results)?);
        written.with_context(|| format!("cannot write {}", file.display()))?;
    }
    print(&results, options.format)?;
    earlier.iter().for_each(|earlier| print_changes(earlier, &results));
    // Without a person to read it, this line is only noise.
    if stderr().is_terminal() {
        anstream::eprintln!("report: {}", directory.join("report.html").display());
    }
    if results.interrupted {
        anstream::eprintln!("interrupted: this is what was measured until then");
        return Ok(ExitCode::from(130));
    }
    let mut measurements = results.measurements().map(|(_, measurement)| measurement).peekable();
    let failed = measurements.peek().is_none() || measurements.any(|it| it.failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Options {
    fn plan(&self, root: &Path) -> Plan {
        let effort = match (self.quick, self.thorough) {
            (true, _) => Effort::Quick,
            (_, true) => Effort::Thorough,
            _ => Effort::Normal,
        };
        let named = |names: &[String]| names.iter().filter_map(|it| Scenario::named(it)).collect();
        let scenarios = match &self.scenarios[..] {
            [] if self.thorough => {
                SCENARIOS.iter().filter(|scenario| scenario.id != Scenario::LIES).collect()
            }
            [] => named(&Scenario::DEFAULT.map(str::to_owned)),
            names => named(names),
        };
        let is_asked_for =
            |number: &&str| self.stages.is_empty() || self.stages.iter().any(|it| it == number);
        let stages = STAGES.map(|(number, ..)| number);
        let stages = stages.iter().filter(|it| is_asked_for(it)).map(|it| (*it).to_owned());
        Plan {
            scenarios,
            stages: stages.collect(),
            peers: self.peers,
            own: self.with.clone(),
            effort,
            root: root.to_owned(),
        }
    }
}

/// Prints to stdout. Who closes it early, `| head` for instance, has seen enough.
fn print(results: &Results, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Text => report::text(results)?,
        Format::Json => report::json(results)?,
        Format::Csv => report::csv(results)?,
        Format::Md => report::markdown(results)?,
        Format::Html => report::html(results)?,
        Format::Schema => Results::schema(),
    };
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says on stderr, so that other formats stay what they are, how the two runs differ.
fn print_changes(earlier: &Results, later: &Results) {
    if let Some(objection) = baseline::objection(earlier, later) {
        anstream::eprintln!("note: {objection}");
    }
    let changes = baseline::changes(earlier, later);
    if changes.is_empty() {
        anstream::eprintln!("Nothing changed beyond the noise.");
    }
    for Change { subject, what, how, is_better } in changes {
        let word = match is_better {
            Some(true) => "better",
            Some(false) => "worse",
            None => "changed",
        };
        anstream::eprintln!("{word}: {subject}, {what}: {how}");
    }
}

/// No stage has this number.
fn parse_stage_or_none(text: &str) -> Result<String, String> {
    if text == "none" { Ok(text.to_owned()) } else { parse_stage(text) }
}

fn scenarios() -> PossibleValuesParser {
    PossibleValuesParser::new(SCENARIOS.map(|scenario| scenario.id))
}

fn after_help() -> String {
    let mut text = "Scenarios:\n".to_owned();
    for scenario in SCENARIOS {
        text += &format!("  {:<12} {}\n", scenario.id, scenario.question);
    }
    text + "\nExit status: 0 when all was measured, 1 when a stage failed (lost data, crashed) or \
            nothing could be measured, 2 for bad arguments, 130 after Ctrl-C, which keeps what was \
            measured until then. Results go to stdout, progress to stderr."
}
