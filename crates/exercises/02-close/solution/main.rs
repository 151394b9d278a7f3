//! Exercise 02-close: stage 02 with a list of its clients, which loses who leaves.
//!
//! ```text
//! server$ cargo run -p exercise-02-close --example solution-02-close
//! ```

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    let clients = Clients::default();
    let mut backoff = Backoff::default();
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                if let Ok(clone) = stream.try_clone() {
                    clients.lock().insert(address, clone);
                }
                info!("clients: {}", clients.lock().len());
                // Dropped with the thread, however that ends, and where there is none.
                let entry = Entry { clients: clients.clone(), address };
                let serve = move || {
                    handle_client(stream, address);
                    drop(entry);
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

/// Everyone who is here. With its stream in hand, anyone can be told something, or sent away.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<SocketAddr, TcpStream>>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, TcpStream>> {
        // A thread that panicked has left the map as it was before or after its change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place in the list, as long as it lives.
struct Entry {
    clients: Clients,
    address: SocketAddr,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.address);
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
