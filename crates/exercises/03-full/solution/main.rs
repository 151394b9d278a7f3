//! Exercise 03-full: stage 03, which refuses whoever comes when its queue is full.
//!
//! ```text
//! server$ cargo run -p exercise-03-full --example solution-03-full -- --workers 1 --max-waiting 1
//! a$ nc 127.0.0.1 3000        type hello, and hello comes back
//! b$ nc 127.0.0.1 3000        type hello: it is served when a leaves
//! c$ nc 127.0.0.1 3000        is told that the queue is full, and the connection ends
//! ```

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use kit::{Args, Backoff, Flag};
use log::{debug, info};
use threadpool::ThreadPool;

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[Flag::Workers, Flag::MaxWaiting]);
    kit::exit_code(run_server(&args))
}

/// Accepts clients for ever and leaves each of them to the pool.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    kit::listening_on(listener.local_addr()?);
    let pool = ThreadPool::new(args.workers);
    let mut backoff = Backoff::default();
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                if pool.active_count() + pool.queued_count() >= args.workers + args.max_waiting {
                    refuse(stream, address);
                    continue;
                }
                let serve = move || handle_client(stream, address);
                pool.execute(serve);
                let clients = pool.active_count() + pool.queued_count();
                if clients > args.workers {
                    info!("clients waiting for a worker: {}", clients - args.workers);
                }
            }
            Err(error) => thread::sleep(backoff.after(&error)),
        }
    }
}

/// Tells a client that the queue is full, and closes its connection.
fn refuse(mut stream: TcpStream, address: SocketAddr) {
    info!("client refused: {address}: the queue is full");
    // So short a line finds room in the kernel: no client can make this wait. It fails where the
    // client has gone already.
    let _ = stream.write_all(b"the queue is full: try again later\n");
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
