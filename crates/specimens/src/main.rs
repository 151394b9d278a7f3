//! One server under many names: right as `good`, and under each other name wrong, or odd, in the
//! one way that `specimens.toml` tells.
//!
//! ```text
//! server$ cargo run -p specimens -- upper-cases --mode echo
//! a$ nc 127.0.0.1 3000        type hello, and HELLO comes back
//! ```

mod client;
mod fault;
mod owed;
mod server;
mod spoil;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use kit::{Args, Flag};

use fault::Fault;

const FLAGS: &[Flag] = &[Flag::Mode, Flag::MaxLine, Flag::MaxBacklog, Flag::ClientMayEnd];

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().collect();
    let name = (arguments.len() > 1).then(|| arguments.remove(1));
    let Some(fault) = name.as_ref().and_then(|name| Fault::named(name.to_str()?)) else {
        eprintln!("Usage: specimen NAME [OPTIONS]; the names stand in specimens.toml");
        return ExitCode::from(2);
    };
    if fault == Fault::IgnoresItsArguments {
        arguments = spoil::what_it_knows(&arguments);
    }
    let args = Args::parse_from(env!("CARGO_PKG_DESCRIPTION"), FLAGS, arguments);
    if fault == Fault::CrashesAtStart {
        panic!("it does not even start");
    }
    kit::exit_code(server::run(fault, args))
}
