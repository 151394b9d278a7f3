//! What is measured: names, units, and how to read each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::format;

/// Something that is measured, with its unit.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Messages that clients sent, each second.
    SentPerSecond,
    /// Messages that clients received, each second; in a broadcast one for each hearer.
    ReceivedPerSecond,
    /// The share of what was owed that came, where the pace is set by a clock.
    Delivered,
    /// Half of the messages took no longer than this, in nanoseconds from when they were meant to
    /// leave. In a broadcast those of the clients that are verified line by line.
    LatencyP50,
    /// Nine in ten took no longer than this.
    LatencyP90,
    /// 99 in a hundred.
    LatencyP99,
    /// 999 in a thousand.
    LatencyP999,
    /// The longest.
    LatencyMax,
    /// Cores that the server's process used. What the kernel does in soft interrupts on its behalf
    /// need not be in it.
    ServerCpu,
    /// The share of its time that the server's core was busy, soft interrupts included.
    ServerCoreBusy,
    /// Nanoseconds that the server's core was busy for each message received.
    ServerCoreTimePerMessage,
    /// Cores that the generator's thread used.
    GeneratorCpu,
    /// The share of its time that the generator's core was busy.
    GeneratorCoreBusy,
    /// What the generator could receive a second if its core were busy all the time.
    GeneratorCeiling,
    /// Cores' worth of time that other programs took from the two. Sampled: a single value may be
    /// off by a tenth.
    ForeignCpu,
    /// Bytes that a client adds to the heap and stacks of the server.
    MemoryPerClient,
    /// Bytes of kernel memory that a connection takes, both of its ends.
    KernelMemoryPerClient,
    /// The most that the heap and stacks of the server held, in bytes.
    MemoryPeak,
    /// The server's threads.
    Threads,
    /// How often a thread of the server woke up, each second.
    WakeupsPerSecond,
    /// Clients served, each second, from the first attempt to connect to the last first answer.
    ServedPerSecond,
    /// Nanoseconds until the last connection was made.
    SlowestConnection,
}

/// How the values of a metric are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Something each second.
    PerSecond,
    /// Nanoseconds.
    Time,
    /// Bytes.
    Bytes,
    /// A share of a whole, or cores.
    Share,
    /// Something that is counted.
    Count,
}

impl Metric {
    /// All of them, in the order of their columns.
    pub const ALL: [Self; 22] = [
        Self::SentPerSecond,
        Self::ReceivedPerSecond,
        Self::Delivered,
        Self::LatencyP50,
        Self::LatencyP90,
        Self::LatencyP99,
        Self::LatencyP999,
        Self::LatencyMax,
        Self::ServerCpu,
        Self::ServerCoreBusy,
        Self::ServerCoreTimePerMessage,
        Self::GeneratorCpu,
        Self::GeneratorCoreBusy,
        Self::GeneratorCeiling,
        Self::ForeignCpu,
        Self::MemoryPerClient,
        Self::KernelMemoryPerClient,
        Self::MemoryPeak,
        Self::Threads,
        Self::WakeupsPerSecond,
        Self::ServedPerSecond,
        Self::SlowestConnection,
    ];

