//! A report as one page that needs nothing else.

use crate::Report;

/// The page.
pub fn render(_report: &Report) -> String {
    String::new()
}
