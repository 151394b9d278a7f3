//! What one turn of a broadcast costs apart from its system calls, in the shared log and in the
//! obvious design, a queue for each client: everyone says a line, and then everyone takes what
//! they are owed.
//!
//! ```text
//! cargo bench -p shared-log
//! ```

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use shared_log::{Cursor, SharedLog};

const CLIENTS: [usize; 4] = [10, 100, 1000, 4000];
const LINE: &[u8] = &[b'x'; 32];

fn main() {
    divan::main();
}

#[divan::bench(args = CLIENTS)]
fn shared_log(bencher: Bencher<'_, '_>, clients: usize) {
    let mut log = SharedLog::default();
    let mut cursors: Vec<Cursor> = (0..clients).map(|_| log.join()).collect();
    bencher.counter(deliveries(clients)).bench_local(|| {
        for sender in &mut cursors {
            log.append(LINE, sender);
        }
        for cursor in &mut cursors {
            let mut slices = [IoSlice::new(&[]); 16];
            let written = log.owed(cursor, &mut slices).iter().map(|slice| slice.len()).sum();
            cursor.advance(divan::black_box(written));
        }
        log.trim();
        log.end()
    });
}

#[divan::bench(args = CLIENTS, sample_count = 10)]
fn queue_per_client(bencher: Bencher<'_, '_>, clients: usize) {
    let mut queues: Vec<VecDeque<Arc<[u8]>>> = vec![VecDeque::new(); clients];
    bencher.counter(deliveries(clients)).bench_local(|| {
        for sender in 0..clients {
            let line: Arc<[u8]> = Arc::from(LINE);
            for (receiver, queue) in queues.iter_mut().enumerate() {
                if receiver != sender {
                    queue.push_back(Arc::clone(&line));
                }
            }
        }
        queues.iter_mut().flat_map(|queue| queue.drain(..)).map(|line| line.len()).sum::<usize>()
    });
}

/// Every line goes to every other client.
fn deliveries(clients: usize) -> ItemsCount {
    ItemsCount::new(clients * (clients - 1))
}
