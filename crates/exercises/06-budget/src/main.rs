//! Exercise 06-budget: stage 06, to give everyone a turn, however much somebody sends.
//!
//! ```text
//! server$ cargo run -p exercise-06-budget
//! ```

mod event_loop;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use coroutine::Yielder;
use kit::{Args, Backoff, Flag, Mode};
use lines::LineDecoder;
use log::info;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use shared_log::{Cursor, Position, SharedLog};
use socket2::SockRef;

use crate::event_loop::{EventLoop, Wait};

/// How many connections may wait to be accepted: thousands of clients arrive at once, and std
/// would let 128 wait.
const LISTEN_BACKLOG: i32 = 4096;
/// How many bytes one read takes at most.
const BUFFER: usize = 16 * 1024;
/// How many clients are written to in a turn of the loop: what is said meanwhile goes to the others.
const WRITES_PER_TURN: usize = 64;
/// A write costs much the same whether it carries one line or so many bytes.
const FULL_WRITE: u64 = 8 * 1024;
/// To whom so much is owed it does not help that more goes along.
const LARGE_WRITE: u64 = 128 * 1024;
/// After a round that took this long or longer, lines gather: twice as long as it took, at most.
const LONG_ROUND: Duration = Duration::from_millis(1);
/// How long lines gather at the longest.
const LONGEST_REST: Duration = Duration::from_millis(20);
/// With whom a round begins, or whoever came after them.
const FIRST: Token = Token(0);

fn main() -> ExitCode {
    let flags = [Flag::Mode, Flag::MaxLine, Flag::MaxBacklog];
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &flags);
    kit::exit_code(run_server(&args))
}

/// Starts the first task, which accepts clients, and runs the loop for ever.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = net::TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    SockRef::from(&listener).listen(LISTEN_BACKLOG)?;
    listener.set_nonblocking(true)?;
    kit::listening_on(listener.local_addr()?);
    let mut listener = TcpListener::from_std(listener);
    let event_loop = EventLoop::new()?;
    let token = event_loop.register(&mut listener)?;
    let server = Rc::new(Server {
        event_loop,
        args: args.clone(),
        clients: RefCell::default(),
        log: RefCell::default(),
        next: Cell::new(FIRST),
        round: Cell::new((Instant::now(), 0)),
        flushed: Cell::new(0),
        rest_until: Cell::new(Instant::now()),
        buffer: RefCell::new(vec![0; BUFFER]),
    });
    server.event_loop.create_task(|co| accept_clients(co, Rc::clone(&server), listener, token));
    server.event_loop.run(|| server.flush()).context("cannot wait for events")
}

struct Server {
    event_loop: EventLoop,
    args: Args,
    /// Everyone who hears a broadcast, and how far they have got. Who is not in here has left.
    clients: RefCell<BTreeMap<Token, (Rc<Client>, Cursor)>>,
    log: RefCell<SharedLog>,
    /// Who is written to next, if they are still there: else whoever came after them.
    next: Cell<Token>,
    /// When the round through all clients began, and where the log ended then.
    round: Cell<(Instant, Position)>,
    /// Up to there, everyone has been written to: where the log ended when the last round began.
    flushed: Cell<Position>,
    /// Until then, lines gather.
    rest_until: Cell<Instant>,
    /// What every read goes to first: idle clients hold no buffer.
    buffer: RefCell<Vec<u8>>,
}

struct Client {
    stream: TcpStream,
    token: Token,
    address: SocketAddr,
}

