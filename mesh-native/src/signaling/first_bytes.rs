//! A connection whose first bytes are remembered: they tell what a server is that is no hub.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes remembered: the first line of an answer.
const REMEMBERED: usize = 80;

/// The first types of a TLS record: from change-cipher-spec to application data (RFC 8446, 5.1).
const TLS_RECORDS: std::ops::RangeInclusive<u8> = 20..=23;

/// What the other end said first.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstBytes(Arc<OnceLock<Vec<u8>>>);

impl FirstBytes {
    /// Whether it speaks TLS; nothing if it has not spoken.
    pub(super) fn are_tls(&self) -> Option<bool> {
        let bytes = self.0.get()?;
        let version = bytes.get(1).is_none_or(|&major| major == 3);
        Some(TLS_RECORDS.contains(bytes.first()?) && version)
    }

    /// Its first line, for people.
    pub(super) fn line(&self) -> String {
        let bytes = self.0.get().map_or(&[][..], Vec::as_slice);
        let line = bytes.split(|&byte| byte == b'\n').next();
        String::from_utf8_lossy(line.unwrap_or_default())
            .trim_end()
            .to_owned()
    }
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Listening {
    stream: TcpStream,
    first: FirstBytes,
}

impl Listening {
    pub(super) fn new(stream: TcpStream) -> (Self, FirstBytes) {
        let first = FirstBytes::default();
        let listening = Self {
            stream,
            first: first.clone(),
        };
        (listening, first)
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = &buffer.filled()[before..];
        if !read.is_empty() && self.first.0.get().is_none() {
            let read = &read[..read.len().min(REMEMBERED)];
            let _ = self.first.0.set(read.to_vec()); // There is one reader.
        }
        polled
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
