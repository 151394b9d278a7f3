use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use log::LevelFilter;

/// Logs to stderr, one plain line a record. The logger drops what it cannot write, so that a
/// closed stderr does not end the server.
pub(crate) fn init(verbose: bool) {
    let level = if verbose { LevelFilter::Debug } else { LevelFilter::Info };
    env_logger::Builder::new()
        .filter_level(level)
        .format(|line, record| writeln!(line, "{}", record.args()))
        .init();
}

/// Prints the one line that goes to stdout: the server is ready, and this is its address.
pub fn listening_on(address: SocketAddr) {
    // Nobody may be there to read it (`stage-01 | head -0`): not a reason to stop.
    // `println!` would panic.
    let _ = writeln!(io::stdout(), "listening on {address}");
}

/// The exit code of a server that ended with `result`. An error is reported on one line of
/// stderr, its causes included: returned from `main` it would take several.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
