use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::net::TcpStream;

use crate::connect::{BATCH, begin_to_connect, connect, is_connected, prepare};
use crate::content::{Content, Mismatch};
use crate::driver::{Counts, Driver, Workload};
use crate::pace::{Counted, Pace, Schedule};
use crate::report::{Arrival, Error, Report, Tally, Unit, Verdict, latencies};
use crate::watch::{Clock, Progress, Watcher};

/// The echo workload: each connection sends a message and wants the same bytes back.
///
/// The clients arrive by the hundred, each sending at once; a server that has stood still over
/// three hundreds running sees no more. A client that has heard no echo by the end of the window,
/// while others did, is not served; if nobody hears anything within the window, the server stalls.
#[derive(Clone, Debug)]
pub struct Echo {
    /// How many connections.
    pub connections: usize,
    /// How long a message is, in bytes; at least 1.
    pub message: usize,
    /// When the next message leaves.
    pub pace: Pace,
    /// Whether all connect at once, and not by the hundred.
    pub storm: bool,
    /// Whether the first connection, which no figure but the server's cost then speaks of, keeps
    /// [`Echo::FLOOD`] bytes in flight, whatever the pace of the others.
    pub flooder: bool,
    /// How long the connections are busy before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub window: Duration,
    /// How long without any byte before what is still owed is given up.
    pub patience: Duration,
    /// What the content of the messages is made from.
    pub seed: u64,
}

impl Echo {
    /// What a flooder has in flight.
    pub const FLOOD: usize = 256 * 1024;

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
        let mut driver = Driver::new(Crowd::new(self), watcher)?;
        let arrival = if self.storm {
            self.storm(&mut driver, server)?
        } else {
            self.arrive(&mut driver, server)?
        };
        driver.workload.open();
        driver.turn_for(Progress::WarmingUp, self.warm_up)?;
        let is_silent = self.pace == Pace::Silent && !self.flooder;
        let patience = if is_silent { Duration::ZERO } else { STALLED };
        let bytes = driver.workload.bytes;
        let mut window = driver.measure(self.window, patience)?;
        let served = driver.workload.served;
        let moved = is_silent || driver.workload.bytes > bytes;
        self.drain(&mut driver, moved)?;
        window.delivered = driver.workload.delivered();
        window.latency.add(&driver.workload.latency).expect("both have the same bounds");
        let delivered = window.delivered;
        let (verdict, evidence) = driver.workload.verdict(self.connections, moved, delivered);
        Ok(Report {
            verdict,
            evidence,
            clients: self.connections,
            connected: driver.workload.connected,
            served,
            arrival,
            window: Some(window),
        })
    }

    /// Connects everyone at once, and waits until all are served or nothing moves any more.
    fn storm(&self, driver: &mut Driver<'_, Crowd>, server: SocketAddr) -> Result<Arrival, Error> {
        // What it costs us to make a socket is not what is measured.
        let sockets = (0..self.connections)
            .map(|index| prepare(server, index))
            .collect::<Result<Vec<_>, _>>()?;
        let begin = Instant::now();
        for (index, socket) in sockets.into_iter().enumerate() {
            let stream = begin_to_connect(socket, server, index, driver.registry())?;
            driver.workload.join(stream);
        }
        let phase = |crowd: &Crowd| Progress::Arriving(crowd.served);
        let moves = |crowd: &Crowd| (crowd.served, crowd.connected);
        let is_served = |crowd: &Crowd| crowd.served == self.connections;
        driver.turn_until(phase, self.patience, moves, is_served)?;
        driver.workload.give_up_connecting();
        Ok(driver.workload.arrival(begin))
    }

    /// Connects everyone, each hundred when those before are served. Who is served is quiet until all
    /// are there: a newcomer has to wait for nobody. It may be the server's way to serve few, or to
    /// wait for more: the next ones come all the same, as long as it has not stood still three times
    /// running.
    fn arrive(&self, driver: &mut Driver<'_, Crowd>, server: SocketAddr) -> Result<Arrival, Error> {
        let begin = Instant::now();
        let phase = |crowd: &Crowd| Progress::Arriving(crowd.served);
        let moves = |crowd: &Crowd| (crowd.served, crowd.connected);
        let mut stood_still = 0;
        for start in (0..self.connections).step_by(BATCH) {
            let end = self.connections.min(start + BATCH);
            for index in start..end {
                let stream = connect(server, index, driver.registry())?;
                driver.workload.join(stream);
            }
            let is_served = |crowd: &Crowd| crowd.served == end;
            if driver.turn_until(phase, UNSERVED, moves, is_served)? {
                stood_still = 0;
                continue;
            }
            stood_still += 1;
            if stood_still == 3 {
                break;
            }
            let is_in = |crowd: &Crowd| crowd.connected == end;
            // Let in or not, there may be room again for the next ones.
            driver.turn_until(phase, NOT_LET_IN, moves, is_in)?;
        }
        driver.workload.give_up_connecting();
        Ok(driver.workload.arrival(begin))
    }

    /// Sends nothing new and waits for what is owed. Where some of it does not come, one more
    /// message tells why: if it comes back, what is missing is lost. Where nothing has `moved`
    /// for long, the wait is short.
    fn drain(&self, driver: &mut Driver<'_, Crowd>, moved: bool) -> Result<(), Error> {
        let phase = |_: &Crowd| Progress::Draining;
        let moves = |crowd: &Crowd| crowd.bytes;
        let is_done = |crowd: &Crowd| crowd.waiting() == 0;
        driver.workload.is_sending = false;
        let patience = if moved { self.patience } else { UNSERVED };
        let begin = Instant::now();
        let is_over =
            |crowd: &Crowd| is_done(crowd) || begin.elapsed() >= self.pace.longest_drain();
        let is_drained = driver.turn_until(phase, patience, moves, is_over)?;
        if is_drained && driver.workload.waiting() > 0 {
            return Ok(()); // It is too far behind to wait for.
        }
        if !is_drained {
            driver.workload.send_once_more(|connection| connection.is_waiting());
            driver.turn_until(phase, patience, moves, is_done)?;
        }
        if driver.workload.served < self.connections {
            driver.workload.send_once_more(|connection| connection.received == 0);
            driver.turn_until(phase, UNSERVED, moves, |_| false)?;
        }
        Ok(())
    }
}

