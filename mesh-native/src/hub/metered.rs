//! A client's connection that counts what was read of a text that has not ended: it waits in
//! memory, and a client may take its time with the rest.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::queue::Total;

/// Bytes that all clients may have begun and not ended: of 1,000 clients the longest texts.
const BYTES_OF_ALL: usize = 64 * 1024 * 1024;

/// When all clients together have too many, one with fewer than these is spared: an offer with its
/// candidates has 1 to 4 KiB.
const BYTES_OF_NO_CAUSE: usize = 4 * 1024;

/// The head of a short frame of a client (RFC 6455, 5.2).
const HEAD_BYTES: usize = 6;

/// The connection.
#[derive(Debug)]
pub(super) struct Metered {
    stream: TcpStream,
    /// Bytes of a text that has not ended, or of a few control frames.
    unfinished: usize,
    /// Those of all clients.
    total: Total,
}

impl Metered {
    pub(super) fn new(stream: TcpStream, total: Total) -> Self {
        let unfinished = 0;
        Self {
            stream,
            unfinished,
            total,
        }
    }

    /// A text has ended.
    pub(super) fn text_ended(&mut self) {
        self.release(self.unfinished);
    }

    /// A control frame has, with so many bytes; it may have come in the middle of a text.
    pub(super) fn control_ended(&mut self, bytes: usize) {
        self.release(self.unfinished.min(HEAD_BYTES + bytes));
    }

    fn release(&mut self, bytes: usize) {
        self.unfinished -= bytes;
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn count(&mut self, bytes: usize) -> io::Result<()> {
        self.unfinished += bytes;
        let all = self.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > BYTES_OF_ALL && self.unfinished > BYTES_OF_NO_CAUSE {
            let message = "clients have begun too many long texts and not ended them";
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, message));
        }
        Ok(())
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.release(self.unfinished);
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(self.count(read)),
            polled => polled,
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection of which nothing is read.
    async fn metered(total: &Total) -> Metered {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(address).await.expect("connects");
        Metered::new(stream, Total::clone(total))
    }

    #[tokio::test]
    async fn clients_with_long_unfinished_texts_are_refused_when_there_are_too_many() {
        let total = Total::default();
        let (mut idle, mut greedy) = (metered(&total).await, metered(&total).await);
        greedy.count(BYTES_OF_ALL).expect("room");
        idle.count(BYTES_OF_NO_CAUSE).expect("spared");
        assert!(idle.count(1).is_err());
        assert!(greedy.count(1).is_err());
        greedy.control_ended(10);
        assert_eq!(
            total.load(Ordering::Relaxed),
            BYTES_OF_ALL + BYTES_OF_NO_CAUSE + 2 - HEAD_BYTES - 10
        );
        greedy.text_ended();
        idle.count(BYTES_OF_ALL / 2).expect("room again");
        drop((idle, greedy));
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }
}
