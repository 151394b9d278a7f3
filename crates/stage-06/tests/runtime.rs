//! What the runtime of the example `waker` promises to any future, not only to its own.
#![expect(dead_code, reason = "the sockets are tested by the catalogue, against the example")]

#[path = "../examples/waker/runtime.rs"]
mod runtime;

use std::cell::{Cell, RefCell};
use std::future;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::runtime::Runtime;

/// The future leaves its waker with another thread, and looks again after that: what it waits for
/// may have come between. The runtime is asleep when the thread wakes it.
#[test]
fn a_task_can_be_woken_from_another_thread() {
    let runtime = Runtime::new().expect("a selector");
    runtime.spawn(async {
        let (done, waker) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(None::<Waker>)));
        let (set_done, taken) = (Arc::clone(&done), Arc::clone(&waker));
        let thread = thread::spawn(move || {
            *set_done.lock().expect("nobody panics") = true;
            if let Some(waker) = taken.lock().expect("nobody panics").take() {
                waker.wake();
            }
        });
        future::poll_fn(|context| {
            *waker.lock().expect("nobody panics") = Some(context.waker().clone());
            if *done.lock().expect("nobody panics") { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        thread.join().expect("nobody panics");
    });
    // It ends when the task does.
    runtime.run().expect("events");
}

#[test]
fn sleepers_are_woken_in_the_order_of_their_times_and_not_too_early() {
    let runtime = Rc::new(Runtime::new().expect("a selector"));
    let order = Rc::new(RefCell::new(Vec::new()));
    for millis in [30, 10, 20] {
        let (own, order) = (Rc::clone(&runtime), Rc::clone(&order));
        runtime.spawn(async move {
            let begin = Instant::now();
            own.sleep(Duration::from_millis(millis)).await;
            assert!(begin.elapsed() >= Duration::from_millis(millis));
            order.borrow_mut().push(millis);
        });
    }
    runtime.run().expect("events");
    assert_eq!(*order.borrow(), [10, 20, 30]);
}

#[test]
fn to_be_woken_twice_or_for_nothing_is_legal() {
    let runtime = Runtime::new().expect("a selector");
    let polls = Rc::new(Cell::new(0));
    let count = Rc::clone(&polls);
    runtime.spawn(future::poll_fn(move |context| {
        count.set(count.get() + 1);
        context.waker().wake_by_ref();
        context.waker().wake_by_ref();
        if count.get() < 3 { Poll::Pending } else { Poll::Ready(()) }
    }));
    runtime.run().expect("events");
    assert!(polls.get() >= 3);
}
