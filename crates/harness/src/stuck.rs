use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::kernel::{self, Call, Socket, State, Thread};
use crate::server::Process;
use crate::trouble::Cause;
use crate::wait::{SLICE, patience};
use crate::wire::Kind;

/// The proof that a server does nothing more until somebody outside does something.
///
/// Two readings, 20 ms apart, agree that
/// - every thread sleeps in a call that no time-out ends: it cannot wake by itself;
/// - nothing is on its way: what a client has sent has arrived in the server's queue, or was read;
///   what the server has sent has arrived at the client; TCP, which pauses before it sends more to
///   who has little room, has tried that and was refused; and where one end of a connection is
///   gone, the other knows;
/// - nobody who waits for a connection or for bytes has one there to take;
/// - and nothing moved in between: threads, calls, context switches, processor time and queues.
///
/// One reading would not do, since /proc is not read at one instant.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// Each thread and what it sleeps in.
    pub sleepers: Vec<Sleeper>,
    /// Bytes of clients that stand unread in the server's queues.
    pub unread: Vec<Unread>,
    /// Connections that stand in the accept queue.
    pub not_accepted: u32,
}

/// A thread that only somebody else can wake.
#[derive(Clone, Debug)]
pub struct Sleeper {
    /// The thread's name.
    pub thread: String,
    /// The call it sleeps in.
    pub call: Call,
    /// The client on the other end of the socket it waits for.
    pub peer: Option<String>,
}

/// Bytes that a client has sent and the server has not read.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Whose bytes.
    pub client: String,
    /// How many; an end of input that was not read counts as one.
    pub bytes: u32,
}

impl Stuck {
    /// What the threads sleep in, as a fixed text: a designed flaw is recognised by it.
    ///
    /// One thread: `asleep in recv on a`. Several: `20 asleep in recv, 1 in accept`.
    pub fn signature(&self) -> String {
        if let [only] = self.sleepers.as_slice() {
            return only.to_string();
        }
        let mut groups: Vec<(usize, String)> = Vec::new();
        for sleeper in &self.sleepers {
            let call = sleeper.call.to_string();
            match groups.iter_mut().find(|(_, name)| *name == call) {
                Some((count, _)) => *count += 1,
                None => groups.push((1, call)),
            }
        }
        groups.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut texts = groups.iter().map(|(count, call)| format!("{count} in {call}"));
        let first = texts.next().unwrap_or_default().replacen(" in ", " asleep in ", 1);
        texts.fold(first, |all, text| all + ", " + &text)
    }

    /// How many bytes of `client` stand unread in the server's queue.
    pub fn unread_of(&self, client: &str) -> u32 {
        self.unread.iter().find(|unread| unread.client == client).map_or(0, |unread| unread.bytes)
    }
}

impl fmt::Display for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asleep in {}", self.call)?;
        self.peer.iter().try_for_each(|peer| write!(f, " on {peer}"))
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.signature())?;
        for Unread { client, bytes } in self.unread.iter().take(5) {
            write!(f, "; {bytes} bytes from {client} unread")?;
        }
        if self.unread.len() > 5 {
            write!(f, "; and {} more", self.unread.len() - 5)?;
        }
        match self.not_accepted {
            0 => {}
            1 => f.write_str("; 1 connection not accepted")?,
            several => write!(f, "; {several} connections not accepted")?,
        }
        Ok(())
    }
}

/// Waits for the proof. The bound is on progress: a server that works is waited for.
pub(crate) fn prove(process: &Process) -> Result<Stuck, Cause> {
    let mut watch = Watch::new(Some(process));
    loop {
        thread::sleep(SLICE);
        if let Some(cause) = watch.look(0) {
            return match cause {
                Cause::Stuck(stuck, _) => Ok(stuck),
                other => Err(other),
            };
        }
    }
}

/// Waits until a server that ended a connection has ended itself or has come to rest: only then can
/// a crash be told from an early close. One that works on is not waited for: it lives. Nor is one
/// that was not started here: nobody would tell of its end.
pub(crate) fn settle(process: &Process) {
    if process.id().is_err() {
        return;
    }
    let (mut watch, begin) = (Watch::new(Some(process)), Instant::now());
    while process.exit_status().is_none()
        && watch.look(0).is_none()
        && begin.elapsed() < Duration::from_secs(1)
    {
        thread::sleep(SLICE);
    }
}

/// Watches a server while the harness waits for an event.
pub(crate) struct Watch<'p> {
    process: Option<&'p Process>,
    last: Option<Reading>,
    last_event: Instant,
    last_noted: Option<Instant>,
}

