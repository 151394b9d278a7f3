//! The figures in the book: each comes from a kept run, none is typed by hand.
//!
//! `book/measured/compare.json` is what `cargo xtask compare --format json` wrote, and the other
//! files there are what `cargo xtask book measure` did. To have newer figures in the book, measure
//! again, and `cargo xtask book generate`.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use serde::Deserialize;

/// Where the run of `cargo xtask compare` is kept, from the root of the workspace.
pub const FILE: &str = "book/measured/compare.json";
/// The run beside others, `compare broadcast echo --stages 01,02,06,07 --peers`, and that of the
/// claim, `compare headline idle storm --stages 06,07` with the server on epoll as `ref`.
const PEERS: &str = "book/measured/peers.json";
const HEADLINE: &str = "book/measured/headline.json";

/// The part of that run which the book tells of.
#[derive(Deserialize)]
struct Run {
    /// Where it is kept, from the root of the workspace.
    #[serde(skip)]
    file: &'static str,
    commit: Option<String>,
    machine: Machine,
    scenarios: Vec<Scenario>,
}

#[derive(Deserialize)]
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
}

#[derive(Deserialize)]
struct Scenario {
    id: String,
    measurements: Vec<Measurement>,
}

#[derive(Deserialize)]
struct Measurement {
    subject: String,
    load: Load,
    outcome: String,
    /// What to know before believing the summary.
    #[serde(default)]
    marks: Vec<String>,
    #[serde(default)]
    summary: BTreeMap<String, Median>,
}

#[derive(Deserialize)]
struct Load {
    clients: usize,
    senders: Option<usize>,
}

#[derive(Deserialize)]
struct Median {
    median: f64,
}

/// The page of parts that the chapters include, one for each anchor.
///
/// # Errors
/// The run cannot be read, or lacks a figure that the book tells of.
pub fn page(root: &Path) -> io::Result<String> {
    let run = Run::read(root, FILE)?;
    let mut page = String::new();
    let parts = [
        ("stage-01", run.one_connection()?),
        ("stage-02", run.threads()?),
        ("stage-03", run.pool()?),
        ("stage-04", run.select_loop()?),
        ("stage-05", run.round_robin()?),
        ("stage-06", run.readiness()?),
        ("stage-07", run.tokio()?),
        ("machine", run.machine()),
        ("policies", crate::policies::table(root)?),
        ("calls", crate::growth::calls(root)?),
        ("lines", crate::growth::lines(root)?),
        ("others", Run::read(root, PEERS)?.others()?),
        ("headline", Run::read(root, HEADLINE)?.headline()?),
    ];
    for (anchor, text) in parts {
        let mut text = text.trim_end().to_owned();
        if text.contains(MARKED) {
            text += "\n\n\\* The load generator was nearly as busy as it can be: the server may \
                     do more.";
        }
        page += &format!("\n<!-- ANCHOR: {anchor} -->\n{text}\n<!-- ANCHOR_END: {anchor} -->\n");
    }
    Ok(page)
}

impl Run {
    fn read(root: &Path, file: &'static str) -> io::Result<Self> {
        let run: Self = serde_json::from_slice(&fs::read(root.join(file))?)?;
        Ok(Self { file, ..run })
    }

    fn one_connection(&self) -> io::Result<String> {
        let row = |stage| -> io::Result<String> {
            let messages = self.rate("echo", stage, 1)?;
            let p50 = time(self.figure("echo", stage, 1, "latency_p50")?);
            Ok(format!("| {stage} | {messages} | {p50} |\n"))
        };
        Ok("| one connection, 64 bytes to and fro | round trips a second | half take at most |\n\
            |---|---|---|\n"
            .to_owned()
            + &["01", "02", "06", "07"].map(row).into_iter().collect::<io::Result<String>>()?)
    }

