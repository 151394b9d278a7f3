//! Stage 06's echo as an `async fn` on a runtime of our own, with real wakers: the step from
//! stage 06 to tokio.
//!
//! The handler below is what one would write on tokio, but for one word. What is underneath stands
//! in `runtime.rs`: an executor, a reactor, and the waker between them.
//!
//! ```text
//! server$ cargo run -p stage-06 --example waker
//! a$ nc 127.0.0.1 3000        type hello, and it comes back
//! ```

mod runtime;

use std::io;
use std::net::{self, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context;
use kit::{Args, Backoff};
use log::info;
use socket2::SockRef;

use crate::runtime::{Runtime, TcpListener, TcpStream};

/// How many connections may wait to be accepted.
const LISTEN_BACKLOG: i32 = 4096;

fn main() -> ExitCode {
    let args = Args::parse("Stage 06's echo as an async fn, on our own runtime", &[]);
    kit::exit_code(run_server(&args))
}

/// Starts the first task, which accepts clients, and runs the tasks for ever.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = net::TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    SockRef::from(&listener).listen(LISTEN_BACKLOG)?;
    kit::listening_on(listener.local_addr()?);
    let runtime = Rc::new(Runtime::new()?);
    let listener = TcpListener::from_std(&runtime, listener)?;
    runtime.spawn(accept_clients(Rc::clone(&runtime), listener));
    runtime.run().context("cannot wait for events")
}

/// Accepts clients for ever and makes a task of each of them.
async fn accept_clients(runtime: Rc<Runtime>, listener: TcpListener) {
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                runtime.spawn(handle_client(stream, address));
            }
            Err(error) => runtime.sleep(backoff.after(&error)).await,
        }
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
async fn handle_client(stream: TcpStream, address: SocketAddr) {
    match echo(&stream).await {
        Ok(()) => info!("client disconnected: {address}: end of input"),
        Err(error) => info!("client disconnected: {address}: {error}"),
    }
}

// ANCHOR: waker_echo
/// Sends back what arrives until the client has nothing more to send.
async fn echo(stream: &TcpStream) -> io::Result<()> {
    // Send each answer at once: it must not wait until the client has acknowledged the last one.
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..received]).await?;
    }
}
// ANCHOR_END: waker_echo
