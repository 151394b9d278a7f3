//! The echo of stage 06's example `waker` on tokio, in the same order.
//!
//! ```text
//! server$ cargo run -p stage-07 --example echo
//! a$ nc 127.0.0.1 3000        type hello, and it comes back
//! ```

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use kit::{Args, Backoff};
use log::info;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse("The echo of stage 06's own runtime, on tokio", &[]);
    kit::exit_code(run_server(&args).await)
}

/// Starts the first task, which accepts clients.
async fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).await.with_context(|| args.cannot_listen())?;
    kit::listening_on(listener.local_addr()?);
    accept_clients(listener).await;
    Ok(())
}

/// Accepts clients for ever and makes a task of each of them.
async fn accept_clients(listener: TcpListener) {
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                tokio::spawn(handle_client(stream, address));
            }
            Err(error) => time::sleep(backoff.after(&error)).await,
        }
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
async fn handle_client(mut stream: TcpStream, address: SocketAddr) {
    match echo(&mut stream).await {
        Ok(()) => info!("client disconnected: {address}: end of input"),
        Err(error) => info!("client disconnected: {address}: {error}"),
    }
}

/// Sends back what arrives until the client has nothing more to send.
async fn echo(stream: &mut TcpStream) -> io::Result<()> {
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
