use std::fmt;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

/// What a run found out.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether the server did its work. The figures mean something only if it did, or if it did
    /// for some clients ([`Verdict::Serves`]).
    pub verdict: Verdict,
    /// What the verdict rests on, in one sentence, where there is more to say.
    pub evidence: Option<String>,
    /// How many clients there were to be.
    pub clients: usize,
    /// How many of them the server let in: the connection was made.
    pub connected: usize,
    /// How many of them were served: heard an echo, or were in the room.
    pub served: usize,
    /// How they arrived.
    pub arrival: Arrival,
    /// The figures; none where it did not come to that.
    pub window: Option<Window>,
}

/// How long it took until everyone was there, from the first attempt to connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    /// Until the last connection was made.
    pub connected: Duration,
    /// Until the last client that was served was so for the first time.
    pub served: Duration,
}

/// What happened within the window of a run.
#[derive(Clone)]
pub struct Window {
    /// How long it was.
    pub length: Duration,
    /// Messages that clients sent.
    pub sent: u64,
    /// Messages that clients received: as many as were sent in an echo, and for each line of a
    /// broadcast one at every other client.
    pub received: u64,
    /// The share of what was owed that came in the end, where a clock set the pace.
    pub delivered: Option<f64>,
    /// Nanoseconds from the moment a message was meant to leave to its arrival. In a broadcast
    /// those of the verified clients. Where a clock sets the pace, what was meant to leave within
    /// the window counts whenever it came; else what came within the window.
    pub latency: Histogram<u64>,
    /// The window in slices.
    pub timeline: Vec<Slice>,
    /// The processor time that the generator's thread took.
    pub generator_cpu: Duration,
}

/// A short part of a window.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// When it ended, since the window began.
    pub end: Duration,
    /// How long it was.
    pub length: Duration,
    /// Messages that clients received in it.
    pub received: u64,
    /// The median and the 99th percentile of their latencies in nanoseconds; none without any.
    pub latency: Option<(u64, u64)>,
}

/// How a server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every client was served and nothing was wrong.
    Works,
    /// Only so many clients were served; nothing was wrong with what they got.
    Serves(usize),
    /// Clients were served at first, then nothing moved any more.
    Stalls,
    /// It could not keep the pace: so many of a thousand messages came in time.
    Behind(u32),
    /// What arrived was not what was sent.
    Faulty(Tally),
    /// The server closed this many connections, or it died.
    Closed(usize),
}

/// A fault, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// What is wrong.
    pub fault: Fault,
    /// With how many bytes or lines.
    pub count: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What can be wrong with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never came, though something later did.
    Lost,
    /// It came more than once.
    Duplicated,
    /// It came after something that was sent later.
    Reordered,
    /// It is nothing that anybody sent.
    Corrupted,
    /// It came to a client that it was not meant for.
    Misdelivered,
    /// It came back to its sender, in a broadcast.
    Returned,
    /// More came than was owed, to a client that is only counted.
    Surplus,
}

/// What a [`Tally`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a stream.
    Bytes,
    /// Lines, each counted at every client that is concerned.
    Lines,
}

/// Why a run came to no result. It never is the server's doing.
#[derive(Debug)]
pub enum Error {
    /// Whoever watches the run has stopped it.
    Stopped,
    /// The generator itself could not go on, for want of file descriptors for instance.
    Io(io::Error),
}

impl Window {
    /// Messages sent a second.
    pub fn sent_per_second(&self) -> f64 {
        self.sent as f64 / self.length.as_secs_f64()
    }

    /// Messages received a second.
    pub fn received_per_second(&self) -> f64 {
        self.received as f64 / self.length.as_secs_f64()
    }
}

impl Slice {
    pub(crate) fn quantiles(latency: &Histogram<u64>) -> Option<(u64, u64)> {
        let quantile = |quantile| latency.value_at_quantile(quantile);
        (!latency.is_empty()).then(|| (quantile(0.5), quantile(0.99)))
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("length", &self.length)
            .field("sent", &self.sent)
            .field("received", &self.received)
            .field("delivered", &self.delivered)
            .field("generator_cpu", &self.generator_cpu)
            .finish_non_exhaustive() // a histogram is thousands of numbers
    }
}

impl Verdict {
    /// The verdict on a server that delivered this share, less than all.
    pub(crate) fn behind(share: f64) -> Self {
        Self::Behind((share * 1000.0) as u32)
    }

    /// Whether the server did something that it must not. To serve few, to stall, or to fall
    /// behind, is a limit.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Faulty(_) | Self::Closed(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Serves(clients) => write!(f, "serves {clients}"),
            Self::Stalls => f.write_str("stalls"),
            Self::Behind(share) => write!(f, "delivers {}.{} %", share / 10, share % 10),
            Self::Faulty(tally) => tally.fmt(f),
            Self::Closed(connections) => write!(f, "closed {connections}"),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Lost => "lost",
            Fault::Duplicated => "duplicated",
            Fault::Reordered => "reordered",
            Fault::Corrupted => "corrupted",
            Fault::Misdelivered => "misdelivered",
            Fault::Returned => "returned",
            Fault::Surplus => "surplus of",
        };
        let unit = match (self.unit, self.count) {
            (Unit::Bytes, 1) => "byte",
            (Unit::Bytes, _) => "bytes",
            (Unit::Lines, 1) => "line",
            (Unit::Lines, _) => "lines",
        };
        write!(f, "{fault} {} {unit}", self.count)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Io(error) => write!(f, "the load generator cannot go on: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An empty histogram of nanoseconds: three digits, up to a minute; what is longer counts as one.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}
