//! What a run found out, as it is kept: [`Results`], whose JSON is described by `schema.json`.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::format;
use crate::metric::Metric;
use crate::statistics::Median;

/// Everything that one run of `cargo xtask compare` measured, and on what.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// The version of this form: raised when a field changes its meaning.
    pub schema: u32,
    /// When the run began, in seconds since 1970.
    pub unix_time: u64,
    /// How long it took, without the build.
    pub seconds: f64,
    /// Whether it was interrupted: then only part of it is here.
    pub interrupted: bool,
    /// The commit that was checked out, with `-dirty` where files differed from it.
    pub commit: Option<String>,
    /// What it ran on.
    pub machine: Machine,
    /// Which core did what.
    pub placement: Placement,
    /// What was asked for.
    pub options: Options,
    /// What the reader has to know beside the figures.
    pub notes: Vec<String>,
    /// Who was measured.
    pub subjects: Vec<Subject>,
    /// What was asked of them, and how they did.
    pub scenarios: Vec<Scenario>,
}

/// The machine that the figures hold for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many cores there are.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// The kernel's name and version.
    pub kernel: String,
    /// How TCP finds out how much it may send at once, for example `cubic`: many small writes cost
    /// more with one than with another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub congestion_control: Option<String>,
    /// How many files a process may have open.
    pub open_files: u64,
}

/// Which core did what.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// The server's, all its threads.
    pub server: usize,
    /// The generator's one thread's. The same where there is one only.
    pub generator: usize,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Options {
    /// How much time is taken.
    pub effort: Effort,
    /// How many rounds were planned.
    pub rounds: usize,
    /// What the content of all messages was made from.
    pub seed: u64,
}

/// How much time a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effort {
    /// One short round: to see that it works.
    Quick,
    /// Three rounds.
    Normal,
    /// Five longer rounds, and larger sizes.
    Thorough,
}

/// A server that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// What measurements name it by, `06` for instance.
    pub id: String,
    /// Its model in a word or two, or its name.
    pub name: String,
    /// Where it comes from.
    pub kind: Kind,
    /// On how many cores it ran, if it was given more than one. Where the machine has two, the
    /// generator then had to share one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<usize>,
}

/// Where a server comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One of the seven.
    Stage,
    /// One of those that `--peers` brings along.
    Peer,
    /// One that `--with` named.
    Yours,
}

/// One question, and what was measured to answer it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    /// Its name on the command line.
    pub id: String,
    /// What it asks, in one sentence.
    pub question: String,
    /// The metrics that answer it, the one that matters first.
    pub metrics: Vec<Metric>,
    /// What the generator itself can do, for each load.
    pub ceilings: Vec<Ceiling>,
    /// One for each load and subject.
    pub measurements: Vec<Measurement>,
}

/// What the generator can do under one load: measured before the rounds, against a server that does
/// as little as one can.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ceiling {
    /// The load.
    pub load: Load,
    /// Messages that the generator could receive each second: what it did then, for each second
    /// that its core was busy; or what it did receive of one of those measured, if that was more.
    pub per_second: f64,
    /// Messages that it did receive each second.
    #[serde(default)]
    pub received_per_second: f64,
}

/// How one subject did under one load, over all rounds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// The [`Subject::id`].
    pub subject: String,
    /// What was asked of it.
    pub load: Load,
    /// `works`, or the plain word for what it did instead in the worst of its rounds.
    pub outcome: String,
    /// Whether it did what no server may do: lose data, or die.
    pub failed: bool,
    /// The median of each metric over the rounds. Empty where it failed.
    pub summary: BTreeMap<Metric, Median>,
    /// What to know before believing the summary.
    pub marks: Vec<Mark>,
    /// What it was made from.
    pub rounds: Vec<Round>,
}

