//! The pool: threads that take jobs from a queue.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads that run jobs in the order in which they come.
pub struct Pool {
    jobs: Sender<Job>,
}

impl Pool {
    /// Starts the workers.
    pub fn new(workers: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        // A receiver is one thread's alone: the lock makes it everyone's.
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            thread::Builder::new().spawn(move || work(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Leaves a job to the workers.
    pub fn execute(&self, job: impl FnOnce() + Send + 'static) {
        // The queue lasts as long as one worker does. Without any, the job is dropped, and that
        // closes the connection.
        let _ = self.jobs.send(Box::new(job));
    }
}

/// A worker: runs job after job until the pool is dropped.
fn work(queue: &Mutex<Receiver<Job>>) {
    while let Some(job) = next_job(queue) {
        job();
    }
}

/// Waits for the next job. The lock ends here, not with the loop's body: others wait for jobs while
/// this one runs.
fn next_job(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
