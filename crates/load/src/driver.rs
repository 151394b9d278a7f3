use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::report::{Error, Slice, Window, latencies};
use crate::watch::{Mark, Progress, Watch, Watcher};

/// The event loop of a run: one thread, all clients.
pub(crate) struct Driver<'a, W> {
    poll: Poll,
    events: Events,
    /// Ends a wait to the microsecond; epoll's own time-out counts in milliseconds.
    timer: OwnedFd,
    watch: Watch<'a>,
    /// What the clients do.
    pub(crate) workload: W,
}

/// What the clients of a run do when something happens.
pub(crate) trait Workload {
    /// The socket that `event` names is ready.
    fn ready(&mut self, event: &Event);

    /// All that was ready has had its turn.
    fn turn_is_over(&mut self) {}

    /// When it wants its next turn, even if nothing is ready by then.
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// What happens from now on counts.
    fn window_begins(&mut self);

    /// What begins from now on does not count.
    fn window_ends(&mut self);

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

impl<'a, W: Workload> Driver<'a, W> {
    /// The timer's place among the clients.
    const TIMER: Token = Token(usize::MAX);
    /// How long the slices of a window are.
    const SLICE: Duration = Duration::from_millis(100);

    pub(crate) fn new(workload: W, watcher: &'a mut Watcher<'a>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let mut source = SourceFd(&timer.as_raw_fd());
        poll.registry().register(&mut source, Self::TIMER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(4096),
            timer,
            watch: Watch::new(watcher),
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
            self.watch.tell(Progress::Measuring)?;
            self.workload.window_begins();
            let (before, begin) = (self.workload.counts(), Mark::now());
            let mut latency = latencies();
            let mut timeline = Vec::new();
            while let Some(left) = length.checked_sub(begin.at().elapsed())
                && !left.is_zero()
                && !self.workload.is_decided()
            {
                let (received, start) = (self.workload.counts().received, Instant::now());
                self.turn_for(Progress::Measuring, left.min(Self::SLICE))?;
                timeline.push(Slice {
                    end: begin.at().elapsed(),
                    length: start.elapsed(),
                    received: self.workload.counts().received - received,
                    latency: Slice::quantiles(self.workload.latency()),
                });
                latency.add(&*self.workload.latency()).expect("both have the same bounds");
                self.workload.latency().reset();
            }
            self.workload.window_ends();
            let (length, generator_cpu) = Mark::now().since(&begin);
            let after = self.workload.counts();
            self.watch.tell(Progress::Measured)?;
            let window = Window {
                length,
                sent: after.sent - before.sent,
                received: after.received - before.received,
                delivered: None,
                latency,
                timeline,
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
        let mut timeout = longest.min(Watch::TICK);
        if let Some(due) = self.workload.next_due() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                timeout = left;
            } else if left < timeout {
                self.set_timer(left)?;
            }
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            if event.token() != Self::TIMER {
                self.workload.ready(event);
            }
        }
        self.workload.turn_is_over();
        Ok(())
    }

    /// Ends the next wait after `time`.
    fn set_timer(&self, time: Duration) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()).max(1) };
        let time = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time)?;
        Ok(())
    }
}
