use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use harness::{End, Server, Signal, Stuck};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::programs::Programs;
use crate::transcript::{AtEnd, Event, Input, Line, Step, Terminal, Transcript};

/// What `yes` says at most: far more than the kernel takes for a client that does not read, and
/// than a stage lets it be behind.
const ENDLESS: usize = 64 << 20;

/// How long nothing happens before somebody who waits for something asks for the proof that it
/// will not come: until then, a server may be about to end.
const HASTE: Duration = Duration::from_secs(1);

/// A line of a transcript that does not hold.
#[derive(Debug)]
pub struct Mismatch {
    /// Its number in the file; the last one if the transcript leaves something out.
    pub line: usize,
    /// The line as it stands there.
    pub source: String,
    /// What came instead.
    pub instead: String,
    /// All that the server has printed.
    pub server: Vec<String>,
}

/// Plays a transcript with the real server and one connection for each client.
///
/// People type slowly: before anybody does something, the server has come to rest after what was
/// done before. So the order of events is the transcript's, also with a server of many threads.
/// Clients read always, as terminals do, whether or not the transcript shows what they see.
///
/// That nothing comes is never found by waiting: it is the proof that the server will do nothing
/// more until somebody acts ([`Server::stuck`]), while nothing is on its way.
///
/// # Errors
/// The first line that does not hold.
pub fn replay(transcript: &Transcript, programs: &Programs) -> Result<(), Box<Mismatch>> {
    let mut stage = Stage::default();
    let mut last = None;
    for line in &transcript.lines {
        let result = stage.play(&line.step, programs);
        result.map_err(|instead| stage.mismatch(line, instead))?;
        last = Some(line);
    }
    let Some(last) = last else { return Ok(()) };
    stage.nothing_is_left_out().map_err(|instead| stage.mismatch(last, instead))
}

/// What came instead of what a line says.
type Instead = String;

/// A transcript being played.
#[derive(Default)]
struct Stage {
    server: Option<Server>,
    /// How many lines of the server were shown or passed over.
    shown: usize,
    ports: Ports,
    /// What was seen at the last look, and is not yet shown.
    seen: Vec<String>,
    clients: BTreeMap<String, Client>,
    /// Whether somebody has done something since the server was last at rest.
    acted: bool,
    /// That the server is at rest: it stays so until somebody does something.
    proof: Option<Stuck>,
}

impl Stage {
    fn play(&mut self, step: &Step, programs: &Programs) -> Result<(), Instead> {
        match step {
            Step::Start(invocation) => {
                let mut command = programs.command(invocation);
                command.args(["--port", "0"]);
                let server = Server::start(&mut command).map_err(|error| error.to_string())?;
                *self = Self::default();
                self.ports.know(3000, server.address().port());
                self.server = Some(server);
                Ok(())
            }
            Step::Prints(line) => self.server_prints(line),
            Step::Asleep(calls) => match self.rest()? {
                Some(stuck) if self.signature(&stuck) == *calls => Ok(()),
                Some(stuck) => Err(format!("it is {}", self.signature(&stuck))),
                None => Err("the server has ended".to_owned()),
            },
            Step::Interrupt => {
                self.settle()?;
                self.act();
                let server = self.server()?;
                server.signal(Signal::INT).map_err(|trouble| trouble.to_string())
            }
            Step::Gone => {
                let gone = self.wait(|stage| stage.is_gone().then_some(()), None)?;
                gone.ok_or_else(|| "the server is still there".to_owned())
            }
            Step::Look => self.look(),
            Step::Shows(line) => self.shows(line),
            Step::Client(name, event) => self.client(name, event),
        }
    }

    /// Looks at the server once it has come to rest: what is seen stays so.
    fn look(&mut self) -> Result<(), Instead> {
        self.rest()?;
        let port = self.server()?.address().port();
        let seen = crate::look(port).map_err(|error| error.to_string())?;
        self.seen = seen.lines().map(str::to_owned).collect();
        Ok(())
    }

    fn shows(&mut self, line: &str) -> Result<(), Instead> {
        match self.seen.iter().position(|seen| self.ports.read(line, seen)) {
            Some(index) => {
                self.seen.remove(index);
                Ok(())
            }
            None => Err(format!("what is seen and not yet shown is {:?}", self.seen)),
        }
    }

    fn client(&mut self, name: &str, event: &Event) -> Result<(), Instead> {
        if !matches!(event, Event::Connects(_)) && !self.clients.contains_key(name) {
            return Err(format!("{name} is not connected"));
        }
        match event {
            Event::Connects(terminal) => self.client_connects(name, terminal),
            Event::Types(_) | Event::EndsInput | Event::Quits => {
                self.settle()?;
                self.act();
                self.client_acts(name, event)
            }
            Event::Sees(line) => self.client_sees(name, &Next::Line(line.clone().into_bytes())),
            Event::SeesEnd => self.client_sees(name, &Next::End(End::Eof)),
            Event::SeesReset => self.client_sees(name, &Next::End(End::Reset)),
            Event::SeesMore => {
                self.of(name).passes_over = true;
                Ok(())
            }
            Event::SeesNothing => {
                self.rest()?;
                match self.of(name).next() {
                    None => Ok(()),
                    Some(next) => Err(format!("{name} sees {next}")),
                }
            }
        }
    }

