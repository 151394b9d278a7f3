//! What `write` does on a socket that does not block, when the other end does not read; and what
//! then is to be done.
//!
//! ```text
//! $ cargo run -q -p stage-04 --example short_write
//! ```

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

fn main() -> io::Result<()> {
    let bytes: Vec<u8> = (0..64 << 20).map(|at| (at % 251) as u8).collect();
    let (client, mut server) = pair()?;

    // ANCHOR: short_write
    let written = server.write(&bytes)?;
    println!("write took {written} of {} bytes", bytes.len());
    match server.write_all(&bytes[written..]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => println!("write_all: {error}"),
        result => println!("write_all: {result:?}"),
    }
    // ANCHOR_END: short_write

    drop(server);
    println!("the client has got {} bytes", read_to_end(client)?.len());

    let (client, mut server) = pair()?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&server.as_raw_fd()), Token(0), Interest::WRITABLE)?;
    let client = thread::spawn(|| read_to_end(client));

    // ANCHOR: waits
    let mut owed = VecDeque::from(bytes.clone());
    let mut events = Events::with_capacity(8);
    while !owed.is_empty() {
        poll.poll(&mut events, None)?;
        write_owed(&mut server, &mut owed)?;
    }
    // ANCHOR_END: waits

    drop(server);
    let received = client.join().expect("it does not panic")?;
    println!("the rest was kept: all have come, unchanged: {}", received == bytes);
    Ok(())
}

// ANCHOR: write_owed
/// Writes as much of what is owed as the socket takes. What is left stays, in its order.
fn write_owed(socket: &mut TcpStream, owed: &mut VecDeque<u8>) -> io::Result<()> {
    while !owed.is_empty() {
        match socket.write(owed.as_slices().0) {
            Ok(written) => drop(owed.drain(..written)),
            // Go on when it is writable.
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
// ANCHOR_END: write_owed

fn read_to_end(mut client: TcpStream) -> io::Result<Vec<u8>> {
    let mut received = Vec::new();
    client.read_to_end(&mut received)?;
    Ok(received)
}

/// Both ends of a connection. The server's does not block.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    server.set_nonblocking(true)?;
    Ok((client, server))
}
