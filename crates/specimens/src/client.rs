//! One connection: what has come of a line, what it is owed, and how it ends.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kit::Args;
use lines::{LineDecoder, TooLong};
use rustix::event::PollFlags;
use socket2::SockRef;

use crate::fault::Fault::{self, *};
use crate::owed::Owed;

pub struct Client {
    pub stream: TcpStream,
    pub address: SocketAddr,
    pub decoder: LineDecoder,
    /// What it is to be sent.
    pub owed: Owed,
    /// Whether anything can be sent to it: not once a write has failed.
    pub is_told: bool,
    pub phase: Phase,
    /// How many bytes have come from it, and how many since its last line was whole.
    pub received: usize,
    pub unfinished: usize,
    /// How many bytes were sent to it, and how many could not be when that was last tried.
    sent: usize,
    behind: usize,
    /// An odd server sends it nothing before.
    hold: Option<Instant>,
    /// The lines of which a joiner has missed the beginning: whose, and so many bytes.
    pub missed: Vec<(u64, usize)>,
    /// A thread lives as long as this.
    companion: Option<Sender<()>>,
    max_line: usize,
    fault: Fault,
}

/// How far a client is with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is here.
    Open,
    /// Its input has ended: it is closed when nothing is owed.
    Leaving,
    /// The server has had enough of it: when nothing is owed, that is said by FIN. What still comes
    /// is read and dropped until the client has left, too, since to close a socket with bytes
    /// unread would reset the connection.
    Closing,
    /// As before, and FIN was sent.
    Closed,
}

impl Client {
    /// # Errors
    /// The connection is gone already.
    pub fn new(
        stream: TcpStream,
        address: SocketAddr,
        args: &Args,
        fault: Fault,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // What is written is sent at once: it must not wait for the acknowledgement of the last.
        stream.set_nodelay(true)?;
        if fault == ResetsLeavers {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        let max_line = match fault {
            KeepsEndlessLines | WaitsForALine => 1 << 30,
            LimitOffByOne => args.max_line - 1,
            _ => args.max_line,
        };
        Ok(Self {
            stream,
            address,
            decoder: LineDecoder::new(max_line),
            owed: Owed::default(),
            is_told: true,
            phase: Phase::Open,
            received: 0,
            unfinished: 0,
            sent: 0,
            behind: 0,
            hold: None,
            missed: Vec::new(),
            companion: None,
            max_line,
            fault,
        })
    }

    /// The lines that are whole with these bytes, and whether the next one is too long.
    pub fn take_lines(&mut self, bytes: &[u8]) -> (Vec<Vec<u8>>, Option<TooLong>) {
        let before = self.unfinished;
        let end = memchr::memrchr(b'\n', bytes);
        self.unfinished = end.map_or(self.unfinished + bytes.len(), |end| bytes.len() - end - 1);
        self.decoder.push(bytes);
        if self.fault == LimitsWhatIsRead && before + bytes.len() > self.max_line {
            return (Vec::new(), Some(TooLong { max_line: self.max_line }));
        }
        let mut lines = Vec::new();
        loop {
            match self.decoder.next_lines() {
                Ok(Some(run)) => lines.extend(run.split_inclusive(|&b| b == b'\n').map(Vec::from)),
                Ok(None) => return (lines, None),
                Err(too_long) => return (lines, Some(too_long)),
            }
        }
    }

    /// It is to be sent these bytes, if it still can be sent anything.
    pub fn owe(&mut self, bytes: Bytes) {
        if self.is_told {
            self.owed.push(bytes);
        }
    }

    /// What a thread does that lives as long as the client is here.
    pub fn companion(&mut self) -> impl FnOnce() + Send + use<> {
        let (sender, receiver) = mpsc::channel();
        self.companion = Some(sender);
        move || _ = receiver.recv()
    }

    /// What to wait for. In an echo, what cannot go out must not come in; in a broadcast, whoever
    /// is behind may speak nevertheless.
    pub fn interest(&self, is_echo: bool) -> PollFlags {
        let may_read = match self.fault {
            ReadsWithoutBound => true,
            WaitsForTheSpeaker => self.owed.is_empty(),
            CoalescesWrites => !is_echo || self.owed.len() < ODD_FOR,
            // What is left of one read could go out when it is tried again: the kernel's queue has
            // to be a third empty before it says that there is room.
            StopsWhenAllIsRead => !is_echo || self.owed.len() < 2 << 20,
            _ => !is_echo || self.owed.is_empty(),
        };
        let reads = match self.phase {
            Phase::Open => may_read,
            Phase::Leaving => self.fault == WatchesLeavers,
            Phase::Closing | Phase::Closed => self.fault != ClosesWithoutReading,
        };
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, reads);
        interest.set(PollFlags::RDHUP, self.fault == HalfCloseIsGoodbye);
        interest.set(PollFlags::PRI, self.fault == TakesUrgentForAnError);
        interest.set(PollFlags::OUT, !self.owed.is_empty() && self.held_until().is_none());
        interest
    }

    /// Sends of what is owed as much as the kernel takes.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.fault == ShortQueue && self.owed.len() - self.behind > 256 * 1024 {
            return Err(io::Error::other("its queue is full"));
        }
        let flushed = self.write_owed();
        self.behind = self.owed.len();
        flushed
    }

    fn write_owed(&mut self) -> io::Result<()> {
        self.be_odd();
        while !self.owed.is_empty() && self.held_until().is_none() {
            let one_byte = self.fault == OneByteAWrite && self.sent < ODD_FOR / 16;
            let next = match one_byte {
                true => vec![IoSlice::new(self.owed.first_byte())],
                false => self.owed.slices(),
            };
            let tried = next.iter().map(|slice| slice.len()).sum();
            match self.stream.write_vectored(&next) {
                Ok(_) if self.fault == IgnoresShortWrites => self.owed.advance(tried),
                Ok(sent) => {
                    self.sent += sent;
                    self.owed.advance(sent);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.phase == Phase::Closing && self.owed.is_empty() {
            self.phase = Phase::Closed;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// The connection takes nothing more. What has come from it can still be read.
    pub fn cannot_be_told(&mut self) {
        self.owed.clear();
        self.is_told = false;
    }

    /// Until when an odd server sends it nothing.
    pub fn held_until(&self) -> Option<Instant> {
        self.hold.filter(|until| !self.owed.is_empty() && Instant::now() < *until)
    }

    /// Decides how long an odd server waits until it sends what is owed. It is odd in the beginning
    /// of a connection only, so that a long stream does not take for ever.
    fn be_odd(&mut self) {
        let millis = match self.fault {
            LateFirstReply if self.sent == 0 => 300,
            CoalescesWrites => 20,
            RandomDelays => fastrand::u64(..5),
            _ => return,
        };
        if self.owed.is_empty() || self.sent + self.owed.len() >= ODD_FOR {
            // What is owed next waits anew, or no more.
            self.hold = None;
        } else if self.hold.is_none() {
            self.hold = Some(Instant::now() + Duration::from_millis(millis));
        }
    }
}

/// How many bytes of a connection an odd server is odd for.
const ODD_FOR: usize = 64 * 1024;
