//! The event loop: it lets a task run when what the task waits for has come.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use coroutine::{Coroutine, CoroutineState, Yielder};
use log::debug;
use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// The socket with this token is ready for this. To be waited for only after `WouldBlock`:
    /// mio tells of a change once, even when nobody waits yet. One task at a time waits for
    /// a token.
    Ready(Interest, Token),
    // todo: ReadyUntil(Interest, Token, Instant), the same, or this time has come.
    /// Everyone else who is ready has run.
    Turn,
    /// This time has come.
    Until(Instant),
}

/// Runs each task up to its next `yield_`, and then again once it has what it waits for.
pub struct EventLoop {
    poll: RefCell<Poll>,
    ready: RefCell<VecDeque<Task>>,
    created: Cell<usize>,
    registered: Cell<usize>,
}

struct Task {
    /// Its place in the order of creation.
    id: usize,
    coroutine: Coroutine<Wait>,
}

impl EventLoop {
    /// A turn handles at most this many events, and so gathers what this many clients send.
    const EVENTS: usize = 4096;

    /// A loop without tasks.
    pub fn new() -> io::Result<Self> {
        let poll = RefCell::new(Poll::new()?);
        Ok(Self {
            poll,
            ready: RefCell::default(),
            created: Cell::new(0),
            registered: Cell::new(0),
        })
    }

    /// Runs for ever, turn by turn: everyone who is ready, then `after_turn`, then sleep until
    /// something happens, or until the time that `after_turn` has asked for.
    pub fn run(&self, after_turn: impl Fn() -> Option<Instant>) -> io::Result<()> {
        let mut events = Events::with_capacity(Self::EVENTS);
        // todo: who waits for a socket may have a time, too.
        let mut waiting: HashMap<Token, (Interest, Task)> = HashMap::new();
        let mut sleeping: BTreeMap<(Instant, usize), Task> = BTreeMap::new();
        loop {
            // Whoever becomes ready from now on has its turn after the others' events.
            for mut task in self.ready.take() {
                debug!("task {} runs", task.id);
                match task.coroutine.resume() {
                    CoroutineState::Yielded(wait) => {
                        debug!("task {} waits for {wait:?}", task.id);
                        match wait {
                            Wait::Ready(interest, token) => {
                                waiting.insert(token, (interest, task));
                            }
                            Wait::Turn => self.ready.borrow_mut().push_back(task),
                            Wait::Until(time) => drop(sleeping.insert((time, task.id), task)),
                        }
                    }
                    CoroutineState::Complete => debug!("task {} is complete", task.id),
                }
            }
            let wake = after_turn();
            // todo: sleep no longer than until the first of those times.

            let mut ready = self.ready.borrow_mut();
            let wake = sleeping.keys().map(|(time, _)| *time).take(1).chain(wake).min();
            let timeout = match wake {
                _ if !ready.is_empty() => Some(Duration::ZERO),
                Some(time) => Some(time.saturating_duration_since(Instant::now())),
                None => None,
            };
            match self.poll.borrow_mut().poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            for event in &events {
                if let Entry::Occupied(entry) = waiting.entry(event.token()) {
                    let interest = entry.get().0;
                    if (interest.is_readable() && event.is_readable())
                        || (interest.is_writable() && event.is_writable())
                    {
                        // todo: what becomes of its time?
                        ready.push_back(entry.remove().1);
                    }
                }
            }
            // todo: whose time has come, is ready.
            while let Some(entry) = sleeping.first_entry() {
                if entry.key().0 > Instant::now() {
                    break;
                }
                ready.push_back(entry.remove());
            }
        }
    }

    /// Adds a task. It runs when its turn comes.
    pub fn create_task<F>(&self, body: impl FnOnce(Yielder<Wait>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let id = self.created.replace(self.created.get() + 1);
        self.ready.borrow_mut().push_back(Task { id, coroutine: Coroutine::new(body) });
    }

    /// Watches a socket from now on, until it is dropped. No token is used twice.
    pub fn register(&self, socket: &mut impl Source) -> io::Result<Token> {
        let token = Token(self.registered.replace(self.registered.get() + 1));
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.borrow().registry().register(socket, token, interests)?;
        Ok(token)
    }
}
