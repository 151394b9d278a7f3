//! One log of lines, and a cursor for each client: what is owed to whom, as bytes.
//!
//! A line that a thousand clients will hear is stored once. Each client's [`Cursor`] says how far
//! it has got; what it is owed is everything from there to the end, less its own lines, and goes
//! out in one vectored write however many lines that is. So a turn of the server costs work for
//! each *client*, not for each *line and client*. The log forgets what the slowest cursor has
//! passed.
//!
//! This part is pure: it never reads, writes or waits.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A place in the log: bytes since it was created.
pub type Position = u64;

/// The lines that somebody is still owed.
#[derive(Debug, Default)]
pub struct SharedLog {
    bytes: VecDeque<u8>,
    /// Where the first of `bytes` stands.
    start: Position,
    /// Where the cursors stand. One that only the log still knows has left.
    cursors: Vec<Arc<AtomicU64>>,
}

/// How far one client has got. Dropping it is leaving: the log no longer waits for it.
#[derive(Debug)]
pub struct Cursor {
    /// The first byte that the client is owed; never one of its own.
    position: Arc<AtomicU64>,
    /// Lines further on that the client is not owed: its own, and whatever it was to skip.
    own: VecDeque<Range<Position>>,
}

impl SharedLog {
    /// A log that needs less than a quarter of its memory gives back half of it or more, but so
    /// many bytes it keeps.
    const KEPT_CAPACITY: usize = 1024 * 1024;

    /// A cursor at the end: its client is owed every line from now on.
    pub fn join(&mut self) -> Cursor {
        let position = Arc::new(AtomicU64::new(self.end()));
        self.cursors.push(Arc::clone(&position));
        Cursor { position, own: VecDeque::new() }
    }

    /// Adds whole lines, which every cursor but the sender's is owed from now on.
    pub fn append(&mut self, lines: &[u8], sender: &mut Cursor) {
        let start = self.end();
        self.bytes.extend(lines);
        sender.skip(start..self.end());
    }

    /// Whether nobody is owed anything, as far as [`trim`](Self::trim) knows.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the next line will stand.
    pub fn end(&self) -> Position {
        self.start + self.bytes.len() as u64
    }

    /// How many bytes of the log the cursor keeps from being forgotten.
    pub fn lag(&self, cursor: &Cursor) -> usize {
        (self.end() - cursor.position()) as usize
    }

    // ANCHOR: owed
    /// Fills `slices` from the front with what the cursor is owed, as far as there is room, and
    /// returns the filled part: it is empty when nothing is owed. What was then written of it is
    /// said to [`Cursor::advance`].
    pub fn owed<'log, 'a>(
        &'log self,
        cursor: &Cursor,
        slices: &'a mut [IoSlice<'log>],
    ) -> &'a [IoSlice<'log>] {
        let mut filled = 0;
        let mut from = cursor.position();
        let end = self.end()..self.end();
        for own in cursor.own.iter().chain([&end]) {
            for slice in self.slices(from..own.start) {
                if filled < slices.len() && !slice.is_empty() {
                    slices[filled] = IoSlice::new(slice);
                    filled += 1;
                }
            }
            if filled == slices.len() {
                break;
            }
            from = own.end;
        }
        &slices[..filled]
    }
    // ANCHOR_END: owed

    // ANCHOR: trim
    /// Forgets what every cursor has passed.
    pub fn trim(&mut self) {
        self.cursors.retain(|position| Arc::strong_count(position) > 1);
        let positions = self.cursors.iter().map(|position| position.load(Ordering::Relaxed));
        let slowest = positions.min().unwrap_or(self.end());
        self.bytes.drain(..(slowest - self.start) as usize);
        self.start = slowest;
        if self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(Self::KEPT_CAPACITY.max(2 * self.bytes.len()));
        }
    }
    // ANCHOR_END: trim

    /// The bytes in `range`: two slices, since the buffer is a ring.
    fn slices(&self, range: Range<Position>) -> [&[u8]; 2] {
        let (front, back) = self.bytes.as_slices();
        let [from, to] = [range.start, range.end].map(|position| (position - self.start) as usize);
        let middle = front.len();
        [
            &front[from.min(middle)..to.min(middle)],
            &back[from.saturating_sub(middle)..to.saturating_sub(middle)],
        ]
    }
}

impl Cursor {
    /// The first byte that the client is owed, or the end of the log.
    pub fn position(&self) -> Position {
        // Relaxed: whoever trims the log has exclusive access to it, and a cursor only moves on.
        self.position.load(Ordering::Relaxed)
    }

    // ANCHOR: advance
    /// Moves on by `written` bytes of what [`SharedLog::owed`] gave.
    pub fn advance(&mut self, mut written: usize) {
        let mut position = self.position();
        while let Some(own) = self.own.front() {
            let before_own = (own.start - position) as usize;
            if written < before_own {
                break;
            }
            written -= before_own;
            position = own.end;
            self.own.pop_front();
        }
        self.position.store(position + written as u64, Ordering::Relaxed);
    }
    // ANCHOR_END: advance

