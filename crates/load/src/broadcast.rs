use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::net::TcpStream;
use rustix::net::{RecvFlags, recv};

use crate::connect::{BATCH, connect, is_connected};
use crate::driver::{Counts, Driver, Workload};
use crate::history::{Faults, History};
use crate::line::{Codec, Line};
use crate::pace::{Counted, Pace, Schedule};
use crate::protocol::{Framing, Protocol};
use crate::report::{Arrival, Error, Fault, Report, Tally, Unit, Verdict, latencies};
use crate::watch::{Clock, Progress, Watcher};

/// The broadcast workload: clients send lines, and every line is owed to every other client.
///
/// In a closed loop, so many lines are in flight in the whole room: when the clients have on
/// average received one more, the next client in turn sends the next line. In an open loop, the
/// clients send by the clock. Each line leaves in a write of its own. Everyone is known to be in
/// the room before the first line that counts, and hears a last one after it, so that every
/// client's total must come out exactly.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// How many clients; 2 to 65,536.
    pub clients: usize,
    /// How many of them send; at least 1.
    pub senders: usize,
    /// How the lines travel.
    pub protocol: Protocol,
    /// How long a line is in bytes, its `\n` included; at least [`Codec::SHORTEST`].
    pub line: usize,
    /// When the next line leaves.
    pub pace: Pace,
    /// When the last client stops reading, since the window began, if one does. The server may
    /// disconnect that one, and owes it nothing; nor does it send.
    pub slow_reader: Option<Duration>,
    /// One client in so many is verified line by line, and two at least.
    pub verify_one_in: usize,
    /// How long the clients talk before it counts. It takes longer where the lines in flight
    /// have not all been heard by then, but at most [`Broadcast::LONGEST_WARM_UP`].
    pub warm_up: Duration,
    /// How long it counts.
    pub window: Duration,
    /// How long without any byte before what is still owed is given up.
    pub patience: Duration,
    /// What the check of the lines is made from.
    pub seed: u64,
}

impl Broadcast {
    /// What the `warm_up` of a run is extended to.
    pub const LONGEST_WARM_UP: Duration = Duration::from_secs(5);

    /// What [`Broadcast::verify_one_in`] should be where the generator must not be the limit: one
    /// client in ten is verified, and at most forty. More would take the time to drive them.
    pub fn sample(clients: usize) -> usize {
        (clients / 40).max(10)
    }

