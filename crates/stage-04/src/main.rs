//! Stage 04: select loop. One thread waits for all sockets and calls back what each has ready.
//!
//! ```text
//! server$ cargo run -p stage-04
//! b$ nc 127.0.0.1 3000
//! a$ nc 127.0.0.1 3000        type hello, and b hears it
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use kit::{Args, Backoff, Flag, Mode};
use lines::LineDecoder;
use log::{debug, info};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

/// How many connections may wait to be accepted: thousands of clients arrive at once, and std
/// would let 128 wait.
const LISTEN_BACKLOG: i32 = 4096;

fn main() -> ExitCode {
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &[Flag::Mode, Flag::MaxLine]);
    kit::exit_code(run_server(&args))
}

/// Watches the listener and runs the loop for ever.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    SockRef::from(&listener).listen(LISTEN_BACKLOG)?;
    listener.set_nonblocking(true)?;
    kit::listening_on(listener.local_addr()?);
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
    let server = Server {
        args: args.clone(),
        poll,
        listener,
        callbacks: HashMap::from([(LISTENER, Server::accept as Callback)]),
        clients: BTreeMap::new(),
        closing: HashMap::new(),
        created: LISTENER.0,
        backoff: Backoff::default(),
        accept_again: None,
        buffer: vec![0; 64 * 1024],
    };
    server.run_event_loop()
}

struct Server {
    args: Args,
    poll: Poll,
    listener: TcpListener,
    /// What to call when a socket has something to read.
    callbacks: HashMap<Token, Callback>,
    /// Everyone who hears a broadcast. Their sockets block.
    clients: BTreeMap<Token, Client>,
    /// Clients that were closed and have not closed their side yet.
    closing: HashMap<Token, TcpStream>,
    /// The newest token. None is used twice: an event of a client that has left must not be taken
    /// for a newcomer's, whose socket would block the loop in `read`.
    created: usize,
    backoff: Backoff,
    /// When to accept again after an error.
    accept_again: Option<Instant>,
    buffer: Vec<u8>,
}

type Callback = fn(&mut Server, Token);

const LISTENER: Token = Token(0);

struct Client {
    stream: TcpStream,
    address: SocketAddr,
    decoder: LineDecoder,
}

impl Server {
    // ANCHOR: run_event_loop
    /// Waits until sockets are readable, and calls back for each of them.
    fn run_event_loop(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            debug!("waiting for {} sockets", self.callbacks.len());
            let timeout = self.accept_again.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.context("cannot wait for events")?,
            }
            for event in &events {
                // None only if a callback before it in this batch has closed the socket.
                if let Some(callback) = self.callbacks.get(&event.token()) {
                    callback(&mut self, event.token());
                }
            }
            if self.accept_again.take_if(|at| *at <= Instant::now()).is_some() {
                self.accept(LISTENER);
            }
        }
    }
    // ANCHOR_END: run_event_loop

    /// The listener's callback: accepts one client.
    fn accept(&mut self, listener: Token) {
        let accepted = match self.listener.accept() {
            Ok((stream, address)) => {
                self.backoff.reset();
                info!("connection from {address}");
                if let Err(error) = self.add_client(stream, address) {
                    info!("client disconnected: {address}: {error}");
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = accepted.and_then(|()| self.watch(&self.listener, listener)) {
            self.accept_again = Some(Instant::now() + self.backoff.after(&error));
        }
    }

    fn add_client(&mut self, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
        // Where sockets inherit it, the listener's mode is not the one wanted here.
        stream.set_nonblocking(false)?;
        // Send each line at once: it must not wait until the client has acknowledged the last one.
        stream.set_nodelay(true)?;
        self.created += 1;
        let token = Token(self.created);
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
        let decoder = LineDecoder::new(self.args.max_line);
        self.clients.insert(token, Client { stream, address, decoder });
        self.callbacks.insert(token, Self::handle_client);
        Ok(())
    }

    // ANCHOR: watch
    /// Asks for the next event of a socket. mio tells once that there is something to read;
    /// asked again, it looks again: so one read for each event is enough.
    fn watch(&self, socket: &impl AsRawFd, token: Token) -> io::Result<()> {
        let registry = self.poll.registry();
        registry.reregister(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
    }
    // ANCHOR_END: watch

    // ANCHOR: handle_client
    /// A client's callback: reads once. Its errors end here: they are this client's alone.
    fn handle_client(&mut self, token: Token) {
        // Taken out of the map, so that those who are left in it are everyone else.
        let Some(mut client) = self.clients.remove(&token) else { return };
        let heard = match self.args.mode {
            Mode::Echo => self.echo(&mut client),
            Mode::Broadcast => self.hear(&mut client),
        };
        match heard.and_then(|more| self.watch(&client.stream, token).map(|()| more)) {
            Ok(true) => drop(self.clients.insert(token, client)),
            Ok(false) => {
                info!("client disconnected: {}: end of input", client.address);
                self.callbacks.remove(&token);
            }
            Err(error) => {
                info!("client disconnected: {}: {error}", client.address);
                self.close(token, client.stream);
            }
        }
    }
    // ANCHOR_END: handle_client

    /// Sends back what arrived; false at the end of input.
    fn echo(&mut self, client: &mut Client) -> io::Result<bool> {
        let received = client.stream.read(&mut self.buffer)?;
        client.stream.write_all(&self.buffer[..received])?;
        Ok(received > 0)
    }

    /// Sends the lines that are whole by now to everyone else; false at the end of input.
    fn hear(&mut self, client: &mut Client) -> io::Result<bool> {
        let received = client.stream.read(&mut self.buffer)?;
        client.decoder.push(&self.buffer[..received]);
        while let Some(lines) = client.decoder.next_lines().map_err(io::Error::other)? {
            self.broadcast(lines);
        }
        if received == 0 {
            // The end; or a reset whose error a write has got already: then there is no peer.
            client.stream.peer_addr()?;
            if let Some(tail) = client.decoder.finish() {
                self.broadcast(&tail);
            }
        }
        Ok(received > 0)
    }

    // ANCHOR: broadcast
    /// Writes to one client after the other. A client that does not read puts the loop to sleep
    /// here, and with it everyone else.
    fn broadcast(&mut self, lines: &[u8]) {
        for client in self.clients.values_mut() {
            // An error means that nobody reads there any more. What the client has said before is
            // still to be read: its own callback finds the end, and lets it go.
            let _ = client.stream.write_all(lines);
        }
    }
    // ANCHOR_END: broadcast

    /// Ends our side of a connection. What its client still sends is read and dropped: to close a
    /// socket with bytes unread would reset the connection, and the client could lose what it
    /// has not read yet.
    fn close(&mut self, token: Token, stream: TcpStream) {
        let closed = stream.shutdown(Shutdown::Write).and_then(|()| self.watch(&stream, token));
        if closed.is_ok() {
            self.callbacks.insert(token, Self::discard);
            self.closing.insert(token, stream);
        } else {
            // The connection is gone altogether.
            self.callbacks.remove(&token);
        }
    }

    /// The callback of a client that was closed: reads once, until it has closed its side too.
    fn discard(&mut self, token: Token) {
        let Some(mut stream) = self.closing.remove(&token) else { return };
        let more = stream.read(&mut self.buffer).is_ok_and(|received| received > 0);
        if more && self.watch(&stream, token).is_ok() {
            self.closing.insert(token, stream);
        } else {
            self.callbacks.remove(&token);
        }
    }
}
