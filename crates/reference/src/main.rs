//! The shared log directly on epoll, without coroutines, runtime or any limit: what the machine
//! allows that design. It is measured beside the stages, and is none of them: a client that does
//! not read is kept for ever, and lines may be of any length. With `--mode echo` it sends back what
//! it reads, with as little around it.
//!
//! It is also what the load generator is measured against, to know what that can do.
//!
//! `reference [--port N] [--mode echo|broadcast]` prints its address like the stages do.

use std::io::{self, IoSlice, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::{Errno, writev};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrV4, SocketFlags, SocketType, accept_with, bind,
    getsockname, listen, recv, send, socket_with, sockopt,
};

/// A turn takes at most so many events, and one read at most so many bytes.
const EVENTS: usize = 4096;
const BUFFER: usize = 64 * 1024;
/// So many clients are written to in a turn: what is said meanwhile goes to the others.
const WRITES: usize = 64;
/// To whom so many bytes are owed it does not help that more goes along: then to all.
const LARGE: u64 = 128 * 1024;
/// The listener's place among the clients.
const LISTENER: u64 = u64::MAX;

struct Client {
    socket: OwnedFd,
    /// How far it has got in the log, and its own lines further on, which it is not sent.
    position: u64,
    own: Vec<(u64, u64)>,
    /// The beginning of a line; of an echo, what has not left yet.
    partial: Vec<u8>,
}

fn main() -> io::Result<()> {
    let option = |name| std::env::args().skip_while(|it| it != name).nth(1);
    let is_echo = option("--mode").is_some_and(|mode| mode == "echo");
    let port = option("--port").and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    listen(&listener, 4096)?;
    let address = SocketAddrV4::try_from(getsockname(&listener)?)?;
    writeln!(io::stdout(), "listening on {address}")?;

    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut events = Vec::with_capacity(EVENTS);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let (mut log, mut start) = (Vec::new(), 0);
    // Who is written to next, and where the log ended when the round through all of them began.
    let (mut next, mut round, mut writes) = (0, 0, WRITES);
    let mut buffer = vec![0; BUFFER];
    loop {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let is_behind = next > 0 || round < start + log.len() as u64;
        match epoll::wait(&poll, spare_capacity(&mut events), is_behind.then_some(&at_once)) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        for event in events.drain(..) {
            let index = event.data.u64();
            if index == LISTENER {
                accept(&listener, &poll, &mut clients, start + log.len() as u64)?;
                continue;
            }
            let Some(client) = &mut clients[index as usize] else { continue };
            let readable = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            let flags = event.flags;
            let stays = if is_echo {
                echo(client, &mut buffer)
            } else {
                !flags.intersects(readable) || read(client, &mut buffer, &mut log, start)
            };
            if !stays {
                clients[index as usize] = None;
            }
        }
        if is_echo {
            continue;
        }
        // Everyone who was ready has spoken: now the next few get all of it, in a write each.
        let end = start + log.len() as u64;
        let begins = next == 0;
        if begins {
            writes = if end - round < LARGE { WRITES } else { clients.len() };
            round = end;
        }
        for client in clients.iter_mut().skip(next).take(writes) {
            if client.as_mut().is_some_and(|it| !write(it, &log, start)) {
                *client = None;
            }
        }
        next += writes;
        if next < clients.len() {
            continue;
        }
        next = 0;
        // Room is told of once, and may have been told of between two turns of this round.
        for client in &mut clients {
            let leaves = |it: &mut Client| it.position < round && !write(it, &log, start);
            if !begins && client.as_mut().is_some_and(leaves) {
                *client = None;
            }
        }
        let slowest = clients.iter().flatten().map(|it| it.position).min().unwrap_or(end);
        if slowest == end || slowest - start > BUFFER as u64 {
            log.drain(..(slowest - start) as usize);
            start = slowest;
        }
    }
}

fn accept(
    listener: &OwnedFd,
    poll: &OwnedFd,
    clients: &mut Vec<Option<Client>>,
    end: u64,
) -> io::Result<()> {
    loop {
        let socket = match accept_with(listener, SocketFlags::NONBLOCK) {
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::CONNABORTED | Errno::INTR) => continue,
            result => result?,
        };
        sockopt::set_tcp_nodelay(&socket, true)?;
        let index = clients.len() as u64;
        let interest = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(poll, &socket, epoll::EventData::new_u64(index), interest)?;
        let client = Client { socket, position: end, own: Vec::new(), partial: Vec::new() };
        clients.push(Some(client));
    }
}

/// Sends back what the client says, and reads no more while some of that waits. False if it has left.
fn echo(client: &mut Client, buffer: &mut [u8]) -> bool {
    loop {
        while !client.partial.is_empty() {
            match send(&client.socket, &client.partial, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(client.partial.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(error) => return error == Errno::AGAIN,
            }
        }
        let received = match recv(&client.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((received, _)) => received,
            Err(Errno::INTR) => continue,
            Err(error) => return error == Errno::AGAIN,
        };
        let sent = match send(&client.socket, &buffer[..received], SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return false,
        };
        client.partial.extend_from_slice(&buffer[sent..received]);
        if sent == received && received < buffer.len() {
            return true; // a short read has emptied the socket
        }
    }
}

/// Adds what the client says to the log. False if it has left.
fn read(client: &mut Client, buffer: &mut [u8], log: &mut Vec<u8>, start: u64) -> bool {
    loop {
        let received = match recv(&client.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((received, _)) => received,
            Err(Errno::INTR) => continue,
            Err(error) => return error == Errno::AGAIN,
        };
        let bytes = &buffer[..received];
        match memchr::memrchr(b'\n', bytes) {
            None => client.partial.extend_from_slice(bytes),
            Some(last) => {
                let from = start + log.len() as u64;
                log.append(&mut client.partial);
                log.extend_from_slice(&bytes[..=last]);
                client.partial.extend_from_slice(&bytes[last + 1..]);
                client.skip(from, start + log.len() as u64);
            }
        }
        if received < buffer.len() {
            return true; // a short read has emptied the socket
        }
    }
}

/// Sends the client what it has not got yet, as far as the kernel takes it. False if it has left.
fn write(client: &mut Client, log: &[u8], start: u64) -> bool {
    let end = start + log.len() as u64;
    while client.position < end {
        let mut slices = [IoSlice::new(&[]); 16];
        let mut filled = 0;
        let mut from = client.position;
        for &(own, after) in client.own.iter().chain([&(end, end)]).take(slices.len()) {
            slices[filled] = IoSlice::new(&log[(from - start) as usize..(own - start) as usize]);
            filled += 1;
            from = after;
        }
        match writev(&client.socket, &slices[..filled]) {
            Ok(sent) => client.advance(sent as u64),
            Err(Errno::INTR) => {}
            Err(error) => return error == Errno::AGAIN,
        }
    }
    true
}

impl Client {
    fn skip(&mut self, from: u64, to: u64) {
        match self.own.last_mut() {
            _ if self.position == from => self.position = to,
            Some(last) if last.1 == from => last.1 = to,
            _ => self.own.push((from, to)),
        }
    }

    fn advance(&mut self, mut sent: u64) {
        let mut passed = 0;
        for &(from, to) in &self.own {
            if self.position + sent < from {
                break;
            }
            sent -= from - self.position;
            self.position = to;
            passed += 1;
        }
        self.position += sent;
        self.own.drain(..passed);
    }
}
