//! The test `conformance` of every stage: the catalogue, run against that stage's real binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    conformance::run_as_tests(
        env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME"))),
        env!("CARGO_MANIFEST_DIR"),
    )
}
