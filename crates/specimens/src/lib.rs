//! Proof that the catalogue can fail: servers of known truth, and the matrix of what each case
//! makes of each of them.
//!
//! The program `specimen` is a plain, correct server, and under each name of `specimens.toml` it is
//! wrong in one known way, or odd and right all the same. Every case of the catalogue has to catch
//! one of them, each of them has to be caught by the cases that name its fault, and what is right
//! must not be found wrong.
//!
//! ```text
//! cargo test -p specimens                       each specimen, on its own cases and some controls
//! cargo test -p specimens -- upper-cases        one of them
//! cargo xtask check --kill-matrix               each of them, on all cases
//! ```

mod manifest;
mod matrix;

pub use manifest::{Expectation, Specimen, specimens};
pub use matrix::{Cell, Matrix, Shot};
