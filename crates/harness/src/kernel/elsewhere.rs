//! Systems without /proc: no reading is possible.

use std::io;
use std::net::SocketAddr;

use super::{Socket, SocketDescriptor, Thread};

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this reading needs Linux"))
}

pub(super) fn threads(_pid: i32) -> io::Result<Vec<Thread>> {
    unsupported()
}

pub(super) fn thread_count(_pid: i32) -> io::Result<usize> {
    unsupported()
}

pub(super) fn cpu_ticks(_pid: i32) -> io::Result<u64> {
    unsupported()
}

pub(super) fn ticks_per_second() -> Option<u64> {
    None
}

pub(super) fn rss_bytes(_pid: i32) -> io::Result<u64> {
    unsupported()
}

pub(super) fn peak_rss_bytes(_pid: i32) -> io::Result<u64> {
    unsupported()
}

pub(super) fn descriptor_count(_pid: i32) -> io::Result<usize> {
    unsupported()
}

pub(super) fn descriptor_limit(_pid: i32) -> io::Result<Option<u64>> {
    unsupported()
}

pub(super) fn limit_growth(_pid: i32, _bytes: Option<u64>) -> io::Result<()> {
    unsupported()
}

pub(super) fn socket_descriptors(_pid: i32) -> io::Result<Vec<SocketDescriptor>> {
    unsupported()
}

pub(super) fn sockets(_port: u16) -> io::Result<Vec<Socket>> {
    unsupported()
}

pub(super) fn listeners_of(_leader: i32) -> io::Result<Vec<(i32, SocketAddr)>> {
    unsupported()
}

pub(super) fn family(_leader: i32) -> io::Result<Vec<i32>> {
    unsupported()
}
