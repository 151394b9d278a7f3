//! Exercise 02-stop: stage 02, to stop in order on SIGINT and SIGTERM.
//!
//! ```text
//! server$ cargo run -p exercise-02-stop
//! ```

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use kit::{Args, Backoff};
use log::{debug, info};

/// How long a stop waits for clients to take what they are owed.
#[allow(dead_code)] // todo: use it, and remove this line.
const GRACE: Duration = Duration::from_millis(1500);

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[]);
    kit::exit_code(run_server(&args))
}

/// Accepts clients for ever and gives each of them a thread.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    // todo: from here on a signal does not end the process at once: see README.md.
    kit::listening_on(listener.local_addr()?);
    let mut backoff = Backoff::default();
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                let serve = move || handle_client(stream, address);
                // `thread::spawn` would panic where the system has no thread left.
                if let Err(error) = thread::Builder::new().spawn(serve) {
                    info!("client refused: {address}: {error}");
                }
            }
            Err(error) => thread::sleep(backoff.after(&error)),
        }
    }
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