/// Accepts clients for ever and makes a task of each of them.
async fn accept_clients(
    co: Yielder<Wait>,
    server: Rc<Server>,
    listener: TcpListener,
    token: Token,
) {
    let mut backoff = Backoff::default();
    loop {
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                match server.add_client(stream, address) {
                    Ok(client) => {
                        let serve = |co| handle_client(co, Rc::clone(&server), client);
                        server.event_loop.create_task(serve);
                    }
                    Err(error) => info!("client disconnected: {address}: {error}"),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                co.yield_(Wait::Ready(Interest::READABLE, token)).await;
            }
            Err(error) => co.yield_(Wait::Until(Instant::now() + backoff.after(&error))).await,
        }
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
async fn handle_client(co: Yielder<Wait>, server: Rc<Server>, client: Rc<Client>) {
    let left = match server.args.mode {
        Mode::Echo => server.echo(&co, &client).await,
        Mode::Broadcast => server.hear(&co, &client).await,
    };
    if server.clients.borrow_mut().remove(&client.token).is_none() {
        return; // `flush` has disconnected it.
    }
    match left {
        Ok(()) => info!("client disconnected: {}: end of input", client.address),
        Err(error) => info!("client disconnected: {}: {error}", client.address),
    }
    server.close(&co, &client).await;
}

impl Server {
    fn add_client(&self, mut stream: TcpStream, address: SocketAddr) -> io::Result<Rc<Client>> {
        // Send each line at once: it must not wait until the client has acknowledged the last one.
        stream.set_nodelay(true)?;
        let token = self.event_loop.register(&mut stream)?;
        let client = Rc::new(Client { stream, token, address });
        let cursor = self.log.borrow_mut().join();
        self.clients.borrow_mut().insert(token, (Rc::clone(&client), cursor));
        Ok(client)
    }

    /// Sends back what arrives until the client has nothing more to send.
    async fn echo(&self, co: &Yielder<Wait>, client: &Client) -> io::Result<()> {
        loop {
            let received = self.read(co, client).await?;
            if received.is_empty() {
                return Ok(());
            }
            let mut rest = &received[..];
            while !rest.is_empty() {
                match (&client.stream).write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        co.yield_(Wait::Ready(Interest::WRITABLE, client.token)).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Adds the client's lines to the log, for everyone else, until it has nothing more to send.
    async fn hear(&self, co: &Yielder<Wait>, client: &Client) -> io::Result<()> {
        let mut decoder = LineDecoder::new(self.args.max_line);
        loop {
            let received = self.read(co, client).await?;
            if received.is_empty() {
                break;
            }
            decoder.push(&received);
            while let Some(lines) = decoder.next_lines().map_err(io::Error::other)? {
                self.broadcast(client, lines);
            }
        }
        if let Some(tail) = decoder.finish() {
            self.broadcast(client, &tail);
        }
        self.settle(co, client).await
    }

    /// Owes the lines to everyone else; [`flush`](Self::flush) writes them.
    fn broadcast(&self, client: &Client, lines: &[u8]) {
        // None: it was disconnected, and what it still says is nobody's.
        if let Some((_, cursor)) = self.clients.borrow_mut().get_mut(&client.token) {
            self.log.borrow_mut().append(lines, cursor);
        }
    }

    /// Writes to the next few what they are owed, after each turn: everyone has their turn, round
    /// after round. It is a system call for each client: after a long round, lines gather until
    /// they fill a write, or until the time that is returned.
    fn flush(&self) -> Option<Instant> {
        let (now, end) = (Instant::now(), self.log.borrow().end());
        let begins = self.next.get() == FIRST;
        if begins {
            let rest_until = self.rest_until.get();
            if self.log.borrow().is_empty() {
                return None;
            }
            if now < rest_until && self.grown() < FULL_WRITE {
                return Some(rest_until);
            }
            self.round.set((now, end));
        }
        let is_large = self.grown() >= LARGE_WRITE;
        self.next.set(self.write_to_next(if is_large { usize::MAX } else { WRITES_PER_TURN }));
        if self.next.get() != FIRST {
            return Some(now);
        }
        let (began, flushed) = self.round.get();
        // mio tells of room once, and may have done so between two turns of this round.
        for (client, cursor) in self.clients.borrow_mut().values_mut() {
            if !begins && cursor.position() < flushed {
                // As in `write_to_next`, an error is for the client's own task.
                let _ = write_owed(&self.log.borrow(), client, cursor);
            }
        }
        self.log.borrow_mut().trim();
        self.flushed.set(flushed);
        let took = began.elapsed();
        if took >= LONG_ROUND {
            self.rest_until.set(began + took + (2 * took).min(LONGEST_REST));
        }
        // Who was early in the round has not heard what was said later in it.
        (end > flushed).then(|| self.rest_until.get())
    }

    /// Writes to the next `few`, and says who comes after them; `FIRST` at the end of a round.
    /// Whoever cannot take it stays behind, up to the limit; nobody waits for them.
    fn write_to_next(&self, few: usize) -> Token {
        let (log, mut clients) = (self.log.borrow(), self.clients.borrow_mut());
        let mut next = clients.range_mut(self.next.get()..);
        let mut laggards = Vec::new();
        for (&token, (client, cursor)) in next.by_ref().take(few) {
            // An error means that nobody reads there any more. What the client has said before is
            // still to be read: its own task finds the end, and lets it go.
            let is_blocked = write_owed(&log, client, cursor).is_ok_and(|written| !written);
            if is_blocked && log.lag(cursor) > self.args.max_backlog {
                laggards.push(token);
            }
        }
        let next = next.next().map_or(FIRST, |(&token, _)| token);
        for (client, _) in laggards.iter().filter_map(|token| clients.remove(token)) {
            let behind = self.args.max_backlog;
            info!("client disconnected: {}: more than {behind} bytes behind", client.address);
            // Wakes its task, which finds that the client has left. An error means that the
            // connection is gone, which wakes it as well.
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        next
    }

    /// By how many bytes the log has grown since everyone was last written to.
    fn grown(&self) -> u64 {
        self.log.borrow().end() - self.flushed.get()
    }

    /// Writes to a leaver what it is owed by now.
    async fn settle(&self, co: &Yielder<Wait>, client: &Client) -> io::Result<()> {
        let end = self.log.borrow().end();
        while !self.write_up_to(end, client)? {
            co.yield_(Wait::Ready(Interest::WRITABLE, client.token)).await;
        }
        Ok(())
    }

    /// Writes what a client is owed; false if the kernel takes no more for now and the client has
    /// not got as far as `end`. Who was disconnected is owed nothing.
    fn write_up_to(&self, end: Position, client: &Client) -> io::Result<bool> {
        match self.clients.borrow_mut().get_mut(&client.token) {
            Some((_, cursor)) => {
                Ok(write_owed(&self.log.borrow(), client, cursor)? || cursor.position() >= end)
            }
            None => Ok(true),
        }
    }

    /// Ends our side of the connection. What the client still sends is read and dropped: to close
    /// a socket with bytes unread would reset the connection, and the client could lose what it
    /// has not read yet.
    async fn close(&self, co: &Yielder<Wait>, client: &Client) {
        if client.stream.shutdown(Shutdown::Write).is_ok() {
            while self.read(co, client).await.is_ok_and(|received| !received.is_empty()) {}
        }
    }

    /// Waits until something has arrived and reads it; nothing at the end of input.
    async fn read(&self, co: &Yielder<Wait>, client: &Client) -> io::Result<Vec<u8>> {
        loop {
            // todo: whoever sends enough is read from for ever.
            // More in one round could take clients that keep up over the limit.
            let enough = self.args.max_backlog as u64 / 2;
            while self.grown() > enough {
                co.yield_(Wait::Turn).await;
            }
            match self.try_read(&client.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                received => return received,
            }
            co.yield_(Wait::Ready(Interest::READABLE, client.token)).await;
        }
    }

    fn try_read(&self, mut stream: &TcpStream) -> io::Result<Vec<u8>> {
        let mut buffer = self.buffer.borrow_mut();
        match stream.read(&mut buffer)? {
            // The end; or a reset whose error a write has got already: then there is no peer.
            0 => stream.peer_addr().map(|_| Vec::new()),
            received => Ok(buffer[..received].to_vec()),
        }
    }
}

/// Writes what a client is owed: all of it (true), or as much as the kernel takes for now.
fn write_owed(log: &SharedLog, client: &Client, cursor: &mut Cursor) -> io::Result<bool> {
    loop {
        let mut slices = [IoSlice::new(&[]); 16];
        let owed = log.owed(cursor, &mut slices);
        if owed.is_empty() {
            return Ok(true);
        }
        match (&client.stream).write_vectored(owed) {
            Ok(written) => cursor.advance(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
