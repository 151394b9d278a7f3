//! What the runtime of the example `waker` promises to any future, not only to its own.
#![expect(dead_code, reason = "the sockets are tested by the catalogue, against the example")]

#[path = "../examples/waker/runtime.rs"]
mod runtime;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use std::{fs, future, thread};

use crate::runtime::Runtime;

/// The thread wakes the task only when the runtime is asleep, where the system tells that.
#[test]
fn a_task_can_be_woken_from_another_thread() {
    // A link to PID/task/TID.
    let here = fs::read_link("/proc/thread-self").unwrap_or_default();
    let stat = Path::new("/proc").join(here).join("stat");
    let is_awake = move || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") S "));
    let done = Arc::new(AtomicBool::new(false));
    let (set_done, (leave, left)) = (Arc::clone(&done), mpsc::channel::<Waker>());
    let thread = thread::spawn(move || {
        let waker = left.recv().expect("the task leaves it");
        while is_awake() {
            thread::yield_now();
        }
        set_done.store(true, Ordering::Relaxed);
        waker.wake();
    });
    let runtime = Runtime::new().expect("a selector");
    runtime.spawn(future::poll_fn(move |context| {
        // It may fail after the first time: the thread wants one.
        let _ = leave.send(context.waker().clone());
        if done.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    }));
    // It ends when the task does.
    runtime.run().expect("events");
    thread.join().expect("nobody panics");
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
