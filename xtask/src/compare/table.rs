use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

use super::results::{Figures, Median, Results, Run};
use super::stage::{STAGES, Stage, Workload};

const TITLE: Style = Style::new().bold();
const HEADER: Style = Style::new().dimmed();
const LIMIT: Style = AnsiColor::Yellow.on_default();
const FAILURE: Style = AnsiColor::Red.on_default().bold();
const WIDTH: usize = 80;

/// Prints a table for each workload, and at the foot what they rest on.
///
/// # Errors
///
/// Standard output takes no more.
pub(crate) fn print(results: &Results) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    for workload in [Workload::Echo, Workload::Broadcast] {
        if results.runs.iter().any(|run| run.workload == workload) {
            print_table(&mut out, workload, results)?;
            writeln!(out)?;
        }
    }
    for run in results.runs.iter().filter(|run| run.failed) {
        print_failure(&mut out, run)?;
    }
    print_foot(&mut out, results)
}

/// One stage at one size: a line of a table.
struct Row<'a> {
    stage: &'static Stage,
    clients: usize,
    runs: Vec<&'a Run>,
}

impl Row<'_> {
    /// The run that says what is wrong, or that the stage cannot do this.
    fn exception(&self) -> Option<&Run> {
        let failure = self.runs.iter().find(|run| run.failed);
        failure.or_else(|| self.runs.iter().find(|run| !run.works())).copied()
    }

    fn figures(&self) -> impl Iterator<Item = &Figures> {
        self.runs.iter().filter_map(|run| run.figures.as_ref())
    }

    fn median(&self, value: impl Fn(&Figures) -> f64) -> Option<Median> {
        Median::of(self.figures().map(value))
    }

    /// Whether the generator was the limit in most rounds.
    fn is_generator_bound(&self) -> bool {
        self.figures().filter(|figures| figures.generator_bound).count() * 2 > self.runs.len()
    }

    /// The cells of this line, after the stage's name.
    fn cells(&self, workload: Workload) -> Vec<String> {
        let exception = self.exception();
        let show = |value: Option<Median>, unit: fn(f64) -> String| {
            value.map_or_else(|| "–".to_owned(), |median| unit(median.value))
        };
        let mut cells = Vec::new();
        if let Some(run) = exception {
            cells.push(format!("{}  ", run.outcome));
            cells.extend(["", "–", "–"].map(str::to_owned));
            if workload == Workload::Broadcast {
                cells.insert(0, "–".to_owned());
            }
        } else {
            if workload == Workload::Broadcast {
                cells.push(show(self.median(|figures| figures.sent_per_second), rate));
            }
            let received = self.median(|figures| figures.received_per_second);
            let mark = if self.is_generator_bound() { " *" } else { "  " };
            cells.push(show(received, rate) + mark);
            cells.push(received.map_or_else(String::new, |median| spread(median.spread)));
            cells.push(show(self.median(|figures| figures.latency.p50 as f64), time));
            cells.push(show(self.median(|figures| figures.latency.p99 as f64), time));
        }
        cells.push(show(self.median(|figures| figures.server_cpu), share));
        cells.push(show(self.median(|figures| figures.server_core_busy), share));
        let memory = self.median(Figures::memory_per_client).filter(|_| self.clients >= FEW);
        cells.push(show(memory, bytes));
        cells.push(show(self.median(|figures| figures.threads as f64), |count| count.to_string()));
        cells
    }
}

/// With fewer clients than this, what the server needs once outweighs what a client costs.
const FEW: usize = 50;

