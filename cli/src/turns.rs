//! A connection that is read in turns.
//!
//! Whoever reads a connection would go on for as long as the network brings something, and hold all of it until whoever wants
//! it has a turn: up to the whole window, in memory that is taken and given back, and long out of the processor's caches when it
//! is looked at. After so many bytes the others therefore have their turn.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// The TLS library asks for 4 KiB at a time; this is what is asked of the kernel instead, in bytes.
const READ: usize = 128 << 10;
/// Bytes of one turn.
const TURN: usize = 256 << 10;

/// Reads from `T` in turns; writes as `T` does.
#[derive(Debug)]
pub(crate) struct InTurns<T> {
    stream: BufReader<T>,
    left: usize,
}

impl<T: AsyncRead> InTurns<T> {
    pub(crate) fn new(stream: T) -> Self {
        InTurns { stream: BufReader::with_capacity(READ, stream), left: TURN }
    }

    pub(crate) fn get_ref(&self) -> &T {
        self.stream.get_ref()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for InTurns<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.left = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        // Whoever waits for the network has given everybody a turn.
        self.left = if read.is_pending() { TURN } else { self.left.saturating_sub(into.filled().len() - before) };
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for InTurns<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, future::poll_fn, rc::Rc};
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn who_reads_much_lets_others_have_a_turn_and_gets_every_byte() {
        let bytes: Vec<u8> = (0..5 * TURN).map(|n| (n % 251) as u8).collect();
        let (turns, read) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let reading = async {
            let mut whole = Vec::new();
            InTurns::new(bytes.as_slice()).read_to_end(&mut whole).await.unwrap();
            read.set(true);
            whole
        };
        let other = poll_fn(|cx| {
            turns.set(turns.get() + 1);
            cx.waker().wake_by_ref();
            if read.get() { Poll::Ready(()) } else { Poll::Pending }
        });
        let (whole, ()) = tokio::join!(reading, other);
        assert!(whole == bytes && turns.get() >= 5, "{} turns", turns.get());
    }
}
