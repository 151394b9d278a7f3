//! The server: one thread, one loop, and a look at every client in each turn.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use kit::{Args, Backoff, Mode};
use log::info;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use socket2::{Domain, Socket, Type};

use crate::client::{Client, Phase};
use crate::fault::Fault::{self, *};
use crate::spoil::{spoil, spoil_line};

/// How many connections may wait to be accepted.
const LISTEN_BACKLOG: i32 = 4096;
/// How many of them are accepted in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// What is read from one client in one turn: nobody keeps the others waiting for long.
const READ_BUDGET: usize = 16 * 1024;
/// How long clients may take to read what they are owed when the server stops.
const GRACE: Duration = Duration::from_millis(500);

/// Serves until a signal comes or, if that is allowed, until a client ends it.
pub fn run(fault: Fault, args: Args) -> anyhow::Result<()> {
    let stop = signals(fault)?;
    let listener = match listen(fault, &args) {
        Err(error) if fault == PanicsOnATakenPort => panic!("{error:?}"),
        listener => listener.with_context(|| args.cannot_listen())?,
    };
    let address = listener.local_addr()?;
    kit::listening_on(match fault {
        SaysAnotherPort => SocketAddr::new(address.ip(), address.port() ^ 1),
        _ => address,
    });
    let server = Server {
        args,
        fault,
        listener,
        stop,
        clients: BTreeMap::new(),
        accepted: 0,
        backoff: Backoff::default(),
        accept_again: None,
        stops_at: None,
        memory: Memory::default(),
    };
    server.run_loop()
}

