//! Exercise 07-cancel: stage 07 with a flaw: now and then half a line is lost.
//!
//! ```text
//! server$ cargo run -p exercise-07-cancel
//! ```

mod room;

use std::io::{self, ErrorKind, IoSlice};
use std::net::{self, Shutdown, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kit::{Args, Backoff, Flag, Mode};
use lines::LineDecoder;
use log::{info, warn};
use shared_log::{Cursor, Position, SharedLog};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::{select, task, time};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::room::{Member, Room};

/// How many connections may wait to be accepted: thousands of clients arrive at once, and std
/// would let 128 wait.
const LISTEN_BACKLOG: i32 = 4096;
/// How often a client may read in a turn of the runtime: the others' turn comes, however much it
/// sends.
const READS_PER_TURN: usize = 4;
/// How many bytes one read takes at most.
const BUFFER: usize = 16 * 1024;
/// How long a stop waits for clients to take what they are owed.
const GRACE: Duration = Duration::from_millis(1500);
/// How long a connection whose end was sent waits for the client's.
const LINGER: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let flags = [Flag::Mode, Flag::MaxLine, Flag::MaxBacklog, Flag::Threads, Flag::ClientMayEnd];
    let args = Args::parse(env!("CARGO_PKG_DESCRIPTION"), &flags);
    let mut runtime = match args.threads {
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(args.threads).enable_all().build().context("no runtime");
    kit::exit_code(runtime.and_then(|runtime| runtime.block_on(run_server(&args))))
}

/// Serves until a signal or, if it may, a client ends it; then stops in order.
async fn run_server(args: &Args) -> anyhow::Result<()> {
    let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let listener = net::TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    SockRef::from(&listener).listen(LISTEN_BACKLOG)?;
    listener.set_nonblocking(true)?;
    kit::listening_on(listener.local_addr()?);
    let listener = TcpListener::from_std(listener)?;
    let server = Arc::new(Server {
        args: args.clone(),
        room: Room::default(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });
    let publisher = Arc::clone(&server);
    tokio::spawn(async move { publisher.room.publish().await });
    select! {
        () = accept_clients(&server, listener) => {}
        () = next_signal(&mut signals) => info!("stopping on a signal"),
        () = server.stop.cancelled() => info!("stopping since a client said END"),
    }
    server.stop.cancel();
    server.tasks.close();
    select! {
        () = server.tasks.wait() => {}
        () = next_signal(&mut signals) => warn!("stopped at once on a second signal"),
        () = time::sleep(GRACE) => warn!("stopped with {} clients left", server.tasks.len()),
    }
    Ok(())
}

struct Server {
    args: Args,
    room: Room,
    /// Says that the server stops.
    stop: CancellationToken,
    /// The clients' tasks.
    tasks: TaskTracker,
}

/// Accepts clients for ever and makes a task of each of them.
async fn accept_clients(server: &Arc<Server>, listener: TcpListener) {
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                // The client hears every line from here on, whenever its task first runs.
                let member = server.room.join();
                server.tasks.spawn(handle_client(Arc::clone(server), stream, address, member));
            }
            Err(error) => time::sleep(backoff.after(&error)).await,
        }
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
async fn handle_client(
    server: Arc<Server>,
    mut stream: TcpStream,
    address: SocketAddr,
    member: Member,
) {
    let left = match server.args.mode {
        Mode::Echo => server.echo(&mut stream).await,
        Mode::Broadcast => server.hear(&stream, member).await,
    };
    let reason = match left {
        Ok(()) if server.stop.is_cancelled() => "the server stops".to_owned(),
        Ok(()) => "end of input".to_owned(),
        Err(error) => error.to_string(),
    };
    info!("client disconnected: {address}: {reason}");
    close(stream).await;
}

impl Server {
    /// Sends back what arrives until the client has nothing more to send, or the server stops.
    async fn echo(&self, stream: &mut TcpStream) -> io::Result<()> {
        // Send each answer at once: it must not wait until the client has acknowledged the last.
        stream.set_nodelay(true)?;
        for reads in 1_usize.. {
            let received = select! {
                received = read(stream) => received?,
                () = self.stop.cancelled() => break,
            };
            if received.is_empty() {
                break;
            }
            stream.write_all(&received).await?;
            if reads.is_multiple_of(READS_PER_TURN) {
                task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Adds the client's lines to the log, for everyone else, and writes what others have added,
    /// until the client has nothing more to send, or the server stops, and nothing is owed.
    async fn hear(&self, stream: &TcpStream, member: Member) -> io::Result<()> {
        let Member { mut head, mut cursor } = member;
        // Send each line at once: it must not wait until the client has acknowledged the last one.
        stream.set_nodelay(true)?;
        let mut decoder = LineDecoder::new(self.args.max_line);
        let mut reads = 0_usize;
        // The kernel takes no more for now.
        let mut blocked = false;
        // What the client is owed before its connection closes.
        let mut leaving: Option<Position> = None;
        while leaving.is_none_or(|end| cursor.position() < end) {
            // More in one turn could take clients that keep up over the limit.
            let grown = self.room.log().end() - *head.borrow();
            let may_read = leaving.is_none() && grown <= self.args.max_backlog as u64 / 2;
            let may_write = select! {
                received = read_lines(stream, self.args.max_line), if may_read => {
                    let received = received?;
                    decoder.push(&received);
                    while let Some(lines) = decoder.next_lines().map_err(io::Error::other)? {
                        self.broadcast(lines, &mut cursor);
                    }
                    if received.is_empty() {
                        if let Some(tail) = decoder.finish() {
                            self.broadcast(&tail, &mut cursor);
                        }
                        leaving = Some(self.room.log().end());
                    }
                    reads += 1;
                    if reads.is_multiple_of(READS_PER_TURN) {
                        task::yield_now().await;
                    }
                    false
                }
                () = self.stop.cancelled(), if leaving.is_none() => {
                    leaving = Some(self.room.log().end());
                    false
                }
                _ = head.changed() => !blocked,
                _ = stream.writable(), if blocked => true,
            };
            if may_write {
                blocked = match write_owed(&self.room.log(), stream, &mut cursor) {
                    // Nobody reads there any more. What the client has said before is still to be
                    // read, and then the end.
                    Err(_) if leaving.is_none() => true,
                    written => !written?,
                };
            }
            if blocked && self.room.log().lag(&cursor) > self.args.max_backlog {
                // It does not read, so that `close` must not wait for it.
                SockRef::from(stream).shutdown(Shutdown::Both)?;
                let reason = format!("more than {} bytes behind", self.args.max_backlog);
                return Err(io::Error::other(reason));
            }
        }
        Ok(())
    }

    /// Owes the lines to everyone else; their tasks write them.
    fn broadcast(&self, lines: &[u8], sender: &mut Cursor) {
        let said = self.before_end(lines);
        self.room.append(said, sender);
        if said.len() < lines.len() {
            self.stop.cancel();
        }
    }

    /// The lines before `END`, if a client may say that; else all of them.
    fn before_end<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        let is_end = |line: &[u8]| self.args.client_may_end && line.trim_ascii_end() == b"END";
        let said = lines.split_inclusive(|&byte| byte == b'\n').take_while(|line| !is_end(line));
        &lines[..said.map(<[u8]>::len).sum()]
    }
}

/// Ends our side of the connection. What the client still sends is read and dropped for a while: to
/// close a socket with bytes unread would reset the connection, and the client could lose what it
/// has not read yet.
async fn close(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let drain = async { while read(&stream).await.is_ok_and(|bytes| !bytes.is_empty()) {} };
        // Whoever takes longer is reset.
        let _ = time::timeout(LINGER, drain).await;
    }
}

/// Reads until a line is whole, or too long; nothing at the end of input.
async fn read_lines(stream: &TcpStream, max_line: usize) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    while !lines.contains(&b'\n') && lines.len() <= max_line {
        let received = read(stream).await?;
        if received.is_empty() {
            break;
        }
        lines.extend(received);
    }
    Ok(lines)
}

/// Waits until something has arrived and reads it; nothing at the end of input. The buffer is made
/// when there is something to put in it: idle clients hold none.
async fn read(stream: &TcpStream) -> io::Result<Vec<u8>> {
    loop {
        stream.readable().await?;
        let mut received = Vec::with_capacity(BUFFER);
        match stream.try_read_buf(&mut received) {
            // A reset is told once, and the write to the client may have been told: that is no end.
            Ok(0) => return stream.peer_addr().map(|_| received),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read.map(|_| received),
        }
    }
}

/// Writes what a client is owed: all of it (true), or as much as the kernel takes for now.
fn write_owed(log: &SharedLog, stream: &TcpStream, cursor: &mut Cursor) -> io::Result<bool> {
    loop {
        let mut slices = [IoSlice::new(&[]); 16];
        let owed = log.owed(cursor, &mut slices);
        if owed.is_empty() {
            return Ok(true);
        }
        match stream.try_write_vectored(owed) {
            Ok(written) => cursor.advance(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

async fn next_signal([interrupt, terminate]: &mut [Signal; 2]) {
    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
