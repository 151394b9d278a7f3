use std::ops::Range;

use memchr::memmem;

use crate::Fault;

/// The bytes that one connection sends and wants back: a pure function of the seed, the
/// connection and the position, so that nothing has to be kept to check what arrives.
///
/// No stretch of it is found anywhere else, in this connection or another. What arrives in the
/// wrong place therefore tells where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    key: u64,
}

/// What is wrong with bytes that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What happened to them.
    pub fault: Fault,
    /// How many bytes are missing, too many or out of place; 1 where that cannot be told.
    pub count: u64,
    /// The position of the first wrong byte.
    pub position: u64,
}

impl Content {
    /// How far from its place a stretch of bytes is looked for.
    const REACH: u64 = 64 * 1024;
    /// How many bytes are enough to know a place by.
    const SAMPLE: usize = 16;

    /// The content of connection number `connection` in the run with this seed.
    pub fn new(seed: u64, connection: usize) -> Self {
        Self { key: mix(seed ^ mix(connection as u64)) }
    }

    /// Fills `bytes` with the content from `position` on.
    pub fn fill(&self, position: u64, mut bytes: &mut [u8]) {
        let mut word = position / 8;
        let into_word = (position % 8) as usize;
        if into_word > 0 {
            let head = &self.word(word)[into_word..];
            let (start, rest) = bytes.split_at_mut(head.len().min(bytes.len()));
            start.copy_from_slice(&head[..start.len()]);
            bytes = rest;
            word += 1;
        }
        let (whole, tail) = bytes.as_chunks_mut();
        for chunk in whole {
            *chunk = self.word(word);
            word += 1;
        }
        tail.copy_from_slice(&self.word(word)[..tail.len()]);
    }

    /// The index of the first of `bytes` that is not the content from `position` on.
    pub fn first_difference(&self, position: u64, bytes: &[u8]) -> Option<usize> {
        let mut wanted = [0; 64];
        let mut position = position;
        for (index, got) in bytes.chunks(wanted.len()).enumerate() {
            let want = &mut wanted[..got.len()];
            self.fill(position, want);
            if want != got {
                let within = want.iter().zip(got).position(|(want, got)| want != got)?;
                return Some(index * wanted.len() + within);
            }
            position += got.len() as u64;
        }
        None
    }

    /// Says what happened to `bytes`, the first of which should be that at `position` and is not.
    /// `others` are the contents of the other connections and where they are at the moment.
    pub fn diagnose(
        &self,
        position: u64,
        bytes: &[u8],
        others: impl Iterator<Item = (Content, Range<u64>)>,
    ) -> Mismatch {
        let (fault, count) = self.find(position, bytes, others).unwrap_or((Fault::Corrupted, 1));
        Mismatch { fault, count, position }
    }

    fn find(
        &self,
        position: u64,
        bytes: &[u8],
        mut others: impl Iterator<Item = (Content, Range<u64>)>,
    ) -> Option<(Fault, u64)> {
        let sample = &bytes[..bytes.len().min(Self::SAMPLE)];
        // A few bytes know only their neighbours: further away, others look the same.
        let reach = if sample.len() < 4 { sample.len() as u64 } else { Self::REACH };
        for distance in 1..=reach {
            if self.is_at(position + distance, sample) {
                let mut skipped = [0; Self::SAMPLE];
                let skipped = &mut skipped[..Self::SAMPLE.min(distance as usize)];
                self.fill(position, skipped);
                let comes_later = skipped.len() >= 4 && memmem::find(bytes, skipped).is_some();
                return Some(if comes_later {
                    (Fault::Reordered, distance)
                } else {
                    (Fault::Lost, distance)
                });
            }
            if distance <= position && self.is_at(position - distance, sample) {
                return Some((Fault::Duplicated, distance));
            }
        }
        (sample.len() >= 4
            && others.any(|(other, mut range)| range.any(|place| other.is_at(place, sample))))
        .then_some((Fault::Misdelivered, 1))
    }

    fn is_at(&self, position: u64, sample: &[u8]) -> bool {
        self.first_difference(position, sample).is_none()
    }

    fn word(&self, index: u64) -> [u8; 8] {
        mix(self.key.wrapping_add(index)).to_le_bytes()
    }
}

/// Mixes the bits of `value` so that neighbours have nothing in common (the step of `SplitMix64`).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `connection` sends from `range`.
    fn bytes(connection: usize, range: Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        Content::new(1, connection).fill(range.start, &mut bytes);
        bytes
    }

    /// What is made of `arrived`, which should be what connection 7 sent from `position` on.
    fn diagnosis(position: u64, arrived: &[u8]) -> Option<Mismatch> {
        let content = Content::new(1, 7);
        let first = content.first_difference(position, arrived)?;
        let others = [(Content::new(1, 3), 0..4096), (Content::new(1, 8), 0..4096)];
        Some(content.diagnose(position + first as u64, &arrived[first..], others.into_iter()))
    }

    fn mismatch(fault: Fault, count: u64, position: u64) -> Option<Mismatch> {
        Some(Mismatch { fault, count, position })
    }

    #[test]
    fn content_is_the_same_however_it_is_cut() {
        let whole = bytes(7, 0..5000);
        for _ in 0..200 {
            let start = fastrand::u64(0..4990);
            let end = fastrand::u64(start..5000);
            let part = &whole[start as usize..end as usize];
            assert_eq!(bytes(7, start..end), part);
            assert_eq!(Content::new(1, 7).first_difference(start, part), None);
        }
    }

    #[test]
    fn the_first_wrong_byte_is_found_wherever_it_is() {
        for wrong in [0, 1, 7, 8, 511, 512, 1023, 2999] {
            let mut arrived = bytes(7, 11..3011);
            arrived[wrong] ^= 0x20;
            assert_eq!(Content::new(1, 7).first_difference(11, &arrived), Some(wrong));
        }
    }

    #[test]
    fn lost_bytes_are_counted() {
        let arrived = [bytes(7, 64..100), bytes(7, 101..160)].concat();
        assert_eq!(diagnosis(64, &arrived), mismatch(Fault::Lost, 1, 100));
        assert_eq!(diagnosis(64, &bytes(7, 4160..4200)), mismatch(Fault::Lost, 4096, 64));
    }

    #[test]
    fn duplicated_bytes_are_counted() {
        let arrived = [bytes(7, 64..100), bytes(7, 99..160)].concat();
        assert_eq!(diagnosis(64, &arrived), mismatch(Fault::Duplicated, 1, 100));
    }

    #[test]
    fn one_byte_too_many_at_the_end_is_a_duplicate() {
        let arrived = [bytes(7, 64..128), bytes(7, 127..128)].concat();
        assert_eq!(diagnosis(64, &arrived), mismatch(Fault::Duplicated, 1, 128));
    }

    #[test]
    fn bytes_that_come_in_another_order_are_not_called_lost() {
        let arrived = [bytes(7, 96..128), bytes(7, 64..96)].concat();
        assert_eq!(diagnosis(64, &arrived), mismatch(Fault::Reordered, 32, 64));
    }

    #[test]
    fn bytes_of_another_connection_are_known() {
        assert_eq!(diagnosis(64, &bytes(8, 64..128)), mismatch(Fault::Misdelivered, 1, 64));
    }

    #[test]
    fn a_flipped_bit_is_corruption() {
        let mut arrived = bytes(7, 64..128);
        arrived[5] ^= 1;
        assert_eq!(diagnosis(64, &arrived), mismatch(Fault::Corrupted, 1, 69));
    }
}
