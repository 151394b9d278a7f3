//! The article's second generator: it prints before each `yield`, so that one sees who runs when.
//!
//! ```text
//! $ cargo run -p stage-05 --example before_each_yield
//! ```

use coroutine::Coroutine;

// ANCHOR: body
fn main() {
    let mut generator = Coroutine::new(|co| async move {
        println!("    started");
        println!("    before yielding 1");
        co.yield_(1).await;
        println!("    before yielding 2");
        co.yield_(2).await;
        println!("    at the end");
    });

    println!("created; nothing has run");
    for _ in 0..3 {
        println!("resume");
        println!("  -> {:?}", generator.resume());
    }
}
// ANCHOR_END: body
