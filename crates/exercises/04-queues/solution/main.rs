//! Exercise 04-queues: stage 04, which writes to nobody who would put it to sleep.
//!
//! ```text
//! server$ cargo run -p exercise-04-queues --example solution-04-queues
//! a$ cargo run -p client -- --slow
//! b$ nc 127.0.0.1 3000        hears all that c says
//! c$ yes | head -c 10M | nc -N 127.0.0.1 3000    more than the kernel holds for a: it ends
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
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
    let flags = [Flag::Mode, Flag::MaxLine, Flag::MaxBacklog];
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &flags);
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
    /// Everyone who hears a broadcast, and leavers who are still owed something.
    clients: BTreeMap<Token, Client>,
    /// Clients that were closed and have not closed their side yet.
    closing: HashMap<Token, TcpStream>,
    /// The newest token. None is used twice: an event of a client that has left must not be taken
    /// for a newcomer's.
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
    /// What it is owed and the kernel has not taken yet.
    outbound: VecDeque<u8>,
    /// It has nothing more to send, and leaves when nothing is owed.
    leaving: bool,
}

impl Server {
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
                if event.is_writable() {
                    self.write(event.token());
                }
                // None only if a callback before it in this batch has closed the socket.
                if event.is_readable()
                    && let Some(callback) = self.callbacks.get(&event.token())
                {
                    callback(&mut self, event.token());
                }
            }
            if self.accept_again.take_if(|at| *at <= Instant::now()).is_some() {
                self.accept(LISTENER);
            }
        }
    }

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
        if let Err(error) =
            accepted.and_then(|()| self.watch(&self.listener, listener, Interest::READABLE))
        {
            self.accept_again = Some(Instant::now() + self.backoff.after(&error));
        }
    }

    fn add_client(&mut self, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
        // Nobody puts the loop to sleep.
        stream.set_nonblocking(true)?;
        // Send each line at once: it must not wait until the client has acknowledged the last one.
        stream.set_nodelay(true)?;
        self.created += 1;
        let token = Token(self.created);
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
        let decoder = LineDecoder::new(self.args.max_line);
        let outbound = VecDeque::new();
        let client = Client { stream, address, decoder, outbound, leaving: false };
        self.clients.insert(token, client);
        self.callbacks.insert(token, Self::handle_client);
        Ok(())
    }

    /// Asks for the next event of a socket. mio tells once that there is something to read;
    /// asked again, it looks again: so one read for each event is enough.
    fn watch(&self, socket: &impl AsRawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&socket.as_raw_fd()), token, interest)
    }

    /// What to wait for on a client's behalf. Room to write matters only while something is owed:
    /// there nearly always is some, and the loop would never sleep. Who is sent its own bytes is
    /// not read from as long as it does not take them.
    fn interest(&self, client: &Client) -> Interest {
        if client.outbound.is_empty() {
            Interest::READABLE
        } else if client.leaving || self.args.mode == Mode::Echo {
            Interest::WRITABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        }
    }

    /// The reader, a client's callback: reads once.
    fn handle_client(&mut self, token: Token) {
        // Taken out of the map, so that those who are left in it are everyone else.
        let Some(mut client) = self.clients.remove(&token) else { return };
        let heard = match self.args.mode {
            Mode::Echo => self.echo(&mut client),
            Mode::Broadcast => self.hear(&mut client),
        };
        self.go_on(token, client, heard);
    }

    /// The writer: writes what a client is owed, as much as the kernel takes for now.
    fn write(&mut self, token: Token) {
        // None: the listener, or a client that was closed.
        let Some(mut client) = self.clients.remove(&token) else { return };
        client.write_owed();
        self.go_on(token, client, Ok(()));
    }

    /// Waits for a client's next event, unless it has left. Its errors end here: they are this
    /// client's alone.
    fn go_on(&mut self, token: Token, client: Client, done: io::Result<()>) {
        let watch = |()| self.watch(&client.stream, token, self.interest(&client));
        match done.and_then(watch) {
            Ok(()) if client.leaving && client.outbound.is_empty() => {
                info!("client disconnected: {}: end of input", client.address);
                self.callbacks.remove(&token);
            }
            Ok(()) => drop(self.clients.insert(token, client)),
            Err(error) => {
                info!("client disconnected: {}: {error}", client.address);
                self.close(token, client.stream);
            }
        }
    }

    /// Sends back what arrived.
    fn echo(&mut self, client: &mut Client) -> io::Result<()> {
        let received = client.read(&mut self.buffer)?;
        client.outbound.extend(&self.buffer[..received]);
        client.write_owed();
        Ok(())
    }

    /// Sends the lines that are whole by now to everyone else.
    fn hear(&mut self, client: &mut Client) -> io::Result<()> {
        let received = client.read(&mut self.buffer)?;
        client.decoder.push(&self.buffer[..received]);
        while let Some(lines) = client.decoder.next_lines().map_err(io::Error::other)? {
            self.broadcast(lines);
        }
        if client.leaving
            && let Some(tail) = client.decoder.finish()
        {
            self.broadcast(&tail);
        }
        Ok(())
    }

    /// Owes the lines to everyone else.
    fn broadcast(&mut self, lines: &[u8]) {
        let mut clients = mem::take(&mut self.clients);
        clients.retain(|&token, client| match self.owe(token, client, lines) {
            Ok(()) => true,
            Err(error) => {
                info!("client disconnected: {}: {error}", client.address);
                self.callbacks.remove(&token);
                false
            }
        });
        self.clients = clients;
    }

    /// Puts lines into a client's queue. Where nothing was in it they are written at once, and the
    /// writer has to care only for what the kernel does not take.
    fn owe(&self, token: Token, client: &mut Client, lines: &[u8]) -> io::Result<()> {
        if client.leaving {
            return Ok(());
        }
        let was_empty = client.outbound.is_empty();
        client.outbound.extend(lines);
        if was_empty {
            client.write_owed();
            if !client.outbound.is_empty() {
                self.watch(&client.stream, token, self.interest(client))?;
            }
        }
        if client.outbound.len() > self.args.max_backlog {
            let reason = format!("more than {} bytes behind", self.args.max_backlog);
            return Err(io::Error::other(reason));
        }
        Ok(())
    }

    /// Ends our side of a connection. What its client still sends is read and dropped: to close a
    /// socket with bytes unread would reset the connection, and the client could lose what it
    /// has not read yet.
    fn close(&mut self, token: Token, stream: TcpStream) {
        let watch = |()| self.watch(&stream, token, Interest::READABLE);
        let closed = stream.shutdown(Shutdown::Write).and_then(watch);
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
        let more = match stream.read(&mut self.buffer) {
            Ok(received) => received > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if more && self.watch(&stream, token, Interest::READABLE).is_ok() {
            self.closing.insert(token, stream);
        } else {
            self.callbacks.remove(&token);
        }
    }
}

impl Client {
    /// Reads what has arrived, and notes the end of input. Nothing may be there: an event that was
    /// under way when the socket was registered afresh comes twice.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Ok(0) => {
                // The end; or a reset whose error a write has got already: then there is no peer.
                self.stream.peer_addr()?;
                self.leaving = true;
                Ok(0)
            }
            received => received,
        }
    }

    /// Writes what is owed, all of it or as much as the kernel takes for now.
    fn write_owed(&mut self) {
        while !self.outbound.is_empty() {
            match self.stream.write(self.outbound.as_slices().0) {
                Ok(written) => drop(self.outbound.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Nobody reads there any more. What the client has said before is still to be read,
                // and then the end.
                Err(_) => self.outbound.clear(),
            }
        }
    }
}