    fn threads(&self) -> io::Result<String> {
        let row = |stage| -> io::Result<String> {
            let threads = self.figure("echo", stage, 1000, "threads")?;
            let memory = bytes(self.figure("echo", stage, 1000, "memory_per_client")?);
            let messages = self.rate("echo", stage, 1000)?;
            let p99 = time(self.figure("echo", stage, 1000, "latency_p99")?);
            Ok(format!("| {stage} | {threads:.0} | {memory} | {messages} | {p99} |\n"))
        };
        Ok("| 1,000 connections | threads | memory for each | round trips a second | 99 in 100 \
            take at most |\n|---|---|---|---|---|\n"
            .to_owned()
            + &["02", "06", "07"].map(row).into_iter().collect::<io::Result<String>>()?)
    }

    fn pool(&self) -> io::Result<String> {
        let row = |clients: usize| -> io::Result<String> {
            let outcome = &self.find("echo", "03", clients)?.outcome;
            Ok(format!("| {clients} | {outcome} |\n"))
        };
        Ok("| clients that all talk | stage 03 |\n|---|---|\n".to_owned()
            + &[1, 50, 1000].map(row).into_iter().collect::<io::Result<String>>()?)
    }

    fn select_loop(&self) -> io::Result<String> {
        let row = |clients| -> io::Result<String> {
            let lines = self.rate("broadcast", "04", clients)?;
            let p50 = time(self.figure("broadcast", "04", clients, "latency_p50")?);
            Ok(format!("| {clients} | {lines} | {p50} |\n"))
        };
        Ok("| clients | lines delivered a second | half take at most |\n|---|---|---|\n".to_owned()
            + &[10, 100, 1000].map(row).into_iter().collect::<io::Result<String>>()?)
    }

    fn round_robin(&self) -> io::Result<String> {
        let row = |clients: usize| -> io::Result<String> {
            let outcome = &self.find("echo", "05", clients)?.outcome;
            Ok(format!("| {clients} | {outcome} |\n"))
        };
        Ok("| clients that all talk | stage 05 |\n|---|---|\n".to_owned()
            + &[1, 50, 1000].map(row).into_iter().collect::<io::Result<String>>()?)
    }

    fn readiness(&self) -> io::Result<String> {
        let row = |clients| -> io::Result<String> {
            let [before, now] = ["04", "06"].map(|it| self.rate("broadcast", it, clients));
            let ratio = self.figure("broadcast", "06", clients, RATE)?
                / self.figure("broadcast", "04", clients, RATE)?;
            let ratio = if ratio < 9.5 { format!("{ratio:.1}") } else { format!("{ratio:.0}") };
            Ok(format!("| {clients} | {} | {} | {ratio} times as many |\n", before?, now?))
        };
        Ok("| clients | lines delivered a second by 04 | by 06 | that is |\n|---|---|---|---|\n"
            .to_owned()
            + &[10, 100, 1000].map(row).into_iter().collect::<io::Result<String>>()?)
    }

    fn tokio(&self) -> io::Result<String> {
        let row = |stage| -> io::Result<String> {
            let echo = self.rate("echo", stage, 1000)?;
            let lines = self.rate("broadcast", stage, 1000)?;
            let memory = bytes(self.figure("broadcast", stage, 1000, "memory_per_client")?);
            Ok(format!("| {stage} | {echo} | {lines} | {memory} |\n"))
        };
        Ok("| 1,000 clients | echo: round trips a second | broadcast: lines delivered a second | \
            memory for each |\n|---|---|---|---|\n"
            .to_owned()
            + &["06", "07"].map(row).into_iter().collect::<io::Result<String>>()?)
    }

    /// The broadcast to a thousand clients, beside what others do.
    fn others(&self) -> io::Result<String> {
        let row = |(subject, name)| -> io::Result<String> {
            let lines = self.rate("broadcast", subject, 1000)?;
            let core = self.figure("broadcast", subject, 1000, "server_core_time_per_message")?;
            let core = if core < 1e3 { format!("{core:.0} ns") } else { time(core) };
            let memory = bytes(self.figure("broadcast", subject, 1000, "memory_per_client")?);
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
            + &subjects.map(row).into_iter().collect::<io::Result<String>>()?)
    }