    /// Drives the server at `server`, and tells `watcher` where it is.
    ///
    /// # Errors
    ///
    /// What keeps the generator from its work, such as too few file descriptors. What the server
    /// does is never an error but a [`Verdict`].
    pub fn run<'a>(
        &self,
        server: SocketAddr,
        watcher: &'a mut Watcher<'a>,
    ) -> Result<Report, Error> {
        let mut driver = Driver::new(Room::new(self), watcher)?;
        let mut report = Report {
            verdict: Verdict::Works,
            evidence: None,
            clients: self.clients,
            connected: 0,
            served: 0,
            arrival: Arrival::default(),
            window: None,
        };
        let begin = Instant::now();
        if self.arrive(&mut driver, server)? {
            report.served = self.clients;
            report.arrival = Arrival { connected: begin.elapsed(), served: begin.elapsed() };
            driver.workload.open();
            self.warm_up(&mut driver)?;
            let mut window = driver.measure(self.window, self.patience)?;
            let ending = self.drain(&mut driver)?;
            window.delivered = driver.workload.punctual();
            window.latency.add(&driver.workload.latency).expect("both have the same bounds");
            report.window = Some(window);
            (report.verdict, report.evidence) = driver.workload.verdict(&ending);
        } else {
            report.served = driver.workload.hearers;
            (report.verdict, report.evidence) = driver.workload.verdict_of_arrival(self.clients);
        }
        report.connected = driver.workload.connected;
        Ok(report)
    }

    /// Connects everyone and makes sure that they are in the room: the first client speaks until
    /// all others have heard it, and then the second. Says whether that worked.
    fn arrive(&self, driver: &mut Driver<'_, Room>, server: SocketAddr) -> Result<bool, Error> {
        let clients = self.clients.max(2);
        for start in (0..clients).step_by(BATCH) {
            let end = clients.min(start + BATCH);
            for index in start..end {
                let stream = connect(server, index, driver.registry())?;
                driver.workload.join(stream);
            }
            let phase = |room: &Room| Progress::Arriving(room.hearers);
            let is_in = |room: &Room| room.connected == end;
            if !driver.turn_until(phase, self.patience, |room| room.connected, is_in)? {
                return Ok(false);
            }
            // Whoever was not in the room when the word was spoken hears it the next time.
            let mut in_vain = Duration::ZERO;
            loop {
                let hearers = driver.workload.hearers;
                driver.workload.speak(0);
                let moves = |room: &Room| room.hearers;
                let is_heard = |room: &Room| room.hearers == room.hearers_of_one();
                if driver.turn_until(phase, SPEAK_AGAIN, moves, is_heard)? {
                    break;
                }
                let moved = driver.workload.hearers > hearers;
                in_vain = if moved { Duration::ZERO } else { in_vain + SPEAK_AGAIN };
                if driver.workload.is_decided() || in_vain >= self.patience {
                    return Ok(false);
                }
            }
        }
        let phase = Progress::Arriving(clients);
        Ok(self.all_hear(driver, phase, 0)? && self.all_hear(driver, phase, 1)?)
    }

    /// Lets client `speaker` speak, and says whether everyone else has heard just that.
    fn all_hear(
        &self,
        driver: &mut Driver<'_, Room>,
        phase: Progress,
        speaker: usize,
    ) -> Result<bool, Error> {
        driver.workload.hearers = 0;
        driver.workload.speak(speaker);
        driver.workload.wanted = driver.workload.spoken;
        let all_others = driver.workload.hearers_of_one();
        driver.turn_until(
            |_| phase,
            self.patience,
            |room| room.bytes,
            |room| room.hearers == all_others,
        )
    }

    fn warm_up(&self, driver: &mut Driver<'_, Room>) -> Result<(), Error> {
        driver.turn_for(Progress::WarmingUp, self.warm_up)?;
        let Pace::InFlight(in_flight) = self.pace else { return Ok(()) };
        let mut extra = self.warm_up;
        while driver.workload.delivered() < in_flight as u64 && extra < Self::LONGEST_WARM_UP {
            let step = Duration::from_millis(50);
            driver.turn_for(Progress::WarmingUp, step)?;
            extra += step;
        }
        Ok(())
    }

    /// Sends nothing new and waits for what is owed; then two clients speak once more. What comes
    /// after that is in its place, and what has not come before it is lost.
    fn drain(&self, driver: &mut Driver<'_, Room>) -> Result<Ending, Error> {
        driver.workload.is_sending = false;
        let phase = Progress::Draining;
        let moves = |room: &Room| room.bytes;
        let begin = Instant::now();
        let is_too_long = || begin.elapsed() >= self.pace.longest_drain();
        let is_over = |room: &Room| is_too_long() || room.missing().lines == 0;
        let patience = if driver.workload.schedule.is_some() { STALLED } else { self.patience };
        driver.turn_until(|_| phase, patience, moves, is_over)?;
        let missing = driver.workload.missing();
        driver.workload.missing_at_end = missing.lines;
        if missing.lines > 0 && is_too_long() {
            return Ok(Ending {
                missing,
                is_behind: true,
                is_heard: false,
                is_heard_by_all: false,
            });
        }
        driver.workload.is_open = false;
        let all_heard_the_first = self.all_hear(driver, phase, 0)?;
        let is_heard = driver.workload.hearers > 0;
        let is_heard_by_all = all_heard_the_first && self.all_hear(driver, phase, 1)?;
        Ok(Ending { missing, is_behind: false, is_heard, is_heard_by_all })
    }
}

/// A server that has delivered less than this of an open loop, soon after its end, is behind.
const PUNCTUAL: f64 = 0.99;
/// How long without any byte until an open loop is not behind, but stands still: less than what is
/// behind is waited for.
const STALLED: Duration = Duration::from_millis(1500);
/// How long without news before the first client speaks again.
const SPEAK_AGAIN: Duration = Duration::from_millis(20);