/// A server that has delivered less than this of an open loop, soon after its end, is behind.
const PUNCTUAL: f64 = 0.99;
/// How long without news until it is clear that some of those who have arrived are not served.
const UNSERVED: Duration = Duration::from_millis(250);
/// How long without news until it is clear that nobody is served any more.
const STALLED: Duration = Duration::from_millis(1500);
/// How long without news until it is clear that they are not even let in: a connection that the
/// server's kernel refused for want of room is tried again after a second.
const NOT_LET_IN: Duration = Duration::from_millis(1250);

/// The connections: what each of them does.
struct Crowd {
    clock: Clock,
    seed: u64,
    connections: Vec<Connection>,
    /// One buffer for all that is read and written.
    buffer: Vec<u8>,
    message: u64,
    pace: Pace,
    has_flooder: bool,
    /// Whether all have arrived who will: until then each says one message.
    is_open: bool,
    /// When messages leave in an open loop, once all have arrived.
    schedule: Option<Schedule>,
    counted: Counted,
    /// Whether messages that have come back are followed by new ones.
    is_sending: bool,
    /// Messages begun, and those that have come back.
    counts: Counts,
    /// Connections that a message has come back to.
    served: usize,
    connected: usize,
    /// When the last connection was made, and when a client was last served for the first time.
    last_connected: Instant,
    last_served: Instant,
    closed: usize,
    /// Whether the flooder was left with something to read.
    flooder_has_more: bool,
    /// The first wrong bytes, and whose they are.
    mismatch: Option<(usize, Mismatch)>,
    /// Bytes that have come back, to all.
    bytes: u64,
    latency: Histogram<u64>,
}

struct Connection {
    stream: TcpStream,
    content: Content,
    state: State,
    /// Bytes that the kernel has taken.
    sent: u64,
    /// Bytes that have come back.
    received: u64,
    /// Messages that were to leave, and those that have come back.
    begun: u64,
    completed: u64,
    /// When each message in flight was to leave, in nanoseconds; in an open loop, those that left
    /// before it began.
    in_flight: VecDeque<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    Closed,
}

impl Workload for Crowd {
    fn ready(&mut self, event: &Event) {
        let index = event.token().0;
        let connection = &mut self.connections[index];
        if connection.state == State::Connecting {
            match is_connected(&connection.stream) {
                Ok(false) => return,
                Ok(true) => {
                    connection.state = State::Open;
                    self.connected += 1;
                    self.last_connected = Instant::now();
                    self.fill_up(index, self.clock.nanos());
                }
                Err(_) => return self.close(index),
            }
        }
        if event.is_readable() || event.is_read_closed() {
            self.receive(index);
        }
        if event.is_writable() {
            self.flush(index);
        }
    }

    fn turn_is_over(&mut self) {
        if std::mem::take(&mut self.flooder_has_more) {
            self.receive(0);
        }
        if self.is_sending {
            self.send_due(self.clock.nanos());
        }
    }

    fn next_due(&self) -> Option<Instant> {
        if self.flooder_has_more {
            return Some(Instant::now());
        }
        let schedule = self.schedule.filter(|_| self.is_sending)?;
        Some(schedule.next_due(self.clock))
    }