    /// The claim of the second document, in its three readings.
    fn headline(&self) -> io::Result<String> {
        let mut text =
            "| lines in a second | server | delivered a second | complete | half take at \
                        most | 99 in 100 | memory |\n|---|---|---:|---|---:|---:|---:|\n"
                .to_owned();
        for (senders, lines) in [(1, "10, from one"), (4, "40, from four"), (4000, "40,000")] {
            for (subject, name) in [("06", "06"), ("07", "07"), ("ref", "on epoll")] {
                let found = self.in_scenario("headline").find(|it| {
                    let Load { clients, senders: from } = it.load;
                    it.subject == subject && (clients, from) == (4000, Some(senders))
                });
                let lacks = || format!("{} lacks {subject}, {senders} senders", self.file);
                let found = found.ok_or_else(|| io::Error::other(lacks()))?;
                let figure = |of| found.summary.get(of).map_or(f64::NAN, |it| it.median);
                let is_bound = found.marks.iter().any(|mark| mark == "generator-bound");
                text += &format!(
                    "| {lines} | {name} | {}{} | {:.0} % | {} | {} | {} |\n",
                    count(figure(RATE)),
                    if is_bound { MARKED } else { "" },
                    100.0 * figure("delivered"),
                    time(figure("latency_p50")),
                    time(figure("latency_p99")),
                    bytes(figure("memory_peak")),
                );
            }
        }
        Ok(text)
    }

    fn machine(&self) -> String {
        let Machine { cpu, cores, kernel } = &self.machine;
        let commit = self.commit.as_deref().unwrap_or("unknown");
        let commit = commit.get(..12).unwrap_or(commit);
        format!("{cpu}, {cores} cores, {kernel}; commit {commit}")
    }

    fn rate(&self, scenario: &str, stage: &str, clients: usize) -> io::Result<String> {
        let rate = count(self.figure(scenario, stage, clients, RATE)?);
        let marks = &self.find(scenario, stage, clients)?.marks;
        let is_bound = marks.iter().any(|mark| mark == "generator-bound");
        Ok(if is_bound { rate + MARKED } else { rate })
    }

    fn figure(&self, scenario: &str, stage: &str, clients: usize, of: &str) -> io::Result<f64> {
        let found = self.find(scenario, stage, clients)?.summary.get(of);
        found.map(|it| it.median).ok_or_else(|| {
            let of = format!("{of} of {scenario}, {stage}, {clients} clients");
            io::Error::other(format!("{}: no {of}", self.file))
        })
    }

    fn find(&self, scenario: &str, stage: &str, clients: usize) -> io::Result<&Measurement> {
        let is_it = |it: &&Measurement| it.subject == stage && it.load.clients == clients;
        self.in_scenario(scenario).find(is_it).ok_or_else(|| {
            let lacks = format!("lacks {scenario}, {stage}, {clients} clients");
            io::Error::other(format!("{} {lacks}", self.file))
        })
    }

    fn in_scenario(&self, scenario: &str) -> impl Iterator<Item = &Measurement> {
        let of_scenario = self.scenarios.iter().filter(move |it| it.id == scenario);
        of_scenario.flat_map(|it| &it.measurements)
    }
}

const RATE: &str = "received_per_second";

/// Stands after a rate that may be the generator's.
const MARKED: &str = " \\*";

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
        _ if bytes < 1e4 => format!("{bytes:.0} bytes"),
        _ if bytes < 1e6 => format!("{:.0} KB", bytes / 1e3),
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
        assert_eq!([554.0, 13_900.0].map(bytes), ["554 bytes", "14 KB"]);
    }

    #[test]
    fn a_figure_that_is_not_there_is_named() {
        let run: Run = serde_json::from_str(
            r#"{"machine": {"cpu": "x", "cores": 2, "kernel": "y"}, "scenarios": []}"#,
        )
        .unwrap();
        let error = run.figure("echo", "01", 1, RATE).unwrap_err();
        assert!(error.to_string().contains("lacks echo, 01, 1 clients"), "{error}");
        assert_eq!(run.machine(), "x, 2 cores, y; commit unknown");
    }
}
