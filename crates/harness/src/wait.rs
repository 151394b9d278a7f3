use std::fmt::Debug;
use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::trouble::Cause;

/// How often something is looked at that cannot announce itself.
pub(crate) const SLICE: Duration = Duration::from_millis(20);

/// How long a wait lasts without any event before it is given up: 10 s times the factor in the
/// environment variable `HARNESS_PATIENCE` (default 1, for example 5 on an overloaded machine).
pub fn patience() -> Duration {
    static PATIENCE: OnceLock<Duration> = OnceLock::new();
    *PATIENCE.get_or_init(|| {
        let factor = std::env::var("HARNESS_PATIENCE").ok().and_then(|text| text.parse().ok());
        Duration::try_from_secs_f64(10.0 * factor.unwrap_or(1.0)).unwrap_or(Duration::MAX)
    })
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
