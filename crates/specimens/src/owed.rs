use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// What a client is to be sent. Clients who are owed the same line share its bytes.
#[derive(Clone, Default)]
pub struct Owed {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Owed {
    pub fn push(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        self.chunks.push_back(chunk);
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// As many of the next bytes as one write should take.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        self.chunks.iter().take(64).map(|chunk| IoSlice::new(chunk)).collect()
    }

    /// The next byte, if there is one.
    pub fn first_byte(&self) -> &[u8] {
        let filled = self.chunks.iter().find(|chunk| !chunk.is_empty());
        filled.map_or(&[], |chunk| &chunk[..1])
    }

    /// So many bytes were sent.
    pub fn advance(&mut self, mut sent: usize) {
        self.len -= sent;
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.len() > sent {
                return chunk.advance(sent);
            }
            sent -= chunk.len();
            self.chunks.pop_front();
        }
        // An idle client costs no memory here.
        self.chunks = VecDeque::new();
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
