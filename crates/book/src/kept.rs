//! What the book keeps to take its figures from: runs of `cargo xtask compare`, and its own
//! measurements.

use std::fs;
use std::path::Path;

use anyhow::Context;
use compare::Results;
use compare::results::{Load, Measurement, Scenario};
use serde::Serialize;

/// A run, and where it is kept.
pub(crate) struct Kept {
    /// From the root of the workspace.
    pub(crate) file: &'static str,
    pub(crate) results: Results,
}

impl Kept {
    pub(crate) fn read(root: &Path, file: &'static str) -> anyhow::Result<Self> {
        let text = fs::read(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        Self::parse(file, &text)
    }

    pub(crate) fn parse(file: &'static str, text: &[u8]) -> anyhow::Result<Self> {
        let results =
            serde_json::from_slice(text).with_context(|| format!("{file} holds no results"))?;
        Ok(Self { file, results })
    }

    pub(crate) fn scenario(&self, id: &str) -> anyhow::Result<&Scenario> {
        let found = self.results.scenarios.iter().find(|it| it.id == id);
        found.with_context(|| format!("{} lacks {id}", self.file))
    }

    /// The first measurement of a subject in a scenario whose load it is.
    pub(crate) fn find(
        &self,
        scenario: &str,
        subject: &str,
        is_it: impl Fn(&Load) -> bool,
    ) -> anyhow::Result<&Measurement> {
        let mut measurements = self.scenario(scenario)?.measurements.iter();
        let found = measurements.find(|it| it.subject == subject && is_it(&it.load));
        found.with_context(|| format!("{} lacks a figure of {scenario}, {subject}", self.file))
    }
}

/// Writes what the book has measured by itself to `file`, from the root of the workspace.
pub(crate) fn keep(root: &Path, file: &str, measured: &impl Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(measured)? + "\n";
    fs::write(root.join(file), json).context("cannot keep the measurement")
}

/// Parts for the chapters to include, one for each anchor.
pub(crate) fn page(parts: impl IntoIterator<Item = (impl AsRef<str>, String)>) -> String {
    let part = |(anchor, text): (_, String)| {
        let (anchor, text) = (AsRef::<str>::as_ref(&anchor), text.trim_end());
        format!("\n<!-- ANCHOR: {anchor} -->\n{text}\n<!-- ANCHOR_END: {anchor} -->\n")
    };
    parts.into_iter().map(part).collect()
}
