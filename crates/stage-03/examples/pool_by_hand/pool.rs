//! The pool: threads that take jobs from a bounded channel.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads that run jobs in the order in which they come.
pub struct Pool {
    workers: usize,
    jobs: Sender<Job>,
    /// Jobs that run or wait.
    unfinished: Arc<AtomicUsize>,
}

/// Every worker is busy, and as many jobs as may wait do so.
#[derive(Debug, PartialEq)]
pub struct Full;

// ANCHOR: pool
impl Pool {
    /// Starts the workers. At most `max_waiting` jobs wait for one. With 0, a job has to meet a
    /// worker that is waiting for it: one that is only about to be free does not count.
    pub fn new(workers: usize, max_waiting: usize) -> io::Result<Self> {
        let (jobs, queue) = bounded(max_waiting);
        let unfinished = Arc::new(AtomicUsize::new(0));
        for _ in 0..workers {
            let (queue, unfinished) = (queue.clone(), Arc::clone(&unfinished));
            thread::Builder::new().spawn(move || work(queue, &unfinished))?;
        }
        Ok(Self { workers, jobs, unfinished })
    }

    /// Leaves a job to the workers, and says how many wait now. A job that is refused is dropped.
    pub fn execute(&self, job: impl FnOnce() + Send + 'static) -> Result<usize, Full> {
        let unfinished = self.unfinished.fetch_add(1, Ordering::Relaxed) + 1;
        if self.jobs.try_send(Box::new(job)).is_err() {
            self.unfinished.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        Ok(unfinished.saturating_sub(self.workers))
    }
}
// ANCHOR_END: pool

/// A worker: runs job after job until the pool is dropped.
fn work(queue: Receiver<Job>, unfinished: &AtomicUsize) {
    for job in queue {
        // A job that panics would take its worker with it, and nobody would miss it.
        if panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
            error!("a job panicked; its worker goes on");
        }
        unfinished.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_wait_up_to_the_bound_and_are_refused_beyond_it() {
        let pool = Pool::new(1, 1).unwrap();
        let (started, on_start) = bounded(0);
        let (finish, on_finish) = bounded::<()>(0);
        let busy = move || {
            started.send(()).unwrap();
            let _ = on_finish.recv();
        };
        assert_eq!(pool.execute(busy), Ok(0));
        on_start.recv().unwrap(); // The queue is empty now.
        assert_eq!(pool.execute(|| ()), Ok(1));
        assert_eq!(pool.execute(|| ()), Err(Full));
        drop(finish);
    }

    #[test]
    fn a_job_that_panics_costs_no_worker() {
        let pool = Pool::new(1, 10).unwrap();
        let (done, on_done) = bounded(1);
        assert!(pool.execute(|| panic!("as the test wants it")).is_ok());
        assert!(pool.execute(move || done.send(()).unwrap()).is_ok());
        on_done.recv().unwrap();
    }
}
