//! Bytes of a response that lie in several places and are sent from there.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// A row of byte strings that reads as one. What is put in is shared, never copied: output goes to the connection from the
/// buffer that it was read into, however many followers it goes to.
#[derive(Debug, Default)]
pub struct Pieces {
    /// None of them is empty.
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Pieces {
    /// Puts bytes at the end.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Bytes of all pieces together.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(bytes);
        pieces
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let filled = dst.len().min(self.pieces.len());
        for (slice, piece) in dst.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.length, "advanced by {count} bytes of {}", self.length);
        self.length -= count;
        while let Some(first) = self.pieces.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_read_as_the_one_string_that_they_are(
            strings in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10),
            steps in proptest::collection::vec(1usize..40, 0..40),
        ) {
            let whole: Vec<u8> = strings.concat();
            let mut pieces = Pieces::default();
            strings.into_iter().for_each(|string| pieces.push(string.into()));
            let mut read = Vec::new();
            let mut steps = steps.into_iter().chain(std::iter::repeat(7));
            while pieces.has_remaining() {
                prop_assert_eq!(pieces.remaining(), whole.len() - read.len());
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = pieces.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(!seen.is_empty() && whole[read.len()..].starts_with(&seen));
                let step = steps.next().unwrap_or(1).min(seen.len());
                read.extend_from_slice(&seen[..step]);
                pieces.advance(step);
            }
            prop_assert_eq!(read, whole);
            prop_assert!(pieces.chunk().is_empty());
        }
    }
}
