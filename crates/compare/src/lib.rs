//! The benchmark: servers side by side, each on a core of its own, measured in interleaved rounds.
//!
//! A [`Plan`] says what is to be measured; [`run()`] measures it and returns the [`Results`], which
//! [`store::keep`] writes to a file and [`report`] shows in several forms. The questions that can
//! be asked are the [`SCENARIOS`], one file each.

pub mod baseline;
mod build;
mod format;
mod machine;
mod measure;
pub mod metric;
mod peers;
pub mod report;
pub mod results;
mod run;
mod scenario;
pub mod statistics;
pub mod store;
mod subject;

pub use machine::{Cores, Place};
pub use results::{Effort, Results};
pub use run::{Plan, interrupts, run};
pub use scenario::{SCENARIOS, Scenario};
pub use subject::{Own, STAGES, parse_stage};
