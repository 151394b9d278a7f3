//! A runtime in small. The executor polls the tasks that were woken; the reactor sleeps until
//! something happens and wakes the tasks that wait for it; the waker is all they share.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::{self, Future};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Events, Interest, Token};

/// Runs tasks.
pub struct Runtime {
    /// The tasks that are not complete.
    tasks: RefCell<HashMap<usize, Task>>,
    created: Cell<usize>,
    /// Those that are to be polled.
    woken: Arc<Woken>,
    reactor: Rc<Reactor>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The token of the alarm; sockets have those after it.
const ALARM: Token = Token(0);
/// How often a task may find its sockets ready before the others' turn comes.
const BUDGET: u8 = 16;

// ANCHOR: waker
/// The tasks that are to be polled, by number. Any thread may add one.
struct Woken {
    ids: Mutex<VecDeque<usize>>,
    /// Ends the reactor's sleep.
    alarm: mio::Waker,
}

/// What a task leaves with whoever can tell when it is worth polling again.
struct TaskWaker {
    id: usize,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ids = self.woken.ids();
        ids.push_back(self.id);
        // If there were others, the alarm has been given, or the executor has yet to look at them.
        if ids.len() == 1 {
            // It fails if the runtime is gone, and then nobody is left to be woken.
            let _ = self.woken.alarm.wake();
        }
    }
}
// ANCHOR_END: waker

impl Woken {
    fn ids(&self) -> MutexGuard<'_, VecDeque<usize>> {
        // A thread that panicked here has left the queue whole.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime {
    /// A runtime without tasks.
    ///
    /// # Errors
    /// The system has no more selectors.
    pub fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let alarm = mio::Waker::new(poll.registry(), ALARM)?;
        let woken = Arc::new(Woken { ids: Mutex::default(), alarm });
        let reactor = Rc::new(Reactor {
            poll: RefCell::new(poll),
            registered: Cell::new(ALARM.0),
            waiting: RefCell::default(),
            sleeping: RefCell::default(),
            slept: Cell::new(0),
            budget: Cell::new(0),
        });
        Ok(Self { tasks: RefCell::default(), created: Cell::new(0), woken, reactor })
    }

    /// Adds a task. It is polled for the first time when its turn comes.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let id = self.created.replace(self.created.get() + 1);
        self.tasks.borrow_mut().insert(id, Box::pin(task));
        self.woken.ids().push_back(id);
    }

    // ANCHOR: executor
    /// Polls whoever was woken, then sleeps until somebody is, for ever; or until no task is left.
    ///
    /// # Errors
    /// The system cannot tell of events.
    pub fn run(&self) -> io::Result<()> {
        loop {
            // Whoever is woken from now on has its turn after the events.
            let woken = std::mem::take(&mut *self.woken.ids());
            for id in woken {
                // None: it is complete, and somebody had woken it twice. That is legal.
                let Some(mut task) = self.tasks.borrow_mut().remove(&id) else { continue };
                let waker = Waker::from(Arc::new(TaskWaker { id, woken: Arc::clone(&self.woken) }));
                self.reactor.budget.set(BUDGET);
                if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    self.tasks.borrow_mut().insert(id, task);
                }
            }
            if self.tasks.borrow().is_empty() {
                return Ok(());
            }
            let nobody_is_woken = self.woken.ids().is_empty();
            self.reactor.turn(nobody_is_woken)?;
        }
    }
    // ANCHOR_END: executor

    /// Waits for so long.
    pub async fn sleep(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let id = self.reactor.slept.replace(self.reactor.slept.get() + 1);
        future::poll_fn(|context| {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            // Again at each poll: the latest waker is the one that counts.
            let waker = context.waker().clone();
            self.reactor.sleeping.borrow_mut().insert((until, id), waker);
            Poll::Pending
        })
        .await;
    }
}

/// Sleeps for all tasks, and wakes those for whom something has happened.
struct Reactor {
    poll: RefCell<mio::Poll>,
    registered: Cell<usize>,
    /// Who waits to read from a socket, or to write to it.
    waiting: RefCell<HashMap<(Token, Direction), Waker>>,
    /// Who waits for a time.
    sleeping: RefCell<BTreeMap<(Instant, usize), Waker>>,
    slept: Cell<usize>,
    /// How often the task that runs may still find its sockets ready.
    budget: Cell<u8>,
}

