//! Line framing: push the bytes that arrive, take the lines that are whole.
//!
//! TCP is a stream: one read may bring half a line or a hundred. However the bytes are cut, the
//! decoder gives the same lines. A line is every byte up to and including `\n`, whatever their
//! values.

use std::error::Error;
use std::fmt;

use memchr::memchr;

/// Cuts a stream of bytes into lines.
///
/// It holds at most one unfinished line and what one [`push`](Self::push) brought; between lines
/// it holds no memory, so that an idle connection costs nothing here.
#[derive(Debug)]
pub struct LineDecoder {
    /// What was pushed, less what was dropped after it had been taken.
    buffer: Vec<u8>,
    /// How many bytes of `buffer` were taken as lines.
    taken: usize,
    /// How many bytes of `buffer` were searched for a line's end; never less than `taken`.
    searched: usize,
    max_line: usize,
    /// Set for good by the first line that is too long.
    too_long: bool,
}

/// A line is longer than the limit. Nothing of it is handed out, and nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The limit: bytes a line, its `\n` included.
    pub max_line: usize,
}

impl LineDecoder {
    /// A decoder for lines of at most `max_line` bytes, `\n` included.
    pub fn new(max_line: usize) -> Self {
        Self { buffer: Vec::new(), taken: 0, searched: 0, max_line, too_long: false }
    }

    /// Adds bytes as they came from the connection. After [`TooLong`] they are discarded.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.too_long {
            self.buffer.drain(..self.taken);
            self.searched -= self.taken;
            self.taken = 0;
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Takes every line that is whole by now: they follow each other in one slice. `None` means
    /// that more bytes are needed.
    ///
    /// # Errors
    /// [`TooLong`] once all lines before the offending one were taken, and from then on for ever.
    pub fn next_lines(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let start = self.taken;
        while let Some(found) = memchr(b'\n', &self.buffer[self.searched..]) {
            let end = self.searched + found + 1;
            if end - self.taken > self.max_line {
                break;
            }
            (self.taken, self.searched) = (end, end);
        }
        if self.taken > start {
            return Ok(Some(&self.buffer[start..self.taken]));
        }
        // What is left has no end, or one that comes too late.
        if self.too_long || self.buffer.len() - self.taken >= self.max_line {
            self.release();
            self.too_long = true;
            return Err(TooLong { max_line: self.max_line });
        }
        self.searched = self.buffer.len();
        if self.taken == self.buffer.len() {
            self.release();
        }
        Ok(None)
    }

    /// Ends the stream: an unfinished line is handed out with the `\n` that it lacks.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let mut tail = self.buffer.split_off(self.taken);
        self.release();
        if tail.is_empty() {
            return None;
        }
        tail.push(b'\n');
        Some(tail)
    }

    fn release(&mut self) {
        (self.buffer, self.taken, self.searched) = (Vec::new(), 0, 0);
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a line of more than {} bytes", self.max_line)
    }
}

impl Error for TooLong {}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MAX_LINE: usize = 8;

    /// What came out of a decoder that was fed `input` in pieces of the given sizes: the lines,
    /// and whether one was too long.
    fn decode(input: &[u8], sizes: &[usize]) -> (Vec<Vec<u8>>, bool) {
        let mut decoder = LineDecoder::new(MAX_LINE);
        let mut lines = Vec::new();
        let mut rest = input;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            rest = after;
            decoder.push(piece);
            assert!(decoder.buffer.len() <= MAX_LINE + piece.len());
            loop {
                match decoder.next_lines() {
                    Ok(Some(run)) => {
                        lines.extend(run.split_inclusive(|&b| b == b'\n').map(Vec::from))
                    }
                    Ok(None) => break,
                    Err(TooLong { max_line: MAX_LINE }) => return (lines, true),
                    Err(other) => panic!("{other}"),
                }
            }
        }
        lines.extend(decoder.finish());
        (lines, false)
    }

    /// Bytes in which line ends are frequent, and lines of about the limit too.
    fn input() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![1 => Just(b'\n'), 6 => any::<u8>()], 0..100)
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_lines_are_the_same(input in input(), sizes in vec(1..20usize, 1..10)) {
            prop_assert_eq!(decode(&input, &sizes), decode(&input, &[1000]));
        }

        #[test]
        fn nothing_is_lost_before_a_line_that_is_too_long(input in input(), sizes in vec(1..20usize, 1..10)) {
            let (lines, too_long) = decode(&input, &sizes);
            let mut expected: Vec<_> = input.split_inclusive(|&b| b == b'\n').map(Vec::from).collect();
            if let Some(tail) = expected.last_mut().filter(|line| !line.ends_with(b"\n")) {
                tail.push(b'\n');
            }
            let fitting = expected.iter().take_while(|line| line.len() <= MAX_LINE).count();
            prop_assert_eq!(too_long, fitting < expected.len());
            prop_assert_eq!(&lines[..], &expected[..fitting]);
        }
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(decode(b"1234567\n", &[3]), (vec![b"1234567\n".to_vec()], false));
        assert_eq!(decode(b"12345678\n", &[3]), (vec![], true));
    }

    #[test]
    fn a_line_is_known_to_be_too_long_before_it_ends() {
        let mut decoder = LineDecoder::new(MAX_LINE);
        decoder.push(b"12345678");
        assert_eq!(decoder.next_lines(), Err(TooLong { max_line: MAX_LINE }));
    }

    #[test]
    fn after_a_line_that_is_too_long_nothing_comes_out() {
        let mut decoder = LineDecoder::new(MAX_LINE);
        decoder.push(b"a\n123456789\nb\n");
        assert_eq!(decoder.next_lines(), Ok(Some(&b"a\n"[..])));
        assert!(decoder.next_lines().is_err());
        decoder.push(b"c\n");
        assert!(decoder.next_lines().is_err());
        assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn between_lines_no_memory_is_held() {
        let mut decoder = LineDecoder::new(MAX_LINE);
        decoder.push(b"a\nb\n");
        assert_eq!(decoder.next_lines(), Ok(Some(&b"a\nb\n"[..])));
        assert_eq!(decoder.next_lines(), Ok(None));
        assert_eq!(decoder.buffer.capacity(), 0);
    }
}
