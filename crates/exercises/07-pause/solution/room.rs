//! The shared log among tasks: who hears what, and when to write.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use log::debug;
use shared_log::{Cursor, SharedLog};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::{task, time};

/// How many clients are told to write at a time: what is said meanwhile goes to the others.
const ROW: usize = 64;
/// A write costs much the same whether it carries one line or so many bytes.
const FULL_WRITE: u64 = 8 * 1024;
/// To whom so much is owed it does not help that more goes along.
const LARGE_WRITE: u64 = 128 * 1024;
/// When everyone took this long or longer to write, lines gather: twice as long, at most.
const LONG_ROUND: Duration = Duration::from_millis(1);
/// How long lines gather at the longest.
const LONGEST_REST: Duration = Duration::from_millis(20);

/// Everyone who hears each other.
#[derive(Default)]
pub struct Room {
    log: RwLock<SharedLog>,
    /// Says that the log has grown.
    news: Notify,
    /// Clients that are told to write together.
    rows: Mutex<Vec<watch::Sender<()>>>,
    /// Where the log ended when the round through all rows began.
    round: AtomicU64,
    /// How many clients are too far behind: while there is one, nobody is read from.
    laggards: watch::Sender<usize>,
}

/// One client's place in the room. Dropping it is leaving.
pub struct Member {
    /// Changes when there is something to write.
    pub told: watch::Receiver<()>,
    /// How far the client has got.
    pub cursor: Cursor,
}

/// Says that a client is too far behind, for as long as it lives.
pub struct Lagging<'a>(&'a Room);

impl Room {
    /// A place for a client that hears every line from now on.
    pub fn join(&self) -> Member {
        // In this order: what is appended between the two is told later, if to no avail.
        Member { told: self.sit_down(), cursor: self.log_mut().join() }
    }

    /// A seat in the first row that has one.
    fn sit_down(&self) -> watch::Receiver<()> {
        let mut rows = self.rows();
        match rows.iter().find(|row| row.receiver_count() < ROW) {
            Some(row) => row.subscribe(),
            None => {
                let (row, seat) = watch::channel(());
                rows.push(row);
                seat
            }
        }
    }

    /// Adds whole lines, for everyone but their sender.
    pub fn append(&self, lines: &[u8], sender: &mut Cursor) {
        self.log_mut().append(lines, sender);
        self.news.notify_one();
    }

    /// Tells everyone to write, row by row and round after round, for ever: once for all lines that
    /// have come since. To write is a system call for each client, so after a round that took long,
    /// lines gather for twice that time, or until there is enough to write.
    pub async fn publish(&self) {
        loop {
            self.gather(1).await;
            // Whoever is ready to read does so first.
            task::yield_now().await;
            let begin = Instant::now();
            self.tell().await;
            let took = begin.elapsed();
            if took >= LONG_ROUND {
                // Either will do: the time is up, or there is enough.
                let _ = time::timeout((2 * took).min(LONGEST_REST), self.gather(FULL_WRITE)).await;
            }
        }
    }

    /// How many clients are too far behind.
    pub fn laggards(&self) -> watch::Receiver<usize> {
        self.laggards.subscribe()
    }

    /// One more client is too far behind.
    pub fn lagging(&self) -> Lagging<'_> {
        self.laggards.send_modify(|laggards| *laggards += 1);
        Lagging(self)
    }

    /// Waits until the log has grown by so many bytes since the round began.
    async fn gather(&self, bytes: u64) {
        while self.grown() < bytes {
            self.news.notified().await;
        }
    }

    /// Tells each row to write, and lets it.
    async fn tell(&self) {
        let is_large = self.grown() >= LARGE_WRITE;
        let end = self.log().end();
        debug!("the log ends at {end}");
        self.round.store(end, Ordering::Relaxed);
        for row in 0.. {
            let Some(row) = self.rows().get(row).cloned() else { break };
            if row.send(()).is_ok() && !is_large {
                // Whoever was told writes, and whoever is ready to read does so.
                task::yield_now().await;
            }
        }
        // If it is large, they all write now.
        task::yield_now().await;
        self.log_mut().trim();
    }

    /// By how many bytes the log has grown since the round began.
    pub fn grown(&self) -> u64 {
        let round = self.round.load(Ordering::Relaxed);
        self.log().end() - round
    }

    /// Writes what a client is owed: all of it (true), or as much as the kernel takes for now.
    pub fn write_owed(&self, stream: &TcpStream, cursor: &mut Cursor) -> io::Result<bool> {
        let log = self.log();
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

    /// The log as it is.
    pub fn log(&self) -> RwLockReadGuard<'_, SharedLog> {
        // A poisoned lock is as good as new: a task that panicked is one client's trouble, and
        // has left no line half appended.
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self) -> MutexGuard<'_, Vec<watch::Sender<()>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_mut(&self) -> RwLockWriteGuard<'_, SharedLog> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lagging<'_> {
    fn drop(&mut self) {
        self.0.laggards.send_modify(|laggards| *laggards -= 1);
    }
}
