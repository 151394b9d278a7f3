//! The exercises: what there is to do, whether a learner has done it, and what to say if not.
//!
//! An exercise is a package under `crates/exercises`. Its `src/main.rs` is a stage's listing with
//! a place marked `todo`, or with a flaw to be found, or a server of its own ([`Beginning`]); its
//! [`Mark`] says which cases have to pass once the work is done, while all others come out as for
//! the stage. [`Judge`] runs those cases and keeps to a deadline; what a
//! [`Report`] says is written for learners. [`Progress`] is a file in the root.
//!
//! To add an exercise, copy the folder of one and change it: the manifest with its mark, the
//! skeleton, README.md, the three hints, the solution. A case that no stage has stands in
//! `src/cases`, under the exercise's name. `cargo test -p exercise` proves that the skeleton
//! fails as its stage does and that the solution passes; when a stage's listing changes, it says
//! which line the skeleton lacks. The solution has to follow by hand.

mod build;
mod cases;
mod find;
pub mod grades;
mod judge;
mod progress;
mod reset;
mod words;

pub use build::{Built, Part, build};
pub use find::{Beginning, Exercise, Mark, Unknown, find, find_all};
pub use judge::{Judge, Judged, Report, Standing, Step};
pub use progress::{Progress, Record};
pub use reset::reset;
pub use words::narrow;
