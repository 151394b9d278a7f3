//! Pages of the book.

use std::path::Path;

use crate::{Report, Stage};

/// Writes them.
///
/// # Errors
/// A file cannot be written.
pub fn write(_root: &Path, _stages: &[Stage], _report: &Report) -> anyhow::Result<()> {
    Ok(())
}
