//! `cargo xtask look`: what a running server does, seen from outside.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

/// Look at a running server: what its threads sleep in, and whose bytes wait
///
/// It reads what the kernel knows (/proc/PID/task/*/syscall and /proc/net/tcp) and does not touch
/// the server. Any server can be looked at that listens on this machine, in whatever language.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The port on which it listens
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

/// Does what `options` say.
///
/// # Errors
///
/// Nobody listens there, or the kernel does not say.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let seen = ::book::look(options.port).context("cannot look at the server")?;
    // Nobody may be there to read it any more (`| head`): not a reason to fail.
    let _ = io::stdout().write_all(seen.as_bytes());
    Ok(ExitCode::SUCCESS)
}