/// The clients: what each of them does.
struct Room {
    clock: Clock,
    clients: Vec<Client>,
    connected: usize,
    closed: usize,
    /// One buffer for all that is read.
    buffer: Vec<u8>,
    /// How the lines that count are written, and how those that tell who is in the room.
    lines: Framing,
    signals: Framing,
    protocol: Protocol,
    codec: Codec,
    verify_one_in: usize,
    /// Whether lines that count are under way: what arrives is then not read for signals.
    is_open: bool,
    /// Whether lines that have been heard are followed by new ones.
    is_sending: bool,
    /// Whose turn it is to send, of so many, in a closed loop.
    next: usize,
    senders: usize,
    pace: Pace,
    /// When lines leave in an open loop.
    schedule: Option<Schedule>,
    counted: Counted,
    slow_reader: Option<Duration>,
    /// How many clients do not read: that one, or none yet.
    deaf: usize,
    window_began: Instant,
    /// The number of the last signal, and the one that everybody is to hear.
    spoken: u32,
    wanted: u32,
    /// How many clients have heard a signal that is wanted.
    hearers: usize,
    /// Lines sent.
    sent: u64,
    /// What was still missing when it was no longer waited for, in lines.
    missing_at_end: u64,
    /// Bytes received, of lines that count or of signals.
    bytes: u64,
    /// Whether a verified client has seen something wrong.
    is_wrong: bool,
    latency: Histogram<u64>,
}

struct Client {
    stream: TcpStream,
    state: State,
    /// What the kernel has not yet taken of a line.
    unsent: Vec<u8>,
    /// Lines sent.
    sent: u32,
    /// Bytes received since the room was opened.
    received: u64,
    /// The beginning of a signal whose end has not come yet.
    partial: Vec<u8>,
    /// The last signal heard.
    heard: u32,
    /// What a verified client has heard.
    history: Option<Box<History>>,
    /// Whether it has stopped reading.
    is_deaf: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    Closed,
}

/// How the drain went.
struct Ending {
    /// What was missing before the last signals.
    missing: Missing,
    /// Whether it went on, but too slowly to wait for.
    is_behind: bool,
    /// Whether anybody heard the last signals, and whether everybody did.
    is_heard: bool,
    is_heard_by_all: bool,
}

/// How many lines are missing at how many clients.
#[derive(Clone, Copy, Debug, Default)]
struct Missing {
    lines: u64,
    clients: usize,
}

impl Workload for Room {
    fn ready(&mut self, event: &Event) {
        let index = event.token().0;
        let client = &mut self.clients[index];
        if client.state == State::Connecting {
            match is_connected(&client.stream) {
                Ok(false) => return,
                Ok(true) => {
                    client.state = State::Open;
                    self.connected += 1;
                    // Before the first word: whatever else it says waits behind that.
                    client.unsent.extend_from_slice(self.lines.hello.as_bytes());
                }
                Err(_) => return self.close(index),
            }
        }
        if event.is_readable() || event.is_read_closed() {
            self.receive(index);
        }
        if event.is_writable() {
            self.flush(index);
            if self.is_sending {
                self.catch_up(index);
            }
        }
        if self.clients[index].is_deaf && (event.is_read_closed() || event.is_error()) {
            self.close(index);
        }
    }