/// A listener that does not block.
fn listen(fault: Fault, args: &Args) -> io::Result<TcpListener> {
    let mut address = args.address().to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
    match fault {
        ListensEverywhere => address.set_ip(Ipv4Addr::UNSPECIFIED.into()),
        VersionFourOnly => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        _ => {}
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(fault != KeepsItsPort)?;
    socket.set_reuse_port(fault == SharesItsPort)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// What can be read when a signal has come.
fn signals(fault: Fault) -> io::Result<UnixStream> {
    let (stop, sender) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        match (fault, signal) {
            (DeafToSigint, SIGINT) | (DeafToSigterm, SIGTERM) => {
                signal_hook::flag::register(signal, Arc::default())?;
            }
            _ => signal_hook::low_level::pipe::register(signal, sender.try_clone()?).map(drop)?,
        }
    }
    Ok(stop)
}

struct Server {
    args: Args,
    fault: Fault,
    listener: TcpListener,
    /// Can be read when a signal has come.
    stop: UnixStream,
    /// By the number of the connection.
    clients: BTreeMap<u64, Client>,
    accepted: u64,
    backoff: Backoff,
    /// When to accept again after an error.
    accept_again: Option<Instant>,
    /// When the server ends, whoever is still here.
    stops_at: Option<Instant>,
    /// What some faults need to know.
    memory: Memory,
}

/// What some faults need to know. The rest of the server does without.
#[derive(Default)]
struct Memory {
    /// How many lines were broadcast.
    lines: usize,
    /// How many clients have left.
    left: usize,
    /// Who spoke last.
    speaker: Option<u64>,
    /// Whom the next line does not reach.
    skipped: Option<u64>,
    /// No client is accepted any more.
    gave_up: bool,
    /// Who is to be answered from the buffer that all share, and how many bytes.
    answers: Vec<(u64, usize)>,
}

/// What a turn has to do.
#[derive(Default)]
struct Ready {
    stop: bool,
    newcomers: bool,
    clients: Vec<(u64, PollFlags)>,
}

impl Server {
    fn run_loop(mut self) -> anyhow::Result<()> {
        loop {
            let ready = self.wait()?;
            if ready.stop {
                self.stop_in_order();
            }
            if ready.newcomers {
                self.accept_all()?;
            }
            self.read_all(ready.clients)?;
            self.flush_all()?;
            if self.stops_at.is_some_and(|at| self.has_stopped(at)) {
                ensure!(self.fault != StopsWithAnError, "stopped");
                return Ok(());
            }
        }
    }

    /// Whether everything is done that has to be done before it ends, which is at `at` at the
    /// latest.
    fn has_stopped(&self, at: Instant) -> bool {
        match self.fault {
            StopsWhenAllIsRead => self.clients.values().all(|client| client.owed.is_empty()),
            _ => self.clients.is_empty() || at <= Instant::now(),
        }
    }

    /// Sleeps until something can be done.
    fn wait(&self) -> io::Result<Ready> {
        // Before what to wait for: a client that is held back when the time-out is chosen, and no
        // longer when its interest is, is written to at once. The other way round it would be
        // neither watched nor waited for.
        let timeout = self.timeout();
        let stops = self.stops_at.is_some();
        let accepts = !stops && !self.memory.gave_up && self.accept_again.is_none();
        let when = |wanted| if wanted { PollFlags::IN } else { PollFlags::empty() };
        let watched: Vec<_> = self.watched().collect();
        let mut fds = Vec::with_capacity(2 + watched.len());
        fds.push(PollFd::new(&self.stop, when(!stops)));
        fds.push(PollFd::new(&self.listener, when(accepts)));
        for (_, client) in &watched {
            fds.push(PollFd::new(&client.stream, self.interest(client)));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(Ready::default()),
            polled => polled?,
        };
        let pause_is_over = self.accept_again.is_some_and(|at| at <= Instant::now());
        let clients =
            watched.iter().zip(&fds[2..]).map(|((number, _), fd)| (*number, fd.revents()));
        Ok(Ready {
            stop: !fds[0].revents().is_empty(),
            newcomers: !fds[1].revents().is_empty() || pause_is_over && !stops,
            clients: clients.filter(|(_, events)| !events.is_empty()).collect(),
        })
    }

    /// The clients that are looked at.
    fn watched(&self) -> impl Iterator<Item = (u64, &Client)> {
        let most = match self.fault {
            OneAtATime => 1,
            TwentyAtATime => 20,
            FiveHundredAtATime => 500,
            TwoThousandAtATime => 2000,
            _ => usize::MAX,
        };
        let clients = self.clients.iter().take(most).map(|(&number, client)| (number, client));
        clients.filter(|(number, _)| {
            self.fault != AnswersWhenTwoMoreCome || number + 2 <= self.accepted
        })
    }

    fn interest(&self, client: &Client) -> PollFlags {
        let interest = client.interest(self.args.mode == Mode::Echo);
        let most = if self.args.mode == Mode::Echo { 0 } else { 1 << 20 };
        let is_slow = |client: &Client| client.owed.len() > most;
        match self.fault {
            ForgetsWhoIsBehind if self.clients.len() > 64 => interest & !PollFlags::OUT,
            WaitsForTheSlowest if self.clients.values().any(is_slow) => interest & PollFlags::OUT,
            _ => interest,
        }
    }

    /// How long to sleep if nothing happens; mostly for ever.
    fn timeout(&self) -> Option<Timespec> {
        let held = self.clients.values().filter_map(Client::held_until);
        let next = held.chain(self.accept_again).chain(self.stops_at).min();
        let pause = match self.fault {
            Spins => Some(Duration::ZERO),
            Ticks => Some(Duration::from_millis(100)),
            _ => next.map(|at| at.saturating_duration_since(Instant::now())),
        };
        pause.and_then(|pause| pause.try_into().ok())
    }

    /// Accepts who is waiting, but not more at a time than others can wait for.
    fn accept_all(&mut self) -> anyhow::Result<()> {
        self.accept_again = None;
        for accepted in 1..=ACCEPTS_PER_TURN {
            match self.listener.accept() {
                // Nobody looks at it ever again.
                Ok((stream, _)) if self.fault == LosesACrowd && accepted > 32 => {
                    mem::forget(stream)
                }
                Ok((stream, address)) => self.accept(stream, address)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return self.cannot_accept(error),
            }
        }
        Ok(())
    }

    fn accept(&mut self, stream: TcpStream, address: SocketAddr) -> anyhow::Result<()> {
        self.backoff.reset();
        info!("connection from {address}");
        self.accepted += 1;
        let mut client = match Client::new(stream, address, &self.args, self.fault) {
            Ok(client) => client,
            Err(error) => {
                info!("client disconnected: {address}: {error}");
                return Ok(());
            }
        };
        match self.fault {
            Refuses => return Ok(()),
            PrintsEachClient => println!("connection from {address}"),
            PanicsWithoutStderr => eprintln!("client number {}", self.accepted),
            AsksNewcomersForTheirAddress => drop(client.stream.peer_addr()?),
            FifteenHundredInAll => self.memory.gave_up = self.accepted >= 1500,
            AThreadEach => match thread::Builder::new().spawn(client.companion()) {
                Ok(_) => {}
                Err(_) => return Ok(()),
            },
            AThreadOrNothing => drop(thread::spawn(client.companion())),
            JoinersHearHalfALine => {
                let unfinished = |(&number, other): (&u64, &Client)| (number, other.unfinished);
                client.missed = self.clients.iter().map(unfinished).collect();
            }
            JoinersInheritTheBacklog => {
                let slowest = self.clients.values().max_by_key(|other| other.owed.len());
                client.owed = slowest.map(|other| other.owed.clone()).unwrap_or_default();
            }
            _ => {}
        }
        self.clients.insert(self.accepted, client);
        Ok(())
    }

    fn cannot_accept(&mut self, error: io::Error) -> anyhow::Result<()> {
        match self.fault {
            EndsWithoutDescriptors => return Err(error).context("cannot accept"),
            GivesUpWithoutDescriptors => self.memory.gave_up = true,
            // The next turn finds the listener ready at once.
            SpinsWithoutDescriptors => {}
            _ => self.accept_again = Some(Instant::now() + self.backoff.after(&error)),
        }
        Ok(())
    }

    /// Reads once from each client that has something.
    fn read_all(&mut self, ready: Vec<(u64, PollFlags)>) -> anyhow::Result<()> {
        let mut buffer = [0; READ_BUDGET];
        for (number, events) in ready {
            self.read(number, events, &mut buffer)?;
            if self.fault == StaysWithWhoSpeaks {
                while self.speaks_on(number)? {
                    self.read(number, PollFlags::IN, &mut buffer)?;
                }
            }
        }
        for (number, length) in mem::take(&mut self.memory.answers) {
            if let Some(client) = self.clients.get_mut(&number) {
                client.owe(Bytes::copy_from_slice(&buffer[..length]));
            }
        }
        Ok(())
    }

    fn read(&mut self, number: u64, events: PollFlags, buffer: &mut [u8]) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        if events.contains(PollFlags::PRI) {
            return self.remove(number, "an exceptional condition");
        }
        if events.contains(PollFlags::RDHUP) && self.fault == HalfCloseIsGoodbye {
            return self.remove(number, "it has hung up");
        }
        let is_broken = events.contains(PollFlags::ERR);
        // What is owed first: if the connection is broken, the write says so.
        if is_broken && !client.owed.is_empty() || events == PollFlags::OUT {
            return Ok(());
        }
        match client.stream.read(buffer) {
            Ok(0) => self.end_of_input(number),
            Ok(_) if client.phase != Phase::Open => Ok(()),
            Ok(length) => self.hear(number, &buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => {
                ensure!(self.fault != EndsOnAReset, "cannot read: {error}");
                if self.fault == RelaysHalfALine
                    && let Some(half) = client.decoder.finish()
                {
                    self.broadcast(number, &half)?;
                }
                self.remove(number, &error.to_string())
            }
        }
    }

    /// Whether a client has more to say, or will within a moment; it is answered first.
    fn speaks_on(&mut self, number: u64) -> anyhow::Result<bool> {
        self.flush_all()?;
        let Some(client) = self.clients.get(&number) else { return Ok(false) };
        let mut fds = [PollFd::new(&client.stream, self.interest(client))];
        let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        match poll(&mut fds, Some(&moment)) {
            Err(Errno::INTR) => return Ok(false),
            result => result?,
        };
        Ok(client.phase == Phase::Open && !fds[0].revents().is_empty())
    }

    /// Takes what `number` has sent.
    fn hear(&mut self, number: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        let mut bytes = bytes.to_vec();
        spoil(self.fault, &mut bytes, client.received);
        client.received += bytes.len();
        match (self.args.mode, self.fault) {
            (_, NeverAnswers) => {}
            (Mode::Echo, AnswersFromOneBuffer) => self.memory.answers.push((number, bytes.len())),
            (Mode::Echo, WaitsForALine) => {
                let (lines, _) = client.take_lines(&bytes);
                client.owe(lines.concat().into());
            }
            (Mode::Echo, _) => client.owe(bytes.into()),
            (Mode::Broadcast, RelaysChunks) => self.broadcast(number, &bytes)?,
            (Mode::Broadcast, _) => self.hear_lines(number, &bytes)?,
        }
        Ok(())
    }

    fn hear_lines(&mut self, number: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        let (mut lines, too_long) = client.take_lines(bytes);
        if self.fault == SwapsLines && lines.len() > 1 {
            lines.swap(0, 1);
        }
        for line in lines {
            if self.args.client_may_end && line == b"END\n" {
                self.stop_in_order();
                return Ok(());
            }
            if self.fault == ObeysQuit && line == b"quit\n" {
                return self.remove(number, "it said quit");
            }
            self.broadcast(number, &line)?;
        }
        if let (Some(too_long), Some(client)) = (too_long, self.clients.get_mut(&number)) {
            info!("client disconnected: {}: {too_long}", client.address);
            client.phase = Phase::Closing;
        }
        Ok(())
    }

    /// `number` has nothing more to say. It is sent what it is owed, and then closed.
    fn end_of_input(&mut self, number: u64) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        // Whose connection has broken has not ended its last line in order.
        let is_here = client.phase == Phase::Open && client.is_told;
        let tail = client.decoder.finish().filter(|_| is_here);
        match self.fault {
            AsksLeaversForTheirAddress => drop(client.stream.peer_addr()?),
            CutsALeaverShort => {
                client.flush()?;
                client.owed.clear();
            }
            _ => {}
        }
        client.phase = Phase::Leaving;
        if let (Some(mut tail), Mode::Broadcast) = (tail, self.args.mode) {
            match self.fault {
                LosesTheTail => tail.clear(),
                GluesTheTail => drop(tail.pop()),
                _ => {}
            }
            self.broadcast(number, &tail)?;
        }
        Ok(())
    }

    /// Owes `line` to everyone but the one who said it.
    fn broadcast(&mut self, from: u64, line: &[u8]) -> anyhow::Result<()> {
        let Some(line) = spoil_line(self.fault, line).map(Bytes::from) else { return Ok(()) };
        ensure!(self.fault != KeepsGhosts || self.memory.left == 0, "cannot write to who has left");
        self.memory.speaker = Some(from);
        self.memory.lines += 1;
        let is_hundredth = self.memory.lines.is_multiple_of(100);
        let times = match self.fault {
            LosesALine if is_hundredth => 0,
            RepeatsALine if is_hundredth => 2,
            AloneIsAnError if self.clients.len() == 1 => return self.remove(from, "it is alone"),
            _ => 1,
        };
        for (&number, client) in &mut self.clients {
            let hears = match self.fault {
                EchoesToTheSender => true,
                EchoesToWhoIsBehind => number != from || !client.owed.is_empty(),
                _ => number != from,
            };
            if !hears || client.phase != Phase::Open {
                continue;
            }
            if self.fault == SkipsAfterALeaver && self.memory.skipped == Some(number) {
                self.memory.skipped = None;
                continue;
            }
            let missed = client.missed.iter().position(|(speaker, _)| *speaker == from);
            let missed = missed.map_or(0, |index| client.missed.swap_remove(index).1);
            for _ in 0..times {
                client.owe(match self.fault {
                    AQueueEach => Bytes::copy_from_slice(&line),
                    _ => line.slice(missed..),
                });
            }
        }
        Ok(())
    }

    /// Sends to everyone what is owed and can be sent, and lets those go who are done, or too far
    /// behind.
    fn flush_all(&mut self) -> anyhow::Result<()> {
        let numbers: Vec<u64> = self.watched().map(|(number, _)| number).collect();
        for number in numbers {
            let Some(client) = self.clients.get_mut(&number) else { continue };
            let mut flushed = client.flush();
            while self.fault == RetriesForEver && flushed.is_err() {
                thread::sleep(Duration::from_millis(1));
                flushed = client.flush();
            }
            let (phase, behind) = (client.phase, client.owed.len());
            if let Err(error) = flushed {
                ensure!(self.fault != EndsOnAWriteError, "cannot write: {error}");
                match self.fault {
                    DeafToLastWords | ShortQueue => self.remove(number, &error.to_string())?,
                    _ => client.cannot_be_told(),
                }
                let speaker = self.memory.speaker.filter(|_| self.fault == SpeakersPayForAReset);
                if let Some(speaker) = speaker {
                    self.remove(speaker, "it spoke to somebody who was gone")?;
                }
            } else if phase == Phase::Leaving && behind == 0 && self.fault != NeverCloses {
                self.remove(number, "end of input")?;
            } else if behind > self.limit() {
                self.remove(number, "too far behind")?;
            }
        }
        Ok(())
    }

    /// How many bytes a client may be behind.
    fn limit(&self) -> usize {
        match (self.args.mode, self.fault) {
            (Mode::Echo, _) | (_, BacklogWithoutLimit) => usize::MAX,
            (_, NoBacklog) => 0,
            _ => self.args.max_backlog,
        }
    }

    /// A client is gone, or has to go.
    fn remove(&mut self, number: u64, reason: &str) -> anyhow::Result<()> {
        let Some(client) = self.clients.remove(&number) else { return Ok(()) };
        let is_known = client.phase == Phase::Closed || self.fault == ExpelsSilently;
        if !is_known {
            info!("client disconnected: {}: {reason}", client.address);
        }
        self.memory.left += 1;
        self.memory.skipped = self.clients.range(number..).next().map(|(&next, _)| next);
        let is_tenth = self.memory.left.is_multiple_of(10);
        match self.fault {
            LeaksADescriptor if is_tenth => mem::forget(client.stream),
            LeaksAThread if is_tenth => drop(thread::spawn(|| {
                loop {
                    thread::park()
                }
            })),
            LeaksMemory => _ = vec![1_u8; 8 * 1024].leak(),
            _ => {}
        }
        Ok(())
    }

    /// Accepts and hears nobody any more; everyone is sent what is owed, and told the end.
    fn stop_in_order(&mut self) {
        let grace = match self.fault {
            EndForgetsWhatIsOwed => Duration::ZERO,
            StopsWhenAllIsRead => Duration::from_secs(24 * 60 * 60),
            _ => GRACE,
        };
        self.stops_at = Some(Instant::now() + grace);
        for client in self.clients.values_mut() {
            if self.fault == EndForgetsWhatIsOwed {
                client.owed.clear();
            }
            if client.phase == Phase::Open {
                client.phase = Phase::Closing;
            }
        }
    }
}
