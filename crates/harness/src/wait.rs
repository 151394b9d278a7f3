use std::fmt::Debug;
use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::trouble::Cause;

/// How often something is looked at that cannot announce itself.
pub(crate) const SLICE: Duration = Duration::from_millis(20);

/// How long a wait lasts without any event before it is given up: 10 s times the factor in the
/// environment variable `HARNESS_PATIENCE` (default 1, for example 5 on an overloaded machine, and
/// `inf` for as good as for ever).
pub fn patience() -> Duration {
    static PATIENCE: OnceLock<Duration> = OnceLock::new();
    *PATIENCE.get_or_init(|| times(std::env::var("HARNESS_PATIENCE").ok()))
}

fn times(factor: Option<String>) -> Duration {
    // Others multiply it, and add it to a moment: a year is long enough.
    const LONGEST: f64 = 365.0 * 24.0 * 60.0 * 60.0;
    let factor: Option<f64> = factor.and_then(|text| text.parse().ok());
    let factor = factor.filter(|factor| *factor >= 0.0).unwrap_or(1.0);
    Duration::from_secs_f64((10.0 * factor).min(LONGEST))
}

/// Reads a value again and again until it is `good`. Each change of the value is progress.
pub(crate) fn until<V: Debug + PartialEq>(
    mut read: impl FnMut() -> io::Result<V>,
    good: impl Fn(&V) -> bool,
) -> std::result::Result<V, Cause> {
    let mut pause = Duration::from_millis(1);
    let mut last = None;
    let mut changed = Instant::now();
    loop {
        let value = read().map_err(Cause::Io)?;
        if good(&value) {
            return Ok(value);
        }
        if last.as_ref() != Some(&value) {
            last = Some(value);
            changed = Instant::now();
        } else if changed.elapsed() >= patience() {
            return Err(Cause::Unchanged(format!("at {value:?}")));
        }
        // Not a proof of anything: only how often to look.
        thread::sleep(pause);
        pause = (pause * 2).min(SLICE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_never_more_than_can_be_counted_with() {
        let seconds = |factor: &str| times(Some(factor.to_owned())).as_secs_f64();
        assert_eq!([seconds("0.3"), seconds("5"), seconds("inf")], [3.0, 50.0, 31_536_000.0]);
        assert_eq!(["much", "-1", "NaN"].map(seconds), [10.0; 3]);
        assert!(times(Some("1e300".to_owned())).checked_mul(60).is_some());
    }
}
