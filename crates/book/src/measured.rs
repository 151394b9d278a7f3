//! The figures in the book: each comes from a kept run, none is typed by hand.
//!
//! `compare.json`, `peers.json`, `headline.json` and `measuring.json` in `book/measured` are what
//! `cargo xtask compare` wrote, `growth.json`, `copies.json` and `policies.json` what
//! `cargo xtask book measure` did. To have newer figures in the book, measure again, and `cargo xtask book generate`.

use std::path::Path;

use anyhow::Context;
use compare::metric::Metric;
use compare::results::{Mark, Measurement};

use crate::growth::Growth;
use crate::kept::{self, Kept};

/// Where the run of `cargo xtask compare` is kept, from the root of the workspace.
pub const FILE: &str = "book/measured/compare.json";
/// The run beside others, `compare broadcast echo --stages 01,02,06,07 --peers`, and that of the
/// claim, `compare headline idle storm --stages 06,07` with the server on epoll as `ref`.
const PEERS: &str = "book/measured/peers.json";
const HEADLINE: &str = "book/measured/headline.json";

/// The page of parts that the chapters include, one for each anchor.
///
/// # Errors
/// The run cannot be read, or lacks a figure that the book tells of.
pub fn page(root: &Path) -> anyhow::Result<String> {
    let run = Kept::read(root, FILE)?;
    let growth = Growth::read(root)?;
    let parts = [
        ("stage-01", run.one_connection()?),
        ("stage-02", run.threads()?),
        ("stage-03", run.pool()?),
        ("stage-04", run.select_loop()?),
        ("stage-05", run.coroutine_loop()?),
        ("stage-06", run.readiness()?),
        ("stage-07", run.tokio()?),
        ("machine", run.machine()),
        ("policies", crate::policies::table(root)?),
        ("calls", growth.calls()?),
        ("lines", growth.lines()?),
        ("copies", crate::copies::bytes(root)?),
        ("limit", growth.limit()?),
        ("others", Kept::read(root, PEERS)?.others()?),
        ("headline", Kept::read(root, HEADLINE)?.headline()?),
    ];
    Ok(kept::page(parts.map(|(anchor, text)| {
        let is_marked = text.contains(MARKED);
        let note = if is_marked { NOTE } else { "" };
        (anchor, text.trim_end().to_owned() + note)
    })))
}

impl Kept {
    fn one_connection(&self) -> anyhow::Result<String> {
        let row = |stage| -> anyhow::Result<String> {
            let messages = self.rate("echo", stage, 1)?;
            let p50 = time(self.figure("echo", stage, 1, Metric::LatencyP50)?);
            Ok(format!("| {stage} | {messages} | {p50} |\n"))
        };
        Ok("| one connection, 64 bytes to and fro | round trips a second | half take at most |\n\
            |---|---|---|\n"
            .to_owned()
            + &["01", "02", "06", "07"].map(row).into_iter().collect::<anyhow::Result<String>>()?)
    }

    fn threads(&self) -> anyhow::Result<String> {
        let row = |stage| -> anyhow::Result<String> {
            let threads = self.figure("echo", stage, 1000, Metric::Threads)?;
            let memory = bytes(self.figure("echo", stage, 1000, Metric::MemoryPerClient)?);
            let messages = self.rate("echo", stage, 1000)?;
            let p99 = time(self.figure("echo", stage, 1000, Metric::LatencyP99)?);
            Ok(format!("| {stage} | {threads:.0} | {memory} | {messages} | {p99} |\n"))
        };
        Ok("| 1,000 connections | threads | memory for each | round trips a second | 99 in 100 \
            take at most |\n|---|---|---|---|---|\n"
            .to_owned()
            + &["02", "06", "07"].map(row).into_iter().collect::<anyhow::Result<String>>()?)
    }

    fn pool(&self) -> anyhow::Result<String> {
        let row = |clients: usize| -> anyhow::Result<String> {
            let outcome = &self.with("echo", "03", clients)?.outcome;
            Ok(format!("| {clients} | {outcome} |\n"))
        };
        Ok("| clients that all talk | stage 03 |\n|---|---|\n".to_owned()
            + &[1, 50, 1000].map(row).into_iter().collect::<anyhow::Result<String>>()?)
    }

