//! What the kernel allows any broadcast: one thread writes a piece to each socket in turn and does
//! nothing else, on the last core; another throws away what arrives, on the first.
//!
//! `bare_writes SOCKETS BYTES` prints how many pieces of so many bytes were written in a second.

use std::io::{self, Error, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long the writes go on before they count, and how long they count.
const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(2);
/// One read takes at most so much, as the load generator's do.
const BUFFER: usize = 1024 * 1024;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map_while(|argument| argument.parse().ok());
    let (Some(sockets), Some(bytes), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err(Error::other("usage: bare_writes SOCKETS BYTES"));
    };
    let allowed = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let reader = cores.next().unwrap_or_default();
    let writer = cores.next_back().unwrap_or(reader);
    // Both ends of each connection are descriptors of ours, and a terminal allows 1,024.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let (to_read, to_write) = connect(sockets)?;
    thread::spawn(move || pin(reader).and_then(|()| discard(&to_read)));
    pin(writer)?;
    let piece = vec![b'x'; bytes];
    write_for(WARM_UP, &to_write, &piece)?;
    let begin = Instant::now();
    let written = write_for(WINDOW, &to_write, &piece)?;
    println!("{:.0}", written as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}

/// Connections to ourselves: the ends that are read, and those that are written.
fn connect(sockets: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut ends = (Vec::new(), Vec::new());
    for _ in 0..sockets {
        ends.0.push(TcpStream::connect(address)?);
        ends.1.push(listener.accept()?.0);
    }
    for (to_read, to_write) in ends.0.iter().zip(&ends.1) {
        to_read.set_nonblocking(true)?;
        to_write.set_nodelay(true)?;
    }
    Ok(ends)
}

/// Writes the piece to one socket after the other, and says how often.
fn write_for(time: Duration, sockets: &[TcpStream], piece: &[u8]) -> io::Result<usize> {
    let end = Instant::now() + time;
    let mut written = 0;
    while Instant::now() < end {
        for mut socket in sockets {
            socket.write_all(piece)?;
        }
        written += sockets.len();
    }
    Ok(written)
}

/// Reads for ever; the kernel throws away what it would have copied.
fn discard(sockets: &[TcpStream]) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, socket) in sockets.iter().enumerate() {
        let index = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, socket, index, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
    }
    let mut buffer = vec![0; BUFFER];
    let mut events = Vec::with_capacity(1024);
    loop {
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        for event in events.drain(..) {
            let socket = &sockets[event.data.u64() as usize];
            while recv(socket, &mut buffer[..], RecvFlags::TRUNC).is_ok_and(|(_, n)| n == BUFFER) {}
        }
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
