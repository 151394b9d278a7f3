//! Stage 01: blocking echo. One thread serves one client at a time.
//!
//! ```text
//! server$ cargo run -p stage-01
//! a$ nc 127.0.0.1 3000        type hello, and hello comes back
//! b$ nc 127.0.0.1 3000        type hello, and nothing comes until a leaves
//! ```

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use kit::{Args, Backoff};
use log::{debug, info};

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[]);
    kit::exit_code(run_server(&args))
}

// ANCHOR: run_server
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
// ANCHOR_END: run_server

// ANCHOR: handle_client
/// Serves one client until it leaves. Its errors end here: they are this client's alone.
fn handle_client(stream: TcpStream, address: SocketAddr) {
    match echo(stream, address) {
        Ok(()) => info!("client disconnected: {address}: end of input"),
        Err(error) => info!("client disconnected: {address}: {error}"),
    }
}
// ANCHOR_END: handle_client

// ANCHOR: echo
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
// ANCHOR_END: echo
