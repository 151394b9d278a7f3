//! Exercise 07-pause: stage 07, to pause the senders while somebody is too far behind.
//!
//! ```text
//! server$ cargo run -p exercise-07-pause
//! a$ cargo run -p client -- --slow
//! b$ yes | nc 127.0.0.1 3000  more than the kernel holds for a: b is paused until a reads
//! server$ ^C                  a and b get what they are owed, and the end of their input
//! ```

mod room;

use std::io::{self, ErrorKind};
use std::net::{self, Shutdown, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kit::{Args, Backoff, Flag, Mode};
use lines::LineDecoder;
use log::{info, warn};
use shared_log::{Cursor, Position};
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, Interest, Ready};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::{runtime, select, task, time};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::room::{Member, Room};

/// How many connections may wait to be accepted: thousands of clients arrive at once, and std
/// would let 128 wait.
const LISTEN_BACKLOG: i32 = 4096;
/// How often at most a client is read from in a turn of the runtime: the others' turn comes,
/// however much it sends.
const READS_PER_TURN: u8 = 4;
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
    mut member: Member,
) {
    let left = match server.args.mode {
        Mode::Echo => server.echo(&mut stream).await,
        Mode::Broadcast => server.hear(&stream, &mut member).await,
    };
    drop(member);
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
        for reads in (1..=READS_PER_TURN).cycle() {
            let received = select! {
                received = read(stream) => received?,
                () = self.stop.cancelled() => break,
            };
            if received.is_empty() {
                break;
            }
            stream.write_all(&received).await?;
            if reads == READS_PER_TURN {
                task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Adds the client's lines to the log, for everyone else, and writes what others have added,
    /// until the client has nothing more to send, or the server stops, and nothing is owed.
    async fn hear(&self, stream: &TcpStream, member: &mut Member) -> io::Result<()> {
        // Send each line at once: it must not wait until the client has acknowledged the last one.
        stream.set_nodelay(true)?;
        let Member { told, cursor } = member;
        let mut decoder = LineDecoder::new(self.args.max_line);
        let mut reads = 0;
        // The kernel takes no more for now; or nobody reads there any more.
        let (mut blocked, mut gone) = (false, false);
        // Where what the client is owed ends, once that is known.
        let mut end = Position::MAX;
        while cursor.position() < end {
            let stays = end == Position::MAX;
            // More in two rounds could take clients that keep up over the limit.
            // todo: and nobody is read from while somebody is too far behind.
            let may_read = stays && self.room.grown() <= self.args.max_backlog as u64 / 4;
            let may_write = select! {
                ready = ready(stream, may_read, blocked) => {
                    let ready = ready?;
                    if ready.is_readable() && let Some(received) = try_read(stream)? {
                        decoder.push(&received);
                        while let Some(lines) = decoder.next_lines().map_err(io::Error::other)? {
                            self.broadcast(lines, cursor);
                        }
                        if received.is_empty() {
                            self.broadcast(&decoder.finish().unwrap_or_default(), cursor);
                            end = self.room.log().end();
                        }
                        reads = (reads + 1) % READS_PER_TURN;
                        if reads == 0 {
                            task::yield_now().await;
                        }
                    }
                    ready.is_writable()
                }
                _ = told.changed() => !blocked,
                () = self.stop.cancelled(), if stays => {
                    end = self.room.log().end();
                    !blocked
                }
            };
            if may_write {
                (blocked, gone) = match self.room.write_owed(stream, cursor) {
                    // What the client has said before is still to be read, and then the end. To
                    // wait for room would be to try again at once, and for ever.
                    Err(_) if end == Position::MAX => (false, true),
                    written => (!written?, false),
                };
            }
            // todo: do not disconnect it, let the room know; and take that back in time.
            if (blocked || gone) && self.room.log().lag(cursor) > self.args.max_backlog {
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
        let said = if self.args.client_may_end { before_end(lines) } else { lines };
        self.room.append(said, sender);
        if said.len() < lines.len() {
            self.stop.cancel();
        }
    }
}

/// The lines before `END`.
fn before_end(lines: &[u8]) -> &[u8] {
    let said = lines.split_inclusive(|&byte| byte == b'\n');
    let said = said.take_while(|line| line.trim_ascii_end() != b"END");
    &lines[..said.map(<[u8]>::len).sum()]
}

/// Ends our side of the connection. What the client still sends is read and dropped for a while: to
/// close a socket with bytes unread would reset the connection, and the client could lose what it
/// has not read yet.
async fn close(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let drain = async { while read(&stream).await.is_ok_and(|bytes| !bytes.is_empty()) {} };
        // Whoever sends later is reset.
        let _ = time::timeout(LINGER, drain).await;
    }
}

/// Waits until something has arrived and reads it; nothing at the end of input.
async fn read(stream: &TcpStream) -> io::Result<Vec<u8>> {
    loop {
        stream.readable().await?;
        if let Some(received) = try_read(stream)? {
            return Ok(received);
        }
    }
}

/// Reads what has arrived, if anything has. The buffer is made when there is something to put in
/// it: idle clients hold none.
fn try_read(stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut received = Vec::with_capacity(BUFFER);
    match stream.try_read_buf(&mut received) {
        // The end; or a reset whose error a write has got already: then there is no peer.
        Ok(0) => stream.peer_addr().map(|_| Some(received)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        read => read.map(|_| Some(received)),
    }
}

/// Waits until the kernel has something to read or room to write, whichever is asked for.
async fn ready(stream: &TcpStream, to_read: bool, to_write: bool) -> io::Result<Ready> {
    let interest = match (to_read, to_write) {
        (true, true) => Interest::READABLE | Interest::WRITABLE,
        (true, false) => Interest::READABLE,
        (false, true) => Interest::WRITABLE,
        (false, false) => std::future::pending().await,
    };
    stream.ready(interest).await
}

async fn next_signal([interrupt, terminate]: &mut [Signal; 2]) {
    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
