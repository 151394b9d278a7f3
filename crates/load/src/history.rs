use std::fmt;

use crate::line::{Codec, Line};
use crate::protocol::{Framing, Protocol};
use crate::{Fault, Tally};

/// What one client should hear: every line of every other client, once, in its sender's order; and
/// its own, where the [`Protocol`] returns them.
///
/// Memory: four bytes for each client in the room, and at most 4,096 gaps.
#[derive(Debug)]
pub struct History {
    me: u32,
    framing: Framing,
    /// Whether what the server may say besides lines has come.
    had_aside: bool,
    /// The sequence number that is due next, for each sender.
    due: Vec<u32>,
    /// Lines that were skipped and may still come late.
    gaps: Vec<Gap>,
    faults: Faults,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Whether what comes up to the next `\n` belongs to a line that is known to be wrong.
    torn: bool,
}

/// What went wrong in a [`History`], in lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came after a later one of the same sender.
    pub reordered: u64,
    /// Are none that anybody sent: torn, joined or changed.
    pub corrupted: u64,
    /// Came back to their sender.
    pub returned: u64,
}

/// The lines from `from` up to and without `to` of `sender`.
#[derive(Clone, Copy, Debug)]
struct Gap {
    sender: u32,
    from: u32,
    to: u32,
}

impl History {
    const MOST_GAPS: usize = 4096;

    /// What client number `me` of `clients` hears from now on.
    pub fn new(protocol: Protocol, codec: Codec, me: u32, clients: usize) -> Self {
        Self {
            me,
            framing: Framing::new(protocol, codec),
            had_aside: false,
            due: vec![0; clients],
            gaps: Vec::new(),
            faults: Faults::default(),
            partial: Vec::new(),
            torn: false,
        }
    }

    /// Takes what arrived, cut anywhere, and hands every good line to `heard`.
    pub fn push(&mut self, mut bytes: &[u8], mut heard: impl FnMut(&Line)) {
        let length = self.framing.length();
        if !self.partial.is_empty() {
            let missing = length - self.partial.len();
            let (start, rest) = bytes.split_at(missing.min(bytes.len()));
            self.partial.extend_from_slice(start);
            if self.partial.len() < length {
                return;
            }
            let line = std::mem::take(&mut self.partial);
            let used = self.take(&line, &mut heard);
            bytes = rest;
            if used < length {
                // The line was torn: what follows its end begins another.
                let mut rest = line[used..].to_vec();
                rest.extend_from_slice(bytes);
                return self.push(&rest, heard);
            }
            self.partial = line;
            self.partial.clear();
        }
        while bytes.len() >= length {
            let used = self.take(bytes, &mut heard);
            bytes = &bytes[used..];
        }
        self.partial.extend_from_slice(bytes);
    }

    /// What went wrong so far. Lines still missing are not in it.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Whether anything went wrong so far, or a line was skipped.
    pub fn is_clean(&self) -> bool {
        self.faults == Faults::default() && self.gaps.is_empty()
    }

    /// What went wrong in all, when nothing more is to come and each client has sent as many
    /// lines as `sent` says.
    pub fn finish(&self, sent: &[u32]) -> Faults {
        let mut faults = self.faults;
        faults.lost += self.gaps.iter().map(|gap| u64::from(gap.to - gap.from)).sum::<u64>();
        for (sender, (&sent, &due)) in sent.iter().zip(&self.due).enumerate() {
            if self.framing.returns || sender != self.me as usize {
                faults.lost += u64::from(sent.saturating_sub(due));
            }
        }
        let is_aside = !self.had_aside && self.partial == self.framing.aside.as_bytes();
        faults.corrupted += u64::from(!self.partial.is_empty() && !is_aside);
        faults
    }

    /// Takes the line that `bytes` begin with, and says how many bytes it was.
    fn take(&mut self, bytes: &[u8], heard: &mut impl FnMut(&Line)) -> usize {
        let line = &bytes[..self.framing.length()];
        let good = if self.torn { None } else { self.framing.read(line) };
        if let Some(good) = good.filter(|good| (good.sender as usize) < self.due.len()) {
            if self.note(&good) {
                heard(&good);
            }
            return line.len();
        }
        let aside = self.framing.aside;
        if !aside.is_empty() && !self.had_aside && line.starts_with(aside.as_bytes()) {
            self.had_aside = true;
            return aside.len();
        }
        // One wrong line counts once, however long it is.
        self.faults.corrupted += u64::from(!self.torn);
        let end = memchr::memchr(b'\n', line);
        self.torn = end.is_none();
        end.map_or(line.len(), |end| end + 1)
    }