    fn window_begins(&mut self) {
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
        self.mismatch.is_some() || self.closed > 0
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn latency(&mut self) -> &mut Histogram<u64> {
        &mut self.latency
    }
}

impl Connection {
    fn is_waiting(&self) -> bool {
        self.received > 0 && self.completed < self.begun
    }
}

impl Crowd {
    fn new(plan: &Echo) -> Self {
        Self {
            clock: Clock::start(),
            seed: plan.seed,
            connections: Vec::with_capacity(plan.connections),
            buffer: vec![0; 64 * 1024],
            message: plan.message.max(1) as u64,
            pace: plan.pace,
            has_flooder: plan.flooder,
            is_open: false,
            schedule: None,
            counted: Counted::none(),
            is_sending: true,
            counts: Counts { sent: 0, received: 0 },
            served: 0,
            bytes: 0,
            connected: 0,
            last_connected: Instant::now(),
            last_served: Instant::now(),
            closed: 0,
            flooder_has_more: false,
            mismatch: None,
            latency: latencies(),
        }
    }

    fn join(&mut self, stream: TcpStream) {
        self.connections.push(Connection {
            stream,
            content: Content::new(self.seed, self.connections.len()),
            state: State::Connecting,
            sent: 0,
            received: 0,
            begun: 0,
            completed: 0,
            in_flight: VecDeque::new(),
        });
    }

    /// Everyone is there who will be: the loop begins, and the flood.
    fn open(&mut self) {
        self.is_open = true;
        if let Pace::PerSecond(rate) | Pace::AtMostPerSecond(rate) = self.pace {
            let senders = self.connections.len() - usize::from(self.has_flooder);
            self.schedule = Some(Schedule::new(self.clock.nanos(), rate, senders));
        }
        for index in 0..self.connections.len() {
            if self.connections[index].completed > 0 {
                self.fill_up(index, self.clock.nanos());
            }
        }
    }

    /// How long it took until everyone was there, from `begin`.
    fn arrival(&self, begin: Instant) -> Arrival {
        Arrival {
            connected: self.last_connected.saturating_duration_since(begin),
            served: self.last_served.saturating_duration_since(begin),
        }
    }

    /// Whoever is not connected by now never will be: nobody arrives while it counts.
    fn give_up_connecting(&mut self) {
        let late = |connection: &&mut Connection| connection.state == State::Connecting;
        for connection in self.connections.iter_mut().filter(late) {
            connection.state = State::Closed;
            // If there is no attempt left to end, it has ended.
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }

    /// Reads all there is, checks every byte, and sends on for what is complete.
    fn receive(&mut self, index: usize) {
        loop {
            let connection = &mut self.connections[index];
            if connection.state != State::Open {
                return;
            }
            let read = match connection.stream.read(&mut self.buffer) {
                Ok(0) => return self.close(index),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.close(index),
            };
            let got = &self.buffer[..read];
            let (content, position) = (connection.content, connection.received);
            if let Some(first) = content.first_difference(position, got) {
                return self.mismatch(index, first, read);
            }
            let now = self.clock.nanos();
            connection.received += read as u64;
            self.bytes += read as u64;
            while connection.received >= (connection.completed + 1) * self.message {
                if connection.completed == connection.begun {
                    break; // More than was sent would have been a mismatch.
                }
                let polite = index.checked_sub(usize::from(self.has_flooder));
                let intended = connection.in_flight.pop_front().or_else(|| {
                    // The first one was to tell that the client is served.
                    Some(self.schedule?.time(polite?, connection.completed - 1))
                });
                if let Some(intended) = intended
                    && polite.is_some()
                {
                    self.counts.received += 1;
                    if self.counted.has(intended) {
                        self.latency.saturating_record(now.saturating_sub(intended).max(1));
                    }
                }
                if connection.completed == 0 {
                    self.served += 1;
                    self.last_served = Instant::now();
                }
                connection.completed += 1;
            }
            if self.is_sending {
                self.fill_up(index, now);
            }
            if read < self.buffer.len() {
                return; // a short read has emptied the socket
            }
            if self.is_flooder(index) {
                self.flooder_has_more = true;
                return; // the others come first, or what they wait for would be the generator
            }
        }
    }

    fn is_flooder(&self, index: usize) -> bool {
        self.has_flooder && index == 0
    }

    /// The bytes in the buffer from `first` up to `end` are not what connection `index` wants.
    fn mismatch(&mut self, index: usize, first: usize, end: usize) {
        let connection = &self.connections[index];
        let others = self
            .connections
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != index)
            .map(|(_, other)| (other.content, other.received.saturating_sub(4096)..other.sent));
        let position = connection.received + first as u64;
        let mismatch = connection.content.diagnose(position, &self.buffer[first..end], others);
        self.mismatch = self.mismatch.take().or(Some((index, mismatch)));
    }

