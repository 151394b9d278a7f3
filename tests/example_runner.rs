//! The test that has the name of a stage's example: the catalogue, run against that example.

use std::process::ExitCode;

fn main() -> ExitCode {
    conformance::run_example_as_tests(env!("CARGO_CRATE_NAME"), env!("CARGO_MANIFEST_DIR"))
}
