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
    /// The figures; none where it did not come to that.
    pub window: Option<Window>,
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
    /// Nanoseconds from the moment a message was meant to leave to its arrival. In a broadcast
    /// those of the verified clients.
    pub latency: Histogram<u64>,
    /// The processor time that the generator's thread took.
    pub generator_cpu: Duration,
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
    /// Nobody listens to the run's progress any more.
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

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("length", &self.length)
            .field("sent", &self.sent)
            .field("received", &self.received)
            .field("generator_cpu", &self.generator_cpu)
            .finish_non_exhaustive() // a histogram is thousands of numbers
    }
}

impl Verdict {
    /// Whether the server did something that it must not. To serve few, or to stall, is a limit.
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
