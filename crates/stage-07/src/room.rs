//! The shared log among tasks: who hears what, and when to write.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use log::debug;
use shared_log::{Cursor, Position, SharedLog};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::{task, time};

/// A write costs much the same whether it carries one line or so many bytes.
const FULL_WRITE: u64 = 8 * 1024;
/// When everyone took this long or longer to write, lines gather: twice as long, at most.
const LONG_FLUSH: Duration = Duration::from_millis(1);
/// How long lines gather at the longest.
const LONGEST_REST: Duration = Duration::from_millis(20);

/// Everyone who hears each other.
#[derive(Default)]
pub struct Room {
    log: RwLock<SharedLog>,
    /// Says that the log has grown.
    grown: Notify,
    /// Where the log ended when everyone was last told to write.
    head: watch::Sender<Position>,
}

/// One client's place in the room. Dropping it is leaving.
pub struct Member {
    /// Changes when there is something to write.
    pub head: watch::Receiver<Position>,
    /// How far the client has got.
    pub cursor: Cursor,
}

impl Room {
    /// A place for a client that hears every line from now on.
    pub fn join(&self) -> Member {
        // In this order: what is appended between the two is told later, if to no avail.
        Member { head: self.head.subscribe(), cursor: self.log_mut().join() }
    }

    /// Adds whole lines, for everyone but their sender.
    pub fn append(&self, lines: &[u8], sender: &mut Cursor) {
        self.log_mut().append(lines, sender);
        self.grown.notify_one();
    }

    // ANCHOR: publish
    /// Tells everyone to write, for ever: once for all lines that arrive in a turn of the runtime.
    /// To write is a system call for each client, so after it took long, lines gather for twice
    /// that time, or until there is enough to write.
    pub async fn publish(&self) {
        loop {
            self.gather(1).await;
            // Whoever is ready to read does so first.
            task::yield_now().await;
            let begin = Instant::now();
            self.tell();
            // Whoever was told writes.
            task::yield_now().await;
            let took = begin.elapsed();
            if took >= LONG_FLUSH {
                // Either will do: the time is up, or there is enough.
                let _ = time::timeout((2 * took).min(LONGEST_REST), self.gather(FULL_WRITE)).await;
            }
        }
    }

    /// Waits until the log has grown by so many bytes.
    async fn gather(&self, bytes: u64) {
        while self.log().end() - *self.head.borrow() < bytes {
            self.grown.notified().await;
        }
    }

    fn tell(&self) {
        let mut log = self.log_mut();
        log.trim();
        debug!("the log ends at {}", log.end());
        self.head.send_replace(log.end());
    }
    // ANCHOR_END: publish

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

    fn log_mut(&self) -> RwLockWriteGuard<'_, SharedLog> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }
}
