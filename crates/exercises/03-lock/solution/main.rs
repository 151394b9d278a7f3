//! Exercise 03-lock: stage 03 with a pool written by hand, all of whose workers work.
//!
//! ```text
//! server$ cargo run -p exercise-03-lock --example solution-03-lock
//! ```

mod pool;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use kit::{Args, Backoff, Flag};
use log::{debug, info};

use crate::pool::Pool;

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[Flag::Workers]);
    kit::exit_code(run_server(&args))
}

/// Accepts clients for ever and leaves each of them to the pool.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    kit::listening_on(listener.local_addr()?);
    let pool = Pool::new(args.workers).context("cannot start the workers")?;
    let mut backoff = Backoff::default();
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                let serve = move || handle_client(stream, address);
                pool.execute(serve);
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
