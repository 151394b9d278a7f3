//! What there is to do at each stage, from the exercises' own manifests.

use std::collections::BTreeMap;
use std::path::Path;

/// The page of tables that the chapters include, one for each stage.
///
/// # Errors
/// An exercise's manifest cannot be read.
pub fn page(root: &Path) -> anyhow::Result<String> {
    let mut rows: BTreeMap<String, String> = BTreeMap::new();
    for exercise in exercise::find_all(root)? {
        let length = match exercise.mark.level {
            1 => "a few lines",
            2 => "half an hour",
            _ => "an hour or more",
        };
        let row = format!("| **{}** | {} | {length} |\n", exercise.name, exercise.title);
        *rows.entry(exercise.mark.base).or_default() += &row;
    }
    let table = |(stage, rows): (String, String)| {
        format!(
            "\n<!-- ANCHOR: {stage} -->\n| exercise | what to do | how long |\n|---|---|---|\n\
             {rows}<!-- ANCHOR_END: {stage} -->\n"
        )
    };
    Ok(rows.into_iter().map(table).collect())
}