    /// A word for the head of a column.
    pub fn label(self) -> &'static str {
        match self {
            Self::SentPerSecond => "in/s",
            Self::ReceivedPerSecond => "out/s",
            Self::Delivered => "delivered",
            Self::LatencyP50 => "p50",
            Self::LatencyP90 => "p90",
            Self::LatencyP99 => "p99",
            Self::LatencyP999 => "p99.9",
            Self::LatencyMax => "max",
            Self::ServerCpu => "CPU",
            Self::ServerCoreBusy => "core",
            Self::ServerCoreTimePerMessage => "each",
            Self::GeneratorCpu => "gen. CPU",
            Self::GeneratorCoreBusy => "gen. core",
            Self::GeneratorCeiling => "gen. ceiling",
            Self::ForeignCpu => "foreign",
            Self::MemoryPerClient => "memory",
            Self::KernelMemoryPerClient => "kernel",
            Self::MemoryPeak => "peak",
            Self::Threads => "threads",
            Self::WakeupsPerSecond => "wake-ups/s",
            Self::ServedPerSecond => "served/s",
            Self::SlowestConnection => "slowest",
        }
    }

    /// What it says, in a sentence; nothing where the label says it.
    pub fn explanation(self) -> Option<&'static str> {
        Some(match self {
            Self::SentPerSecond => "in/s: messages that clients sent.",
            Self::ReceivedPerSecond => "out/s: messages that clients received.",
            Self::Delivered => "delivered: the share of what was owed that came.",
            Self::ServerCpu => "CPU: cores that the server's process used.",
            Self::ServerCoreBusy => {
                "core: how busy its core was, with the kernel's soft interrupts, which need \
                 not be in its process's time."
            }
            Self::ServerCoreTimePerMessage => "each: that core's time for one message received.",
            Self::MemoryPerClient => {
                "memory: what a client adds to the heap and stacks of the server; buffers in the \
                 kernel are not in it."
            }
            Self::KernelMemoryPerClient => {
                "kernel: by how much a connection's two ends made the kernel's memory grow; what \
                 it kept from earlier connections it takes again, and that is not seen."
            }
            Self::MemoryPeak => "peak: the most that the server's heap and stacks held.",
            Self::WakeupsPerSecond => "wake-ups/s: how often a thread of the server woke up.",
            Self::ServedPerSecond => {
                "served/s: from the first attempt to connect to everyone's first answer."
            }
            Self::SlowestConnection => "slowest: when the last connection was made.",
            _ => return None,
        })
    }

    /// Its unit.
    pub fn unit(self) -> Unit {
        match self {
            Self::SentPerSecond
            | Self::ReceivedPerSecond
            | Self::GeneratorCeiling
            | Self::WakeupsPerSecond
            | Self::ServedPerSecond => Unit::PerSecond,
            Self::LatencyP50
            | Self::LatencyP90
            | Self::LatencyP99
            | Self::LatencyP999
            | Self::LatencyMax
            | Self::ServerCoreTimePerMessage
            | Self::SlowestConnection => Unit::Time,
            Self::MemoryPerClient | Self::KernelMemoryPerClient | Self::MemoryPeak => Unit::Bytes,
            Self::Delivered
            | Self::ServerCpu
            | Self::ServerCoreBusy
            | Self::GeneratorCpu
            | Self::GeneratorCoreBusy
            | Self::ForeignCpu => Unit::Share,
            Self::Threads => Unit::Count,
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::SentPerSecond
                | Self::ReceivedPerSecond
                | Self::Delivered
                | Self::GeneratorCeiling
                | Self::ServedPerSecond
        )
    }

    /// A value of it, with its unit.
    pub fn show(self, value: f64) -> String {
        self.format()(value)
    }

    /// How its values are written, with their unit.
    pub(crate) fn format(self) -> fn(f64) -> String {
        match self.unit() {
            Unit::PerSecond => format::rate,
            Unit::Time => format::time,
            Unit::Bytes => format::bytes,
            Unit::Share if self == Self::Delivered => format::percent,
            Unit::Share => format::share,
            Unit::Count => |value| format::count(value.round() as usize),
        }
    }
}

impl fmt::Display for Metric {
    /// The name that JSON and CSV have for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_listed_once_in_order() {
        assert!(Metric::ALL.is_sorted());
        assert_eq!(Metric::ReceivedPerSecond.to_string(), "received_per_second");
        assert_eq!(Metric::LatencyP99.to_string(), "latency_p99");
    }

    #[test]
    fn values_carry_their_unit() {
        assert_eq!(Metric::ReceivedPerSecond.show(44_000_000.0), "44 M");
        assert_eq!(Metric::LatencyP99.show(86_400.0), "86 µs");
        assert_eq!(Metric::Delivered.show(0.9987), "99.8 %");
        assert_eq!(Metric::MemoryPerClient.show(2048.0), "2.0 kB");
        assert_eq!(Metric::Threads.show(1001.0), "1,001");
    }
}
