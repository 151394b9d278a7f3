use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use log::warn;

/// How long to wait after a failed `accept`: 10 ms, doubling to 1 s.
///
/// A server out of file descriptors finds its listener ready again at once and for ever: without
/// a pause it spins, and if it gives up nobody is served once descriptors are free again.
#[derive(Debug, Default)]
pub struct Backoff {
    /// What the last error cost; zero after a success.
    delay: Duration,
    logged: Option<Instant>,
}

impl Backoff {
    const SHORTEST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);
    const BETWEEN_LOG_LINES: Duration = Duration::from_secs(1);

    /// The pause that `error` calls for, logged at most once a second. It is zero where the error
    /// is of the one connection that was about to be accepted.
    pub fn after(&mut self, error: &io::Error) -> Duration {
        let now = Instant::now();
        let delay = self.next_delay(error);
        if !delay.is_zero() && self.may_log(now) {
            warn!("cannot accept: {error}; trying again");
        }
        delay
    }

    /// A connection was accepted: the next error waits the shortest time again.
    pub fn reset(&mut self) {
        self.delay = Duration::ZERO;
    }

    fn next_delay(&mut self, error: &io::Error) -> Duration {
        use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return Duration::ZERO;
        }
        self.delay = (self.delay * 2).clamp(Self::SHORTEST, Self::LONGEST);
        self.delay
    }

    fn may_log(&mut self, now: Instant) -> bool {
        let may = self.logged.is_none_or(|then| now - then >= Self::BETWEEN_LOG_LINES);
        if may {
            self.logged = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `accept` reports when the process has no file descriptor left.
    fn emfile() -> io::Error {
        io::Error::from_raw_os_error(24)
    }

    #[test]
    fn delays_double_from_10_ms_to_1_s_and_start_over_after_a_success() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..9).map(|_| backoff.next_delay(&emfile()).as_millis()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next_delay(&emfile()).as_millis(), 10);
    }

    #[test]
    fn a_connection_that_broke_before_it_was_accepted_costs_no_pause() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next_delay(&ErrorKind::ConnectionAborted.into()), Duration::ZERO);
        assert_eq!(backoff.next_delay(&emfile()).as_millis(), 10);
    }

    #[test]
    fn logs_once_a_second_whatever_succeeds_in_between() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        let logged = (0..30).filter(|tenths| {
            backoff.reset();
            backoff.may_log(start + Duration::from_millis(100 * tenths))
        });
        assert_eq!(logged.count(), 3);
    }
}
