//! The event loop: it lets its tasks run in turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use log::debug;

use crate::coroutine::{Coroutine, CoroutineState, Yielder};

/// Runs each task up to its next `yield_`, round and round.
#[derive(Default)]
pub struct EventLoop {
    ready: RefCell<VecDeque<Task>>,
    created: Cell<usize>,
}

struct Task {
    /// Its place in the order of creation, for the log.
    id: usize,
    coroutine: Coroutine<()>,
}

impl EventLoop {
    /// Runs until no task is left.
    pub fn run(&self) {
        while let Some(mut task) = self.next_ready() {
            debug!("task {} runs", task.id);
            match task.coroutine.resume() {
                CoroutineState::Yielded(()) => self.ready.borrow_mut().push_back(task),
                CoroutineState::Complete => debug!("task {} is complete", task.id),
            }
        }
    }

    /// Adds a task. It runs when its turn comes.
    pub fn create_task<F>(&self, body: impl FnOnce(Yielder<()>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let id = self.created.replace(self.created.get() + 1);
        self.ready.borrow_mut().push_back(Task { id, coroutine: Coroutine::new(body) });
    }

    /// Takes the queue's first task. The borrow ends here, not with the loop's body: a running
    /// task creates others.
    fn next_ready(&self) -> Option<Task> {
        self.ready.borrow_mut().pop_front()
    }
}
