//! Runs the catalogue of cases against servers, ours and anybody's, and tells what came of it.
//!
//! - [`Server`] is one to be judged: a [`conformance::Subject`] with a name.
//! - [`run()`] runs cases against servers, as many at a time as there are cores, and gives a
//!   [`Report`]: for each server and case a [`Row`].
//! - [`text`] shows a report on a terminal, [`json`], [`junit`] and [`html`] in a file. What a
//!   failure says comes from one place, whoever shows it: [`Explanation`].
//! - [`book`] writes the pages of the book that a report or the catalogue yields.

pub mod book;
mod explanation;
pub mod html;
pub mod json;
pub mod junit;
mod report;
mod run;
mod stages;
pub mod text;

pub use explanation::Explanation;
pub use report::{Count, Kind, Report, Row, ServerReport};
pub use run::{Plan, Server, run};
pub use stages::{Stage, build};
