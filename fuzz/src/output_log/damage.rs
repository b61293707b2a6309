//! What can happen to the files of a log.
//!
//! The bytes that damage writes come from a seed, not from the input: an engine that watches comparisons would otherwise learn
//! to write right checksums, which is forgery and has a place of its own here.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::source::Noise;
use crate::{input::Input, tally};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Nothing: there was no file.
    None,
    /// Bytes are not what they were.
    Altered,
    /// Something was made up, with right checksums.
    Forged,
}

/// Bytes of a segment's header, and of a record's; both end or begin with a checksum of the rest.
const SEGMENT_HEADER: usize = 128;
const RECORD_HEADER: usize = 48;

/// A writer dies in the middle of a write: the last file is shorter, and perhaps ends in rubbish.
pub fn tear(segments: &[PathBuf], input: &mut Input<'_>) {
    let Some(last) = segments.last() else { return };
    let lost = input.length(40_000) as u64;
    let file = open(last);
    let length = file.metadata().expect("an open file").len();
    let left = length.saturating_sub(lost);
    file.set_len(left).expect("shortening");
    let rubbish = noise(input.length(400), input.byte());
    file.write_all_at(&rubbish, left).expect("writing");
    tally::add("tears", 1);
}

/// Alters files in any way.
pub fn alter(segments: &[PathBuf], input: &mut Input<'_>) -> Damage {
    let choice = input.below(12);
    let (one, other) = (file_of(segments, input), file_of(segments, input));
    let (Some(one), Some(other)) = (one, other) else { return Damage::None };
    tally::add("alterations", 1);
    let bytes = fs::read(one).expect("a segment");
    let at = input.place(bytes.len());
    match choice {
        0 => {
            if let Some(byte) = bytes.get(at) {
                write(one, at, &[byte ^ (1 << input.below(8))]);
            }
        }
        1 => write(one, at, &noise(input.length(9000), input.byte())),
        2 => write(one, at, &vec![0; input.length(300_000)]),
        3 => open(one).set_len(at as u64).expect("shortening"),
        4 => write(one, bytes.len(), &noise(input.length(9000), input.byte())),
        5 => {
            let length = input.length(bytes.len());
            let piece = &bytes[at..(at + length).min(bytes.len())];
            write(other, input.place(bytes.len()), piece);
        }
        6 => {
            let others = fs::read(other).expect("a segment");
            fs::write(one, others).expect("writing");
            fs::write(other, bytes).expect("writing");
        }
        7 => fs::write(other, bytes).expect("writing"),
        8 => fs::remove_file(one).expect("removing"),
        9 => {
            let names = ["00000000000000000000.seg", "99999999999999999999.seg", "zz.seg", ".seg", "0.seg"];
            fs::write(one.with_file_name(input.pick(&names)), bytes).expect("writing");
        }
        10 => {
            forge_segment(one, input);
            return Damage::Forged;
        }
        _ => {
            forge_record(one, at, input);
            return Damage::Forged;
        }
    }
    Damage::Altered
}

fn file_of<'a>(segments: &'a [PathBuf], input: &mut Input<'_>) -> Option<&'a Path> {
    let n = input.byte();
    (!segments.is_empty()).then(|| segments[usize::from(n) % segments.len()].as_path())
}

fn forge_segment(path: &Path, input: &mut Input<'_>) {
    let mut header = fs::read(path).expect("a segment");
    header.resize(SEGMENT_HEADER.max(header.len()), 0);
    header.truncate(SEGMENT_HEADER);
    let at = 8 * input.place((SEGMENT_HEADER - 8) / 8 - 1);
    header[at..at + 8].copy_from_slice(&number(input).to_le_bytes());
    let crc = crc32fast::hash(&header[..124]);
    header[124..].copy_from_slice(&crc.to_le_bytes());
    write(path, 0, &header);
}

fn forge_record(path: &Path, at: usize, input: &mut Input<'_>) {
    // At the place of the first record, of a block's first, or anywhere.
    let at = input.pick(&[SEGMENT_HEADER, at / (256 << 10) * (256 << 10), at]).max(SEGMENT_HEADER);
    let payload = noise(input.length(17_000), 0);
    let mut header = [0u8; RECORD_HEADER];
    header[4..8].copy_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[12..15].copy_from_slice(&input.array::<3>());
    for field in header[16..].chunks_exact_mut(8) {
        field.copy_from_slice(&number(input).to_le_bytes());
    }
    let crc = crc32fast::hash(&header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    write(path, at, &[&header[..], &payload].concat());
}

/// Small, or at a border.
fn number(input: &mut Input<'_>) -> u64 {
    match input.below(6) {
        0 => 0,
        1 => u64::MAX - u64::from(input.byte()),
        2 => (1 << 63) - 1 + u64::from(input.byte()),
        3 => u64::from(input.byte()),
        4 => input.below(1 << 16),
        _ => u64::from_le_bytes(input.array()),
    }
}

fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut rng = Noise::new(u64::from(seed) + 1000);
    (0..length).map(|_| rng.next() as u8).collect()
}

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).expect("a segment")
}

fn write(path: &Path, at: usize, bytes: &[u8]) {
    open(path).write_all_at(bytes, at as u64).expect("writing");
}
