//! How large a coroutine's frame is: it holds what is in scope at a `yield_`, and no more.
//!
//! ```text
//! $ cargo run -q -p stage-05 --example frame
//! ```

use coroutine::Yielder;

fn main() {
    let bare = size_of_frame(only_yields);
    println!("no buffer:                     {bare} bytes");
    println!("a buffer, gone at the yield:   {} more", size_of_frame(forgets) - bare);
    println!("a buffer, there at the yield:  {} more", size_of_frame(keeps) - bare);
}

// ANCHOR: frames
async fn only_yields(co: Yielder<()>) {
    co.yield_(()).await;
}

async fn forgets(co: Yielder<()>) {
    {
        let buffer = [0; 4096];
        send(&buffer);
    }
    co.yield_(()).await;
}

async fn keeps(co: Yielder<()>) {
    let buffer = [0; 4096];
    co.yield_(()).await;
    send(&buffer);
}
// ANCHOR_END: frames

fn send(buffer: &[u8]) {
    std::hint::black_box(buffer);
}

/// The frame is what calling an `async fn` returns. Nothing has run then.
fn size_of_frame<F>(_: impl Fn(Yielder<()>) -> F) -> usize {
    size_of::<F>()
}
