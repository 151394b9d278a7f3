use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

/// How many clients arrive at a time. The next ones wait until the server has noticed these, so
/// that they do not overflow its listen backlog (128 where nobody set it): each connection that
/// does comes a second later, and the run would measure that.
pub(crate) const BATCH: usize = 100;

/// How many clients one source address stands for: well below the number of its ports.
const CLIENTS_PER_ADDRESS: usize = 10_000;

/// Begins to connect client number `index` to `server`. The connection is made when the socket
/// becomes writable and [`is_connected`] says so. Its token in `registry` is the index.
pub(crate) fn connect(
    server: SocketAddr,
    index: usize,
    registry: &Registry,
) -> io::Result<TcpStream> {
    begin_to_connect(prepare(server, index)?, server, index, registry)
}

/// A socket for client number `index` of `server`, for [`begin_to_connect`].
pub(crate) fn prepare(server: SocketAddr, index: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Each message leaves by itself, at once.
    socket.set_tcp_nodelay(true)?;
    // Closed by a reset, or thousands of connections a run would fill the kernel's tables for a
    // minute after it.
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(source) = source(server.ip(), index) {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// Begins to connect a socket that is prepared.
pub(crate) fn begin_to_connect(
    socket: Socket,
    server: SocketAddr,
    index: usize,
    registry: &Registry,
) -> io::Result<TcpStream> {
    match socket.connect(&server.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            return Err(error);
        }
        _ => {}
    }
    let mut stream = TcpStream::from_std(socket.into());
    registry.register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

/// Whether the connection is made; an error if it was refused.
pub(crate) fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// The address to connect from, where it is not the kernel's choice: one address of the loopback
/// network has ports for some 28,000 connections to one server, and there are many addresses.
fn source(server: IpAddr, index: usize) -> Option<IpAddr> {
    let IpAddr::V4(server) = server else { return None };
    let number = u8::try_from(index / CLIENTS_PER_ADDRESS).ok().filter(|&number| number > 0)?;
    server.is_loopback().then(|| Ipv4Addr::new(127, 0, 0, number.saturating_add(1)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_beyond_ten_thousand_come_from_another_address() {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        assert_eq!(source(loopback, 0), None);
        assert_eq!(source(loopback, 9_999), None);
        assert_eq!(source(loopback, 10_000), Some(Ipv4Addr::new(127, 0, 0, 2).into()));
        assert_eq!(source(Ipv4Addr::new(10, 0, 0, 1).into(), 10_000), None);
    }
}