/// How often a reading of a server that is at work is written down.
const BETWEEN_NOTES: Duration = Duration::from_millis(200);

impl<'p> Watch<'p> {
    pub(crate) fn new(process: Option<&'p Process>) -> Self {
        Self { process, last: None, last_event: Instant::now(), last_noted: None }
    }

    /// What is waited for came nearer: the wait begins anew.
    pub(crate) fn event(&mut self) {
        self.last_event = Instant::now();
    }

    /// Bytes moved: a proof needs two new readings.
    pub(crate) fn moved(&mut self) {
        self.last = None;
    }

    /// Whether what is waited for has come no nearer for too long. `bytes` of it have come.
    pub(crate) fn overdue(&self, bytes: usize) -> Option<Cause> {
        (self.last_event.elapsed() >= patience()).then_some(Cause::TimedOut(bytes))
    }

    /// To be called when nothing happened for 20 ms: a reason to give up, if there is one.
    pub(crate) fn look(&mut self, bytes: usize) -> Option<Cause> {
        // A server that cannot be read (it ended, or this is not Linux) is not proved stuck.
        let reading = self.process.and_then(|process| Reading::take(process).ok());
        if let (Some(process), Some(reading)) = (self.process, &reading)
            && self.last.as_ref() == Some(reading)
            && reading.is_at_rest()
        {
            let stuck = reading.evidence(process);
            process.wire.note("server", Kind::Reading, format!("stuck: {stuck}"));
            return Some(Cause::Stuck(stuck, bytes));
        }
        // Bytes that move between others are progress, too. Processor time is none: a server may
        // spin for ever.
        if let (Some(last), Some(reading)) = (&self.last, &reading)
            && last.sockets != reading.sockets
        {
            self.last_event = Instant::now();
        }
        if let (Some(process), Some(reading)) = (self.process, &reading)
            && self.last.as_ref() != Some(reading)
            && self.last_noted.is_none_or(|noted| noted.elapsed() > BETWEEN_NOTES)
        {
            process.wire.note("server", Kind::Reading, reading.describe(process));
            self.last_noted = Some(Instant::now());
        }
        self.last = reading;
        self.overdue(bytes)
    }
}

/// The threads of a server and the sockets of its port, at one moment (almost).
#[derive(PartialEq)]
struct Reading {
    sockets: Vec<Socket>,
    threads: Vec<Thread>,
    cpu_ticks: u64,
}

impl Reading {
    /// Queues before threads: who still sleeps when bytes are already there was not woken by them.
    fn take(process: &Process) -> io::Result<Self> {
        Ok(Self {
            sockets: kernel::sockets(process.address.port())?,
            threads: kernel::threads(process.id()?)?,
            cpu_ticks: kernel::cpu_ticks(process.id()?)?,
        })
    }

    fn is_at_rest(&self) -> bool {
        let nothing_on_its_way = self.sockets.iter().all(|socket| match self.other_end(socket) {
            // It was reset, which leaves nothing behind to be seen.
            None if socket.established => false,
            other => {
                socket.tx_queue == 0 || socket.refused && other.is_some_and(|it| it.rx_queue > 0)
            }
        });
        let sleeps = |thread: &Thread| match &thread.state {
            State::Asleep(Call::Accept(_)) => self.not_accepted() == 0,
            _ => thread.sleeps_untimed(),
        };
        nothing_on_its_way && !self.threads.is_empty() && self.threads.iter().all(sleeps)
    }

    fn other_end(&self, socket: &Socket) -> Option<&Socket> {
        let is_other =
            |other: &&Socket| other.local == socket.remote && other.remote == socket.local;
        self.sockets.iter().find(is_other)
    }

    fn not_accepted(&self) -> u32 {
        self.sockets.iter().filter(|socket| socket.listening).map(|socket| socket.rx_queue).sum()
    }

    /// What the threads do and what stands in the queues, for the wire log.
    fn describe(&self, process: &Process) -> String {
        let stuck = self.evidence(process);
        let running = self.threads.len() - stuck.sleepers.len();
        let mut texts = Vec::new();
        if running > 0 {
            texts.push(format!("{running} running"));
        }
        if !stuck.sleepers.is_empty() {
            texts.push(stuck.to_string());
        }
        let queued =
            |socket: &&Socket| socket.local.port() == process.address.port() && socket.tx_queue > 0;
        let queued = self.sockets.iter().filter(queued).take(5).map(|socket| {
            format!("{} bytes under way to {}", socket.tx_queue, process.name_of(socket.remote))
        });
        texts.extend(queued);
        texts.join("; ")
    }

