//! The readings, from /proc.

use std::io;
use std::net::SocketAddr;

use memchr::{memchr, memmem, memrchr};
use procfs::net::{TcpNetEntries, TcpState};
use procfs::process::{FDTarget, LimitValue, Process, Syscall, Task};
use procfs::{FromBufReadSI, ProcError, ProcResult, current_system_info};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{Call, Socket, SocketDescriptor, State, Thread};

pub(super) fn threads(pid: i32) -> io::Result<Vec<Thread>> {
    let tasks = process(pid)?.tasks().map_err(io_error)?;
    let mut threads = Vec::new();
    for task in tasks {
        match task.and_then(|task| thread(&task)) {
            Ok(thread) => threads.push(thread),
            // It ended between the listing and the reading.
            Err(ProcError::NotFound(_)) => {}
            Err(error) => return Err(io_error(error)),
        }
    }
    Ok(threads)
}

pub(super) fn thread_count(pid: i32) -> io::Result<usize> {
    Ok(process(pid)?.tasks().map_err(io_error)?.count())
}

pub(super) fn cpu_ticks(pid: i32) -> io::Result<u64> {
    let stat = process(pid)?.stat().map_err(io_error)?;
    Ok(stat.utime + stat.stime)
}

pub(super) fn ticks_per_second() -> Option<u64> {
    Some(procfs::ticks_per_second())
}

pub(super) fn rss_bytes(pid: i32) -> io::Result<u64> {
    let status = process(pid)?.status().map_err(io_error)?;
    // Missing for a process that has ended and was not waited for.
    Ok(status.vmrss.unwrap_or(0) * 1024)
}

pub(super) fn peak_rss_bytes(pid: i32) -> io::Result<u64> {
    let status = process(pid)?.status().map_err(io_error)?;
    Ok(status.vmhwm.unwrap_or(0) * 1024)
}

