use std::net::{Ipv4Addr, SocketAddrV4};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Socket, Type};

/// A port of the loopback that nobody uses and that this process has not given away before, for a
/// server that cannot choose one itself. It is one that the kernel does not choose for clients.
///
/// # Panics
/// All are in use.
pub fn free_port() -> u16 {
    // Two harnesses begin at different places.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = process::id() as u16;
    let mut ports = (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    ports.find(|&port| is_free(port)).expect("not all ports are in use")
}

/// Below the ports that Linux and macOS give to clients.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Whether a server can have it that does not set SO_REUSEADDR: no connection is left there, either.
fn is_free(port: u16) -> bool {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
    socket.is_ok_and(|socket| socket.bind(&address.into()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_nor_one_that_is_in_use() {
        let first = free_port();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert!(!is_free(first));
        drop(listener);
        assert!((0..100).all(|_| free_port() != first));
    }
}
