//! Stage 03 with the pool written by hand: threads that take clients from a bounded channel.
//!
//! The channel is the queue that `threadpool` hides. Since it is bounded, one sees both what waits
//! in it and what no longer fits.
//!
//! ```text
//! server$ cargo run -p stage-03 --example pool_by_hand -- --workers 1 --max-waiting 1
//! a$ nc 127.0.0.1 3000        type hello, and hello comes back
//! b$ nc 127.0.0.1 3000        type hello: the server says that b waits; it is served when a leaves
//! c$ cargo run -p client      refused, and told at once
//! ```

mod pool;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use kit::{Args, Backoff, Flag};
use log::{debug, info, warn};

use crate::pool::{Full, Pool};

fn main() -> ExitCode {
    let about = "The echo of stage 03, its thread pool written by hand";
    let args = Args::parse(about, &[Flag::Workers, Flag::MaxWaiting]);
    kit::exit_code(run_server(&args))
}

/// Accepts clients for ever and leaves each of them to the pool.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    let pool = Pool::new(args.workers, args.max_waiting).context("cannot start the workers")?;
    kit::listening_on(listener.local_addr()?);
    let mut backoff = Backoff::default();
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                match pool.execute(move || handle_client(stream, address)) {
                    Ok(0) => {}
                    Ok(waiting) => info!("clients waiting for a worker: {waiting}"),
                    Err(Full) => warn!("client refused: {address}: too many wait"),
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
