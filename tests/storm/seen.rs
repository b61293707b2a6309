//! What a reader of one job's output was given, piece by piece, and whether that can be.

use airlock_client::api;

use crate::script::Kept;

/// The reason of a gap that the job's own output made.
const LIMIT: &str = "output limit";

/// The output of one job as one reader saw it, from its beginning.
#[derive(Debug, Default)]
pub struct Seen {
    pieces: Vec<Piece>,
    gaps: Vec<(u64, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Piece {
    stream: usize,
    offset: u64,
    data: Vec<u8>,
}

impl Seen {
    /// A piece of output; the error says that it does not follow upon what came before.
    pub fn chunk(&mut self, chunk: &api::Chunk) -> Result<(), String> {
        if chunk.offset != self.next {
            return Err(format!("after {} comes offset {}", self.next, chunk.offset));
        }
        self.next += chunk.data.len() as u64;
        let stream = usize::from(chunk.stream() == api::Stream::Stderr);
        self.pieces.push(Piece { stream, offset: chunk.stream_offset, data: chunk.data.to_vec() });
        Ok(())
    }

    /// A marked gap; the error says that it does not follow, or is marked as a loss.
    pub fn gap(&mut self, gap: &api::Gap) -> Result<(), String> {
        if gap.from != self.next || gap.to <= gap.from || gap.reason != LIMIT {
            return Err(format!("after {} comes the gap {gap:?}", self.next));
        }
        self.next = gap.to;
        match self.gaps.last_mut().filter(|(_, to)| *to == gap.from) {
            // It grew while it was followed.
            Some((_, to)) => *to = gap.to,
            None => self.gaps.push((gap.from, gap.to)),
        }
        Ok(())
    }

    /// Bytes of output.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.data.len() as u64).sum()
    }

    /// Bytes in gaps.
    pub fn missing(&self) -> u64 {
        self.gaps.iter().map(|(from, to)| to - from).sum()
    }

    /// The offset behind the last byte.
    pub fn reached(&self) -> u64 {
        self.next
    }

    /// Every byte against the truth, at its place in its stream. What is `kept` of it may have gaps; without, and when the job
    /// `wrote_all`, nothing may be missing.
    pub fn compare(&self, truth: &[Vec<u8>; 2], wrote_all: bool, kept: Option<Kept>) -> Result<(), String> {
        let mut ends = [0; 2];
        for Piece { stream, offset, data } in &self.pieces {
            let (from, to) = (*offset, offset + data.len() as u64);
            let meant = usize::try_from(from).ok().zip(usize::try_from(to).ok());
            if meant.and_then(|(from, to)| truth[*stream].get(from..to)) != Some(data) {
                return Err(format!("bytes {from} to {to} of stream {} are not those that it wrote", stream + 1));
            }
            if from < ends[*stream] || kept.is_none() && from != ends[*stream] {
                return Err(format!("stream {} goes on at {from} after {}", stream + 1, ends[*stream]));
            }
            ends[*stream] = to;
        }
        let all: u64 = truth.iter().map(|stream| stream.len() as u64).sum();
        if self.next > all || wrote_all && self.next != all {
            return Err(format!("it ends at {}, the truth at {all}", self.next));
        }
        let is_at_end = |&(_, to): &(u64, u64)| to == self.next;
        match kept {
            None if !self.gaps.is_empty() => Err(format!("it has gaps: {:?}", self.gaps)),
            Some(Kept::Beginning) if self.gaps.len() != 1 || !self.gaps.iter().all(is_at_end) => {
                Err(format!("not the end alone is missing: {:?}", self.gaps))
            }
            Some(Kept::Ends) if self.gaps.iter().any(is_at_end) => {
                Err(format!("the newest is missing: {:?}", self.gaps))
            }
            _ => Ok(()),
        }
    }

    /// Whether no more was kept of it than may be, and not much less.
    pub fn is_bounded(&self) -> Result<(), String> {
        let kept = self.bytes();
        if (Kept::BYTES / 2..=Kept::BYTES).contains(&kept) {
            return Ok(());
        }
        Err(format!("{kept} bytes were kept, {} may be", Kept::BYTES))
    }
}