    /// Notes that the client is not owed these lines. They are the last ones of the log, and it has
    /// been written none of them.
    pub fn skip(&mut self, lines: Range<Position>) {
        if self.position() == lines.start {
            self.position.store(lines.end, Ordering::Relaxed);
            return;
        }
        match self.own.back_mut() {
            Some(last) if last.end == lines.start => last.end = lines.end,
            _ => self.own.push_back(lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// A client, and beside it what a queue of its own would hold.
    struct Client {
        cursor: Cursor,
        expected: VecDeque<u8>,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Join,
        Leave(Index),
        Say(Index, Vec<u8>),
        /// And somebody is not to hear it.
        SayWithout(Index, Index, Vec<u8>),
        /// The kernel takes at most so many bytes of this client's.
        Write(Index, usize),
        Trim,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::Join),
            1 => any::<Index>().prop_map(Step::Leave),
            4 => (any::<Index>(), vec(any::<u8>(), 0..9)).prop_map(|(who, line)| Step::Say(who, line)),
            2 => (any::<Index>(), any::<Index>(), vec(any::<u8>(), 0..9))
                .prop_map(|(who, without, line)| Step::SayWithout(who, without, line)),
            8 => (any::<Index>(), 0..40usize).prop_map(|(who, room)| Step::Write(who, room)),
            2 => Just(Step::Trim),
        ]
    }

    /// Writes at most `room` bytes of what the client is owed, and checks them.
    fn write(log: &SharedLog, client: &mut Client, room: usize) {
        let mut slices = [IoSlice::new(&[]); 3];
        let owed: Vec<u8> =
            log.owed(&client.cursor, &mut slices).iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(owed.is_empty(), client.expected.is_empty());
        let written = owed.len().min(room);
        let expected: Vec<u8> = client.expected.drain(..written).collect();
        assert_eq!(owed[..written], expected);
        client.cursor.advance(written);
    }

    proptest! {
        /// Whatever is written, by whom, in which pieces, and whoever comes and goes: everyone
        /// receives exactly what was said by others since they joined.
        #[test]
        fn everyone_receives_exactly_what_they_are_owed(steps in vec(step(), 0..300)) {
            let mut log = SharedLog::default();
            let mut clients: Vec<Client> = Vec::new();
            for step in steps {
                match step {
                    Step::Join => clients.push(Client { cursor: log.join(), expected: VecDeque::new() }),
                    Step::Trim => {
                        log.trim();
                        let kept = clients.iter().map(|client| log.lag(&client.cursor)).max();
                        prop_assert_eq!(log.bytes.len(), kept.unwrap_or(0));
                        prop_assert_eq!(log.cursors.len(), clients.len());
                    }
                    _ if clients.is_empty() => {}
                    Step::Leave(who) => drop(clients.swap_remove(who.index(clients.len()))),
                    Step::Say(who, line) => {
                        let who = who.index(clients.len());
                        log.append(&line, &mut clients[who].cursor);
                        for (other, client) in clients.iter_mut().enumerate() {
                            client.expected.extend(line.iter().filter(|_| other != who));
                        }
                    }
                    Step::SayWithout(who, without, line) => {
                        let [who, without] = [who, without].map(|it| it.index(clients.len()));
                        let start = log.end();
                        log.append(&line, &mut clients[who].cursor);
                        if without != who {
                            clients[without].cursor.skip(start..log.end());
                        }
                        for (other, client) in clients.iter_mut().enumerate() {
                            let hears = other != who && other != without;
                            client.expected.extend(line.iter().filter(|_| hears));
                        }
                    }
                    Step::Write(who, room) => {
                        let who = who.index(clients.len());
                        write(&log, &mut clients[who], room);
                    }
                }
                for client in &clients {
                    prop_assert_eq!(client.cursor.position() == log.end(), client.expected.is_empty());
                }
            }
            for client in &mut clients {
                while !client.expected.is_empty() {
                    write(&log, client, 7);
                }
            }
            log.trim();
            prop_assert!(log.bytes.is_empty());
        }
    }

    #[test]
    fn a_client_alone_is_owed_nothing() {
        let mut log = SharedLog::default();
        let mut alone = log.join();
        log.append(b"hello\n", &mut alone);
        assert_eq!(log.lag(&alone), 0);
        log.trim();
        assert_eq!(log.bytes.len(), 0);
    }

    #[test]
    fn a_laggard_is_known_by_its_lag_and_no_longer_kept_once_it_left() {
        let mut log = SharedLog::default();
        let (mut speaker, laggard) = (log.join(), log.join());
        log.append(b"hello\n", &mut speaker);
        log.trim();
        assert_eq!((log.lag(&speaker), log.lag(&laggard)), (0, 6));
        drop(laggard);
        log.trim();
        assert_eq!(log.bytes.len(), 0);
    }

    #[test]
    fn a_log_gives_back_memory_that_it_no_longer_needs() {
        let mut log = SharedLog::default();
        let (mut speaker, laggard, mut listener) = (log.join(), log.join(), log.join());
        log.append(&vec![b'x'; 16 * SharedLog::KEPT_CAPACITY], &mut speaker);
        listener.advance(16 * SharedLog::KEPT_CAPACITY);
        log.append(b"hello\n", &mut speaker);
        log.trim();
        assert!(log.bytes.capacity() >= 16 * SharedLog::KEPT_CAPACITY);
        drop(laggard);
        log.trim();
        assert_eq!(log.bytes.len(), 6);
        assert!(log.bytes.capacity() < 2 * SharedLog::KEPT_CAPACITY);
    }
}
