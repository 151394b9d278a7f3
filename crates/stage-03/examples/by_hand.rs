//! Stage 03 with the pool written by hand: threads that take clients from a bounded channel.
//!
//! The channel is the queue that `threadpool` hides. Since it is bounded, one sees both what waits
//! in it and what no longer fits.
//!
//! ```text
//! server$ cargo run -p stage-03 --example by_hand -- --workers 1
//! a$ nc 127.0.0.1 3000        type hello, and hello comes back
//! b$ nc 127.0.0.1 3000        type hello: the server says that b waits; it is served when a leaves
//! ```

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};
use kit::{Args, Backoff, Flag};
use log::{debug, error, info, warn};

/// How many clients may wait for a worker. Whoever comes then is refused, and knows at once.
const MAX_WAITING: usize = 100;

fn main() -> ExitCode {
    let about = "The echo of stage 03, its thread pool written by hand";
    let args = Args::parse(about, &[Flag::Workers]);
    kit::exit_code(run_server(&args))
}

/// Accepts clients for ever and leaves each of them to the pool.
fn run_server(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.address()).with_context(|| args.cannot_listen())?;
    let pool = Pool::new(args.workers, MAX_WAITING).context("cannot start the workers")?;
    kit::listening_on(listener.local_addr()?);
    let mut backoff = Backoff::default();
    loop {
        debug!("waiting for a connection");
        match listener.accept() {
            Ok((stream, address)) => {
                backoff.reset();
                info!("connection from {address}");
                match pool.execute(move || handle_client(stream, address)) {
                    Ok(0) => {}
                    Ok(waiting) => info!("clients waiting for a worker: {waiting}"),
                    Err(Full) => warn!("client refused: {address}: {MAX_WAITING} others wait"),
                }
            }
            Err(error) => thread::sleep(backoff.after(&error)),
        }
    }
}

/// Serves one client until it leaves. Its errors end here: they are this client's alone.
fn handle_client(stream: TcpStream, address: SocketAddr) {
    match echo(stream, address) {
        Ok(()) => info!("client disconnected: {address}: end of input"),
        Err(error) => info!("client disconnected: {address}: {error}"),
    }
}

/// Sends back what arrives until the client has nothing more to send.
fn echo(mut stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    // Send each answer at once: it must not wait until the client has acknowledged the last one.
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        debug!("waiting for bytes from {address}");
        let received = stream.read(&mut buffer)?;
        if received == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..received])?;
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads that run jobs in the order in which they come.
struct Pool {
    workers: usize,
    jobs: Sender<Job>,
    /// Jobs that run or wait.
    unfinished: Arc<AtomicUsize>,
}

/// Every worker is busy, and as many jobs as may wait do so.
#[derive(Debug, PartialEq)]
struct Full;

// ANCHOR: pool
impl Pool {
    /// Starts the workers. At most `max_waiting` jobs wait for one.
    fn new(workers: usize, max_waiting: usize) -> io::Result<Self> {
        let (jobs, queue) = bounded(max_waiting);
        let unfinished = Arc::new(AtomicUsize::new(0));
        for _ in 0..workers {
            let (queue, unfinished) = (queue.clone(), Arc::clone(&unfinished));
            thread::Builder::new().spawn(move || work(queue, &unfinished))?;
        }
        Ok(Self { workers, jobs, unfinished })
    }

    /// Leaves a job to the workers, and says how many wait now. A job that is refused is dropped.
    fn execute(&self, job: impl FnOnce() + Send + 'static) -> Result<usize, Full> {
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
