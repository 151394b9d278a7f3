//! Exercise 01-count: stage 01, which numbers its connections in the log.
//!
//! ```text
//! server$ cargo run -p exercise-01-count --example solution-01-count
//! a$ nc 127.0.0.1 3000        the server logs: connection from 127.0.0.1:40312, number 1
//! b$ nc 127.0.0.1 3000        number 2, but not before a leaves
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

/// Accepts clients for ever and serves each of them to its end.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    kit::listening_on(listener.local_addr()?);
    let mut backoff = Backoff::default();
    let mut connections = 0_u64;
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                connections += 1;
                info!("connection from {address}, number {connections}");
                handle_client(stream, address);
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
