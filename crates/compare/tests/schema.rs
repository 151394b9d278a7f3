//! The published schema is that of the types, and what is written keeps to it.

use std::fs;

use compare::Results;
use compare::report;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json");
const SAMPLE: &str = include_str!("sample.json");

#[test]
fn the_published_schema_is_that_of_the_types() {
    let published = fs::read_to_string(SCHEMA).expect("the schema is published");
    assert_eq!(
        published,
        Results::schema(),
        "`cargo xtask compare --format schema > crates/compare/schema.json` publishes it anew"
    );
}

#[test]
fn results_keep_to_the_schema_and_come_back_as_they_were() {
    let results: Results = serde_json::from_str(SAMPLE).expect("the sample is of this version");
    let json = report::json(&results).expect("results have a JSON form");
    assert_eq!(json, SAMPLE);

    let schema = serde_json::from_str(&Results::schema()).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("it is a valid schema");
    let mut value: serde_json::Value = serde_json::from_str(SAMPLE).expect("it is JSON");
    assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).next());
    value["scenarios"][0]["measurements"][0]["marks"] = serde_json::json!(["no-such-mark"]);
    assert!(!validator.is_valid(&value), "it tells what is wrong");
}