    fn turn_is_over(&mut self) {
        if self.is_sending {
            match self.pace {
                Pace::InFlight(in_flight) => self.send(in_flight.max(1) as u64),
                Pace::PerSecond(_) => self.send_due(self.clock.nanos()),
                Pace::AtMostPerSecond(_) | Pace::Silent => {}
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let schedule = self.schedule.filter(|_| self.is_sending)?;
        Some(schedule.next_due(self.clock))
    }

    fn window_begins(&mut self) {
        self.window_began = Instant::now();
        let now = self.clock.nanos();
        self.send_due(now);
        self.counted.begin(self.schedule.map(|_| now));
    }

    fn window_ends(&mut self) {
        let now = self.clock.nanos();
        self.send_due(now);
        self.counted.end(self.schedule.map(|_| now));
    }

    fn is_decided(&self) -> bool {
        self.closed > 0 || (self.is_wrong && self.is_sending)
    }

    fn counts(&self) -> Counts {
        Counts { sent: self.sent, received: self.bytes / self.lines.length() as u64 }
    }

    fn latency(&mut self) -> &mut Histogram<u64> {
        &mut self.latency
    }
}

impl Room {
    /// How much a client that is only counted takes at once. The kernel throws it away.
    const MOST_AT_ONCE: usize = 1024 * 1024;

    fn new(plan: &Broadcast) -> Self {
        let codec = Codec::new(plan.seed, plan.line);
        Self {
            clock: Clock::start(),
            clients: Vec::with_capacity(plan.clients),
            connected: 0,
            closed: 0,
            buffer: vec![0; Self::MOST_AT_ONCE],
            lines: Framing::new(plan.protocol, codec),
            signals: Framing::new(plan.protocol, Codec::new(!plan.seed, plan.line)),
            protocol: plan.protocol,
            codec,
            verify_one_in: plan.verify_one_in.clamp(1, (plan.clients / 2).max(1)),
            is_open: false,
            is_sending: false,
            next: 0,
            senders: plan.senders.clamp(1, plan.clients.max(1)),
            pace: plan.pace,
            schedule: None,
            counted: Counted::none(),
            slow_reader: plan.slow_reader,
            deaf: 0,
            window_began: Instant::now(),
            spoken: 0,
            wanted: 1,
            hearers: 0,
            sent: 0,
            missing_at_end: 0,
            bytes: 0,
            is_wrong: false,
            latency: latencies(),
        }
    }

    fn join(&mut self, stream: TcpStream) {
        self.clients.push(Client {
            stream,
            state: State::Connecting,
            unsent: Vec::new(),
            sent: 0,
            received: 0,
            partial: Vec::new(),
            heard: 0,
            history: None,
            is_deaf: false,
        });
    }

    /// Everyone is in the room and nothing is under way: from now on all is counted.
    fn open(&mut self) {
        let clients = self.clients.len();
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.received = 0;
            if index % self.verify_one_in == 0 {
                let history = History::new(self.protocol, self.codec, index as u32, clients);
                client.history = Some(Box::new(history));
            }
        }
        if self.slow_reader.is_some() {
            let last = clients - 1;
            self.clients[last].history = None;
            self.senders = self.senders.min(last);
        }
        self.bytes = 0;
        self.is_open = true;
        self.is_sending = true;
        if let Pace::PerSecond(rate) = self.pace {
            self.schedule = Some(Schedule::new(self.clock.nanos(), rate, self.senders));
        }
        self.turn_is_over();
    }

    /// Whether client `index` is the one that does not read, from now on if it is time for that.
    fn is_deaf(&mut self, index: usize) -> bool {
        let is_time = |after| self.counted.is_window() && self.window_began.elapsed() >= after;
        let client = &self.clients[index];
        if index + 1 == self.clients.len()
            && !client.is_deaf
            && self.slow_reader.is_some_and(is_time)
        {
            self.clients[index].is_deaf = true;
            self.deaf += 1;
        }
        self.clients[index].is_deaf
    }

    /// How many clients hear what one says.
    fn hearers_of_one(&self) -> usize {
        self.clients.len() - self.deaf - usize::from(!self.lines.returns)
    }

    /// Reads all there is: as lines, as signals, or only as so many bytes.
    fn receive(&mut self, index: usize) {
        if self.is_deaf(index) {
            return;
        }
        loop {
            let client = &mut self.clients[index];
            if client.state != State::Open {
                return;
            }
            let is_only_counted = self.is_open && client.history.is_none();
            let result = if is_only_counted {
                recv(&client.stream, &mut self.buffer[..], RecvFlags::TRUNC)
                    .map(|(_, length)| length)
                    .map_err(io::Error::from)
            } else {
                client.stream.read(&mut self.buffer)
            };
            let read = match result {
                Ok(0) => return self.close(index),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.close(index),
            };
            client.received += read as u64;
            self.bytes += read as u64;
            if !self.is_open {
                self.listen(index, read);
            } else if !is_only_counted {
                self.verify(index, read);
            }
            if read < self.buffer.len() {
                return; // a short read has emptied the socket
            }
        }
    }

    /// Takes the first `length` bytes of the buffer as lines that client `index` should hear.
    fn verify(&mut self, index: usize, length: usize) {
        let Some(history) = &mut self.clients[index].history else { return };
        let now = self.clock.micros();
        let (latency, counted) = (&mut self.latency, &self.counted);
        history.push(&self.buffer[..length], |line| {
            if counted.has(u64::from(line.intended) * 1000) {
                let micros = now.wrapping_sub(line.intended) % Line::MICROS;
                latency.saturating_record(u64::from(micros.max(1)) * 1000);
            }
        });
        self.is_wrong |= !history.is_clean();
    }

    /// Takes the first `length` bytes of the buffer as signals. What is none is of no interest:
    /// the totals will tell.
    fn listen(&mut self, index: usize, length: usize) {
        let client = &mut self.clients[index];
        let mut bytes = std::mem::take(&mut client.partial);
        bytes.extend_from_slice(&self.buffer[..length]);
        let mut rest = &bytes[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            if let Some(signal) = self.signals.read_bare(line) {
                if after.len() < self.signals.end().len() {
                    break; // what comes next would be taken for a part of the lines that count
                }
                let is_news = client.heard < self.wanted && signal.sequence >= self.wanted;
                // That nobody may hear himself is a matter of the lines that count.
                let is_own = signal.sender as usize == index;
                self.hearers += usize::from(is_news && (self.signals.returns || !is_own));
                client.heard = client.heard.max(signal.sequence);
            }
            rest = after;
        }
        // As long as that is no line that anybody waits for.
        if rest.len() < 2 * self.signals.length() {
            client.partial = rest.to_vec();
        }
    }

    /// Client `index` gives the next signal.
    fn speak(&mut self, index: usize) {
        self.spoken += 1;
        let signal = Line { sender: index as u32, sequence: self.spoken, intended: 0 };
        self.signals.write(&signal, &mut self.clients[index].unsent);
        self.flush(index);
    }

    /// Sends as many lines as may be in flight, each by the next client that can.
    fn send(&mut self, in_flight: u64) {
        let now = self.clock.micros();
        let last = in_flight + self.delivered();
        let mut in_vain = 0;
        while self.sent < last && in_vain < self.senders {
            let index = self.next;
            self.next = (self.next + 1) % self.senders;
            in_vain = if self.send_line(index, now) { 0 } else { in_vain + 1 };
        }
    }

    /// Sends what is due in an open loop. Who is kept from it by the server sends later.
    fn send_due(&mut self, now: u64) {
        while let Some(index) = self.schedule.as_mut().and_then(|schedule| schedule.next(now)) {
            self.catch_up(index);
        }
    }

    /// Lets a client send all that is due, as far as it can.
    fn catch_up(&mut self, index: usize) {
        let Some(schedule) = self.schedule.filter(|_| index < self.senders) else { return };
        let due = schedule.due_of(index);
        loop {
            let number = u64::from(self.clients[index].sent);
            let intended = schedule.time(index, number) / 1000;
            if number >= due || !self.send_line(index, intended as u32 % Line::MICROS) {
                return;
            }
        }
    }

    /// Sends a line that was meant to leave at `intended`. Says whether the client could.
    fn send_line(&mut self, index: usize, intended: u32) -> bool {
        let client = &mut self.clients[index];
        if client.state != State::Open
            || !client.unsent.is_empty()
            || client.sent == Line::SEQUENCES
        {
            return false;
        }
        let line = Line { sender: index as u32, sequence: client.sent, intended };
        client.sent += 1;
        self.sent += 1;
        self.lines.write(&line, &mut client.unsent);
        self.flush(index);
        true
    }

    fn flush(&mut self, index: usize) {
        let client = &mut self.clients[index];
        while !client.unsent.is_empty() && client.state == State::Open {
            match client.stream.write(&client.unsent) {
                Ok(written) => drop(client.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(index),
            }
        }
    }

    /// The server, or the kernel for it, has ended this connection. Why does not matter: nothing
    /// in this workload calls for it.
    fn close(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.state != State::Closed {
            client.state = State::Closed;
            // To disconnect the one that does not read is the server's right.
            self.closed += usize::from(!client.is_deaf);
        }
    }

    /// How many lines the clients have received on average.
    fn delivered(&self) -> u64 {
        self.bytes / self.bytes_per_line()
    }

    /// The bytes that one line becomes.
    fn bytes_per_line(&self) -> u64 {
        (self.lines.length() * self.hearers_of_one().max(1)) as u64
    }

    /// How many lines a client should have received.
    fn owed_to(&self, client: &Client) -> u64 {
        if self.lines.returns { self.sent } else { self.sent - u64::from(client.sent) }
    }

    /// What the clients' totals lack.
    fn missing(&self) -> Missing {
        let line = self.lines.length() as u64;
        let mut missing = Missing::default();
        for client in self.clients.iter().filter(|client| !client.is_deaf) {
            let owed = self.owed_to(client) * line;
            let short = owed.saturating_sub(client.received).div_ceil(line);
            missing.lines += short;
            missing.clients += usize::from(short > 0);
        }
        missing
    }

    /// The share of all lines of an open loop that came in time: before it was over, or soon
    /// after.
    fn punctual(&self) -> Option<f64> {
        let due = self.schedule?.due;
        let unsent = due.saturating_sub(self.sent) * self.hearers_of_one() as u64;
        let owed = due * self.hearers_of_one() as u64;
        let missing = self.missing_at_end + unsent;
        (owed > 0).then(|| 1.0 - missing as f64 / owed as f64)
    }

    fn verdict(&self, ending: &Ending) -> (Verdict, Option<String>) {
        let all = self.clients.len();
        let Missing { lines, clients } = ending.missing;
        if self.closed > 0 {
            return self.verdict_of_arrival(all);
        }
        let sent: Vec<_> = self.clients.iter().map(|client| client.sent).collect();
        let histories = || self.clients.iter().filter_map(|client| client.history.as_ref());
        let mut faults = Faults::default();
        for history in histories() {
            // Where lines are still missing, the last one may only be half there.
            faults.add(&if lines > 0 { history.faults() } else { history.finish(&sent) });
        }
        let verified = histories().count();
        let what = format!("{verified} of {all} clients were verified: {faults}");
        let lost = |count| Verdict::Faulty(Tally { fault: Fault::Lost, count, unit: Unit::Lines });
        match faults.worst() {
            Some(tally) if tally.fault != Fault::Lost => (Verdict::Faulty(tally), Some(what)),
            _ if self.punctual().is_some_and(|share| share < PUNCTUAL)
                && (ending.is_behind || lines == 0) =>
            {
                let evidence = format!("{clients} of {all} clients still wait for {lines} lines");
                (Verdict::behind(self.punctual().unwrap_or_default()), Some(evidence))
            }
            _ if lines > 0 && ending.is_heard => {
                let evidence = format!("{clients} of {all} clients lack lines, others came after");
                (lost(lines), Some(evidence))
            }
            _ if lines > 0 => {
                let evidence =
                    format!("{clients} of {all} clients wait for {lines} lines, nothing moves");
                (Verdict::Stalls, Some(evidence))
            }
            _ => self.verdict_of_totals(ending.is_heard_by_all),
        }
    }

    /// The verdict where nothing was short before the last signals.
    fn verdict_of_totals(&self, is_heard_by_all: bool) -> (Verdict, Option<String>) {
        let line = self.lines.length() as u64;
        let mut surplus = 0;
        let mut lost = u64::from(!is_heard_by_all);
        let clients = self.clients.iter().enumerate();
        for (index, client) in clients.filter(|(_, client)| !client.is_deaf) {
            // Both signals, or the other's only.
            let signals = if index < 2 && !self.lines.returns { 1 } else { 2 };
            let owed = (self.owed_to(client) + signals) * line;
            let aside = self.lines.aside.len() as u64;
            let lines = if client.received == owed + aside { owed } else { client.received };
            surplus += lines.saturating_sub(owed).div_ceil(line);
            lost += owed.saturating_sub(lines).div_ceil(line);
        }
        let all = self.clients.len();
        let (fault, count) = if surplus > 0 {
            (Fault::Surplus, surplus)
        } else if lost > 0 {
            (Fault::Lost, lost)
        } else {
            return (Verdict::Works, None);
        };
        let evidence = format!("the totals of {all} clients differ from what they were owed");
        (Verdict::Faulty(Tally { fault, count, unit: Unit::Lines }), Some(evidence))
    }

    /// The verdict where not everyone came into the room, or stayed there.
    fn verdict_of_arrival(&self, all: usize) -> (Verdict, Option<String>) {
        if self.closed > 0 {
            let evidence = format!("the server ended {} of {all} connections", self.closed);
            return (Verdict::Closed(self.closed), Some(evidence));
        }
        let evidence = format!("{} of {all} clients heard the first one speak", self.hearers);
        (Verdict::Serves(self.hearers), Some(evidence))
    }
}
