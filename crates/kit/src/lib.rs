//! What every stage imports that is not the lesson: the command line, the log, and how long to
//! wait after a failed `accept`.
//!
//! Nothing here accepts, reads, writes or schedules: that is what the stages spell out.

mod args;
mod backoff;
mod log;

pub use args::{Args, Flag, Mode, Policy};
pub use backoff::Backoff;
pub use log::{exit_code, listening_on};
