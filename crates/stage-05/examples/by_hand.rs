//! Stage 05 without coroutines: each task is an enum that says where to go on.
//!
//! The compiler makes about the same of the `async` functions in stage 05: a variant for each
//! place where they stop, which holds the variables that are still needed from there on.
//!
//! ```text
//! server$ cargo run -p stage-05 --example by_hand
//! ```

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::{mem, thread};

use anyhow::Context;
use coroutine::CoroutineState::{self, Complete, Yielded};
use kit::{Args, Backoff};
use log::{debug, info};

fn main() -> ExitCode {
    let args = Args::parse("The echo of stage 05, its tasks written by hand", &[]);
    kit::exit_code(run_server(&args))
}

/// Starts the first task, which accepts clients, and runs the loop for ever.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    kit::listening_on(listener.local_addr()?);
    let mut ready = VecDeque::from([Task::Server(AcceptClients::Start(listener))]);
    while let Some(mut task) = ready.pop_front() {
        let state = match &mut task {
            Task::Server(server) => server.resume(&mut ready),
            Task::Client(client) => client.resume(),
        };
        match state {
            Yielded(()) => ready.push_back(task),
            Complete => debug!("a task is complete"),
        }
    }
    Ok(())
}

enum Task {
    Server(AcceptClients),
    Client(Box<HandleClient>),
}

/// Accepts clients for ever and makes a task of each of them.
enum AcceptClients {
    /// Before the first line.
    Start(TcpListener),
    /// At the one `yield_`, before `accept`.
    BeforeAccept(TcpListener, Backoff),
    Done,
}

impl AcceptClients {
    fn resume(&mut self, ready: &mut VecDeque<Task>) -> CoroutineState<()> {
        let (listener, mut backoff) = match mem::replace(self, Self::Done) {
            Self::Start(listener) => {
                *self = Self::BeforeAccept(listener, Backoff::default());
                return Yielded(());
            }
            Self::BeforeAccept(listener, backoff) => (listener, backoff),
            Self::Done => return Complete,
        };
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                ready.push_back(Task::Client(Box::new(HandleClient::Start(stream, address))));
            }
            Err(error) => thread::sleep(backoff.after(&error)),
        }
        *self = Self::BeforeAccept(listener, backoff);
        Yielded(())
    }
}

// ANCHOR: enum
/// Sends back what arrives until the client has nothing more to send.
enum HandleClient {
    /// Before the first line.
    Start(TcpStream, SocketAddr),
    /// At the first `yield_`, before `read`.
    BeforeRead(Client),
    /// At the second `yield_`, before `write_all` of this many bytes.
    BeforeWrite(Client, usize),
    Done,
}

/// The variables that live on from one stop to the next.
struct Client {
    stream: TcpStream,
    address: SocketAddr,
    buffer: [u8; 4096],
}
// ANCHOR_END: enum

impl HandleClient {
    // ANCHOR: resume
    fn resume(&mut self) -> CoroutineState<()> {
        *self = match mem::replace(self, Self::Done) {
            Self::Start(stream, address) => match stream.set_nodelay(true) {
                Ok(()) => Self::BeforeRead(Client { stream, address, buffer: [0; 4096] }),
                Err(error) => Self::disconnected(address, &error.to_string()),
            },
            Self::BeforeRead(mut client) => match client.stream.read(&mut client.buffer) {
                Ok(0) => Self::disconnected(client.address, "end of input"),
                Ok(received) => Self::BeforeWrite(client, received),
                Err(error) => Self::disconnected(client.address, &error.to_string()),
            },
            Self::BeforeWrite(mut client, received) => {
                match client.stream.write_all(&client.buffer[..received]) {
                    Ok(()) => Self::BeforeRead(client),
                    Err(error) => Self::disconnected(client.address, &error.to_string()),
                }
            }
            Self::Done => Self::Done,
        };
        if matches!(self, Self::Done) { Complete } else { Yielded(()) }
    }
    // ANCHOR_END: resume

    fn disconnected(address: SocketAddr, reason: &str) -> Self {
        info!("client disconnected: {address}: {reason}");
        Self::Done
    }
}
