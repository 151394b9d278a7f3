//! Exercise 02-limit: stage 02, which refuses politely whoever comes above a limit.
//!
//! ```text
//! server$ MAX_CLIENTS=2 cargo run -p exercise-02-limit --example solution-02-limit
//! a$ nc 127.0.0.1 3000        type hello, and hello comes back
//! b$ nc 127.0.0.1 3000        type hello, and hello comes back, too
//! c$ nc 127.0.0.1 3000        is told that there is no room, and the connection ends
//! ```

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use kit::{Args, Backoff};
use log::{debug, info};

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[]);
    kit::exit_code(run_server(&args))
}

/// Accepts clients for ever and gives each of them a thread.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    kit::listening_on(listener.local_addr()?);
    let mut backoff = Backoff::default();
    // Each client's thread holds a clone, and drops it however it ends.
    let seat = Arc::new(());
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                if Arc::strong_count(&seat) > max_clients() {
                    refuse(stream, address);
                    continue;
                }
                let taken = Arc::clone(&seat);
                let serve = move || {
                    handle_client(stream, address);
                    drop(taken);
                };
                // `thread::spawn` would panic where the system has no thread left.
                if let Err(error) = thread::Builder::new().spawn(serve) {
                    info!("client refused: {address}: {error}");
                }
            }
            Err(error) => thread::sleep(backoff.after(&error)),
        }
    }
}

/// How many clients are served at a time: 10,000, or what the environment says.
fn max_clients() -> usize {
    env::var("MAX_CLIENTS").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000)
}

/// Tells a client that there is no room for it, and closes its connection.
fn refuse(mut stream: TcpStream, address: SocketAddr) {
    info!("client refused: {address}: {} are served", max_clients());
    // So short a line finds room in the kernel: no client can make this wait. It fails where the
    // client has gone already.
    let _ = stream.write_all(b"no room: try again later\n");
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
