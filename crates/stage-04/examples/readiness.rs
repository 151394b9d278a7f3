//! What a selector tells, and when it keeps silent: bytes, watched as they come and go.
//!
//! mio is edge-triggered: it tells of a change, once.
//!
//! ```text
//! $ cargo run -q -p stage-04 --example readiness
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

fn main() -> io::Result<()> {
    let (mut client, mut server) = pair()?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&server.as_raw_fd()), Token(0), Interest::READABLE)?;

    // ANCHOR: edge
    client.write_all(b"abcd")?;
    println!("4 bytes have come:   {}", told(&mut poll)?);
    server.read_exact(&mut [0; 2])?;
    println!("2 of them are read:  {}", told(&mut poll)?);
    client.write_all(b"e")?;
    println!("1 more has come:     {}", told(&mut poll)?);
    while is_something_left(&mut server)? {}
    println!("all are read:        {}", told(&mut poll)?);

    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().reregister(&mut SourceFd(&server.as_raw_fd()), Token(0), both)?;
    println!("asked for both:      {}", told(&mut poll)?);
    println!("nothing has changed: {}", told(&mut poll)?);
    client.write_all(b"f")?;
    println!("1 more has come:     {}", told(&mut poll)?);
    // ANCHOR_END: edge
    Ok(())
}

/// What the selector says: all that can happen has happened, so it need not wait for more.
fn told(poll: &mut Poll) -> io::Result<&'static str> {
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, Some(Duration::from_millis(100)))?;
    Ok(match events.iter().next() {
        Some(event) if event.is_readable() && event.is_writable() => "readable and writable",
        Some(event) if event.is_readable() => "readable",
        Some(event) if event.is_writable() => "writable",
        _ => "(silence)",
    })
}

fn is_something_left(server: &mut TcpStream) -> io::Result<bool> {
    match server.read(&mut [0; 1]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        result => result.map(|_| true),
    }
}

/// Both ends of a connection.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    client.set_nodelay(true)?;
    let (server, _) = listener.accept()?;
    server.set_nonblocking(true)?;
    Ok((client, server))
}
