//! The article's first generator: a counter that hands out one number at a time.
//!
//! ```text
//! $ cargo run -p stage-05 --example counter
//! ```

use coroutine::{Coroutine, CoroutineState};

// ANCHOR: body
fn main() {
    let mut counter = Coroutine::new(|co| async move {
        for i in 0..3 {
            co.yield_(i).await;
        }
    });

    while let CoroutineState::Yielded(i) = counter.resume() {
        println!("{i}");
    }
}
// ANCHOR_END: body
