//! What a client loses when its server closes the socket with bytes unread, and how not to.
//!
//! ```text
//! $ cargo run -q -p stage-06 --example reset
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

fn main() -> io::Result<()> {
    let (client, mut server, owed) = pair()?;
    // ANCHOR: close
    server.set_nonblocking(true)?;
    let written = write_until_full(&mut server)?;
    drop(server);
    let (received, end) = read_to_end(client);
    // ANCHOR_END: close
    let lost = if received < written { "some are lost" } else { "all have come" };
    println!("closed with {owed} bytes unread: {lost}; {end}");

    let (client, mut server, owed) = pair()?;
    // ANCHOR: close_in_order
    server.set_nonblocking(true)?;
    let written = write_until_full(&mut server)?;
    server.shutdown(Shutdown::Write)?;
    let client = thread::spawn(|| read_to_end(client));
    server.set_nonblocking(false)?;
    // Until the client has closed its side, too.
    io::copy(&mut server, &mut io::sink())?;
    drop(server);
    // ANCHOR_END: close_in_order
    let (received, end) = client.join().expect("it does not panic");
    let lost = if received < written { "some are lost" } else { "all have come" };
    println!("closed in order, {owed} bytes read late: {lost}; {end}");
    Ok(())
}

/// As many bytes as the kernel takes, while the client does not read.
fn write_until_full(server: &mut TcpStream) -> io::Result<usize> {
    let mut written = 0;
    loop {
        match server.write(&[0; 64 * 1024]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(written),
            Err(error) => return Err(error),
        }
    }
}

/// How many bytes came, and what came after them.
fn read_to_end(mut client: TcpStream) -> (usize, String) {
    let mut bytes = Vec::new();
    let end = client.read_to_end(&mut bytes);
    (bytes.len(), end.map_or_else(|error| error.to_string(), |_| "end of input".to_owned()))
}

/// Both ends of a connection, and how many bytes the server has been sent.
fn pair() -> io::Result<(TcpStream, TcpStream, usize)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.write_all(b"hello\n")?;
    let (server, _) = listener.accept()?;
    // It has come when it can be looked at.
    let unread = server.peek(&mut [0; 64])?;
    Ok((client, server, unread))
}