/// One subject under one load in one round.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// Its number, from 1.
    pub number: usize,
    /// As [`Measurement::outcome`].
    pub outcome: String,
    /// As [`Measurement::failed`].
    pub failed: bool,
    /// What the outcome rests on, where there is more to say.
    pub evidence: Option<String>,
    /// The server's last words, if it failed.
    pub last_lines: Vec<String>,
    /// How long it was measured.
    pub seconds: f64,
    /// What was measured, each in the unit that its [`Metric`] says.
    pub metrics: BTreeMap<Metric, f64>,
    /// What happened within the window, slice by slice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Slice>,
    /// What to know before believing it.
    pub marks: Vec<Mark>,
}

/// A short part of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slice {
    /// When it ended, in seconds since the window began.
    pub at: f64,
    /// Messages received in it, each second.
    pub received_per_second: f64,
    /// The median latency in it in nanoseconds; none where nothing arrived.
    pub latency_p50: Option<u64>,
    /// The 99th percentile.
    pub latency_p99: Option<u64>,
    /// The server's anonymous memory at its end, in bytes.
    pub memory: Option<u64>,
}

/// What makes a figure less than it seems.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// Above 80 % of what the generator itself can do here: it may be the limit, not the server.
    GeneratorBound,
    /// Other programs took processor time from the two, also when the round was measured again, if
    /// there was time for that.
    ForeignLoad,
    /// Server and generator had to share one core.
    SharedCore,
}

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Who hears what is sent.
    pub mode: Mode,
    /// How many connections.
    pub clients: usize,
    /// How long a message or line is in bytes.
    pub bytes: usize,
    /// When the next message leaves.
    pub pace: Pace,
    /// How many of the clients send; all where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub senders: Option<usize>,
    /// What is unusual about one of the clients, or about how they arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// Who hears what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The sender.
    Echo,
    /// Everyone else.
    Broadcast,
}

/// When the next message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// A closed loop: when an earlier one has come back. So many are in flight, of each connection
    /// of an echo, of the whole room of a broadcast.
    InFlight(usize),
    /// An open loop: so many a second, sent by all together, whatever comes back.
    PerSecond(f64),
    /// A closed loop with a pace: so many a second at most. Who still waits for an answer lets his
    /// turn pass, and a latency counts from when its message left.
    AtMostPerSecond(f64),
    /// Each connection is served once; then nobody says anything.
    Silent,
}

/// What is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// One client stops reading, a second after the window has begun.
    SlowReader,
    /// One client sends as much as it can, always.
    Flooder,
    /// All connect at the same moment.
    Storm,
    /// The server stands still for a second, for no reason of its own.
    Pause,
    /// The generator runs on the server's core.
    SameCore,
    /// It counts from the first message on, and not for long.
    Cold,
}

impl Results {
    /// What [`Results::schema`] is.
    pub const SCHEMA: u32 = 3;

    /// The JSON schema of this type.
    pub fn schema() -> String {
        let schema = schemars::schema_for!(Self);
        serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
    }

    /// The subject with that id.
    pub fn subject(&self, id: &str) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.id == id)
    }

    /// Every measurement, each with its scenario.
    pub fn measurements(&self) -> impl Iterator<Item = (&Scenario, &Measurement)> {
        self.scenarios
            .iter()
            .flat_map(|scenario| scenario.measurements.iter().map(move |it| (scenario, it)))
    }
}

impl Placement {
    /// Whether the server had to share its core with the generator.
    pub fn is_shared(&self) -> bool {
        self.server == self.generator
    }
}

impl Scenario {
    /// Above this share of what the generator itself can do, it may be the limit.
    const GENERATOR_BOUND: f64 = 0.8;

    /// Marks who came close to what the generator can do. A generator that is busy with waking up
    /// is no limit, nor is one that had time left. Where it is not known what it can do, it may be
    /// the limit if it is busy.
    pub(crate) fn mark_generator_bound(&mut self) {
        for Ceiling { load, per_second, .. } in &mut self.ceilings {
            // Measured once, it may have been disturbed.
            let is_it = |it: &&Measurement| it.load == *load && !it.is_marked(Mark::SharedCore);
            let rates = self.measurements.iter().filter(is_it);
            let rates = rates.filter_map(|it| it.median(Metric::ReceivedPerSecond));
            *per_second = rates.fold(*per_second, f64::max);
        }
        for it in &mut self.measurements {
            let is_above = |metric, limit| it.median(metric).is_some_and(|value| value > limit);
            let ceiling = self.ceilings.iter().find(|ceiling| ceiling.load == it.load);
            let is_close = ceiling.is_none_or(|ceiling| {
                is_above(Metric::ReceivedPerSecond, Self::GENERATOR_BOUND * ceiling.per_second)
            });
            if is_close
                && is_above(Metric::GeneratorCoreBusy, Self::GENERATOR_BOUND)
                && !it.is_marked(Mark::SharedCore)
            {
                it.marks.push(Mark::GeneratorBound);
            }
        }
    }

