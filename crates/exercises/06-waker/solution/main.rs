//! Exercise 06-waker: an echo on a small runtime, which wakes the task whose socket is ready.
//!
//! ```text
//! server$ cargo run -p exercise-06-waker --example solution-06-waker
//! ```

mod runtime;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;

use anyhow::Context;
use kit::{Args, Backoff};
use log::info;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use socket2::SockRef;

use crate::runtime::Runtime;

/// How many connections may wait to be accepted.
const LISTEN_BACKLOG: i32 = 4096;
/// How often a client is read from before the others have their turn.
const READS_PER_TURN: usize = 4;

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[]);
    kit::exit_code(run_server(&args))
}

/// Starts the first task, which accepts clients, and runs the tasks for ever.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = net::TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    SockRef::from(&listener).listen(LISTEN_BACKLOG)?;
    listener.set_nonblocking(true)?;
    kit::listening_on(listener.local_addr()?);
    let mut listener = TcpListener::from_std(listener);
    let runtime = Rc::new(Runtime::new()?);
    let token = runtime.register(&mut listener)?;
    runtime.spawn(accept_clients(Rc::clone(&runtime), listener, token));
    runtime.run().context("cannot wait for events")
}

/// Accepts clients for ever and makes a task of each of them.
async fn accept_clients(runtime: Rc<Runtime>, listener: TcpListener, token: Token) {
    let mut backoff = Backoff::default();
    loop {
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                runtime.spawn(handle_client(Rc::clone(&runtime), stream, address));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                runtime.ready(token, Interest::READABLE).await;
            }
            Err(error) => {
                // This runtime has no timers: everyone waits, and then has a turn.
                thread::sleep(backoff.after(&error));
                runtime::turn().await;
            }
        }
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
async fn handle_client(runtime: Rc<Runtime>, stream: TcpStream, address: SocketAddr) {
    match echo(&runtime, stream).await {
        Ok(()) => info!("client disconnected: {address}: end of input"),
        Err(error) => info!("client disconnected: {address}: {error}"),
    }
}

/// Sends back what arrives until the client has nothing more to send.
async fn echo(runtime: &Runtime, mut stream: TcpStream) -> io::Result<()> {
    // Send each answer at once: it must not wait until the client has acknowledged the last one.
    stream.set_nodelay(true)?;
    let token = runtime.register(&mut stream)?;
    let mut buffer = [0; 16 * 1024];
    for reads in 1_usize.. {
        let received = loop {
            match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    runtime.ready(token, Interest::READABLE).await;
                }
                received => break received?,
            }
        };
        if received == 0 {
            break;
        }
        let mut rest = &buffer[..received];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    runtime.ready(token, Interest::WRITABLE).await;
                }
                Err(error) => return Err(error),
            }
        }
        if reads.is_multiple_of(READS_PER_TURN) {
            runtime::turn().await;
        }
    }
    Ok(())
}
