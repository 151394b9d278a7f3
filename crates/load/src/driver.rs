use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use hdrhistogram::Histogram;
use mio::event::Event;
use mio::{Events, Poll, Registry};

use crate::report::{Error, Window};
use crate::watch::{Mark, Progress, Watch};

/// The event loop of a run: one thread, all clients.
pub(crate) struct Driver<W> {
    poll: Poll,
    events: Events,
    watch: Watch,
    /// What the clients do.
    pub(crate) workload: W,
}

/// What the clients of a run do when something happens.
pub(crate) trait Workload {
    /// The socket that `event` names is ready.
    fn ready(&mut self, event: &Event);

    /// All that was ready has had its turn.
    fn turn_is_over(&mut self) {}

    /// Whether the verdict is known before the end of the run.
    fn is_decided(&self) -> bool;

    /// How many messages there were so far.
    fn counts(&self) -> Counts;

    /// Where latencies are recorded.
    fn latency(&mut self) -> &mut Histogram<u64>;
}

/// Messages of all clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl<W: Workload> Driver<W> {
    pub(crate) fn new(workload: W, progress: &Sender<Progress>) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            watch: Watch::new(progress),
            workload,
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Goes on for so long, or until the verdict is known.
    pub(crate) fn turn_for(&mut self, phase: Progress, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        while !self.workload.is_decided() {
            self.watch.tell(phase)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.turn(left)?;
        }
        Ok(())
    }

    /// Goes on until `is_done`, or the verdict is known, or for `patience` what `moves` has been
    /// the same. Says whether it is done.
    pub(crate) fn turn_until<T: PartialEq>(
        &mut self,
        phase: impl Fn(&W) -> Progress,
        patience: Duration,
        moves: impl Fn(&W) -> T,
        is_done: impl Fn(&W) -> bool,
    ) -> Result<bool, Error> {
        let mut last = moves(&self.workload);
        let mut moved = Instant::now();
        while !self.workload.is_decided() {
            self.watch.tell(phase(&self.workload))?;
            if is_done(&self.workload) {
                return Ok(true);
            }
            let left = patience.saturating_sub(moved.elapsed());
            if left.is_zero() {
                break;
            }
            self.turn(left)?;
            let now = moves(&self.workload);
            if now != last {
                last = now;
                moved = Instant::now();
            }
        }
        Ok(false)
    }

    /// Measures for so long. Where nothing comes in that time, it waits for something until
    /// `patience` is at its end, and measures anew: the machine may have had no time for one of
    /// the two sides.
    pub(crate) fn measure(
        &mut self,
        length: Duration,
        patience: Duration,
    ) -> Result<Window, Error> {
        loop {
            self.workload.latency().reset();
            let (before, begin) = (self.workload.counts(), Mark::now());
            self.turn_for(Progress::Measuring, length)?;
            let (length, generator_cpu) = Mark::now().since(&begin);
            let after = self.workload.counts();
            let window = Window {
                length,
                sent: after.sent - before.sent,
                received: after.received - before.received,
                latency: self.workload.latency().clone(),
                generator_cpu,
            };
            let received = |workload: &W| workload.counts().received;
            let has_come = |workload: &W| received(workload) > after.received;
            if window.received > 0
                || !self.turn_until(|_| Progress::Measuring, patience, received, has_come)?
            {
                return Ok(window);
            }
        }
    }

    /// Waits for events, and lets each client do what it can.
    fn turn(&mut self, longest: Duration) -> Result<(), Error> {
        match self.poll.poll(&mut self.events, Some(longest.min(Watch::TICK))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            self.workload.ready(event);
        }
        self.workload.turn_is_over();
        Ok(())
    }
}
