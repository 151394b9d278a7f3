use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};

use crate::difference::{self, Difference};
use crate::server::Process;
use crate::stuck::{self, Watch};
use crate::trouble::{Cause, Result, Trouble};
use crate::wait::{SLICE, patience};
use crate::wire::Kind;

/// One connection to a server, under a name that reports use: `a`, `client 21`.
///
/// Every wait ends with an event, with the proof that the server is stuck, or after
/// [`patience`] without an event: the last two are a [`Trouble`], as is anything else than what
/// was waited for. What has arrived stays in the kernel until somebody waits for it: a client that
/// is not told to read does not read.
pub struct Client {
    name: String,
    stream: TcpStream,
    local: SocketAddr,
    server: Arc<Process>,
}

/// How a stream ended. That it did not end is a [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: the other side had nothing more to send (FIN).
    Eof,
    /// Torn off: what was on its way is lost (RST).
    Reset,
}

impl Client {
    pub(crate) fn connect(name: &str, server: &Arc<Process>) -> Result<Self> {
        Self::new(name, server, || {
            let socket = Self::open(server.address)?;
            socket.connect_timeout(&server.address.into(), patience())?;
            Ok(socket)
        })
    }

    /// As [`Client::connect`], without waiting until the connection is complete.
    pub(crate) fn begin_connect(name: &str, server: &Arc<Process>) -> Result<Self> {
        Self::new(name, server, || {
            let socket = Self::open(server.address)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&server.address.into()) {
                Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                    Err(error)
                }
                _ => Ok(socket),
            }
        })
    }

    fn new(
        name: &str,
        server: &Arc<Process>,
        connect: impl FnOnce() -> io::Result<Socket>,
    ) -> Result<Self> {
        let connected = connect().and_then(|socket| {
            socket.set_nonblocking(true)?;
            let stream = TcpStream::from(socket);
            let local = stream.local_addr()?;
            Ok((stream, local))
        });
        let (stream, local) = connected.map_err(|error| {
            let (who, expected) = (name.to_owned(), "a connection".to_owned());
            let cause = match error.kind() {
                ErrorKind::TimedOut => Cause::TimedOut(0),
                _ => Cause::Io(error),
            };
            Box::new(Trouble { who, expected, cause, seen: Instant::now(), scene: server.scene() })
        })?;
        server.introduce(name, local);
        server.wire.note(name, Kind::Begins, format!("connects from {local}"));
        Ok(Self { name: name.to_owned(), stream, local, server: Arc::clone(server) })
    }

    fn open(server: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        // A write is on its way when it returns: cases are about what is sent when.
        socket.set_tcp_nodelay(true)?;
        Ok(socket)
    }

    /// The name in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of this end.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Waits until the connection is complete, at most for `time`; whether it is.
    pub fn is_connected_within(&self, time: Duration) -> bool {
        let time = Timespec::try_from(time).ok();
        let mut watched = [PollFd::new(&self.stream, PollFlags::OUT)];
        // An interrupted wait is one without an event.
        poll(&mut watched, time.as_ref()).is_ok_and(|ready| ready > 0)
            && self.stream.peer_addr().is_ok()
    }

    /// The beginning of this client's part in [`play`].
    pub fn part(&mut self) -> Part<'_> {
        Part {
            client: self,
            outgoing: &[],
            sent: 0,
            chunk_sizes: None,
            half_close: false,
            incoming: Incoming::Nothing,
            flood: None,
        }
    }

    /// Sends all of `bytes`, reading nothing.
    ///
    /// # Errors
    /// The connection broke, or the server stopped taking bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        play(&mut [self.part().send(bytes)])
    }

    /// Sends of `bytes` what the kernel and the server take while nobody reads the answers, and
    /// returns how many that were. It is finished when the server is proved stuck, or after
    /// [`patience`]; if all were taken, there was no limit.
    ///
    /// # Errors
    /// The connection broke.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut parts = [self.part().send(bytes)];
        match play(&mut parts) {
            Ok(()) => Ok(bytes.len()),
            Err(trouble) if matches!(trouble.cause, Cause::Stuck(..) | Cause::TimedOut(_)) => {
                Ok(parts[0].sent)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Sends one byte as urgent data (`MSG_OOB`): the receiver finds it outside the stream, or, if it
    /// wants to, in its place.
    ///
    /// # Errors
    /// The connection broke, or the kernel takes no more.
    pub fn send_urgent(&mut self, byte: u8) -> Result<()> {
        let sent = SockRef::from(&self.stream).send_out_of_band(&[byte]);
        sent.map(drop)
            .map_err(|error| self.trouble("to send urgent data".to_owned(), Cause::Io(error)))
    }

    /// Waits for exactly these bytes. It reads no byte beyond them.
    ///
    /// # Errors
    /// Another byte came, the stream ended, or the server was proved stuck.
    pub fn expect(&mut self, bytes: &[u8]) -> Result<()> {
        play(&mut [self.part().expect(bytes)])
    }

    /// Sends `bytes` and at the same time reads exactly `answer`.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::expect`].
    pub fn exchange(&mut self, bytes: &[u8], answer: &[u8]) -> Result<()> {
        play(&mut [self.part().send(bytes).expect(answer)])
    }

    /// Reads one line, its `\n` included, and no byte beyond it.
    ///
    /// # Errors
    /// The stream ended before the line did, or the server was proved stuck.
    pub fn read_line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut part = self.part();
        part.incoming = Incoming::Line(&mut line, false);
        play(&mut [part])?;
        Ok(line)
    }

    /// Reads all there is until the stream ends, and says how it ended.
    ///
    /// # Errors
    /// It did not end: the server was proved stuck, or nothing came for [`patience`].
    pub fn read_to_end(&mut self) -> Result<(Vec<u8>, End)> {
        let mut bytes = Vec::new();
        let mut end = None;
        let mut part = self.part();
        part.incoming = Incoming::ToEnd(&mut bytes, &mut end);
        play(&mut [part])?;
        Ok((bytes, end.expect("the part ends with the stream")))
    }

    /// Waits for the end of the stream, with no byte before it, and says how it ended.
    ///
    /// # Errors
    /// A byte came, or the stream did not end.
    pub fn expect_end(&mut self) -> Result<End> {
        let (bytes, end) = self.read_to_end()?;
        match Difference::find(&[], 0, &bytes) {
            None => Ok(end),
            Some(difference) => {
                Err(self.trouble("the end of the stream".to_owned(), Cause::Different(difference)))
            }
        }
    }

    /// Waits for an end of the stream in order, with no byte before it.
    ///
    /// # Errors
    /// As [`Client::expect_end`]; and the stream was reset.
    pub fn expect_eof(&mut self) -> Result<()> {
        match self.expect_end()? {
            End::Eof => Ok(()),
            End::Reset => Err(self.trouble(
                "the end of the stream, in order".to_owned(),
                Cause::Ended(End::Reset, 0),
            )),
        }
    }

    /// Says that nothing more will be sent (FIN), and can still read.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn half_close(&mut self) -> Result<()> {
        let closed = self.shut_down();
        closed.map_err(|error| self.trouble("to half-close".to_owned(), Cause::Io(error)))
    }

    /// Leaves. The kernel sends FIN, or RST if bytes have arrived that were not read.
    pub fn leave(self) {
        self.note(Kind::Ends, "leaves");
    }

    /// Leaves by RST: what was on its way is lost.
    ///
    /// # Errors
    /// The socket does not take the option.
    pub fn reset(self) -> Result<()> {
        let set = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        self.note(Kind::Ends, "leaves by RST");
        set.map_err(|error| self.trouble("to reset".to_owned(), Cause::Io(error)))
    }

    fn trouble(&self, expected: String, cause: Cause) -> Box<Trouble> {
        let seen = Instant::now();
        if let Cause::Ended(..) = cause {
            stuck::settle(&self.server);
        }
        let scene = self.server.scene();
        Box::new(Trouble { who: self.name.clone(), expected, cause, seen, scene })
    }

    // All bytes of all clients pass through these two.

    fn transmit(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.stream.write(bytes)?;
        self.server.wire.moved(&self.name, Kind::Sends, &bytes[..sent]);
        Ok(sent)
    }

    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = self.stream.read(buffer);
        match &received {
            Ok(0) => self.note(Kind::Ends, &End::Eof.to_string()),
            Ok(count) => self.server.wire.moved(&self.name, Kind::Receives, &buffer[..*count]),
            Err(error) if is_reset(error) => self.note(Kind::Ends, &End::Reset.to_string()),
            Err(_) => {}
        }
        received
    }

    fn shut_down(&self) -> io::Result<()> {
        self.note(Kind::Ends, "half-closes");
        self.stream.shutdown(Shutdown::Write)
    }

    fn note(&self, kind: Kind, text: &str) {
        self.server.wire.note(&self.name, kind, text);
    }
}