pub(super) fn descriptor_count(pid: i32) -> io::Result<usize> {
    // The size of that directory would count one more for each thread that sleeps in accept: the
    // number is reserved there, for a socket that does not exist yet.
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

pub(super) fn descriptor_limit(pid: i32) -> io::Result<Option<u64>> {
    Ok(match process(pid)?.limits().map_err(io_error)?.max_open_files.soft_limit {
        LimitValue::Value(limit) => Some(limit),
        LimitValue::Unlimited => None,
    })
}

pub(super) fn limit_growth(pid: i32, bytes: Option<u64>) -> io::Result<()> {
    let process = process(pid)?;
    let size = process.stat().map_err(io_error)?.vsize;
    // The hard limit stays: whoever is not root could not raise it again.
    let maximum = match process.limits().map_err(io_error)?.max_address_space.hard_limit {
        LimitValue::Value(limit) => Some(limit),
        LimitValue::Unlimited => None,
    };
    let current = bytes.map_or(maximum, |bytes| Some(size + bytes));
    prlimit(Pid::from_raw(pid), Resource::As, Rlimit { current, maximum })?;
    Ok(())
}

pub(super) fn socket_descriptors(pid: i32) -> io::Result<Vec<SocketDescriptor>> {
    let descriptors = process(pid)?.fd().map_err(io_error)?;
    // A descriptor that was closed between the listing and the reading is an error: left out.
    let sockets = descriptors.flatten().filter_map(|descriptor| match descriptor.target {
        FDTarget::Socket(inode) => Some(SocketDescriptor { fd: descriptor.fd, inode }),
        _ => None,
    });
    Ok(sockets.collect())
}

pub(super) fn listeners_of(leader: i32) -> io::Result<Vec<(i32, SocketAddr)>> {
    let mut listening = table(LISTEN)?;
    listening.retain(|row| row.listening);
    let mut found = Vec::new();
    for pid in family(leader)? {
        // It may have ended meanwhile, or be somebody else's.
        let own = socket_descriptors(pid).unwrap_or_default();
        let is_own = |row: &&Socket| own.iter().any(|it| it.inode == row.inode);
        found.extend(listening.iter().filter(is_own).map(|row| (pid, row.local)));
    }
    Ok(found)
}

/// The state of a socket that listens, in the kernel's tables.
const LISTEN: &str = " 0A ";

pub(super) fn family(leader: i32) -> io::Result<Vec<i32>> {
    let processes = procfs::process::all_processes().map_err(io_error)?;
    // One that cannot be read has ended.
    let mut others: Vec<_> =
        processes.flatten().filter_map(|it| it.stat().ok()).filter(|it| it.pid != leader).collect();
    let mut family = vec![leader];
    loop {
        let is_in = |it: &procfs::process::Stat| it.pgrp == leader || family.contains(&it.ppid);
        let (more, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_in);
        if more.is_empty() {
            return Ok(family);
        }
        family.extend(more.iter().map(|it| it.pid));
        others = rest;
    }
}

pub(super) fn sockets(port: u16) -> io::Result<Vec<Socket>> {
    table(&format!(":{port:04X} "))
}

/// The rows of the tables of TCP sockets that contain `text`, without those in state TIME_WAIT. The
/// tables are the whole system's, with a row for each connection closed in the last minute: to look
/// at each of them takes far longer than to find those few.
fn table(text: &str) -> io::Result<Vec<Socket>> {
    let mut entries = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(table) => {
                let rows = of_interest(&table, text);
                let parsed = TcpNetEntries::from_buf_read(rows.as_bytes(), current_system_info());
                let parsed = parsed.map_err(io_error)?.0;
                entries.extend(parsed.into_iter().zip(rows.lines().skip(1).map(refused)));
            }
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !entries.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let sockets = entries.into_iter().filter(|(entry, _)| entry.state != TcpState::TimeWait);
    Ok(sockets
        .map(|(entry, refused)| Socket {
            local: canonical(entry.local_address),
            remote: canonical(entry.remote_address),
            listening: entry.state == TcpState::Listen,
            established: entry.state == TcpState::Established,
            rx_queue: entry.rx_queue,
            tx_queue: entry.tx_queue,
            refused,
            inode: entry.inode,
        })
        .collect())
}

/// [`Socket::refused`] of a row, by the timer of its socket. Where the other end has closed its
/// window, the kernel asks again after a time that doubles whenever there is still no room: who
/// waits for longer than the first time was refused. The columns are those of `get_tcp4_sock` in
/// `net/ipv4/tcp_ipv4.c`.
fn refused(row: &str) -> bool {
    /// `TCP_RTO_MIN`, in hundredths of a second as all of them.
    const SHORTEST: u64 = 20;
    let number = |column: Option<&str>, radix| u64::from_str_radix(column?, radix).ok();
    let mut columns = row.split_ascii_whitespace().skip(5);
    match columns.next().and_then(|timer| timer.split_once(':')) {
        // It retransmits: how often it has done so.
        Some(("01", _)) => number(columns.next(), 16) > Some(0),
        // It probes the window: what is left of the wait, and how long the first was.
        Some(("04", left)) => {
            let first = number(columns.nth(6), 10).unwrap_or(0).max(SHORTEST);
            number(Some(left), 16) > Some(first)
        }
        _ => false,
    }
}

/// The header of a table of sockets, and those of its rows that contain `text`.
fn of_interest(table: &str, text: &str) -> String {
    let mut rows = String::new();
    let mut end = 0;
    let header = memchr(b'\n', table.as_bytes()).unwrap_or(table.len());
    for hit in [header].into_iter().chain(memmem::find_iter(table.as_bytes(), text)) {
        // A row may have two hits.
        if hit >= end {
            let start = memrchr(b'\n', &table.as_bytes()[..hit]).map_or(0, |newline| newline + 1);
            end = memchr(b'\n', &table.as_bytes()[hit..]).map_or(table.len(), |it| hit + it);
            rows.extend([&table[start..end], "\n"]);
        }
    }
    rows
}

fn process(pid: i32) -> io::Result<Process> {
    Process::new(pid).map_err(io_error)
}

fn thread(task: &Task) -> ProcResult<Thread> {
    let status = task.status()?;
    // `State: S (sleeping)`
    let state = match status.state.chars().next() {
        Some('S') => match task.syscall()? {
            Syscall::Blocked { syscall_number, argument_registers, .. } => {
                State::Asleep(call(syscall_number, argument_registers))
            }
            _ => State::Running,
        },
        Some('T' | 't') => State::Stopped,
        _ => State::Running,
    };
    Ok(Thread {
        id: task.tid,
        name: status.name,
        state,
        voluntary_switches: status.voluntary_ctxt_switches.unwrap_or(0),
        involuntary_switches: status.nonvoluntary_ctxt_switches.unwrap_or(0),
    })
}

/// What a system call and its arguments, as /proc/PID/task/TID/syscall shows them, wait for.
fn call(number: i64, arguments: [u64; 6]) -> Call {
    // A register holds a descriptor or an `int` in its lower half.
    let int = |index: usize| arguments[index] as u32 as i32;
    // No pointer to a time-out: none.
    let pointer = |index: usize| arguments[index] != 0;
    match number {
        libc::SYS_accept | libc::SYS_accept4 => Call::Accept(int(0)),
        libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_read | libc::SYS_readv => {
            Call::Recv(int(0))
        }
        libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_write | libc::SYS_writev => {
            Call::Send(int(0))
        }
        libc::SYS_epoll_pwait => Call::Poll { timed: int(3) >= 0 },
        libc::SYS_epoll_pwait2 => Call::Poll { timed: pointer(3) },
        libc::SYS_ppoll => Call::Poll { timed: pointer(2) },
        libc::SYS_pselect6 => Call::Poll { timed: pointer(4) },
        libc::SYS_futex => Call::Futex { timed: pointer(3) },
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => Call::Sleep,
        // Calls that newer architectures do without.
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => Call::Poll { timed: int(3) >= 0 },
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => Call::Poll { timed: int(2) >= 0 },
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => Call::Poll { timed: pointer(4) },
        other => Call::Other(other),
    }
}

fn io_error(error: ProcError) -> io::Error {
    match error {
        ProcError::NotFound(_) => io::Error::new(io::ErrorKind::NotFound, "the process is gone"),
        ProcError::Io(error, _) => error,
        error @ ProcError::PermissionDenied(_) => {
            io::Error::new(io::ErrorKind::PermissionDenied, error)
        }
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use procfs::FromRead;

    use super::*;
    use crate::wait;

    /// What a line of /proc/PID/task/TID/syscall says that the thread sleeps in.
    fn parse(line: &str) -> Call {
        match Syscall::from_read(line.as_bytes()).unwrap() {
            Syscall::Blocked { syscall_number, argument_registers, .. } => {
                call(syscall_number, argument_registers)
            }
            _ => panic!("{line:?} is no call"),
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_are_told_by_number_and_arguments() {
        let tail = "0x0 0x0 0x7ffde7c060b0 0x7f932b3162ec\n";
        assert_eq!(parse(&format!("288 0x3 0x7f93 0x7f93 0x80000 {tail}")), Call::Accept(3));
        assert_eq!(parse(&format!("45 0x4 0x7f93 0x1000 0x0 {tail}")), Call::Recv(4));
        assert_eq!(parse(&format!("44 0x5 0x7f93 0x1000 0x4000 {tail}")), Call::Send(5));
        assert_eq!(parse(&format!("35 0x7f93 0x0 0x0 0x0 {tail}")), Call::Sleep);
        assert_eq!(parse(&format!("61 0x7f93 0x0 0x0 0x0 {tail}")), Call::Other(61));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_time_out_is_seen_among_the_arguments() {
        let tail = "0x0 0x0 0x7ffde7c060b0 0x7f932b3162ec\n";
        let epoll = |timeout: &str| parse(&format!("232 0x4 0x7f93 0x400 {timeout} {tail}"));
        assert_eq!(epoll("0xffffffffffffffff"), Call::Poll { timed: false });
        assert_eq!(epoll("0xffffffff"), Call::Poll { timed: false });
        assert_eq!(epoll("0x3e8"), Call::Poll { timed: true });
        let futex = |timeout: &str| parse(&format!("202 0x7f93 0x189 0x0 {timeout} {tail}"));
        assert_eq!(futex("0x0"), Call::Futex { timed: false });
        assert_eq!(futex("0x7f930000"), Call::Futex { timed: true });
    }

    #[test]
    fn a_thread_outside_a_call_is_not_in_one_that_wakes_by_somebody_else() {
        assert!(!parse("-1 0x0 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f93").is_untimed());
    }

    #[test]
    fn only_rows_of_interest_are_parsed() {
        let table = "  sl  local_address rem_address\n\
                     0: 0100007F:0BB8 00000000:0000 0A\n\
                     1: 0100007F:D437 0100007F:0BB8 01\n\
                     2: 0100007F:D437 0100007F:0BB9 01\n";
        let rows: Vec<_> = table.split_inclusive('\n').collect();
        assert_eq!(of_interest(table, ":0BB8 "), rows[..3].concat());
        assert_eq!(of_interest(table, ":0BB9 "), [rows[0], rows[3]].concat());
        assert_eq!(of_interest(rows[1], ":").lines().count(), 1, "it has two of them");
    }

    #[test]
    fn who_probes_for_the_second_time_was_refused() {
        let row = |timer: &str| {
            format!("0: 0100007F:0BB8 0100007F:D437 01 00003E80:0 {timer} 0 0 25 2 0 20 4 31 10 7")
        };
        assert!(!refused(&row("00:00000000 00000000")), "no timer");
        assert!(!refused(&row("04:00000014 00000000")), "the first probe has not been sent");
        assert!(refused(&row("04:00000028 00000000")));
        let slow = row("04:00000028 00000000").replace(" 20 4 ", " 40 4 ");
        assert!(!refused(&slow), "so long is the first wait there");
        assert!(!refused(&row("01:00000014 00000000")), "it may be acknowledged at any moment");
        assert!(refused(&row("01:00000028 00000001")));
    }

    #[test]
    fn bytes_without_room_at_the_other_end_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _accepted = listener.accept().unwrap();
        let find = || {
            let rows = super::super::sockets(listener.local_addr()?.port())?;
            Ok(rows.into_iter().find(|row| Some(row.local) == client.local_addr().ok()))
        };
        assert!(!find().unwrap().unwrap().refused, "nothing was sent");
        client.set_nonblocking(true).unwrap();
        while (&client).write(&[0; 1 << 16]).is_ok() {}
        wait::until(find, |row| row.as_ref().is_some_and(|row| row.refused)).unwrap();
    }

    #[test]
    fn unread_bytes_stand_in_the_queue_of_the_receiver() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        rustix::net::send(&client, b"12345", rustix::net::SendFlags::empty()).unwrap();
        let find = |test: &dyn Fn(&Socket) -> bool| {
            super::super::sockets(address.port()).unwrap().into_iter().find(|row| test(row))
        };
        assert_eq!(find(&|row| row.listening).unwrap().rx_queue, 1, "not yet accepted");
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(find(&|row| row.listening).unwrap().rx_queue, 0);
        let row = find(&|row| row.remote == client.local_addr().unwrap()).unwrap();
        assert_eq!(row.rx_queue, 5);
        let me = socket_descriptors(std::process::id() as i32).unwrap();
        use std::os::fd::AsRawFd;
        assert!(me.contains(&SocketDescriptor { fd: accepted.as_raw_fd(), inode: row.inode }));
    }
}
