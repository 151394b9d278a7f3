//! What the kernel knows about a process and its sockets. All code that needs Linux stands here;
//! elsewhere every reading is an error of kind `Unsupported`.

use std::fmt;
use std::io;
use std::net::SocketAddr;

#[cfg(all(target_os = "linux", not(without_proc)))]
mod linux;
#[cfg(all(target_os = "linux", not(without_proc)))]
use linux as platform;
#[cfg(any(not(target_os = "linux"), without_proc))]
mod elsewhere;
#[cfg(any(not(target_os = "linux"), without_proc))]
use elsewhere as platform;

/// Whether anything can be known here. `RUSTFLAGS="--cfg without_proc"` makes Linux a system where
/// nothing can, to test what the cases do there.
pub const IS_READABLE: bool = cfg!(all(target_os = "linux", not(without_proc)));

/// One thread of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// The kernel's id of the thread.
    pub id: i32,
    /// The thread's name, at most 15 bytes.
    pub name: String,
    /// What it does.
    pub state: State,
    /// How often it went to sleep of itself (voluntary context switches).
    pub voluntary_switches: u64,
    /// How often it was interrupted (involuntary context switches).
    pub involuntary_switches: u64,
}

/// What a thread does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, or could: it is not asleep in a system call.
    Running,
    /// Interruptible sleep in a system call (state S).
    Asleep(Call),
    /// Stopped by a signal (state T).
    Stopped,
}

/// A system call that a thread sleeps in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Waits for a connection on this descriptor.
    Accept(i32),
    /// Waits for bytes on this descriptor.
    Recv(i32),
    /// Waits for room on this descriptor.
    Send(i32),
    /// Waits for readiness of several descriptors: epoll, poll, select.
    Poll {
        /// Whether a time-out will wake it.
        timed: bool,
    },
    /// Waits for another thread: a lock, a channel, a join.
    Futex {
        /// Whether a time-out will wake it.
        timed: bool,
    },
    /// Waits for a time to pass.
    Sleep,
    /// Any other call by its number.
    Other(i64),
}

/// One row of the kernel's table of TCP sockets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// Its own address.
    pub local: SocketAddr,
    /// The other end's address; port 0 for a listener.
    pub remote: SocketAddr,
    /// Whether it accepts connections.
    pub listening: bool,
    /// Whether it is connected and neither end has closed its side.
    pub established: bool,
    /// Bytes received and not read by its owner; for a listener, connections not yet accepted.
    pub rx_queue: u32,
    /// Bytes sent and not acknowledged by the other end.
    pub tx_queue: u32,
    /// Whether the kernel has already tried in vain to send more of `tx_queue`: the other end has no
    /// room, and will have none until its owner reads.
    pub refused: bool,
    /// Its inode: 0 where no process holds it (not yet accepted, or closed).
    pub inode: u64,
}

/// A descriptor that is a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketDescriptor {
    /// The number the process knows it by.
    pub fd: i32,
    /// The socket's inode, as in [`Socket::inode`].
    pub inode: u64,
}

impl Thread {
    /// Whether only somebody else can wake this thread: it sleeps, and no time-out will end that.
    pub fn sleeps_untimed(&self) -> bool {
        matches!(&self.state, State::Asleep(call) if call.is_untimed())
    }
}

impl Call {
    /// Whether no time-out ends this call. A receive time-out set on the socket is not seen.
    pub fn is_untimed(&self) -> bool {
        match self {
            Self::Accept(_) | Self::Recv(_) | Self::Send(_) => true,
            Self::Poll { timed } | Self::Futex { timed } => !timed,
            Self::Sleep | Self::Other(_) => false,
        }
    }