    fn select_loop(&self) -> anyhow::Result<String> {
        let row = |clients| -> anyhow::Result<String> {
            let lines = self.rate("broadcast", "04", clients)?;
            let p50 = time(self.figure("broadcast", "04", clients, Metric::LatencyP50)?);
            Ok(format!("| {clients} | {lines} | {p50} |\n"))
        };
        Ok("| clients | lines delivered a second | half take at most |\n|---|---|---|\n".to_owned()
            + &[10, 100, 1000].map(row).into_iter().collect::<anyhow::Result<String>>()?)
    }

    fn coroutine_loop(&self) -> anyhow::Result<String> {
        let row = |clients: usize| -> anyhow::Result<String> {
            let outcome = &self.with("echo", "05", clients)?.outcome;
            Ok(format!("| {clients} | {outcome} |\n"))
        };
        Ok("| clients that all talk | stage 05 |\n|---|---|\n".to_owned()
            + &[1, 50, 1000].map(row).into_iter().collect::<anyhow::Result<String>>()?)
    }

    fn readiness(&self) -> anyhow::Result<String> {
        let row = |clients| -> anyhow::Result<String> {
            let [before, now] = ["04", "06"].map(|it| self.rate("broadcast", it, clients));
            let ratio = self.figure("broadcast", "06", clients, RATE)?
                / self.figure("broadcast", "04", clients, RATE)?;
            let ratio = if ratio < 9.5 { format!("{ratio:.1}") } else { format!("{ratio:.0}") };
            Ok(format!("| {clients} | {} | {} | {ratio} times as many |\n", before?, now?))
        };
        Ok("| clients | lines delivered a second by 04 | by 06 | that is |\n|---|---|---|---|\n"
            .to_owned()
            + &[10, 100, 1000].map(row).into_iter().collect::<anyhow::Result<String>>()?)
    }

    fn tokio(&self) -> anyhow::Result<String> {
        let row = |stage| -> anyhow::Result<String> {
            let echo = self.rate("echo", stage, 1000)?;
            let lines = self.rate("broadcast", stage, 1000)?;
            let memory = bytes(self.figure("broadcast", stage, 1000, Metric::MemoryPerClient)?);
            Ok(format!("| {stage} | {echo} | {lines} | {memory} |\n"))
        };
        Ok("| 1,000 clients | echo: round trips a second | broadcast: lines delivered a second | \
            memory for each |\n|---|---|---|---|\n"
            .to_owned()
            + &["06", "07"].map(row).into_iter().collect::<anyhow::Result<String>>()?)
    }

    /// The broadcast to a thousand clients, beside what others do.
    fn others(&self) -> anyhow::Result<String> {
        let row = |(subject, name)| -> anyhow::Result<String> {
            let lines = self.rate("broadcast", subject, 1000)?;
            let core = self.figure("broadcast", subject, 1000, Metric::ServerCoreTimePerMessage)?;
            let core = if core < 1e3 { format!("{core:.0} ns") } else { time(core) };
            let memory = bytes(self.figure("broadcast", subject, 1000, Metric::MemoryPerClient)?);
            Ok(format!("| {name} | {lines} | {core} | {memory} |\n"))
        };
        let subjects = [
            ("06", "stage 06"),
            ("07", "stage 07"),
            ("Rust, epoll", "the same log, directly on epoll"),
            ("Redis", "Redis, pub/sub"),
            ("NATS", "NATS"),
            ("Go", "Go, a goroutine for each client"),
            ("Node", "Node"),
            ("asyncio", "Python, asyncio"),
        ];
        Ok("| 1,000 clients, one core | lines delivered a second | the core's time for each | \
            memory for each client |\n|---|---:|---:|---:|\n"
            .to_owned()
            + &subjects.map(row).into_iter().collect::<anyhow::Result<String>>()?)
    }

    /// The claim of the second document, in its three readings.
    fn headline(&self) -> anyhow::Result<String> {
        let mut text =
            "| lines in a second | server | delivered a second | complete | half take at \
                        most | 99 in 100 | memory |\n|---|---|---:|---|---:|---:|---:|\n"
                .to_owned();
        for (senders, lines) in [(1, "10, from one"), (4, "40, from four"), (4000, "40,000")] {
            for (subject, name) in [("06", "06"), ("07", "07"), ("ref", "on epoll")] {
                let found = self.find("headline", subject, |load| {
                    (load.clients, load.senders) == (4000, Some(senders))
                })?;
                let figure = |of| found.median(of).unwrap_or(f64::NAN);
                let is_bound = found.is_marked(Mark::GeneratorBound);
                text += &format!(
                    "| {lines} | {name} | {}{} | {:.0} % | {} | {} | {} |\n",
                    count(figure(RATE)),
                    if is_bound { MARKED } else { "" },
                    100.0 * figure(Metric::Delivered),
                    time(figure(Metric::LatencyP50)),
                    time(figure(Metric::LatencyP99)),
                    bytes(figure(Metric::MemoryPeak)),
                );
            }
        }
        Ok(text)
    }

