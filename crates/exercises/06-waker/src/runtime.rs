//! A runtime: an executor, which runs the tasks that were woken, and a reactor, which wakes the
//! tasks whose sockets are ready.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future;
use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Token};

/// Runs tasks until none is woken, then sleeps until a socket is ready.
pub struct Runtime {
    poll: RefCell<mio::Poll>,
    tasks: RefCell<HashMap<usize, Task>>,
    created: Cell<usize>,
    registered: Cell<usize>,
    /// The tasks that are to run, in the order in which they were woken.
    woken: Arc<Mutex<Vec<usize>>>,
    /// The reactor's part: what each socket is waited for, and whom to wake then.
    waiting: RefCell<BTreeMap<Token, (Interest, Waker)>>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Wakes one task. It gives no alarm: here, only the thread of the loop has wakers.
struct TaskWaker {
    id: usize,
    woken: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.woken).push(self.id);
    }
}

impl Runtime {
    /// A runtime without tasks.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: RefCell::new(mio::Poll::new()?),
            tasks: RefCell::default(),
            created: Cell::new(0),
            registered: Cell::new(0),
            woken: Arc::default(),
            waiting: RefCell::default(),
        })
    }

    /// Adds a task. It is woken once, to begin.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let id = self.created.replace(self.created.get() + 1);
        self.tasks.borrow_mut().insert(id, Box::pin(task));
        lock(&self.woken).push(id);
    }

    /// Runs for ever.
    pub fn run(&self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let woken = mem::take(&mut *lock(&self.woken));
            for id in woken {
                // Taken out while it runs: it may spawn others. None: it has ended since.
                let Some(mut task) = self.tasks.borrow_mut().remove(&id) else { continue };
                let waker = Waker::from(Arc::new(TaskWaker { id, woken: Arc::clone(&self.woken) }));
                if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    self.tasks.borrow_mut().insert(id, task);
                }
            }
            let timeout = if lock(&self.woken).is_empty() { None } else { Some(Duration::ZERO) };
            match self.poll.borrow_mut().poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            for event in &events {
                let mut waiting = self.waiting.borrow_mut();
                // todo: whoever waits for this socket, and for this readiness, is to be woken.
                let _ = (event, &mut *waiting);
            }
        }
    }

    /// Watches a socket from now on, until it is dropped. No token is used twice.
    pub fn register(&self, socket: &mut impl Source) -> io::Result<Token> {
        let token = Token(self.registered.replace(self.registered.get() + 1));
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.borrow().registry().register(socket, token, interests)?;
        Ok(token)
    }

    /// Waits until the socket is ready for it. To be awaited only after `WouldBlock`, and by one
    /// task at a time.
    pub async fn ready(&self, token: Token, interest: Interest) {
        let mut waited = false;
        future::poll_fn(|context| {
            if waited {
                return Poll::Ready(());
            }
            waited = true;
            // todo: leave word of who waits, and for what. Or nobody will know whom to wake.
            let _ = (token, interest, &context);
            Poll::Pending
        })
        .await;
    }
}

/// Lets everyone else who is woken run.
pub async fn turn() {
    let mut waited = false;
    future::poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn lock(woken: &Mutex<Vec<usize>>) -> std::sync::MutexGuard<'_, Vec<usize>> {
    // Whoever panicked while it held the lock had pushed a number, or not.
    woken.lock().unwrap_or_else(PoisonError::into_inner)
}
