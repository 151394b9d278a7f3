use crate::content::mix;

/// A line of the broadcast: who sent it, which of its lines it is, and when it was meant to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of the client that sent it; below 2^16.
    pub sender: u32,
    /// How many lines that client sent before it, modulo 2^24.
    pub sequence: u32,
    /// When it was meant to leave: microseconds since the start of the run, modulo 2^30.
    pub intended: u32,
}

impl Line {
    /// What [`Line::sender`] counts to.
    pub const SENDERS: u32 = 1 << 16;
    /// What [`Line::sequence`] counts to.
    pub const SEQUENCES: u32 = 1 << 24;
    /// What [`Line::intended`] counts to: 18 minutes.
    pub const MICROS: u32 = 1 << 30;
}

/// Writes lines as bytes and reads them back: printable ASCII of a fixed length, so that servers
/// that decode text can be measured too.
///
/// A line is 15 characters of 6 bits (sender 16, sequence 24, time 30, check 20), then filler
/// that follows from them, then `\n`. Every byte is checked on reading. The check depends on a
/// key: lines of another run, or of another kind, are no lines.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    key: u64,
    length: usize,
}

impl Codec {
    /// The shortest line, its `\n` included.
    pub const SHORTEST: usize = 16;

    /// A codec for lines of `length` bytes, at least [`Codec::SHORTEST`].
    pub fn new(key: u64, length: usize) -> Self {
        Self { key: mix(key), length: length.max(Self::SHORTEST) }
    }

    /// How long each line is in bytes, its `\n` included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Writes `line` to `bytes`, which must be [`Codec::length`] long.
    pub fn encode(&self, line: &Line, bytes: &mut [u8]) {
        let ([high, low], mut filler) = self.words(line);
        let (text, end) = bytes.split_at_mut(self.length - 1);
        text[..8].copy_from_slice(&high.to_be_bytes());
        text[8..15].copy_from_slice(&low.to_be_bytes()[..7]);
        let (whole, tail) = text[15..].as_chunks_mut();
        whole.fill_with(|| filler.next().to_be_bytes());
        tail.copy_from_slice(&filler.next().to_be_bytes()[..tail.len()]);
        end[0] = b'\n';
    }

    /// The line that `bytes` are, or nothing where they are not exactly what
    /// [`Codec::encode`] writes.
    pub fn decode(&self, bytes: &[u8]) -> Option<Line> {
        if bytes.len() != self.length {
            return None;
        }
        let (&first, rest) = bytes.split_first_chunk()?;
        let (&second, _) = rest.split_first_chunk()?;
        let [first, second] = [first, second].map(u64::from_be_bytes);
        // The last of these bytes stands behind the header, and may be no character.
        let (high, low) = (bits(first), bits(second & !0xff | 0x30));
        let line = Line {
            sender: (high >> 32) as u32 & (Line::SENDERS - 1),
            sequence: (high >> 8) as u32 & (Line::SEQUENCES - 1),
            intended: ((high & 0xff) << 22 | low >> 26) as u32,
        };
        // Written anew, the line must be the same: that covers every byte at once.
        let ([high, low], mut filler) = self.words(&line);
        let (text, end) = bytes.split_at(self.length - 1);
        let (whole, tail) = text[15..].as_chunks();
        let same = first == high
            && second >> 8 == low >> 8
            && whole.iter().all(|chunk| u64::from_be_bytes(*chunk) == filler.next())
            && tail.iter().eq(&filler.next().to_be_bytes()[..tail.len()])
            && end == b"\n";
        same.then_some(line)
    }

    /// The first fifteen characters, which say everything, as the upper bytes of two words; and
    /// the filler that follows from them.
    fn words(&self, line: &Line) -> ([u64; 2], Filler) {
        let high = u64::from(line.sender) << 32
            | u64::from(line.sequence) << 8
            | u64::from(line.intended >> 22);
        let low = u64::from(line.intended & 0x3f_ffff);
        let check = mix(self.key ^ high ^ low << 42);
        let low = low << 26 | check >> 44 << 6;
        ([characters(high), characters(low)], Filler { state: check })
    }
}