    /// Whether `line` is the one that was due, or one that came after a gap.
    fn note(&mut self, line: &Line) -> bool {
        if line.sender == self.me && !self.framing.returns {
            self.faults.returned += 1;
            return false;
        }
        let due = &mut self.due[line.sender as usize];
        if line.sequence == *due {
            *due += 1;
            return true;
        }
        if line.sequence > *due {
            let gap = Gap { sender: line.sender, from: *due, to: line.sequence };
            *due = line.sequence + 1;
            if self.gaps.len() < Self::MOST_GAPS {
                self.gaps.push(gap);
            } else {
                self.faults.lost += u64::from(gap.to - gap.from);
            }
            return true;
        }
        self.late(line);
        false
    }

    /// A line that should have come before: late if it was missing, else a duplicate.
    fn late(&mut self, line: &Line) {
        let gap = self.gaps.iter().position(|gap| {
            gap.sender == line.sender && (gap.from..gap.to).contains(&line.sequence)
        });
        let Some(index) = gap else {
            self.faults.duplicated += 1;
            return;
        };
        self.faults.reordered += 1;
        let Gap { sender, from, to } = self.gaps.swap_remove(index);
        for (from, to) in [(from, line.sequence), (line.sequence + 1, to)] {
            if from < to {
                self.gaps.push(Gap { sender, from, to });
            }
        }
    }
}

