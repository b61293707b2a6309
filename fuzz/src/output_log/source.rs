//! What the job writes: a byte is a function of its stream and its place there.

use std::sync::OnceLock;

use ipc_protocol::Stream;

/// Bytes that a stream can have.
const LENGTH: usize = 4 << 20;

/// The bytes of a stream from an offset on; `None` beyond its end.
pub fn written(stream: Stream, from: u64, length: usize) -> Option<&'static [u8]> {
    let from = usize::try_from(from).ok()?;
    SOURCES[stream as usize].get_or_init(|| noise(stream as u64 + 11)).get(from..)?.get(..length)
}

fn noise(seed: u64) -> Vec<u8> {
    let mut rng = Noise::new(seed);
    (0..LENGTH / 8).flat_map(|_| rng.next().to_le_bytes()).collect()
}

/// Numbers that look random and are the same for the same seed.
pub struct Noise(u64);

impl Noise {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

static SOURCES: [OnceLock<Vec<u8>>; 2] = [OnceLock::new(), OnceLock::new()];
