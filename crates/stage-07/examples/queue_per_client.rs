//! The broadcast that one writes first: a queue and a writer task for each client.
//!
//! It is correct, and bounded: a queue that holds more than `--max-backlog` bytes costs its client
//! the connection. Each line is queued once for every client, though; stage 07 keeps it once.
//!
//! `--policy` shows what else a server can do with a client that does not take what it is owed.
//!
//! ```text
//! server$ cargo run -p stage-07 --example queue_per_client -- --policy grow
//! s$ cargo run -p client -- --slow
//! a$ yes 'a line' | nc 127.0.0.1 3000 >/dev/null
//! ```

use std::collections::HashMap;
use std::io;
use std::net::{self, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kit::{Args, Backoff, Flag, Policy};
use lines::LineDecoder;
use log::{info, warn};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::{select, time};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections may wait to be accepted.
const LISTEN_BACKLOG: i32 = 4096;
/// How many bytes one read takes at most.
const BUFFER: usize = 16 * 1024;
/// How many pieces of the queue one write takes at most: these are copied for it.
const PIECES: usize = 64;
/// How long a stop waits for clients to take what they are owed.
const GRACE: Duration = Duration::from_millis(1500);
/// How long a connection whose end was sent waits for the client's.
const LINGER: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let about = "The broadcast of stage 07, with a queue and a writer task for each client";
    let flags = [Flag::MaxLine, Flag::MaxBacklog, Flag::Policy, Flag::Threads, Flag::ClientMayEnd];
    let args = Args::parse(about, &flags);
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
        queues: Mutex::default(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });
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
        () = time::sleep(GRACE) => warn!("stopped with {} tasks left", server.tasks.len()),
    }
    Ok(())
}

struct Server {
    args: Args,
    /// Everyone who hears a broadcast.
    queues: Mutex<HashMap<u64, Queue>>,
    /// Says that the server stops.
    stop: CancellationToken,
    /// The clients' tasks.
    tasks: TaskTracker,
}

/// Accepts clients for ever and makes two tasks of each of them.
async fn accept_clients(server: &Arc<Server>, listener: TcpListener) {
    let mut backoff = Backoff::default();
    for id in 0.. {
        match listener.accept().await {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                let (queue, queued) = Queue::new(address);
                let serve =
                    handle_client(Arc::clone(server), id, stream, queue.expel.clone(), queued);
                // The client hears every line from here on, whenever its tasks first run.
                server.queues.lock().await.insert(id, queue);
                server.tasks.spawn(serve);
            }
            Err(error) => time::sleep(backoff.after(&error)).await,
        }
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
async fn handle_client(
    server: Arc<Server>,
    id: u64,
    stream: TcpStream,
    expel: CancellationToken,
    queued: Queued,
) {
    // Send each line at once. An error means that the connection is gone, as `read` will say.
    let _ = stream.set_nodelay(true);
    let address = queued.address;
    let (mut reader, writer) = stream.into_split();
    let writer = server.tasks.spawn(write(writer, queued));
    let reason = select! {
        left = server.hear(&mut reader, id) => match left {
            Ok(()) => "end of input".to_owned(),
            Err(error) => error.to_string(),
        },
        () = server.stop.cancelled() => "the server stops".to_owned(),
        () = expel.cancelled() => return writer.abort(),
    };
    info!("client disconnected: {address}: {reason}");
    // Without the queue the writer ends, once it has written what is in it.
    server.queues.lock().await.remove(&id);
    let _ = writer.await;
    // To close a socket with bytes unread would reset the connection. Whoever sends later is reset.
    let drain = async { while read(&mut reader).await.is_ok_and(|bytes| !bytes.is_empty()) {} };
    let _ = time::timeout(LINGER, drain).await;
}

impl Server {
    /// Queues the client's lines for everyone else until it has nothing more to send.
    async fn hear(&self, reader: &mut OwnedReadHalf, id: u64) -> io::Result<()> {
        let mut decoder = LineDecoder::new(self.args.max_line);
        loop {
            if self.args.policy == Policy::Pause {
                self.all_have_room(id).await;
            }
            let received = read(reader).await?;
            decoder.push(&received);
            while let Some(lines) = decoder.next_lines().map_err(io::Error::other)? {
                self.broadcast(lines, id).await;
            }
            if received.is_empty() {
                if let Some(tail) = decoder.finish() {
                    self.broadcast(&tail, id).await;
                }
                return Ok(());
            }
        }
    }

    /// Queues lines for everyone but their sender. What becomes of whoever is owed too much is
    /// the policy.
    async fn broadcast(&self, lines: &[u8], sender: u64) {
        let said: Arc<[u8]> = self.before_end(lines).into();
        let max_backlog = self.args.max_backlog;
        let mut behind = Vec::new();
        // ANCHOR: policy
        let mut queues = self.queues.lock().await;
        for (&id, queue) in queues.iter_mut().filter(|(id, _)| **id != sender) {
            if queue.backlog() + said.len() > max_backlog {
                match self.args.policy {
                    // Whoever speaks, comes or goes waits for the lock, and so for this client.
                    Policy::Block => queue.wait_for_room(max_backlog).await,
                    Policy::Grow => {}
                    Policy::Drop => continue,
                    Policy::Disconnect => {
                        behind.push(id);
                        continue;
                    }
                    // `hear` has waited, without the lock: nobody else waits.
                    Policy::Pause => {}
                }
            }
            queue.push(&said);
        }
        // ANCHOR_END: policy
        for queue in behind.iter().filter_map(|id| queues.remove(id)) {
            let address = queue.address;
            info!("client disconnected: {address}: more than {max_backlog} bytes behind");
            queue.expel.cancel();
        }
        if said.len() < lines.len() {
            self.stop.cancel();
        }
    }

    /// Waits until nobody whom the client would speak to is too far behind.
    async fn all_have_room(&self, sender: u64) {
        let queues = self.queues.lock().await;
        let others = queues.iter().filter(|(id, _)| **id != sender);
        let others: Vec<_> = others.map(|(_, queue)| queue.clone()).collect();
        drop(queues);
        for mut queue in others {
            queue.wait_for_room(self.args.max_backlog).await;
        }
    }

    /// The lines before `END`, if a client may say that; else all of them.
    fn before_end<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        let is_end = |line: &[u8]| self.args.client_may_end && line.trim_ascii_end() == b"END";
        let said = lines.split_inclusive(|&byte| byte == b'\n').take_while(|line| !is_end(line));
        &lines[..said.map(<[u8]>::len).sum()]
    }
}