/// What stands between the header and the end of a line, eight characters at a time.
struct Filler {
    state: u64,
}

impl Filler {
    fn next(&mut self) -> u64 {
        self.state = self.state.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        characters(self.state)
    }
}

/// The lowest 48 bits of `bits` as eight characters from `0` to `o`, six bits each, the highest
/// first: a word whose uppermost byte is the first character.
fn characters(bits: u64) -> u64 {
    let x = bits;
    let x = x & 0xff_ffff | (x & 0xffff_ff00_0000) << 8;
    let x = x & 0x0000_0fff_0000_0fff | (x & 0x00ff_f000_00ff_f000) << 4;
    let x = x & 0x003f_003f_003f_003f | (x & 0x0fc0_0fc0_0fc0_0fc0) << 2;
    x + 0x3030_3030_3030_3030
}

/// Undoes [`characters`]; what it makes of other characters is of no use.
fn bits(characters: u64) -> u64 {
    let x = characters.wrapping_sub(0x3030_3030_3030_3030);
    let x = x & 0x003f_003f_003f_003f | (x >> 2) & 0x0fc0_0fc0_0fc0_0fc0;
    let x = x & 0x0000_0fff_0000_0fff | (x >> 4) & 0x00ff_f000_00ff_f000;
    x & 0xff_ffff | (x >> 8) & 0xffff_ff00_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_line() -> Line {
        Line {
            sender: fastrand::u32(..Line::SENDERS),
            sequence: fastrand::u32(..Line::SEQUENCES),
            intended: fastrand::u32(..Line::MICROS),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for length in [16, 17, 23, 24, 32, 64, 1000] {
            let codec = Codec::new(5, length);
            for _ in 0..500 {
                let line = any_line();
                let mut bytes = vec![0; length];
                codec.encode(&line, &mut bytes);
                assert_eq!(codec.decode(&bytes), Some(line));
            }
        }
    }

    /// One line of a quarter of a million ends its header in `000`: what is no character comes after
    /// it, and must not matter.
    #[test]
    fn no_line_is_rare_enough_to_be_misread() {
        let codec = Codec::new(5, Codec::SHORTEST);
        let mut bytes = [0; Codec::SHORTEST];
        let mut rare = 0;
        for sequence in 0..1 << 23 {
            let line = Line { sequence, ..any_line() };
            codec.encode(&line, &mut bytes);
            rare += u32::from(bytes[12..15] == *b"000");
            assert_eq!(codec.decode(&bytes), Some(line));
        }
        assert!(rare > 0);
    }

    #[test]
    fn a_line_is_printable_and_ends_where_it_should() {
        let mut bytes = [0; 32];
        Codec::new(5, 32).encode(&any_line(), &mut bytes);
        assert!(bytes[..31].iter().all(u8::is_ascii_graphic));
        assert_eq!(bytes[31], b'\n');
    }

    #[test]
    fn one_wrong_byte_anywhere_makes_it_no_line() {
        for length in [16, 32, 100] {
            let codec = Codec::new(5, length);
            let mut bytes = vec![0; length];
            codec.encode(&any_line(), &mut bytes);
            for index in 0..length {
                for bit in 0..8 {
                    bytes[index] ^= 1 << bit;
                    assert_eq!(codec.decode(&bytes), None, "byte {index}, bit {bit}");
                    bytes[index] ^= 1 << bit;
                }
            }
            assert_eq!(codec.decode(&bytes[..length - 1]), None);
            assert_eq!(codec.decode(b""), None);
        }
    }

    #[test]
    fn lines_of_another_run_are_no_lines() {
        let mut bytes = [0; 32];
        Codec::new(5, 32).encode(&any_line(), &mut bytes);
        assert_eq!(Codec::new(6, 32).decode(&bytes), None);
    }
}
