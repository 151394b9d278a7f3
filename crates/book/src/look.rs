//! A look at a running server from outside: what its threads sleep in, and whose bytes wait.
//!
//! All of it is the kernel's: `/proc/PID/task/*/syscall`, `/proc/PID/fd` and `/proc/net/tcp`.

use std::collections::BTreeMap;
use std::io;

use harness::kernel::{self, Socket, State};

/// What the server on `port` does at this moment, several lines.
///
/// # Errors
/// Nobody listens there, or the kernel does not say: it is not Linux, or it does not let us look.
pub fn look(port: u16) -> io::Result<String> {
    let sockets = kernel::sockets(port)?;
    let (pid, descriptors) = processes()?
        .filter_map(|pid| Some((pid, kernel::socket_descriptors(pid).ok()?)))
        .find(|(_, descriptors)| {
            let holds = |socket: &Socket| descriptors.iter().any(|it| it.inode == socket.inode);
            sockets.iter().any(|socket| socket.listening && holds(socket))
        })
        .ok_or_else(|| {
            io::Error::other(if sockets.iter().any(|socket| socket.listening) {
                format!("the server on port {port} is not yours: only its owner and root may look")
            } else {
                format!("nobody listens on port {port}")
            })
        })?;
    let threads = kernel::threads(pid).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), NOT_ALLOWED),
        _ => error,
    })?;
    let name = threads.first().map_or("?", |first| first.name.as_str());
    let mut text = format!("{name}, {}\n", many(threads.len(), "thread"));

    // Threads that do the same share a line.
    let mut doing: BTreeMap<String, usize> = BTreeMap::new();
    for thread in &threads {
        let what = match &thread.state {
            State::Running => "running".to_owned(),
            State::Stopped => "stopped".to_owned(),
            State::Asleep(call) => {
                let inode = call.fd().and_then(|fd| descriptors.iter().find(|it| it.fd == fd));
                let socket = inode.and_then(|it| sockets.iter().find(|s| s.inode == it.inode));
                match socket.filter(|socket| !socket.listening) {
                    Some(socket) if threads.len() <= FEW => {
                        format!("asleep in {call} on {}", socket.remote)
                    }
                    _ => format!("asleep in {call}"),
                }
            }
        };
        *doing.entry(what).or_default() += 1;
    }
    for (what, count) in doing {
        let times = if count > 1 { format!("{count} ") } else { String::new() };
        text += &format!("  {times}{what}\n");
    }

    let clients = sockets.iter().filter(|it| it.local.port() == port && !it.listening);
    let mut silent = 0;
    for socket in clients {
        // Its other end, where that is on this machine, too.
        let other = sockets.iter().find(|it| it.local == socket.remote && !it.listening);
        let by_server = socket.rx_queue + other.map_or(0, |other| other.tx_queue);
        let by_client = socket.tx_queue + other.map_or(0, |other| other.rx_queue);
        let mut facts = Vec::new();
        if socket.inode == 0 && socket.established {
            facts.push("not accepted".to_owned());
        }
        if by_server > 0 {
            facts.push(format!("{} not read by the server", many(by_server, "byte")));
        }
        if by_client > 0 {
            facts.push(format!("{} not read by the client", many(by_client, "byte")));
        }
        match facts.is_empty() {
            true => silent += 1,
            false => text += &format!("{}: {}\n", socket.remote, facts.join(", ")),
        }
    }
    if silent > 0 {
        text += &format!("{} with nothing on the way\n", many(silent, "client"));
    }
    Ok(text)
}

/// Ubuntu and others start with the kernel's Yama module set so that the system call in which a
/// thread sleeps is told only to root, and to the program that started the process.
const NOT_ALLOWED: &str = "the kernel does not tell in which calls the threads of other programs \
    sleep; `sudo sysctl kernel.yama.ptrace_scope=0` allows it until the next start of the machine";

/// More threads than this are counted, and not told one by one.
const FEW: usize = 8;

/// The ids of all processes.
fn processes() -> io::Result<impl Iterator<Item = i32>> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// So many of something: 1 byte, 6 bytes.
fn many<N: PartialEq + From<u8> + std::fmt::Display>(number: N, thing: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