    fn evidence(&self, process: &Process) -> Stuck {
        // Names are for the report: without them it is still a proof.
        let descriptors = process.id().and_then(kernel::socket_descriptors).unwrap_or_default();
        let peer = |call: &Call| {
            let fd = call.fd()?;
            let inode = descriptors.iter().find(|descriptor| descriptor.fd == fd)?.inode;
            let socket = self.sockets.iter().find(|socket| socket.inode == inode)?;
            (!socket.listening).then(|| process.name_of(socket.remote))
        };
        let sleeper = |thread: &Thread| match &thread.state {
            State::Asleep(call) => {
                Some(Sleeper { thread: thread.name.clone(), call: call.clone(), peer: peer(call) })
            }
            State::Running | State::Stopped => None,
        };
        let port = process.address.port();
        let is_unread = |socket: &&Socket| {
            socket.local.port() == port && !socket.listening && socket.rx_queue > 0
        };
        Stuck {
            sleepers: self.threads.iter().filter_map(sleeper).collect(),
            unread: self
                .sockets
                .iter()
                .filter(is_unread)
                .map(|socket| Unread {
                    client: process.name_of(socket.remote),
                    bytes: socket.rx_queue,
                })
                .collect(),
            not_accepted: self.not_accepted(),
        }
    }
}

/// What each thread of a server is doing, in words.
pub(crate) fn describe_threads(process: &Process) -> Vec<String> {
    let Ok(reading) = Reading::take(process) else {
        return Vec::new();
    };
    let mut sleepers = reading.evidence(process).sleepers.into_iter();
    let in_words = |Sleeper { call, peer, .. }: Sleeper| match peer {
        Some(peer) => format!("asleep in {call} on the connection of {peer}"),
        None => format!("asleep in {call}"),
    };
    let line = |thread: &Thread| {
        let doing = match thread.state {
            State::Running => "running".to_owned(),
            State::Stopped => "stopped".to_owned(),
            State::Asleep(_) => sleepers.next().map_or_else(String::new, in_words),
        };
        format!("thread {} ({}): {doing}", thread.id, thread.name)
    };

    let mut lines: Vec<_> = reading.threads.iter().map(line).collect();
    if lines.len() > 40 {
        let more = lines.split_off(40).len();
        lines.push(format!("and {more} threads more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck(calls: &[(Call, Option<&str>)]) -> Stuck {
        let sleeper = |(call, peer): &(Call, Option<&str>)| Sleeper {
            thread: "worker".to_owned(),
            call: call.clone(),
            peer: peer.map(str::to_owned),
        };
        Stuck { sleepers: calls.iter().map(sleeper).collect(), unread: vec![], not_accepted: 0 }
    }

    #[test]
    fn what_is_on_its_way_is_no_rest() {
        let [server, client] = ["127.0.0.1:3000", "127.0.0.1:50000"].map(|it| it.parse().unwrap());
        let end = |local, remote| Socket {
            local,
            remote,
            listening: false,
            established: true,
            rx_queue: 0,
            tx_queue: 0,
            refused: false,
            inode: 1,
        };
        let asleep = Thread {
            id: 1,
            name: "server".to_owned(),
            state: State::Asleep(Call::Recv(4)),
            voluntary_switches: 0,
            involuntary_switches: 0,
        };
        let mut reading = Reading {
            sockets: vec![end(server, client), end(client, server)],
            threads: vec![asleep],
            cpu_ticks: 0,
        };
        assert!(reading.is_at_rest());
        reading.sockets[0].tx_queue = 100;
        reading.sockets[1].rx_queue = 100;
        assert!(!reading.is_at_rest(), "TCP may only pause");
        reading.sockets[0].refused = true;
        assert!(reading.is_at_rest());
        reading.sockets.pop();
        assert!(!reading.is_at_rest());
    }

    #[test]
    fn the_signature_of_one_thread_names_the_client() {
        assert_eq!(stuck(&[(Call::Recv(4), Some("a"))]).signature(), "asleep in recv on a");
        assert_eq!(stuck(&[(Call::Accept(3), None)]).signature(), "asleep in accept");
    }

    #[test]
    fn the_signature_of_several_threads_counts_them() {
        let calls =
            [(Call::Accept(3), None), (Call::Recv(4), Some("a")), (Call::Recv(5), Some("b"))];
        assert_eq!(stuck(&calls).signature(), "2 asleep in recv, 1 in accept");
    }
}
