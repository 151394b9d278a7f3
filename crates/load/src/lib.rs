//! The load generator: many clients of one server in one thread, which verify what they receive.
//!
//! Two workloads, each as a closed loop (a client sends on when the server has answered) or as an
//! open one (a clock says when the next message leaves; see [`Pace`]):
//!
//! - [`Echo`]: each connection sends a message and wants the same bytes back.
//! - [`Broadcast`]: clients send lines, and every line is owed to every other client.
//!
//! Each ends with a [`Report`], and its [`Verdict`] comes first: a server that loses, repeats,
//! reorders or changes a byte gets that for a result and no figures. Every byte of an echo is
//! compared. Of a broadcast, a sample of the clients is verified line by line; the others' bytes are
//! counted and thrown away in the kernel, and their totals must come out exactly. The lines are bare,
//! or travel as another [`Protocol`] wants it.
//!
//! Nothing waits without a bound, but the bounds are on time *without progress*: a slow server is
//! not a wrong one.
//!
//! Memory: 1 MiB, and 200 B for each client; a broadcast of `n` clients adds `4n` B for each
//! verified one (forty of 4,000: 640 kB).

mod broadcast;
mod connect;
mod content;
mod driver;
mod echo;
mod history;
mod line;
mod pace;
mod protocol;
mod report;
mod watch;

pub use broadcast::Broadcast;
pub use content::{Content, Mismatch};
pub use echo::Echo;
pub use history::{Faults, History};
pub use line::{Codec, Line};
pub use pace::Pace;
pub use protocol::Protocol;
pub use report::{Arrival, Error, Fault, Report, Slice, Tally, Unit, Verdict, Window};
pub use watch::{Progress, Watcher};
