//! Coroutines in stable Rust: an `async` block that its caller resumes.
//!
//! Python's `yield` comes with the language; Rust's `gen` blocks are not stable yet. The compiler
//! makes the same thing of an `async` block, though: a state machine that stops at each `.await`
//! and goes on from there. A [`Coroutine`] runs that machine with a waker that does nothing, since
//! its caller decides when to resume it, and [`Yielder::yield_`] hands a value out at each stop.
//!
//! ```
//! use coroutine::{Coroutine, CoroutineState::{Complete, Yielded}};
//!
//! let mut counter = Coroutine::new(|co| async move {
//!     for i in 0..2 {
//!         co.yield_(i).await;
//!     }
//! });
//! assert_eq!(counter.resume(), Yielded(0));
//! assert_eq!(counter.resume(), Yielded(1));
//! assert_eq!(counter.resume(), Complete);
//! ```

use std::cell::Cell;
use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A function that can stop in the middle, hand out a `Y`, and go on later.
pub struct Coroutine<Y> {
    body: Pin<Box<dyn Future<Output = ()>>>,
    yielded: Rc<Cell<Option<Y>>>,
}

/// What a coroutine did when it was resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    ///
    /// A body that awaits a future not made by its [`Yielder`] stops and yields nothing: nobody
    /// would know when to resume it. That is logged as an error, and counts as its end.
    ///
    /// # Panics
    /// If the coroutine was `Complete`, as with any future that is polled after its end.
    // ANCHOR: resume
    pub fn resume(&mut self) -> CoroutineState<Y> {
        match self.body.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => CoroutineState::Complete,
            Poll::Pending => match self.yielded.take() {
                Some(value) => CoroutineState::Yielded(value),
                None => {
                    log::error!("a coroutine awaited what its own Yielder had not made: dropped");
                    CoroutineState::Complete
                }
            },
        }
    }
    // ANCHOR_END: resume
}

impl<Y> Yielder<Y> {
    // ANCHOR: yield_
    /// Hands `value` to whoever resumed the coroutine, and stops until the next resume.
    pub fn yield_(&self, value: Y) -> impl Future<Output = ()> {
        let mut value = Some(value);
        future::poll_fn(move |_| match value.take() {
            Some(value) => {
                self.0.set(Some(value));
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
    }
    // ANCHOR_END: yield_
}

impl<Y> fmt::Debug for Coroutine<Y> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").finish_non_exhaustive()
    }
}

impl<Y> fmt::Debug for Yielder<Y> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::CoroutineState::{Complete, Yielded};
    use super::*;

    #[test]
    fn nothing_runs_before_the_first_resume() {
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        let mut coroutine = Coroutine::<()>::new(|_| async move { flag.set(true) });
        assert!(!ran.get());
        assert_eq!(coroutine.resume(), Complete);
        assert!(ran.get());
    }

    #[test]
    fn it_goes_on_where_it_stopped_also_in_the_functions_that_it_calls() {
        async fn twice(co: &Yielder<&'static str>) {
            co.yield_("first").await;
            co.yield_("second").await;
        }
        let mut coroutine = Coroutine::new(|co| async move {
            twice(&co).await;
            co.yield_("third").await;
        });
        for expected in ["first", "second", "third"] {
            assert_eq!(coroutine.resume(), Yielded(expected));
        }
        assert_eq!(coroutine.resume(), Complete);
    }

    #[test]
    fn dropping_a_coroutine_drops_what_it_holds() {
        let held = Rc::new(());
        let inside = Rc::clone(&held);
        let mut coroutine = Coroutine::new(|co| async move {
            co.yield_(1).await;
            drop(inside);
        });
        assert_eq!(coroutine.resume(), Yielded(1));
        assert_eq!(Rc::strong_count(&held), 2);
        drop(coroutine);
        assert_eq!(Rc::strong_count(&held), 1);
    }

    #[test]
    fn awaiting_a_foreign_future_ends_the_coroutine_and_is_logged() {
        struct Capture(Mutex<Vec<String>>);
        impl log::Log for Capture {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &log::Record<'_>) {
                self.0.lock().unwrap().push(record.args().to_string());
            }
            fn flush(&self) {}
        }
        static CAPTURE: Capture = Capture(Mutex::new(Vec::new()));
        log::set_logger(&CAPTURE).unwrap();
        log::set_max_level(log::LevelFilter::Error);

        let mut coroutine = Coroutine::<()>::new(|_| future::pending());
        assert_eq!(coroutine.resume(), Complete);
        assert!(CAPTURE.0.lock().unwrap()[0].contains("dropped"));
    }
}