    /// The descriptor that the call waits for, where it is one.
    pub fn fd(&self) -> Option<i32> {
        match *self {
            Self::Accept(fd) | Self::Recv(fd) | Self::Send(fd) => Some(fd),
            Self::Poll { .. } | Self::Futex { .. } | Self::Sleep | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Call {
    /// The call's name without its descriptor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept(_) => f.write_str("accept"),
            Self::Recv(_) => f.write_str("recv"),
            Self::Send(_) => f.write_str("send"),
            Self::Poll { timed: false } => f.write_str("poll"),
            Self::Poll { timed: true } => f.write_str("poll with a time-out"),
            Self::Futex { timed: false } => f.write_str("futex"),
            Self::Futex { timed: true } => f.write_str("futex with a time-out"),
            Self::Sleep => f.write_str("nanosleep"),
            Self::Other(number) => write!(f, "system call {number}"),
        }
    }
}

/// All threads of a process, by id.
///
/// # Errors
/// The process is gone, or this is not Linux; so too for the other readings.
pub fn threads(pid: i32) -> io::Result<Vec<Thread>> {
    let mut threads = platform::threads(pid)?;
    threads.sort_by_key(|thread| thread.id);
    Ok(threads)
}

/// How many threads a process has.
pub fn thread_count(pid: i32) -> io::Result<usize> {
    platform::thread_count(pid)
}

/// Processor time that a process has used, user and system, in clock ticks (10 ms as a rule).
pub fn cpu_ticks(pid: i32) -> io::Result<u64> {
    platform::cpu_ticks(pid)
}

/// How many clock ticks are a second, where that is known.
pub fn ticks_per_second() -> Option<u64> {
    platform::ticks_per_second()
}

/// Memory of a process that is in RAM (resident set), in bytes.
pub fn rss_bytes(pid: i32) -> io::Result<u64> {
    platform::rss_bytes(pid)
}

/// The most memory of a process that was in RAM at any time so far, in bytes.
pub fn peak_rss_bytes(pid: i32) -> io::Result<u64> {
    platform::peak_rss_bytes(pid)
}

/// How many descriptors a process has open.
pub fn descriptor_count(pid: i32) -> io::Result<usize> {
    platform::descriptor_count(pid)
}

/// The limit on open descriptors that a process runs under (the soft one).
pub fn descriptor_limit(pid: i32) -> io::Result<Option<u64>> {
    platform::descriptor_limit(pid)
}

/// Limits the address space of a process to what it has now and so many bytes more. None: lifts that.
pub fn limit_growth(pid: i32, bytes: Option<u64>) -> io::Result<()> {
    platform::limit_growth(pid, bytes)
}

/// The descriptors of a process that are sockets.
pub fn socket_descriptors(pid: i32) -> io::Result<Vec<SocketDescriptor>> {
    platform::socket_descriptors(pid)
}

/// The process `leader`, those that it has started, those that these have, and its group: the leader
/// first.
pub fn family(leader: i32) -> io::Result<Vec<i32>> {
    platform::family(leader)
}

/// Who listens where, of the process `leader`, those that it has started, and those in its group:
/// the leader's own listeners first.
pub fn listeners_of(leader: i32) -> io::Result<Vec<(i32, SocketAddr)>> {
    platform::listeners_of(leader)
}

/// How many bytes stand in the queues of the connection between the server's `port` and `client`:
/// those from the client that the server has not read, and those to the client that it has not.
/// Bytes that have arrived and are not yet acknowledged count twice.
pub fn queues(port: u16, client: SocketAddr) -> io::Result<(usize, usize)> {
    let (mut from_client, mut to_client) = (0, 0);
    for socket in sockets(port)? {
        if socket.remote == client {
            from_client += socket.rx_queue as usize;
            to_client += socket.tx_queue as usize;
        } else if socket.local == client {
            from_client += socket.tx_queue as usize;
            to_client += socket.rx_queue as usize;
        }
    }
    Ok((from_client, to_client))
}

/// The TCP sockets that have `port` at one of their ends, in a fixed order and without those that
/// only wait for their time to run out (TIME_WAIT). Addresses of version 4 mapped into version 6
/// are given as version 4.
///
/// The kernel does not read this table at one instant: a socket may be missing while others come
/// and go, or stand there twice, of which one row is given. Trust what two readings agree on.
pub fn sockets(port: u16) -> io::Result<Vec<Socket>> {
    let mut sockets = platform::sockets(port)?;
    sockets.retain(|socket| socket.local.port() == port || socket.remote.port() == port);
    sockets.sort();
    // Several may listen at one address.
    sockets.dedup_by(|a, b| {
        (a.local, a.remote) == (b.local, b.remote) && (!a.listening || a.inode == b.inode)
    });
    Ok(sockets)
}