/// What one client does in a [`play`]: what it sends, and what it waits for.
pub struct Part<'a> {
    client: &'a mut Client,
    outgoing: &'a [u8],
    sent: usize,
    chunk_sizes: Option<Box<dyn FnMut() -> usize + 'a>>,
    half_close: bool,
    incoming: Incoming<'a>,
    flood: Option<&'a mut Flood>,
}

enum Incoming<'a> {
    Nothing,
    /// These bytes, of which so many have come.
    Exactly(&'a [u8], usize),
    /// A line; whether it is complete.
    Line(&'a mut Vec<u8>, bool),
    ToEnd(&'a mut Vec<u8>, &'a mut Option<End>),
    /// Whatever comes, until the function has enough: how many bytes, and whether it has.
    Until(Take<'a>, usize, bool),
}

/// Takes what has come, and says whether that is enough.
type Take<'a> = Box<dyn FnMut(&[u8]) -> bool + 'a>;

/// A client that sends as fast as it can and reads its echo as fast as it can, over several
/// [`play`]s: for [`Part::flood`].
#[derive(Debug)]
pub struct Flood {
    pattern: Vec<u8>,
    sent: usize,
    received: usize,
    stopped: bool,
}

impl Flood {
    /// Sends `pattern` again and again.
    ///
    /// # Panics
    /// `pattern` is empty.
    pub fn new(pattern: Vec<u8>) -> Self {
        assert!(!pattern.is_empty(), "a flood needs bytes");
        Self { pattern, sent: 0, received: 0, stopped: false }
    }

    /// Sends no more. A part with it is finished when all that was sent has come back.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// How many bytes were sent.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// How many bytes came back, each the right one.
    pub fn received(&self) -> usize {
        self.received
    }
}

impl<'a> Part<'a> {
    /// Sends all of `bytes`.
    pub fn send(mut self, bytes: &'a [u8]) -> Self {
        self.outgoing = bytes;
        self
    }

    /// Sends in pieces of the sizes that `sizes` yields (0 counts as 1).
    pub fn in_chunks(mut self, sizes: impl FnMut() -> usize + 'a) -> Self {
        self.chunk_sizes = Some(Box::new(sizes));
        self
    }

    /// Half-closes as soon as everything is sent.
    pub fn then_half_close(mut self) -> Self {
        self.half_close = true;
        self
    }

    /// Waits for exactly these bytes.
    pub fn expect(mut self, bytes: &'a [u8]) -> Self {
        self.incoming = Incoming::Exactly(bytes, 0);
        self
    }

    /// Gives whatever comes to `take`, piece by piece, until that returns true.
    pub fn receive(mut self, take: impl FnMut(&[u8]) -> bool + 'a) -> Self {
        self.incoming = Incoming::Until(Box::new(take), 0, false);
        self
    }

    /// Sends without end, and reads and verifies the echo, for as long as the other parts last.
    /// If it gets 128 MiB while they get nothing, they are starved: [`Cause::Starved`].
    pub fn flood(mut self, flood: &'a mut Flood) -> Self {
        self.flood = Some(flood);
        self
    }

    fn wants_to_send(&self) -> bool {
        self.is_background() || self.sent < self.outgoing.len() || self.half_close
    }

    fn wants_to_receive(&self) -> bool {
        self.is_background()
            || match &self.incoming {
                Incoming::Nothing => self.flood.as_ref().is_some_and(|it| it.received < it.sent),
                Incoming::Exactly(expected, received) => *received < expected.len(),
                Incoming::Line(_, complete) => !complete,
                Incoming::ToEnd(_, end) => end.is_none(),
                Incoming::Until(_, _, enough) => !enough,
            }
    }

    fn is_finished(&self) -> bool {
        self.is_background() || !(self.wants_to_send() || self.wants_to_receive())
    }

    /// Whether nobody waits for it.
    fn is_background(&self) -> bool {
        self.flood.as_ref().is_some_and(|flood| !flood.stopped)
    }

    /// Moves what can be moved now; whether something was.
    fn step(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let step = self.step_out().and_then(|out| Ok(self.step_in(buffer)? || out));
        step.map_err(|cause| self.trouble(cause))
    }

    /// One write: the others have a turn, too.
    fn step_out(&mut self) -> std::result::Result<bool, Cause> {
        if !self.wants_to_send() {
            return Ok(false);
        }
        let bytes = match &self.flood {
            Some(flood) => &flood.pattern[flood.sent % flood.pattern.len()..],
            None => &self.outgoing[self.sent..],
        };
        if bytes.is_empty() {
            self.half_close = false;
            self.client.shut_down().map_err(Cause::Io)?;
            return Ok(true);
        }
        let size = self.chunk_sizes.as_mut().map_or(bytes.len(), |sizes| sizes().max(1));
        match self.client.transmit(&bytes[..size.min(bytes.len())]) {
            Ok(sent) => {
                match &mut self.flood {
                    Some(flood) => flood.sent += sent,
                    None => self.sent += sent,
                }
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if is_reset(&error) => Err(Cause::Ended(End::Reset, self.sent)),
            Err(error) => Err(Cause::Io(error)),
        }
    }

    fn step_in(&mut self, buffer: &mut [u8]) -> std::result::Result<bool, Cause> {
        if !self.wants_to_receive() {
            return Ok(false);
        }
        let room = match &self.incoming {
            // No byte beyond what is waited for.
            Incoming::Exactly(expected, received) => expected.len() - received,
            Incoming::Line(..) => match self.client.stream.peek(buffer) {
                Ok(seen) => {
                    let end = buffer[..seen].iter().position(|&byte| byte == b'\n');
                    end.map_or(seen, |end| end + 1).max(1)
                }
                // Reading says the same.
                Err(_) => 1,
            },
            _ => buffer.len(),
        };
        let room = room.min(buffer.len());
        let end = match self.client.take(&mut buffer[..room]) {
            Ok(0) => End::Eof,
            Ok(received) => return self.received(&buffer[..received]).map(|()| true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if is_reset(&error) => End::Reset,
            Err(error) => return Err(Cause::Io(error)),
        };
        if let Incoming::ToEnd(_, ended) = &mut self.incoming {
            **ended = Some(end);
            return Ok(true);
        }
        Err(Cause::Ended(end, self.received_count()))
    }

    fn received(&mut self, bytes: &[u8]) -> std::result::Result<(), Cause> {
        if let Some(flood) = &mut self.flood {
            let mut rest = bytes;
            while !rest.is_empty() {
                let place = flood.received % flood.pattern.len();
                let (piece, more) = rest.split_at(rest.len().min(flood.pattern.len() - place));
                if let Some(difference) = Difference::find(&flood.pattern, place, piece) {
                    return Err(Cause::Different(difference));
                }
                flood.received += piece.len();
                rest = more;
            }
            return Ok(());
        }
        match &mut self.incoming {
            Incoming::Nothing => {}
            Incoming::Exactly(expected, received) => {
                if let Some(difference) = Difference::find(expected, *received, bytes) {
                    return Err(Cause::Different(difference));
                }
                *received += bytes.len();
            }
            Incoming::Line(line, complete) => {
                line.extend_from_slice(bytes);
                *complete = line.ends_with(b"\n");
            }
            Incoming::ToEnd(all, _) => all.extend_from_slice(bytes),
            Incoming::Until(take, received, enough) => {
                *received += bytes.len();
                *enough = take(bytes);
            }
        }
        Ok(())
    }

    fn received_count(&self) -> usize {
        match &self.incoming {
            Incoming::Nothing => self.flood.as_ref().map_or(0, |flood| flood.received),
            Incoming::Exactly(_, received) | Incoming::Until(_, received, _) => *received,
            Incoming::Line(line, _) => line.len(),
            Incoming::ToEnd(bytes, _) => bytes.len(),
        }
    }

    fn trouble(&self, cause: Cause) -> Box<Trouble> {
        let expected = match &self.incoming {
            Incoming::Exactly(expected, received) if *received < expected.len() => {
                format!("{} bytes, {}", expected.len(), excerpt(expected))
            }
            Incoming::Line(..) => "a line".to_owned(),
            Incoming::ToEnd(..) => "the end of the stream".to_owned(),
            Incoming::Until(..) => "more bytes".to_owned(),
            Incoming::Nothing if self.flood.is_some() => "its own bytes, as sent".to_owned(),
            Incoming::Nothing | Incoming::Exactly(..) => {
                format!("the server to take {} bytes", self.outgoing.len())
            }
        };
        self.client.trouble(expected, cause)
    }
}

/// Plays the parts of several clients of one server at once, until each has sent what it has to
/// send and received what it waits for.
///
/// # Errors
/// The first [`Trouble`] that any of them has.
pub fn play(parts: &mut [Part<'_>]) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let server = parts.first().map(|part| Arc::clone(&part.client.server));
    let mut watch = Watch::new(server.as_deref());
    let flooded = |parts: &[Part<'_>]| -> usize {
        parts.iter().filter(|part| part.is_background()).map(Part::received_count).sum()
    };
    let mut flooded_before = flooded(parts);
    // Who may be able to move something: at first, and after each event, those it concerns.
    let mut ready: Vec<usize> = (0..parts.len()).collect();
    loop {
        let mut moved = false;
        for &index in &ready {
            let part = &mut parts[index];
            if part.step(&mut buffer)? {
                watch.moved();
                if !part.is_background() {
                    watch.event();
                    moved = true;
                }
            }
        }
        if moved {
            flooded_before = flooded(parts);
        }
        let Some(waiting) = parts.iter().position(|part| !part.is_finished()) else {
            return Ok(());
        };
        ready = wait_for_readiness(parts);
        let received = parts[waiting].received_count();
        let flooded = flooded(parts) - flooded_before;
        let given_up = match ready.as_slice() {
            _ if flooded >= STARVING => Some(Cause::Starved(flooded)),
            [] => watch.look(received),
            _ => watch.overdue(received),
        };
        if let Some(cause) = given_up {
            return Err(parts[waiting].trouble(cause));
        }
    }
}

/// How many bytes a flood may get while nobody else gets anything. It is the share of many turns,
/// and more than all queues on its way hold.
const STARVING: usize = 128 << 20;

/// The parts whose sockets are ready for what they want; none if that takes longer than 20 ms.
fn wait_for_readiness(parts: &[Part<'_>]) -> Vec<usize> {
    let mut indices = Vec::new();
    let mut watched = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::OUT, part.wants_to_send());
        wanted.set(PollFlags::IN, part.wants_to_receive());
        if !wanted.is_empty() {
            indices.push(index);
            watched.push(PollFd::new(&part.client.stream, wanted));
        }
    }
    let slice = Timespec { tv_sec: 0, tv_nsec: SLICE.subsec_nanos().into() };
    // An interrupted wait is one without an event.
    let _ = poll(&mut watched, Some(&slice));
    let is_ready = |(_, watched): &(usize, PollFd<'_>)| !watched.revents().is_empty();
    indices.into_iter().zip(watched).filter(is_ready).map(|(index, _)| index).collect()
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eof => "the stream ended in order (FIN)",
            Self::Reset => "the connection was reset (RST)",
        })
    }
}

fn is_reset(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// The beginning of `bytes`, escaped and in quotes.
fn excerpt(bytes: &[u8]) -> String {
    const COLUMNS: usize = 40;
    // One byte more shows whether anything is left out.
    let bytes = &bytes[..bytes.len().min(COLUMNS + 1)];
    let head = difference::head(bytes, COLUMNS);
    let is_whole = head.len() == bytes.escape_ascii().count();
    format!("\"{head}\"{}", if is_whole { "" } else { "…" })
}
