//! What `write` does on a socket that does not block, when the other end does not read.
//!
//! ```text
//! $ cargo run -q -p stage-04 --example short_write
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    server.set_nonblocking(true)?;
    let bytes: Vec<u8> = (0..64 << 20).map(|at| (at % 251) as u8).collect();

    // ANCHOR: short_write
    let written = server.write(&bytes)?;
    println!("write took {written} of {} bytes", bytes.len());
    match server.write_all(&bytes[written..]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => println!("write_all: {error}"),
        result => println!("write_all: {result:?}"),
    }
    // ANCHOR_END: short_write

    drop(server);
    let mut received = Vec::new();
    client.read_to_end(&mut received)?;
    println!("the client has got {} bytes", received.len());
    Ok(())
}
