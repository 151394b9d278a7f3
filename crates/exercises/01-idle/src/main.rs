//! Exercise 01-idle: stage 01, to let nobody keep the server for ever by saying nothing.
//!
//! ```text
//! server$ SILENCE=5 cargo run -p exercise-01-idle
//! ```

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use kit::{Args, Backoff};
use log::{debug, info};

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[]);
    kit::exit_code(run_server(&args))
}

/// Accepts clients for ever and serves each of them to its end.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    kit::listening_on(listener.local_addr()?);
    let mut backoff = Backoff::default();
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                handle_client(stream, address);
            }
            Err(error) => thread::sleep(backoff.after(&error)),
        }
    }
}

/// How long a client may say nothing: for ever, or so many seconds as the environment says.
#[allow(dead_code)] // todo: use it, and remove this line.
fn silence() -> Option<Duration> {
    let seconds: NonZeroU16 = env::var("SILENCE").ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.get().into()))
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
fn handle_client(stream: TcpStream, address: SocketAddr) {
    match echo(stream, address) {
        Ok(()) => info!("client disconnected: {address}: end of input"),
        Err(error) => info!("client disconnected: {address}: {error}"),
    }
}

/// Sends back what arrives until the client has nothing more to send.
fn echo(mut stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    // Send each answer at once: it must not wait until the client has acknowledged the last one.
    stream.set_nodelay(true)?;
    // todo: a read waits for silence() at most.
    let mut buffer = [0; 4096];
    loop {
        debug!("waiting for bytes from {address}");
        let received = stream.read(&mut buffer)?;
        if received == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..received])?;
    }
}
