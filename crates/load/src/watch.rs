use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::time::{ClockId, clock_gettime};

use crate::line::Line;
use crate::report::Error;

/// Where a run is. Sent when it changes, and again ten times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Clients arrive; so many have been served.
    Arriving(usize),
    /// The clients do what they will do, and nothing is counted yet.
    WarmingUp,
    /// The window: what happens now is the result.
    Measuring,
    /// Nothing more is sent; what is still owed arrives.
    Draining,
}

/// Tells those who watch a run where it is.
#[derive(Debug)]
pub(crate) struct Watch {
    progress: Sender<Progress>,
    told: Option<(Progress, Instant)>,
}

/// The time since the start of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

/// The clock and this thread's processor time at one moment, to take the difference of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    at: Instant,
    cpu: Duration,
}

impl Watch {
    /// The longest time without a word.
    pub(crate) const TICK: Duration = Duration::from_millis(100);

    pub(crate) fn new(progress: &Sender<Progress>) -> Self {
        Self { progress: progress.clone(), told: None }
    }

    /// Tells where the run is, if that is news or was said long ago. Fails if nobody listens.
    pub(crate) fn tell(&mut self, progress: Progress) -> Result<(), Error> {
        let is_stale = self.told.is_none_or(|(told, at)| {
            std::mem::discriminant(&told) != std::mem::discriminant(&progress)
                || at.elapsed() >= Self::TICK
        });
        if is_stale {
            self.told = Some((progress, Instant::now()));
            self.progress.send(progress).map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Nanoseconds since the start: enough for centuries.
    pub(crate) fn nanos(self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Microseconds since the start, as a [`Line`] carries them.
    pub(crate) fn micros(self) -> u32 {
        (self.nanos() / 1000) as u32 % Line::MICROS
    }
}

impl Mark {
    pub(crate) fn now() -> Self {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        // Neither part of a thread's processor time is ever negative.
        let cpu = Duration::new(cpu.tv_sec.unsigned_abs(), cpu.tv_nsec.unsigned_abs() as u32);
        Self { at: Instant::now(), cpu }
    }

    /// Time and this thread's processor time since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> (Duration, Duration) {
        (self.at - earlier.at, self.cpu.saturating_sub(earlier.cpu))
    }
}
