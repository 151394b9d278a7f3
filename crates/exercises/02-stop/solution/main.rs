//! Exercise 02-stop: stage 02, which stops in order on SIGINT and SIGTERM.
//!
//! ```text
//! server$ cargo run -p exercise-02-stop --example solution-02-stop
//! ```

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{self, ExitCode};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use kit::{Args, Backoff};
use log::{debug, info};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a stop waits for clients to take what they are owed.
const GRACE: Duration = Duration::from_millis(1500);

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[]);
    kit::exit_code(run_server(&args))
}

/// Accepts clients for ever and gives each of them a thread.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    let clients = Arc::new(Clients::default());
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let everyone = Arc::clone(&clients);
    thread::Builder::new().spawn(move || {
        signals.forever().next();
        everyone.stop();
    })?;
    kit::listening_on(listener.local_addr()?);
    let mut backoff = Backoff::default();
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                let stream = Arc::new(stream);
                let entry = Entry::new(&clients, &stream, address);
                let serve = move || {
                    handle_client(&stream, address);
                    drop(stream);
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

/// Everyone who is here.
#[derive(Default)]
struct Clients {
    streams: Mutex<HashMap<SocketAddr, Arc<TcpStream>>>,
    /// Says that somebody has left.
    left: Condvar,
}

impl Clients {
    /// Ends everyone's input, and then, when they are served or the time is over, the process.
    fn stop(&self) -> ! {
        // Whoever comes from now on is served as long as we wait for those who are there.
        let streams = self.lock();
        info!("stopping with {} clients", streams.len());
        for stream in streams.values() {
            // Its thread reads what has arrived, and then the end of input. An error means that the
            // client is gone already.
            let _ = stream.shutdown(Shutdown::Read);
        }
        let is_there = |streams: &mut HashMap<_, _>| !streams.is_empty();
        let waited = self.left.wait_timeout_while(streams, GRACE, is_there);
        let (streams, _) = waited.unwrap_or_else(PoisonError::into_inner);
        info!("stopped with {} clients left", streams.len());
        process::exit(0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<TcpStream>>> {
        // A thread that panicked has left the map as it was before or after its change.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place among the others, as long as it lives.
struct Entry {
    clients: Arc<Clients>,
    address: SocketAddr,
}

impl Entry {
    fn new(clients: &Arc<Clients>, stream: &Arc<TcpStream>, address: SocketAddr) -> Self {
        clients.lock().insert(address, Arc::clone(stream));
        Self { clients: Arc::clone(clients), address }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.address);
        self.clients.left.notify_one();
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
fn handle_client(stream: &TcpStream, address: SocketAddr) {
    match echo(stream, address) {
        Ok(()) => info!("client disconnected: {address}: end of input"),
        Err(error) => info!("client disconnected: {address}: {error}"),
    }
}

/// Sends back what arrives until the client has nothing more to send.
fn echo(mut stream: &TcpStream, address: SocketAddr) -> io::Result<()> {
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
