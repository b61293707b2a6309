//! SHA-256 of what passes by.

use std::io::Read;

use sha2::{Digest, Sha256};

/// The SHA-256 of bytes at hand, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Hashes a stream without keeping it, as slowly as its maker wants.
#[derive(Debug)]
pub struct Sha256Reader<R> {
    source: R,
}

impl<R: Read> Sha256Reader<R> {
    /// Takes the stream over.
    pub fn new(source: R) -> Self {
        Self { source }
    }

    /// Reads to the end; `pause` is called with each block's length before the next read. Returns the count and the digest.
    pub fn finish(mut self, mut pause: impl FnMut(usize)) -> (u64, String) {
        let mut hasher = Sha256::new();
        let mut block = vec![0; 64 * 1024];
        let mut count = 0;
        loop {
            let length = match self.source.read(&mut block) {
                Ok(0) => return (count, hexadecimal(&hasher.finalize())),
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("reading a stream to be hashed failed after {count} bytes: {error}"),
            };
            hasher.update(&block[..length]);
            count += length as u64;
            pause(length);
        }
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