    fn client_connects(&mut self, name: &str, terminal: &Terminal) -> Result<(), Instead> {
        if self.clients.get(name).is_some_and(|client| client.ended.is_none()) {
            return Err(format!("{name} is connected already"));
        }
        self.settle()?;
        self.act();
        let client = Client::connect(self.server()?.address(), terminal);
        let client = client.map_err(|error| format!("{name} cannot connect: {error}"))?;
        self.clients.insert(name.to_owned(), client);
        Ok(())
    }

    fn client_acts(&mut self, name: &str, event: &Event) -> Result<(), Instead> {
        let client = self.of(name);
        match event {
            Event::Types(line) if client.slow && line.is_empty() => client.slow = false,
            Event::Types(line) => {
                client.outgoing.extend_from_slice(line.as_bytes());
                client.outgoing.push(b'\n');
            }
            Event::EndsInput if client.at_end == AtEnd::HalfClose => {
                client.half_closes = true;
                client.end_is_expected = true;
            }
            _ => {
                self.nothing_is_left_out_of(name)?;
                let client = self.clients.remove(name).expect("it is connected");
                if *event == Event::EndsInput && client.at_end == AtEnd::Reset {
                    client.reset().map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    fn client_sees(&mut self, name: &str, expected: &Next) -> Result<(), Instead> {
        loop {
            let next = self.wait(|stage| stage.of(name).next(), Some(HASTE))?;
            let client = self.of(name);
            match next {
                Some(next) if next == *expected => {
                    client.passes_over = false;
                    client.end_is_expected |= matches!(next, Next::End(_));
                    return Ok(());
                }
                Some(Next::Line(_)) if client.passes_over => {}
                Some(next) => return Err(format!("{name} sees {next}")),
                None => return Err(format!("{name} sees nothing")),
            }
        }
    }

    fn server_prints(&mut self, line: &str) -> Result<(), Instead> {
        let find = |stage: &mut Self| {
            let printed = stage.printed();
            let new = printed.iter().enumerate().skip(stage.shown);
            let found = new.into_iter().find(|(_, printed)| stage.ports.read(line, printed));
            found.map(|(index, _)| index)
        };
        // What a process at rest has printed may still be on its way here: no proof for that.
        match self.wait(find, None)? {
            Some(index) => {
                self.shown = index + 1;
                Ok(())
            }
            None => Err("it printed no such line after those shown before".to_owned()),
        }
    }

    /// No client sees more than was shown. Who is thrown out by a server that ends may have seen
    /// anything before.
    fn nothing_is_left_out(&mut self) -> Result<(), Instead> {
        if self.server.is_none() || self.is_gone() {
            return Ok(());
        }
        self.settle()?;
        let names: Vec<_> = self.clients.keys().cloned().collect();
        names.iter().try_for_each(|name| self.nothing_is_left_out_of(name))
    }

    fn nothing_is_left_out_of(&mut self, name: &str) -> Result<(), Instead> {
        let client = self.of(name);
        match client.next() {
            None => Ok(()),
            Some(_) if client.passes_over => Ok(()),
            Some(Next::End(_)) if client.end_is_expected => Ok(()),
            Some(next) => Err(format!("after it, {name} sees {next}, which is not shown")),
        }
    }

    /// Somebody is about to do something.
    fn act(&mut self) {
        self.acted = true;
        self.proof = None;
    }

    /// Lets the server come to rest after what was done last.
    fn settle(&mut self) -> Result<(), Instead> {
        if self.acted {
            self.rest()?;
        }
        Ok(())
    }

    /// Moves bytes until no more will come: the proof, or none if the server has ended.
    fn rest(&mut self) -> Result<Option<Stuck>, Instead> {
        while self.proof.is_none() {
            while self.pump()? {}
            if self.is_gone() {
                break;
            }
            let proof = self.server()?.stuck();
            // Meanwhile nobody has read: perhaps that is what the server waits for.
            if self.pump()? {
                continue;
            }
            match proof {
                Ok(proof) => self.proof = Some(proof),
                Err(_) if self.is_gone() => break,
                Err(trouble) => return Err(format!("the server does not come to rest: {trouble}")),
            }
        }
        self.acted = false;
        Ok(self.proof.clone())
    }

    /// Moves bytes until `look` finds something. None: nothing has happened for
    /// [`harness::patience`]; or for as long as `haste`, and then the server was proved to be at
    /// rest, or has ended.
    fn wait<T>(
        &mut self,
        mut look: impl FnMut(&mut Self) -> Option<T>,
        haste: Option<Duration>,
    ) -> Result<Option<T>, Instead> {
        let mut last_event = Instant::now();
        let mut printed = 0;
        loop {
            if let Some(found) = look(self) {
                return Ok(Some(found));
            }
            let now_printed = self.printed().len();
            if self.pump()? || now_printed > printed {
                last_event = Instant::now();
                printed = now_printed;
            } else if haste.is_some_and(|haste| last_event.elapsed() > haste) {
                self.rest()?;
                return Ok(look(self));
            } else if last_event.elapsed() > harness::patience() {
                return Ok(None);
            }
        }
    }

    /// Moves what can be moved between us and the kernel; false if nothing could for 20 ms.
    fn pump(&mut self) -> Result<bool, Instead> {
        let mut clients: Vec<_> = self.clients.values_mut().filter(|it| it.wants_any()).collect();
        let mut watched: Vec<_> = clients.iter().map(|client| client.watched()).collect();
        let slice = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        // An interrupted wait is one without an event.
        let _ = poll(&mut watched, Some(&slice));
        let ready: Vec<_> = watched.iter().map(|watched| !watched.revents().is_empty()).collect();
        let mut moved = false;
        for (client, _) in clients.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            moved |= client.step().map_err(|error| error.to_string())?;
        }
        Ok(moved)
    }

    fn is_gone(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.exit_status().is_some())
    }

    fn printed(&self) -> Vec<String> {
        self.server.as_ref().map(Server::stdout).unwrap_or_default()
    }

    fn server(&self) -> Result<&Server, Instead> {
        self.server.as_ref().ok_or_else(|| "no server was started".to_owned())
    }

    fn of(&mut self, name: &str) -> &mut Client {
        self.clients.get_mut(name).expect("it is connected")
    }

    /// What the server's threads sleep in, with the names of our clients.
    fn signature(&self, stuck: &Stuck) -> String {
        let mut stuck = stuck.clone();
        for peer in stuck.sleepers.iter_mut().filter_map(|sleeper| sleeper.peer.as_mut()) {
            let is_peer =
                |client: &Client| client.address.is_some_and(|it| it.to_string() == *peer);
            if let Some((name, _)) = self.clients.iter().find(|(_, client)| is_peer(client)) {
                peer.clone_from(name);
            }
        }
        stuck.signature()
    }

    fn mismatch(&self, line: &Line, instead: Instead) -> Box<Mismatch> {
        let (number, source) = (line.number, line.source.trim().to_owned());
        Box::new(Mismatch { line: number, source, instead, server: self.printed() })
    }
}

/// One client's connection and terminal.
struct Client {
    stream: TcpStream,
    address: Option<SocketAddr>,
    slow: bool,
    at_end: AtEnd,
    fragment: usize,
    /// What was typed and not sent yet.
    outgoing: Vec<u8>,
    /// What is piped into it, and how much of that is still to be sent.
    piped: Option<(Input, usize)>,
    half_closes: bool,
    /// What was received and not shown yet.
    incoming: VecDeque<u8>,
    /// Nothing could be sent any more: the end that is read is that of a connection that broke.
    broken: bool,
    ended: Option<End>,
    /// An end was shown, or is what somebody who has ended its input waits for.
    end_is_expected: bool,
    /// Lines that come are not shown, up to the next one that is.
    passes_over: bool,
}

/// What a client sees next.
#[derive(Debug, PartialEq)]
enum Next {
    /// A line without its end, or what came last without one.
    Line(Vec<u8>),
    End(End),
}

impl Client {
    fn connect(server: SocketAddr, terminal: &Terminal) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, harness::patience())?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let bytes = |input: &Input| input.bytes.unwrap_or(ENDLESS);
        Ok(Self {
            address: stream.local_addr().ok(),
            stream,
            slow: terminal.slow,
            at_end: terminal.at_end,
            fragment: terminal.fragment.unwrap_or(usize::MAX),
            outgoing: Vec::new(),
            piped: terminal.input.as_ref().map(|input| (input.clone(), bytes(input))),
            half_closes: false,
            incoming: VecDeque::new(),
            broken: false,
            ended: None,
            end_is_expected: terminal.discards,
            passes_over: terminal.discards,
        })
    }