    /// The loads, in the order in which they were first measured.
    pub fn loads(&self) -> Vec<&Load> {
        let mut loads: Vec<&Load> = Vec::new();
        for measurement in &self.measurements {
            if !loads.contains(&&measurement.load) {
                loads.push(&measurement.load);
            }
        }
        loads
    }
}

impl Measurement {
    /// The outcome of whoever does all that is asked.
    pub const WORKS: &str = "works";

    /// Whether everything was done that was asked.
    pub fn works(&self) -> bool {
        self.outcome == Self::WORKS
    }

    /// Whether it went on, but too slowly: what it delivered then has figures of its own.
    pub fn is_behind(&self) -> bool {
        self.outcome.starts_with("delivers")
    }

    /// The median of a metric.
    pub fn median(&self, metric: Metric) -> Option<f64> {
        self.summary.get(&metric).map(|median| median.median)
    }

    /// Whether the figures are to be taken with care, for this reason.
    pub fn is_marked(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }

    /// Works out everything but the rounds from the rounds.
    pub(crate) fn summarize(&mut self) {
        let worst = self
            .rounds
            .iter()
            .find(|round| round.failed)
            .or_else(|| self.rounds.iter().find(|round| round.outcome != Self::WORKS));
        self.outcome = worst.map_or(Self::WORKS, |round| &round.outcome).to_owned();
        self.failed = worst.is_some_and(|round| round.failed);
        self.summary.clear();
        if !self.failed {
            for metric in Metric::ALL {
                let values = self.rounds.iter().filter_map(|round| round.metrics.get(&metric));
                if let Some(median) = Median::of(values.copied()) {
                    self.summary.insert(metric, median);
                }
            }
        }
        // A mark of most rounds is one of their median.
        let mut marks: Vec<_> =
            self.rounds.iter().flat_map(|round| &round.marks).copied().collect();
        marks.sort_unstable();
        self.marks = marks
            .chunk_by(|one, other| one == other)
            .filter(|same| same.len() * 2 > self.rounds.len())
            .map(|same| same[0])
            .collect();
    }
}

impl Load {
    /// A plain load: all clients send, and nothing is unusual.
    pub(crate) const fn new(mode: Mode, clients: usize, bytes: usize, pace: Pace) -> Self {
        Self { mode, clients, bytes, pace, senders: None, trouble: None }
    }
}

