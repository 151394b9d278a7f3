use std::ops::Range;
use std::time::{Duration, Instant};

use crate::watch::Clock;

/// When the next message leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// A closed loop: when an earlier one has come back. So many are in flight, of each connection
    /// of an echo, of the whole room of a broadcast.
    InFlight(usize),
    /// An open loop: so many a second leave, from all clients together, one after the other,
    /// whatever comes back.
    PerSecond(f64),
    /// A closed loop with a pace, of an echo: so many a second leave at most. A connection that still
    /// waits for an answer lets its turn pass, and a latency counts from when the message left. It is
    /// how a server is helped to hide that it stood still; to be shown, not used.
    AtMostPerSecond(f64),
    /// Each client is served once when it arrives; then nobody says anything.
    Silent,
}

impl Pace {
    /// How long what is still owed at the end is waited for, even while it arrives: in an open loop
    /// it may be more than ever comes.
    pub(crate) fn longest_drain(self) -> Duration {
        match self {
            Self::PerSecond(_) => Duration::from_secs(2),
            Self::InFlight(_) | Self::AtMostPerSecond(_) | Self::Silent => Duration::MAX,
        }
    }
}

/// The times at which messages are meant to leave, in an open loop.
///
/// Message number `n` is the one of sender `n % senders`. A sender that cannot send in time sends
/// later, and the message still says when it was meant to leave: whoever waited for it, waited
/// that long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: u64,
    period: f64,
    senders: u64,
    /// How many messages have been due so far.
    pub(crate) due: u64,
}

/// Which messages count: those that were meant to leave then, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Counted(pub(crate) Range<u64>);

impl Schedule {
    /// So many a second, by so many senders in turn, from `start` on, in nanoseconds.
    pub(crate) fn new(start: u64, per_second: f64, senders: usize) -> Self {
        let period = 1e9 / per_second.max(1e-3);
        Self { start, period, senders: senders.max(1) as u64, due: 0 }
    }

    /// When message `number` of sender `sender` is to leave.
    pub(crate) fn time(&self, sender: usize, number: u64) -> u64 {
        self.start + ((number * self.senders + sender as u64) as f64 * self.period) as u64
    }

    /// The sender of the next message, if that is due by `now`. It is then counted.
    pub(crate) fn next(&mut self, now: u64) -> Option<usize> {
        let next = self.start + (self.due as f64 * self.period) as u64;
        (next <= now).then(|| {
            self.due += 1;
            ((self.due - 1) % self.senders) as usize
        })
    }

    /// When the next message is due.
    pub(crate) fn next_due(&self, clock: Clock) -> Instant {
        clock.moment(self.start + (self.due as f64 * self.period) as u64)
    }

    /// How many messages of `sender` have been due so far.
    pub(crate) fn due_of(&self, sender: usize) -> u64 {
        (self.due + self.senders - 1).saturating_sub(sender as u64) / self.senders
    }
}

impl Counted {
    /// Nothing yet.
    pub(crate) fn none() -> Self {
        Self(0..0)
    }

    /// The window begins: what is meant to leave after `now` counts, or all, where no clock sets
    /// the pace.
    pub(crate) fn begin(&mut self, now: Option<u64>) {
        self.0 = now.map_or(0, |now| now + 1)..u64::MAX;
    }

    /// The window ends: what is meant to leave after `now` does not count, or nothing any more.
    pub(crate) fn end(&mut self, now: Option<u64>) {
        self.0.end = now.map_or(0, |now| now + 1);
    }

    /// Whether the window is open.
    pub(crate) fn is_window(&self) -> bool {
        self.0.end == u64::MAX
    }

    pub(crate) fn has(&self, time: u64) -> bool {
        self.0.contains(&time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_take_turns_at_even_times() {
        let mut schedule = Schedule::new(5_000, 1e6, 3); // one a microsecond
        assert_eq!(schedule.next(4_999), None);
        let turns: Vec<_> = std::iter::from_fn(|| schedule.next(10_999)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2], "due at 5, 6, 7, 8, 9 and 10 µs");
        assert_eq!((schedule.time(0, 0), schedule.time(2, 1)), (5_000, 10_000));
    }

    #[test]
    fn what_is_due_of_each_adds_up() {
        let mut schedule = Schedule::new(0, 1e9, 3);
        for total in 0..20 {
            let each: u64 = (0..3).map(|sender| schedule.due_of(sender)).sum();
            assert_eq!((schedule.due, each), (total, total));
            schedule.next(u64::MAX);
        }
    }
}
