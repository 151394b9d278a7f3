//! The machinery that checks a server from outside: it starts the real binary, plays its clients
//! over real sockets, and reads what the kernel knows about both.
//!
//! - [`Server`] is a process in a group of its own. It is ready when it prints `listening on ADDR`:
//!   nobody connects to find out.
//!   A command that is given its port in PORT may be any server: it is ready when the kernel shows
//!   that it listens. [`Server::at`] is one that runs already.
//! - [`Client`] is one connection with a name. [`play`] moves the bytes of several at once.
//! - [`Stuck`] is the proof that a server will do nothing more until somebody else acts. A client
//!   that waits for a server gets it instead of the bytes, as soon as it is proved: tens of
//!   milliseconds, up to a second where queues are full, not a time-out.
//! - [`Trouble`] is what a wait met instead of what it waited for, with the state of the server at
//!   that moment.
//! - [`observe`] keeps the wire log of what is started meanwhile: who sent what when, and what the
//!   kernel said.
//! - [`kernel`] holds the readings: threads and the calls they sleep in, socket queues, descriptors.
//!
//! Nothing here sleeps to find something out. What is waited for is an event; the bound is on
//! *progress*, [`patience`] without any event, so that a slow server is not a wrong one.
//!
//! One thread plays all the clients of a server. The proof relies on it: while that thread waits,
//! the harness itself owes the server nothing. What has to happen at once goes through [`play`].

mod client;
mod difference;
mod guard;
pub mod kernel;
mod port;
mod server;
mod stuck;
mod trouble;
mod wait;
mod wire;

pub use client::{Client, End, Flood, Part, play};
pub use difference::Difference;
pub use port::free_port;
pub use server::{Output, Server, StartError, kill_servers, kill_servers_on_interrupt, limited};
pub use stuck::{Sleeper, Stuck, Unread};
pub use trouble::{Cause, Result, Scene, Trouble, harmless};
pub use wait::patience;
pub use wire::{Event, Kind, Log, Observed, observe};

/// The signals a server is sent.
pub use rustix::process::Signal;