impl fmt::Display for Load {
    /// As the line above a group of a table: `50 connections`, `1,000 clients, 4,096 in flight`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (thing, usual_bytes, usual_depth) = match self.mode {
            Mode::Echo => ("connection", 64, 1),
            Mode::Broadcast => ("client", 32, 256),
        };
        f.write_str(&format::many(self.clients, thing))?;
        if let Some(senders) = self.senders.filter(|&senders| senders < self.clients) {
            write!(f, ", {}", format::many(senders, "sender"))?;
        }
        match self.pace {
            Pace::InFlight(depth) if depth != usual_depth => {
                write!(f, ", {} in flight", format::count(depth))?;
            }
            Pace::PerSecond(rate) => write!(f, ", {} a second", format::count(rate as usize))?,
            Pace::AtMostPerSecond(rate) => {
                write!(f, ", {} a second at most", format::count(rate as usize))?;
            }
            Pace::InFlight(_) | Pace::Silent => {}
        }
        if self.bytes != usual_bytes {
            write!(f, ", {} B", format::count(self.bytes))?;
        }
        f.write_str(match self.trouble {
            Some(Trouble::SlowReader) => ", one stops reading",
            Some(Trouble::Flooder) => ", one floods",
            Some(Trouble::Storm) => " at once",
            Some(Trouble::Pause) => ", paused for 1 s",
            Some(Trouble::SameCore) => ", the generator on its core",
            Some(Trouble::Cold) => ", without a warm-up",
            None => "",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(number: usize, outcome: &str, failed: bool, marks: Vec<Mark>) -> Round {
        let value = number as f64;
        Round {
            number,
            outcome: outcome.to_owned(),
            failed,
            evidence: None,
            last_lines: Vec::new(),
            seconds: 1.0,
            metrics: BTreeMap::from([(Metric::ReceivedPerSecond, value)]),
            timeline: Vec::new(),
            marks,
        }
    }

    fn summarized(rounds: Vec<Round>) -> Measurement {
        let mut measurement = Measurement {
            subject: "06".to_owned(),
            load: Load::new(Mode::Echo, 1, 64, Pace::InFlight(1)),
            outcome: String::new(),
            failed: false,
            summary: BTreeMap::new(),
            marks: Vec::new(),
            rounds,
        };
        measurement.summarize();
        measurement
    }

    #[test]
    fn only_who_comes_close_to_the_ceiling_is_bound_by_it() {
        let measured = |subject: &str, received, busy| {
            let mut it = summarized(vec![round(1, "works", false, vec![])]);
            subject.clone_into(&mut it.subject);
            for (metric, value) in
                [(Metric::ReceivedPerSecond, received), (Metric::GeneratorCoreBusy, busy)]
            {
                it.summary.insert(metric, Median { median: value, low: value, high: value });
            }
            it
        };
        let mut scenario = Scenario {
            id: "echo".to_owned(),
            question: String::new(),
            metrics: vec![Metric::ReceivedPerSecond],
            ceilings: vec![Ceiling {
                load: Load::new(Mode::Echo, 1, 64, Pace::InFlight(1)),
                per_second: 100.0,
                received_per_second: 95.0,
            }],
            measurements: vec![
                measured("fast", 90.0, 0.9),
                measured("level", 85.0, 1.0),
                measured("slow", 10.0, 1.0),
                measured("lazy", 90.0, 0.7),
            ],
        };
        let mut unknown = Scenario { ceilings: Vec::new(), ..scenario.clone() };
        let marked = |scenario: &mut Scenario| {
            scenario.mark_generator_bound();
            let marked = scenario.measurements.iter();
            let marked = marked.filter(|it| it.is_marked(Mark::GeneratorBound));
            marked.map(|it| it.subject.clone()).collect::<Vec<_>>()
        };
        assert_eq!(marked(&mut scenario), ["fast", "level"]);
        assert_eq!(marked(&mut unknown), ["fast", "level", "slow"]);
    }

    #[test]
    fn the_worst_round_is_the_outcome() {
        let works = || round(1, "works", false, vec![]);
        assert!(summarized(vec![works(), works()]).works());
        let limited = summarized(vec![works(), round(2, "serves 1", false, vec![])]);
        assert_eq!((limited.outcome.as_str(), limited.failed), ("serves 1", false));
        let failed = summarized(vec![
            works(),
            round(2, "serves 1", false, vec![]),
            round(3, "lost 1 line", true, vec![]),
        ]);
        assert_eq!((failed.outcome.as_str(), failed.failed), ("lost 1 line", true));
        assert!(failed.summary.is_empty(), "a failure has no figures");
    }

    #[test]
    fn a_mark_counts_if_most_rounds_have_it() {
        let marked = |number, is| {
            round(number, "works", false, if is { vec![Mark::GeneratorBound] } else { vec![] })
        };
        assert!(summarized(vec![marked(1, true), marked(2, false)]).marks.is_empty());
        let most = summarized(vec![marked(1, true), marked(2, false), marked(3, true)]);
        assert_eq!(most.marks, [Mark::GeneratorBound]);
        assert_eq!(most.median(Metric::ReceivedPerSecond), Some(2.0));
    }
}