/// A line for each stage and size. A failed stage has its failure there, and no figure.
fn print_table(out: &mut impl Write, workload: Workload, results: &Results) -> io::Result<()> {
    let rows: Vec<_> = workload
        .sizes()
        .into_iter()
        .flat_map(|clients| STAGES.iter().map(move |stage| (clients, stage)))
        .map(|(clients, stage)| {
            let is_here =
                |run: &&Run| (run.workload, run.clients, run.stage) == (workload, clients, stage);
            Row { stage, clients, runs: results.runs.iter().filter(is_here).collect() }
        })
        .filter(|row| !row.runs.is_empty())
        .collect();

    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = match workload {
        Workload::Echo => vec!["", "echoes/s  "],
        Workload::Broadcast => vec!["", "in/s", "out/s  "],
    };
    let spread = header.len();
    header.extend(["±", "p50", "p99", "CPU", "core", "memory", "threads"]);
    table.set_header(header);
    for row in &rows {
        let mut cells = vec![label(row.stage)];
        if !row.exception().is_some_and(|run| run.failed) {
            cells.extend(row.cells(workload));
        }
        table.add_row(cells);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let alignment = if index == 0 { CellAlignment::Left } else { CellAlignment::Right };
        column.set_cell_alignment(alignment);
        column.set_padding((0, if index == 0 { 1 } else { 2 }));
        if index == spread && rows.iter().all(|row| row.runs.len() == 1) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }

    let length = results.settings.of(workload).bytes;
    let title = match workload {
        Workload::Echo => {
            format!("Echo: each connection sends {length} bytes and sends on when they are back.")
        }
        Workload::Broadcast => format!(
            "Broadcast: clients send lines of {length} bytes (in), each goes to all others (out)."
        ),
    };
    writeln!(out, "{TITLE}{title}{TITLE:#}")?;
    let text = table.to_string();
    let mut lines = text.lines().map(str::trim_end);
    writeln!(out, "{HEADER}{}{HEADER:#}", lines.next().unwrap_or_default())?;
    let width = rows.iter().map(|row| label(row.stage).len()).max().unwrap_or(0) + 2;
    let mut group = None;
    for (row, line) in rows.iter().zip(lines) {
        if group.replace(row.clients) != Some(row.clients) {
            writeln!(out, "{TITLE}{}{TITLE:#}", clients(workload, row.clients))?;
        }
        match row.exception() {
            // Instead of all figures.
            Some(run) if run.failed => {
                writeln!(out, "{FAILURE}{:<width$}{}{FAILURE:#}", label(row.stage), run.outcome)?;
            }
            Some(_) => writeln!(out, "{LIMIT}{line}{LIMIT:#}")?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

fn label(stage: &Stage) -> String {
    format!("  {stage}")
}

/// What is known of a failure.
fn print_failure(out: &mut impl Write, run: &Run) -> io::Result<()> {
    let (stage, clients) = (run.stage, clients(run.workload, run.clients));
    let what = format!("{stage}, {} with {clients}: {}", run.workload, run.outcome);
    writeln!(out, "{FAILURE}{what}{FAILURE:#}")?;
    for line in run.evidence.iter().flat_map(|evidence| wrap(evidence)) {
        writeln!(out, "  {}", line.trim_start())?;
    }
    for line in run.stderr.iter().filter(|line| !line.is_empty()) {
        writeln!(out, "  its log: {line}")?;
    }
    writeln!(out)
}

fn print_foot(out: &mut impl Write, results: &Results) -> io::Result<()> {
    let says = |word: &str| results.runs.iter().any(|run| run.outcome.starts_with(word));
    let figures = || results.runs.iter().filter_map(|run| run.figures.as_ref());
    let placement = results.placement;
    let rounds = results.runs.iter().map(|run| run.round).max().unwrap_or(0);
    let mut notes = Vec::new();
    if says("serves") {
        notes.push("serves N: only N clients are answered, the others wait.".to_owned());
    }
    if says("stalls") {
        notes.push(
            "stalls: clients are answered while others arrive, and nobody once all are there."
                .to_owned(),
        );
    }
    if figures().any(|figures| figures.generator_bound) {
        notes.push(
            "*: generator-bound. The generator's core was more than 80 % busy: it may be the limit, \
             not the server."
                .to_owned(),
        );
    }
    notes.push(
        "CPU: cores that the server's process used. core: how busy its core was, with the \
         kernel's soft interrupts, which are in no process's time. memory: what a client adds to \
         the heap and stacks of the server; buffers in the kernel are not in it."
            .to_owned(),
    );
    notes.push(match rounds {
        1 => "One round: there is no spread to judge differences by.".to_owned(),
        rounds => format!("Medians of {rounds} interleaved rounds; ±: half their range."),
    });
    notes.push(if placement.is_shared() {
        "Server and generator shared the only core: the figures are of both together.".to_owned()
    } else {
        format!(
            "Server on core {}, generator (one thread) on core {}.",
            placement.server, placement.generator
        )
    });
    let foreign =
        figures().map(|figures| figures.foreign_cpu).sum::<f64>() / figures().count().max(1) as f64;
    if foreign > 0.1 {
        notes.push(format!(
            "Other programs took {foreign:.1} cores' worth of these two: measure again when the \
             machine is idle."
        ));
    }
    notes.extend(results.notes.iter().cloned());
    let machine = &results.machine;
    let cores = if machine.cores == 1 { "core" } else { "cores" };
    notes.push(format!("{}, {} {cores}, {}.", machine.cpu, machine.cores, machine.kernel));
    for note in notes {
        for line in wrap(&note) {
            writeln!(out, "{HEADER}{line}{HEADER:#}")?;
        }
    }
    Ok(())
}

/// So many clients: 1,000 connections.
pub(crate) fn clients(workload: Workload, number: usize) -> String {
    let clients = match (workload, number) {
        (Workload::Echo, 1) => "connection",
        (Workload::Echo, _) => "connections",
        (Workload::Broadcast, 1) => "client",
        (Workload::Broadcast, _) => "clients",
    };
    format!("{} {clients}", count(number))
}

/// A whole number: 1,000.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Something each second: 152 K.
fn rate(value: f64) -> String {
    scaled(value, 1000.0, &["", " K", " M", " G"])
}

/// Nanoseconds: 86 µs.
fn time(nanos: f64) -> String {
    scaled(nanos, 1000.0, &[" ns", " µs", " ms", " s"])
}

/// A share of a core: 0.98.
fn share(value: f64) -> String {
    format!("{value:.2}")
}

/// Bytes: 2.0 KB.
fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KB", " MB", " GB"])
}

/// Two digits, or as many as stand before the point.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter().peekable();
    while let Some(unit) = units.next() {
        let digits = usize::from(value < 9.95 && !unit.is_empty() && *unit != " B");
        let text = format!("{value:.digits$}");
        if text.len() <= 3 || units.peek().is_none() {
            return text + unit;
        }
        value /= step;
    }
    String::new()
}

/// A spread: 3 %.
fn spread(share: f64) -> String {
    if share == 0.0 { String::new() } else { format!("{:.0} %", (share * 100.0).max(1.0)) }
}

/// Breaks `text` at spaces.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_two_digits_or_three() {
        assert_eq!(rate(0.0), "0");
        assert_eq!(rate(7.2), "7");
        assert_eq!(rate(999.0), "999");
        assert_eq!(rate(1234.0), "1.2 K");
        assert_eq!(rate(9_960.0), "10 K");
        assert_eq!(rate(152_345.0), "152 K");
        assert_eq!(rate(999_700.0), "1.0 M");
        assert_eq!(rate(44_000_000.0), "44 M");
        assert_eq!(time(86_400.0), "86 µs");
        assert_eq!(time(1_834_000_000.0), "1.8 s");
        assert_eq!(time(75_000_000_000.0), "75 s");
        assert_eq!(bytes(90.0), "90 B");
        assert_eq!(bytes(2048.0), "2.0 KB");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [1, 50, 1000, 10_000, 1_234_567].map(count).join(" "),
            "1 50 1,000 10,000 1,234,567"
        );
    }

    #[test]
    fn no_line_of_a_note_is_longer_than_a_terminal_is_wide() {
        let text = "word ".repeat(100);
        assert!(wrap(&text).iter().all(|line| line.chars().count() <= WIDTH));
    }
}