impl Faults {
    /// Counts `other`'s too.
    pub fn add(&mut self, other: &Faults) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.returned += other.returned;
    }

    /// The fault to name where there are several: the one that explains the others.
    pub fn worst(&self) -> Option<Tally> {
        [
            (Fault::Returned, self.returned),
            (Fault::Corrupted, self.corrupted),
            (Fault::Duplicated, self.duplicated),
            (Fault::Reordered, self.reordered),
            (Fault::Lost, self.lost),
        ]
        .into_iter()
        .find(|&(_, count)| count > 0)
        .map(|(fault, count)| Tally { fault, count, unit: crate::Unit::Lines })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "lines lost {}, duplicated {}, reordered {}, corrupted {}, returned {}",
            self.lost, self.duplicated, self.reordered, self.corrupted, self.returned
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 2;

    /// The lines of senders 0, 1 and 3, ten each, as client 2 of 4 should hear them.
    fn lines() -> Vec<Vec<u8>> {
        (0..10).flat_map(|sequence| [0, 1, 3].map(|sender| line(sender, sequence))).collect()
    }

    fn line(sender: u32, sequence: u32) -> Vec<u8> {
        let mut bytes = vec![0; 32];
        codec().encode(&Line { sender, sequence, intended: 77 }, &mut bytes);
        bytes
    }

    fn codec() -> Codec {
        Codec::new(9, 32)
    }

    /// What the history makes of these lines, cut at random places.
    fn faults(lines: &[Vec<u8>]) -> Faults {
        let bytes = lines.concat();
        let mut history = History::new(Protocol::Lines, codec(), ME, 4);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(fastrand::usize(1..=rest.len().min(100)));
            history.push(chunk, |_| {});
            rest = after;
        }
        history.finish(&[10, 10, 10, 10])
    }

    #[test]
    fn a_whole_history_has_no_faults_however_it_is_cut() {
        for _ in 0..200 {
            assert_eq!(faults(&lines()), Faults::default());
        }
    }

    #[test]
    fn every_good_line_is_handed_on() {
        let mut heard = 0;
        let mut history = History::new(Protocol::Lines, codec(), ME, 4);
        history.push(&lines().concat(), |line| heard += u32::from(line.intended == 77));
        assert_eq!(heard, 30);
        assert!(history.is_clean());
    }

    #[test]
    fn lost_lines_are_counted_in_the_middle_and_at_the_end() {
        let mut lines = lines();
        lines.drain(7..9);
        assert_eq!(faults(&lines), Faults { lost: 2, ..Faults::default() });
        lines.truncate(20);
        assert_eq!(faults(&lines), Faults { lost: 10, ..Faults::default() });
        assert_eq!(faults(&[]), Faults { lost: 30, ..Faults::default() });
    }

    #[test]
    fn a_duplicate_is_counted_at_once_and_later() {
        for place in [5, 6, 25] {
            let mut lines = lines();
            lines.insert(place, lines[4].clone());
            assert_eq!(faults(&lines), Faults { duplicated: 1, ..Faults::default() });
        }
    }

    #[test]
    fn lines_of_one_sender_must_keep_their_order() {
        let mut lines = lines();
        lines.swap(3, 6);
        assert_eq!(faults(&lines), Faults { reordered: 1, ..Faults::default() });
    }

    #[test]
    fn lines_of_different_senders_may_change_places() {
        let mut lines = lines();
        lines.swap(3, 4);
        assert_eq!(faults(&lines), Faults::default());
    }

    #[test]
    fn a_missing_byte_tears_one_line_and_no_other() {
        for byte in [0, 14, 20, 31] {
            let mut lines = lines();
            lines[4].remove(byte);
            let expected = if byte == 31 {
                // Without its end, a line takes the next one with it.
                Faults { corrupted: 1, lost: 2, ..Faults::default() }
            } else {
                Faults { corrupted: 1, lost: 1, ..Faults::default() }
            };
            assert_eq!(faults(&lines), expected, "byte {byte}");
        }
    }

    #[test]
    fn a_changed_byte_is_corruption() {
        let mut lines = lines();
        lines[4][9] ^= 1;
        assert_eq!(faults(&lines), Faults { corrupted: 1, lost: 1, ..Faults::default() });
    }

    #[test]
    fn half_a_line_at_the_end_is_corruption() {
        let mut lines = lines();
        lines.push(line(0, 10)[..12].to_vec());
        assert_eq!(faults(&lines), Faults { corrupted: 1, ..Faults::default() });
    }

    #[test]
    fn lines_joined_by_a_changed_end_count_once() {
        let mut lines = lines();
        lines[4][31] = b' ';
        assert_eq!(faults(&lines), Faults { corrupted: 1, lost: 2, ..Faults::default() });
    }

    #[test]
    fn a_client_must_not_hear_itself() {
        let mut lines = lines();
        lines.insert(9, line(ME, 0));
        assert_eq!(faults(&lines), Faults { returned: 1, ..Faults::default() });
    }

    #[test]
    fn lines_of_another_run_or_of_nobody_are_corruption() {
        let mut foreign = vec![0; 32];
        Codec::new(10, 32).encode(&Line { sender: 0, sequence: 3, intended: 77 }, &mut foreign);
        for extra in [foreign, line(4, 0), b"hello\n".to_vec()] {
            let mut lines = lines();
            lines.insert(9, extra);
            assert_eq!(faults(&lines), Faults { corrupted: 1, ..Faults::default() });
        }
    }

    #[test]
    fn what_nats_says_between_two_lines_is_no_fault_wherever_it_is_cut() {
        let lines: Vec<_> = (0..3)
            .map(|sequence| {
                let mut line = [0; 32];
                codec().encode(&Line { sender: 0, sequence, intended: 0 }, &mut line);
                format!("MSG room 1 32\r\n{}\r\n", str::from_utf8(&line).unwrap())
            })
            .collect();
        let stream = [&lines[0], "PING\r\n", &lines[1], &lines[2]].concat();
        for cut in 0..=stream.len() {
            let mut history = History::new(Protocol::Nats, codec(), ME, 4);
            let mut heard = 0;
            for part in [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]] {
                history.push(part, |_| heard += 1);
            }
            assert_eq!((heard, history.finish(&[3, 0, 0, 0])), (3, Faults::default()), "{cut}");
        }
        let mut history = History::new(Protocol::Nats, codec(), ME, 4);
        history.push([&lines[0], "PING\r\n"].concat().as_bytes(), |_| ());
        assert_eq!(history.finish(&[1, 0, 0, 0]), Faults::default(), "at the end");
        history.push(b"PING\r\n", |_| ());
        assert_eq!(history.finish(&[1, 0, 0, 0]).corrupted, 1, "twice");
    }

    #[test]
    fn own_lines_are_owed_where_they_come_back() {
        let mut line = [0; 32];
        codec().encode(&Line { sender: ME, sequence: 0, intended: 0 }, &mut line);
        let line = str::from_utf8(&line).unwrap();
        let pushed = format!(">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$32\r\n{line}\r\n");
        let mut sent = [0; 4];
        sent[ME as usize] = 1;
        let mut history = History::new(Protocol::Redis, codec(), ME, 4);
        assert_eq!(history.finish(&sent).lost, 1);
        history.push(pushed.as_bytes(), |_| ());
        assert_eq!(history.finish(&sent), Faults::default());
    }
}
