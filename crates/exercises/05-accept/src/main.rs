//! Exercise 05-accept: stage 05, to sleep in `accept` only while there is nobody to serve.
//!
//! ```text
//! server$ cargo run -p exercise-05-accept
//! a$ nc 127.0.0.1 3000        type hello, and hello comes back, though nobody else connects
//! b$ nc 127.0.0.1 3000        type hello: nothing comes until a leaves
//! ```

mod event_loop;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;

use anyhow::Context;
use coroutine::Yielder;
use kit::{Args, Backoff};
use log::info;

use crate::event_loop::EventLoop;

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[]);
    kit::exit_code(run_server(&args))
}

/// Starts the first task, which accepts clients, and runs the loop for ever.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    kit::listening_on(listener.local_addr()?);
    let event_loop = Rc::new(EventLoop::default());
    event_loop.create_task(|co| accept_clients(co, listener, Rc::clone(&event_loop)));
    event_loop.run();
    Ok(())
}

/// Accepts clients for ever and makes a task of each of them.
async fn accept_clients(co: Yielder<()>, listener: TcpListener, event_loop: Rc<EventLoop>) {
    let mut backoff = Backoff::default();
    loop {
        co.yield_(()).await;
        // todo: with other tasks in the loop, accept only who is there already.
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                event_loop.create_task(|co| handle_client(co, stream, address));
            }
            Err(error) => thread::sleep(backoff.after(&error)),
        }
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
async fn handle_client(co: Yielder<()>, stream: TcpStream, address: SocketAddr) {
    match echo(&co, stream).await {
        Ok(()) => info!("client disconnected: {address}: end of input"),
        Err(error) => info!("client disconnected: {address}: {error}"),
    }
}

/// Sends back what arrives until the client has nothing more to send.
async fn echo(co: &Yielder<()>, mut stream: TcpStream) -> io::Result<()> {
    // Send each answer at once: it must not wait until the client has acknowledged the last one.
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        co.yield_(()).await;
        let received = stream.read(&mut buffer)?;
        if received == 0 {
            return Ok(());
        }
        co.yield_(()).await;
        stream.write_all(&buffer[..received])?;
    }
}