/// What a task wants to do with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Direction {
    Read,
    Write,
}

impl Reactor {
    // ANCHOR: ready
    /// Tries `operation`. If it would block, the task leaves its waker here and is polled again,
    /// to try again, when the socket is ready.
    async fn ready<T>(
        &self,
        token: Token,
        direction: Direction,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        future::poll_fn(|context| {
            let Some(budget) = self.budget.get().checked_sub(1) else {
                // The others' turn: it is to be polled again, and not before them.
                context.waker().wake_by_ref();
                return Poll::Pending;
            };
            self.budget.set(budget);
            match operation() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let waker = context.waker().clone();
                    self.waiting.borrow_mut().insert((token, direction), waker);
                    Poll::Pending
                }
                result => Poll::Ready(result),
            }
        })
        .await
    }
    // ANCHOR_END: ready

    // ANCHOR: reactor
    /// Wakes everyone for whom something has happened. If nobody has anything to do, `may_sleep`
    /// until something does.
    fn turn(&self, may_sleep: bool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let timeout = match self.sleeping.borrow().keys().next() {
            _ if !may_sleep => Some(Duration::ZERO),
            Some((time, _)) => Some(time.saturating_duration_since(Instant::now())),
            None => None,
        };
        match self.poll.borrow_mut().poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        let mut waiting = self.waiting.borrow_mut();
        for event in &events {
            let mut wake = |direction| {
                waiting.remove(&(event.token(), direction)).inspect(Waker::wake_by_ref);
            };
            if event.is_readable() {
                wake(Direction::Read);
            }
            if event.is_writable() {
                wake(Direction::Write);
            }
        }
        let mut sleeping = self.sleeping.borrow_mut();
        while let Some(first) = sleeping.first_entry().filter(|it| it.key().0 <= Instant::now()) {
            first.remove().wake();
        }
        Ok(())
    }
    // ANCHOR_END: reactor

    /// Watches a socket from now on, until it is dropped.
    fn register(&self, socket: &mut impl Source) -> io::Result<Token> {
        let token = Token(self.registered.get() + 1);
        self.registered.set(token.0);
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.borrow().registry().register(socket, token, interests)?;
        Ok(token)
    }
}

/// A listener whose `accept` waits.
pub struct TcpListener {
    listener: mio::net::TcpListener,
    token: Token,
    reactor: Rc<Reactor>,
}

impl TcpListener {
    /// The listener, watched by the runtime.
    ///
    /// # Errors
    /// It cannot be watched.
    pub fn from_std(runtime: &Runtime, listener: net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        let reactor = Rc::clone(&runtime.reactor);
        let token = reactor.register(&mut listener)?;
        Ok(Self { listener, token, reactor })
    }

    /// Waits for a client.
    ///
    /// # Errors
    /// The client has gone already, or the process is out of descriptors.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = || self.listener.accept();
        let (stream, address) = self.reactor.ready(self.token, Direction::Read, accept).await?;
        Ok((TcpStream::new(stream, Rc::clone(&self.reactor))?, address))
    }
}

/// A connection whose `read` and `write_all` wait.
pub struct TcpStream {
    stream: mio::net::TcpStream,
    token: Token,
    reactor: Rc<Reactor>,
}

impl TcpStream {
    fn new(mut stream: mio::net::TcpStream, reactor: Rc<Reactor>) -> io::Result<Self> {
        let token = reactor.register(&mut stream)?;
        Ok(Self { stream, token, reactor })
    }

    /// As that of std.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream.set_nodelay(nodelay)
    }

    /// Waits until something has arrived and reads it: how many bytes, 0 at the end of input.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = || (&self.stream).read(buffer);
        self.reactor.ready(self.token, Direction::Read, read).await
    }

    /// Writes all of it, and waits as often as the kernel takes no more.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = || (&self.stream).write(bytes);
            let written = self.reactor.ready(self.token, Direction::Write, write).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        let mut waiting = self.reactor.waiting.borrow_mut();
        waiting.remove(&(self.token, Direction::Read));
        waiting.remove(&(self.token, Direction::Write));
    }
}