    fn machine(&self) -> String {
        let commit = self.results.commit.as_deref().unwrap_or("unknown");
        let commit = commit.get(..12).unwrap_or(commit);
        format!("{}; commit {commit}", self.results.machine)
    }

    fn rate(&self, scenario: &str, stage: &str, clients: usize) -> anyhow::Result<String> {
        let rate = count(self.figure(scenario, stage, clients, RATE)?);
        let is_bound = self.with(scenario, stage, clients)?.is_marked(Mark::GeneratorBound);
        Ok(if is_bound { rate + MARKED } else { rate })
    }

    fn figure(
        &self,
        scenario: &str,
        stage: &str,
        clients: usize,
        of: Metric,
    ) -> anyhow::Result<f64> {
        self.with(scenario, stage, clients)?.median(of).with_context(|| {
            let label = of.label();
            format!("{}: no {label} of {scenario}, {stage}, {clients} clients", self.file)
        })
    }

    /// The first with so many clients.
    fn with(&self, scenario: &str, stage: &str, clients: usize) -> anyhow::Result<&Measurement> {
        let found = self.find(scenario, stage, |load| load.clients == clients);
        found.with_context(|| format!("{} lacks {scenario}, {stage}, {clients} clients", self.file))
    }
}

const RATE: Metric = Metric::ReceivedPerSecond;

/// Stands after a rate that may be the generator's.
const MARKED: &str = " \\*";
const NOTE: &str =
    "\n\n\\* The load generator was nearly as busy as it can be: the server may do more.";

/// Two digits that count, with a word for the size: 44 thousand, 1.8 million.
fn count(number: f64) -> String {
    match number {
        _ if number < 1000.0 => format!("{number:.0}"),
        _ if number < 1e6 => format!("{:.0} thousand", number / 1e3),
        _ if number < 1e7 => format!("{:.1} million", number / 1e6),
        _ => format!("{:.0} million", number / 1e6),
    }
}

/// Nanoseconds in the unit that suits them.
fn time(nanos: f64) -> String {
    match nanos {
        _ if nanos < 1e6 => format!("{:.0} µs", nanos / 1e3),
        _ if nanos < 1e7 => format!("{:.1} ms", nanos / 1e6),
        _ if nanos < 1e9 => format!("{:.0} ms", nanos / 1e6),
        _ => format!("{:.1} s", nanos / 1e9),
    }
}

fn bytes(bytes: f64) -> String {
    match bytes {
        _ if bytes < 1e3 => format!("{bytes:.0} bytes"),
        _ if bytes < 1e4 => format!("{:.1} kB", bytes / 1e3),
        _ if bytes < 1e6 => format!("{:.0} kB", bytes / 1e3),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_people_say_them() {
        let counts = [7.2, 43_960.0, 1_840_000.0, 43_900_000.0].map(count);
        assert_eq!(counts, ["7", "44 thousand", "1.8 million", "44 million"]);
        let times = [22_400.0, 1_834_000.0, 84_000_000.0, 1.8e9].map(time);
        assert_eq!(times, ["22 µs", "1.8 ms", "84 ms", "1.8 s"]);
        let sizes = [554.0, 1_769.0, 13_900.0].map(bytes);
        assert_eq!(sizes, ["554 bytes", "1.8 kB", "14 kB"]);
    }

    #[test]
    fn a_figure_that_is_not_there_is_named() {
        let run = Kept::parse(
            FILE,
            br#"{"schema": 3, "unix_time": 0, "seconds": 0.0, "interrupted": false, "commit": null,
                "machine": {"cpu": "x", "cores": 2, "memory": 0, "kernel": "y", "open_files": 0},
                "placement": {"server": 1, "generator": 0},
                "options": {"effort": "quick", "rounds": 1, "seed": 0},
                "notes": [], "subjects": [], "scenarios": []}"#,
        )
        .unwrap();
        let error = run.figure("echo", "01", 1, RATE).unwrap_err();
        assert!(error.to_string().contains("lacks echo, 01, 1 clients"), "{error}");
        assert_eq!(run.machine(), "x, 2 cores, y; commit unknown");
    }
}
