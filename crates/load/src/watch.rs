use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::line::Line;
use crate::report::Error;

/// Where a run is. Told when it changes, and again ten times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Clients arrive; so many have been served.
    Arriving(usize),
    /// The clients do what they will do, and nothing is counted yet.
    WarmingUp,
    /// The window: what happens now is the result.
    Measuring,
    /// The window is over.
    Measured,
    /// Nothing more is sent; what is still owed arrives.
    Draining,
}

/// Is told where a run is, on the generator's own thread: nothing is sent or received meanwhile.
/// `Break` ends the run with [`Error::Stopped`].
pub type Watcher<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Tells the watcher of a run where it is.
pub(crate) struct Watch<'a> {
    watcher: &'a mut Watcher<'a>,
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

impl<'a> Watch<'a> {
    /// The longest time without a word.
    pub(crate) const TICK: Duration = Duration::from_millis(100);

    pub(crate) fn new(watcher: &'a mut Watcher<'a>) -> Self {
        Self { watcher, told: None }
    }

    /// Tells where the run is, if that is news or was said long ago. Fails if it is to stop.
    pub(crate) fn tell(&mut self, progress: Progress) -> Result<(), Error> {
        let is_stale = self.told.is_none_or(|(told, at)| {
            std::mem::discriminant(&told) != std::mem::discriminant(&progress)
                || at.elapsed() >= Self::TICK
        });
        if is_stale {
            if (self.watcher)(progress).is_break() {
                return Err(Error::Stopped);
            }
            self.told = Some((progress, Instant::now()));
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

    /// The moment that lies so many nanoseconds after the start.
    pub(crate) fn moment(self, nanos: u64) -> Instant {
        self.start + Duration::from_nanos(nanos)
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

    /// When it was.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Time and this thread's processor time since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> (Duration, Duration) {
        (self.at - earlier.at, self.cpu.saturating_sub(earlier.cpu))
    }
}
