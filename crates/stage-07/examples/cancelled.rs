//! What `select!` drops. A line comes in two halves, and in between something else is ready. One
//! future keeps the first half in itself; the other one keeps it where nobody drops it.
//!
//! ```text
//! $ cargo run -q -p stage-07 --example cancelled
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, duplex};
use tokio::{runtime, select, task};

fn main() -> io::Result<()> {
    runtime::Builder::new_current_thread().build()?.block_on(async {
        println!("kept in the future: {:?}", kept_inside().await?);
        println!("kept outside of it: {:?}", kept_outside().await?);
        Ok(())
    })
}

// ANCHOR: cancelled
async fn kept_inside() -> io::Result<String> {
    let (mut client, mut stream) = duplex(64);
    client.write_all(b"half a ").await?;
    select! {
        biased;
        line = read_line(&mut stream) => return line,
        // Something else. The future that has read half a line is dropped here.
        () = task::yield_now() => {}
    }
    client.write_all(b"line\n").await?;
    read_line(&mut stream).await
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(stream.read_u8().await?.into());
    }
    Ok(line)
}
// ANCHOR_END: cancelled

// ANCHOR: kept
async fn kept_outside() -> io::Result<String> {
    let (mut client, mut stream) = duplex(64);
    client.write_all(b"half a ").await?;
    let mut line = String::new();
    select! {
        biased;
        read = read_line_into(&mut line, &mut stream) => return read.map(|()| line),
        () = task::yield_now() => {}
    }
    client.write_all(b"line\n").await?;
    read_line_into(&mut line, &mut stream).await?;
    Ok(line)
}

async fn read_line_into(
    line: &mut String,
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<()> {
    while !line.ends_with('\n') {
        line.push(stream.read_u8().await?.into());
    }
    Ok(())
}
// ANCHOR_END: kept