    /// Brings a connection to the number of messages in flight that it should have.
    fn fill_up(&mut self, index: usize, now: u64) {
        let is_polite = !self.is_flooder(index);
        let connection = &mut self.connections[index];
        let depth = match self.pace {
            _ if connection.completed == 0 => 1,
            _ if !self.is_open => 0,
            _ if !is_polite => (Echo::FLOOD as u64 / self.message).max(1),
            Pace::InFlight(depth) => depth.max(1) as u64,
            Pace::PerSecond(_) | Pace::AtMostPerSecond(_) | Pace::Silent => 0,
        };
        while connection.begun - connection.completed < depth {
            connection.begun += 1;
            connection.in_flight.push_back(now);
            self.counts.sent += u64::from(is_polite);
        }
        self.flush(index);
    }

    /// Sends what is due in an open loop.
    fn send_due(&mut self, now: u64) {
        while let Some(sender) = self.schedule.as_mut().and_then(|schedule| schedule.next(now)) {
            let index = sender + usize::from(self.has_flooder);
            let connection = &mut self.connections[index];
            if matches!(self.pace, Pace::AtMostPerSecond(_)) {
                if connection.begun > connection.completed {
                    continue;
                }
                connection.in_flight.push_back(now);
            }
            connection.begun += 1;
            self.counts.sent += 1;
            self.flush(index);
        }
    }

    /// Sends one more message on each connection of which `is_meant` is true.
    fn send_once_more(&mut self, is_meant: impl Fn(&Connection) -> bool) {
        let now = self.clock.nanos();
        for index in 0..self.connections.len() {
            if is_meant(&self.connections[index]) {
                self.connections[index].begun += 1;
                self.connections[index].in_flight.push_back(now);
                self.flush(index);
            }
        }
    }

    /// Writes what the messages in flight have left to write, as far as the kernel takes it.
    fn flush(&mut self, index: usize) {
        loop {
            let connection = &mut self.connections[index];
            let left = connection.begun * self.message - connection.sent;
            if left == 0 || connection.state != State::Open {
                return;
            }
            let part = left.min(self.buffer.len() as u64) as usize;
            connection.content.fill(connection.sent, &mut self.buffer[..part]);
            match connection.stream.write(&self.buffer[..part]) {
                Ok(written) => connection.sent += written as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(index),
            }
        }
    }

    /// The server, or the kernel for it, has ended this connection. Why does not matter: nothing
    /// in this workload calls for it.
    fn close(&mut self, index: usize) {
        if self.connections[index].state != State::Closed {
            self.connections[index].state = State::Closed;
            self.closed += 1;
        }
    }

    /// How many connections have heard something and wait for more.
    fn waiting(&self) -> usize {
        self.connections.iter().filter(|connection| connection.is_waiting()).count()
    }

    /// The share of all messages of an open loop that have come back.
    fn delivered(&self) -> Option<f64> {
        let due = self.schedule.filter(|_| matches!(self.pace, Pace::PerSecond(_)))?.due;
        let connections = self.connections.iter().skip(usize::from(self.has_flooder));
        let came: u64 = connections.map(|it| it.completed.saturating_sub(1)).sum();
        (due > 0).then(|| (came as f64 / due as f64).min(1.0))
    }

    /// The verdict when `all` connections were asked for, within the window messages came back or
    /// none did, and in an open loop this share of them came.
    fn verdict(
        &self,
        all: usize,
        moved: bool,
        delivered: Option<f64>,
    ) -> (Verdict, Option<String>) {
        let (served, waiting) = (self.served, self.waiting());
        let connected = self.connected;
        if let Some((index, Mismatch { fault, count, position })) = self.mismatch {
            let evidence = format!("connection {index} of {all}, at byte {position} of its echo");
            (Verdict::Faulty(Tally { fault, count, unit: Unit::Bytes }), Some(evidence))
        } else if self.closed > 0 {
            let evidence = format!("the server ended {} of {all} connections", self.closed);
            (Verdict::Closed(self.closed), Some(evidence))
        } else if !moved && served > 0 {
            let evidence = format!(
                "{served} of {connected} connections heard an echo while others arrived, then none"
            );
            (Verdict::Stalls, Some(evidence))
        } else if served == all && delivered.is_some_and(|share| share < PUNCTUAL) {
            let share = delivered.unwrap_or_default();
            let evidence = format!("{waiting} of {connected} connections still wait");
            (Verdict::behind(share), Some(evidence))
        } else if moved && waiting > 0 {
            let evidence =
                format!("{waiting} of {connected} connections that were answered still wait");
            (Verdict::Stalls, Some(evidence))
        } else if served < all {
            let evidence = format!("{connected} of {all} connections were made");
            (Verdict::Serves(served), Some(evidence))
        } else {
            (Verdict::Works, None)
        }
    }
}