/// What one client is owed: the end that is filled. Dropping it lets the writer finish.
#[derive(Clone)]
struct Queue {
    address: SocketAddr,
    pieces: mpsc::UnboundedSender<Arc<[u8]>>,
    /// How many bytes were queued, and how many of them are written. Their difference is what is
    /// bounded: one piece may be a byte or a buffer.
    queued: usize,
    written: watch::Receiver<usize>,
    /// Ends the client's tasks at once.
    expel: CancellationToken,
}

/// What one client is owed: the end that its writer empties.
struct Queued {
    address: SocketAddr,
    pieces: mpsc::UnboundedReceiver<Arc<[u8]>>,
    written: watch::Sender<usize>,
}

impl Queue {
    fn new(address: SocketAddr) -> (Self, Queued) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let (written, writes) = watch::channel(0);
        let expel = CancellationToken::new();
        let queue = Self { address, pieces: sender, queued: 0, written: writes, expel };
        (queue, Queued { address, pieces, written })
    }

    fn backlog(&self) -> usize {
        self.queued - *self.written.borrow()
    }

    fn push(&mut self, piece: &Arc<[u8]>) {
        self.queued += piece.len();
        // Fails where the writer has met an error; the reader will, too, and leave.
        let _ = self.pieces.send(Arc::clone(piece));
    }

    async fn wait_for_room(&mut self, max_backlog: usize) {
        let enough = self.queued.saturating_sub(max_backlog);
        // Fails where the writer has met an error: who has left needs no room.
        let _ = self.written.wait_for(|written| *written >= enough).await;
    }
}

/// Writes what is queued, all that is pending in one write, until the queue is dropped and empty.
async fn write(mut stream: OwnedWriteHalf, mut queued: Queued) -> io::Result<()> {
    let mut pieces = Vec::new();
    while queued.pieces.recv_many(&mut pieces, PIECES).await > 0 {
        let pending = pieces.concat();
        pieces.clear();
        stream.write_all(&pending).await?;
        queued.written.send_modify(|written| *written += pending.len());
    }
    stream.shutdown().await
}

/// Waits until something has arrived and reads it; nothing at the end of input. The buffer is made
/// when there is something to put in it: idle clients hold none.
async fn read(reader: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    reader.readable().await?;
    let mut received = Vec::with_capacity(BUFFER);
    if reader.read_buf(&mut received).await? == 0 {
        // The kernel tells of a reset once, and may have told the writer: that is no end of input.
        reader.peer_addr()?;
    }
    Ok(received)
}

async fn next_signal([interrupt, terminate]: &mut [Signal; 2]) {
    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
