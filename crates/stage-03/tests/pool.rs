//! Runs the unit tests of the pool that is written by hand: cargo tests no example's own.

#[path = "../examples/pool_by_hand/pool.rs"]
mod pool;
