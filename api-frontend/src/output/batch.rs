//! Records that one system call writes.

use std::{
    fs::File,
    io::{self, IoSlice},
};

use super::record::{HEADER_LEN, ROOM_MIN};

const ZEROS: [u8; ROOM_MIN as usize] = [0; ROOM_MIN as usize];

/// A record to be written.
pub(super) struct Planned {
    /// Zeros before it, to the end of a block.
    pub padding: usize,
    /// As it stands on disk.
    pub header: [u8; HEADER_LEN],
    /// Bytes of payload.
    pub length: usize,
}

/// What is written of records: before each one its padding, then header and payload.
pub(super) fn parts_of<'a>(batch: &'a [Planned], bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    batch
        .iter()
        .scan(bytes, |rest, planned| {
            let (payload, after) = rest.split_at(planned.length);
            *rest = after;
            Some([&ZEROS[..planned.padding], &planned.header, payload])
        })
        .flatten()
}

/// Writes all of the pieces, at this position of the file.
pub(super) fn write_all_at(file: &File, mut pieces: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match rustix::io::pwritev(file, pieces, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut pieces, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
