//! Who sent what when, and what the kernel said meanwhile.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::Process;
use crate::trouble::Scene;

/// One thing that happened between a server and its clients.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, since the server was started.
    pub at: Duration,
    /// A client's name, or `server`.
    pub who: String,
    /// What it was.
    pub kind: Kind,
    /// How many bytes moved; several moves in a row are one event.
    pub bytes: usize,
    /// The first bytes, escaped; or what happened, in words.
    pub text: String,
}

/// What an [`Event`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection or a process begins.
    Begins,
    /// Bytes from a client.
    Sends,
    /// Bytes to a client.
    Receives,
    /// A stream, a connection or a process ends.
    Ends,
    /// The server was sent a signal.
    Signal,
    /// What the kernel says of queues and threads.
    Reading,
}

impl Kind {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Begins => "begins",
            Self::Sends => "sends",
            Self::Receives => "receives",
            Self::Ends => "ends",
            Self::Signal => "signal",
            Self::Reading => "reading",
        }
    }
}

/// What was observed of the servers that a piece of work has started.
#[derive(Debug, Default)]
pub struct Observed {
    /// The events of each server, in the order in which the servers were started.
    pub logs: Vec<Log>,
    /// Where the work took too long, so that its servers were killed: what the last one that it had
    /// started was doing just before.
    pub overdue: Option<Scene>,
}

/// The events of one server: the first and the last, if there are too many.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The first events.
    pub head: Vec<Event>,
    /// How many are left out between them.
    pub left_out: usize,
    /// The last ones.
    pub tail: VecDeque<Event>,
}

/// Does `work` on this thread and observes the servers that it starts there. When it takes longer
/// than `deadline`, they are killed, which ends every wait for them.
pub fn observe<T>(deadline: Duration, work: impl FnOnce() -> T) -> (T, Observed) {
    let servers = Servers::default();
    let before = SERVERS.replace(Some(Arc::clone(&servers)));
    let (done, on_done) = mpsc::channel::<()>();
    let (result, overdue) = thread::scope(|scope| {
        let guard = scope.spawn({
            let servers = &servers;
            move || {
                let is_over =
                    |patience| on_done.recv_timeout(patience) != Err(RecvTimeoutError::Timeout);
                if is_over(deadline) {
                    return None;
                }
                let last = lock(servers).last().map(Arc::clone);
                let scene = last.map_or_else(Scene::default, |server| server.scene());
                loop {
                    lock(servers).iter().for_each(|server| server.kill());
                    // It may start another one.
                    if is_over(Duration::from_millis(100)) {
                        return Some(scene);
                    }
                }
            }
        });
        // A panic drops it, too, and so ends the guard.
        let done = done;
        let result = work();
        drop(done);
        (result, guard.join().unwrap_or_default())
    });
    SERVERS.set(before);
    let logs = lock(&servers).iter().map(|server| server.wire.log()).collect();
    (result, Observed { logs, overdue })
}

/// The servers that were started while somebody observes.
type Servers = Arc<Mutex<Vec<Arc<Process>>>>;

thread_local! {
    /// Where servers that this thread starts are noted.
    static SERVERS: RefCell<Option<Servers>> = const { RefCell::new(None) };
}

pub(crate) fn note_server(server: &Arc<Process>) {
    SERVERS.with_borrow(|servers| {
        if let Some(servers) = servers {
            lock(servers).push(Arc::clone(server));
        }
    });
}

/// Where the events of one server are written down.
pub(crate) struct Wire {
    begun: Instant,
    log: Mutex<Log>,
}

impl Wire {
    /// How many of the first and of the last events are kept.
    const KEPT: usize = 150;
    /// How far back a move is looked for that this one goes on.
    const LOOK_BACK: usize = 40;
    const EXCERPT: usize = 40;

    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), log: Mutex::default() }
    }

    /// How long ago the server was started.
    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn note(&self, who: &str, kind: Kind, text: impl Into<String>) {
        let (at, who, text) = (self.age(), who.to_owned(), text.into());
        lock(&self.log).push(Event { at, who, kind, bytes: 0, text });
    }

    /// Bytes moved. If they go on what this client did last, and nothing but bytes of others came
    /// in between, it is one event.
    pub(crate) fn moved(&self, who: &str, kind: Kind, bytes: &[u8]) {
        let mut log = lock(&self.log);
        let moves = |event: &&mut Event| matches!(event.kind, Kind::Sends | Kind::Receives);
        let last = log.backwards().take(Self::LOOK_BACK).take_while(moves);
        if let Some(event) = last.into_iter().find(|event| event.who == who)
            && event.kind == kind
        {
            event.bytes += bytes.len();
            return;
        }
        let shown = &bytes[..bytes.len().min(Self::EXCERPT)];
        let text =
            shown.escape_ascii().to_string() + if shown.len() < bytes.len() { "…" } else { "" };
        let (at, who) = (self.age(), who.to_owned());
        log.push(Event { at, who, kind, bytes: bytes.len(), text });
    }

    fn log(&self) -> Log {
        lock(&self.log).clone()
    }
}

impl Log {
    /// All events that were kept.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.head.iter().chain(&self.tail)
    }

    fn push(&mut self, event: Event) {
        if self.head.len() < Wire::KEPT {
            self.head.push(event);
            return;
        }
        self.tail.push_back(event);
        if self.tail.len() > Wire::KEPT {
            self.tail.pop_front();
            self.left_out += 1;
        }
    }

    fn backwards(&mut self) -> impl Iterator<Item = &mut Event> {
        self.tail.iter_mut().rev().chain(self.head.iter_mut().rev())
    }
}

/// A panic elsewhere does not make these plain values wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_in_a_row_are_one_event() {
        let wire = Wire::new();
        wire.moved("a", Kind::Sends, b"one ");
        wire.moved("b", Kind::Sends, b"else");
        wire.moved("a", Kind::Sends, b"two");
        wire.moved("a", Kind::Receives, b"one ");
        wire.moved("a", Kind::Sends, b"three");
        let log = wire.log();
        let bytes: Vec<_> = log.events().map(|it| (it.who.as_str(), it.kind, it.bytes)).collect();
        assert_eq!(
            bytes,
            [
                ("a", Kind::Sends, 7),
                ("b", Kind::Sends, 4),
                ("a", Kind::Receives, 4),
                ("a", Kind::Sends, 5),
            ]
        );
    }

    #[test]
    fn of_too_many_events_the_first_and_the_last_are_kept() {
        let wire = Wire::new();
        (0..1000).for_each(|number| wire.note("server", Kind::Signal, number.to_string()));
        let log = wire.log();
        assert_eq!(log.left_out, 1000 - log.events().count());
        assert_eq!(log.head[0].text, "0");
        assert_eq!(log.tail.back().map(|it| it.text.as_str()), Some("999"));
    }
}