    fn reset(self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Takes out what is seen next; none if nothing has come. An end is seen again and again.
    fn next(&mut self) -> Option<Next> {
        if let Some(end) = self.incoming.iter().position(|&byte| byte == b'\n') {
            let mut line: Vec<u8> = self.incoming.drain(..=end).collect();
            line.pop();
            return Some(Next::Line(line));
        }
        let end = self.ended?;
        if !self.incoming.is_empty() {
            return Some(Next::Line(self.incoming.drain(..).collect()));
        }
        Some(Next::End(end))
    }

    /// What would let it go on.
    fn watched(&self) -> PollFd<'_> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.wants_to_receive());
        wanted.set(PollFlags::OUT, self.wants_to_send());
        PollFd::new(&self.stream, wanted)
    }

    fn wants_any(&self) -> bool {
        self.wants_to_receive() || self.wants_to_send()
    }

    fn wants_to_receive(&self) -> bool {
        !self.slow && self.ended.is_none()
    }

    fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty() || self.piped.is_some() || self.half_closes
    }

    /// One read and one write; whether something was moved.
    fn step(&mut self) -> io::Result<bool> {
        let sent = self.wants_to_send() && self.send()?;
        let received = self.wants_to_receive() && self.receive()?;
        Ok(sent || received)
    }

    fn send(&mut self) -> io::Result<bool> {
        self.refill();
        if self.outgoing.is_empty() {
            self.half_closes = false;
            self.stream.shutdown(Shutdown::Write)?;
            return Ok(true);
        }
        let size = self.outgoing.len().min(self.fragment);
        match self.stream.write(&self.outgoing[..size]) {
            Ok(sent) => {
                self.outgoing.drain(..sent);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if is_reset(&error) => {
                self.outgoing.clear();
                self.piped = None;
                self.half_closes = false;
                self.broken = true;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Goes on with what is piped in, when all before it was sent.
    fn refill(&mut self) {
        const PIECE: usize = 64 * 1024;
        let Some((input, left)) = &mut self.piped else { return };
        if self.outgoing.is_empty() {
            let line = input.line.as_bytes();
            let piece = line.repeat(PIECE.div_ceil(line.len()));
            let size = piece.len().min(*left);
            self.outgoing.extend_from_slice(&piece[..size]);
            *left -= size;
            if *left == 0 {
                // `yes` would go on for ever.
                self.half_closes = input.bytes.is_some();
                self.end_is_expected = self.half_closes;
                self.piped = None;
            }
        }
    }

    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = Some(if self.broken { End::Reset } else { End::Eof }),
            Ok(received) => self.incoming.extend(&buffer[..received]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if is_reset(&error) => self.ended = Some(End::Reset),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

fn is_reset(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Stands in a line for what differs each time.
pub(crate) const ANYTHING: &str = "[..]";

/// Which real port a port on the page stands for.
#[derive(Default)]
struct Ports {
    real: HashMap<u16, u16>,
}

impl Ports {
    fn know(&mut self, shown: u16, real: u16) {
        self.real.insert(shown, real);
    }

    /// Whether `actual` is the line that the page shows as `shown`; then the ports in it are known.
    fn read(&mut self, shown: &str, actual: &str) -> bool {
        let Some((before, after)) = shown.split_once(ANYTHING) else {
            return self.read_exactly(shown, actual);
        };
        let Some(rest) = actual.strip_suffix(after) else { return false };
        let mut cuts = (0..=rest.len()).filter(|&cut| rest.is_char_boundary(cut));
        cuts.any(|cut| self.read_exactly(before, &rest[..cut]))
    }

    fn read_exactly(&mut self, shown: &str, actual: &str) -> bool {
        let (shown, actual) = (pieces(shown), pieces(actual));
        let mut learnt = self.real.clone();
        let same = shown.len() == actual.len()
            && shown.iter().zip(&actual).all(|(shown, actual)| {
                let (Ok(port), Ok(real)) = (shown.parse::<u16>(), actual.parse::<u16>()) else {
                    return shown == actual;
                };
                match learnt.get(&port) {
                    Some(known) => *known == real,
                    None if port < 50_000 => shown == actual,
                    None if learnt.values().any(|known| *known == real) => false,
                    None => learnt.insert(port, real).is_none(),
                }
            });
        if same {
            self.real = learnt;
        }
        same
    }
}

/// The numbers of a line and what stands between them.
fn pieces(line: &str) -> Vec<&str> {
    let bytes = line.as_bytes();
    let mut pieces = Vec::new();
    let mut start = 0;
    for at in 1..bytes.len() {
        if line.is_char_boundary(at) && bytes[at].is_ascii_digit() != bytes[at - 1].is_ascii_digit()
        {
            pieces.push(&line[start..at]);
            start = at;
        }
    }
    pieces.push(&line[start..]);
    pieces
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{}", String::from_utf8_lossy(line).escape_debug()),
            Self::End(End::Eof) => f.write_str("(end)"),
            Self::End(End::Reset) => f.write_str("(reset)"),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the transcript says   {}", self.source)?;
        writeln!(f, "but                   {}", self.instead)?;
        writeln!(f, "the server has printed")?;
        self.server.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl std::error::Error for Mismatch {}
