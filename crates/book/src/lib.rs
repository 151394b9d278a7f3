//! What makes the book true.
//!
//! mdBook ends with success where an include leads nowhere, and prints nothing for an anchor that
//! does not exist. So everything that the book claims is checked here:
//!
//! - [`sources`]: all Rust in the book is included from code that is compiled; every include and
//!   every anchor leads to something.
//! - [`transcript`] and [`replay()`]: several terminals on one page, played against the real
//!   programs.
//! - [`console`]: commands that end by themselves, and what they print.
//! - [`generated`]: what changed from one stage to the next, the figures of a kept run, and what there
//!   is to do at each stage are current.
//! - [`html`]: the built book has no broken link and asks nothing of the network.
//!
//! The first four need no mdBook and run in `cargo test -p book`; `cargo xtask book check` adds the
//! last.

pub mod console;
pub mod copies;
mod diffs;
mod exercises;
pub mod generated;
pub mod growth;
pub mod html;
mod kept;
mod look;
pub mod markdown;
mod measured;
mod measuring;
pub mod policies;
pub mod programs;
mod replay;
pub mod sources;
pub mod styled;
pub mod transcript;

use std::fmt;
use std::path::{Path, PathBuf};

pub use look::look;
pub use replay::{Mismatch, replay};

/// The root of the workspace: `book/` stands in it.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is crates/book")
}

/// A place in a file where the book is wrong, and how.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, from the root of the workspace.
    pub file: PathBuf,
    /// The line, counted from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what } = self;
        match line {
            0 => write!(f, "{}: {what}", file.display()),
            line => write!(f, "{}:{line}: {what}", file.display()),
        }
    }
}
