//! What carries a socket's datagrams to TURN servers on streams, and theirs back.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::channel::mpsc as slim;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::framing::{Deframer, frame};
use super::{StreamServer, Streams};

/// Bytes that may wait to be sent on one stream. A link has 64 KiB under way, its peer's receive
/// buffer; twice that leaves room for headers and for what is sent again. What is more is lost, as
/// a datagram is in a full queue of a router.
const QUEUE_BYTES_MAX: usize = 128 * 1024;

/// Datagrams of at least this size fill the queue first: there are no more than so many in it.
const QUEUE_MAX: usize = 1_024;

/// Datagrams from all streams of a socket that may wait for the link. Then the streams are read no
/// more, and the server is held up by TCP.
const RECEIVED_MAX: usize = 256;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// How long a write may make no progress. The mesh has given up the link long before.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait before a stream is opened again, at first and at most. An allocation ends with its
/// stream: what comes after is a new one, of a link that tries again.
const RECONNECT_MIN: Duration = Duration::from_secs(1);
const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// A datagram, and the stand-in of the server that it comes from.
type Received = (SocketAddr, Bytes);

/// The streams of one socket of a link. They end with it.
pub(in crate::link) struct SocketStreams {
    streams: Arc<Streams>,
    /// The address that they leave from; none if the system may choose.
    from: Option<IpAddr>,
    carriers: Mutex<BTreeMap<SocketAddr, Carrier>>,
    /// Of a kind that allocates little before it is used, for most links never do.
    received: Mutex<slim::Receiver<Received>>,
    receiving: slim::Sender<Received>,
}

impl SocketStreams {
    /// None is opened before something is to be sent on it.
    pub(in crate::link) fn new(streams: Arc<Streams>, local: IpAddr) -> Self {
        let (receiving, received) = slim::channel(RECEIVED_MAX);
        Self {
            streams,
            from: (!local.is_unspecified()).then_some(local),
            carriers: Mutex::default(),
            received: Mutex::new(received),
            receiving,
        }
    }

    /// Takes a datagram to the stand-in of a server; false if it is for another address.
    pub(in crate::link) fn send(&self, to: SocketAddr, datagram: &[u8]) -> bool {
        if !super::is_stand_in(to.ip()) {
            return false;
        }
        let mut carriers = self.carriers.lock().unwrap_or_else(PoisonError::into_inner);
        let carrier = match carriers.get(&to) {
            Some(carrier) => carrier,
            None => {
                let Some(server) = self.streams.behind(to) else {
                    return true; // To no one: peers have no such addresses.
                };
                carriers.entry(to).or_insert(self.start(server, to))
            }
        };
        carrier.send(datagram);
        true
    }

    fn start(&self, server: StreamServer, stand_in: SocketAddr) -> Carrier {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let queued = Arc::new(AtomicUsize::new(0));
        let carrying = Carrying {
            server,
            stand_in,
            streams: Arc::clone(&self.streams),
            from: self.from,
            waiting,
            queued: Arc::clone(&queued),
            receiving: self.receiving.clone(),
        };
        let task = tokio::spawn(carrying.run()).abort_handle();
        Carrier {
            queue,
            queued,
            task,
        }
    }

    /// The next datagram from a server, copied to the start of `buffer`, with its length.
    pub(in crate::link) fn poll(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<(usize, SocketAddr)> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let next = std::task::ready!(received.poll_next_unpin(context));
        let Some((from, datagram)) = next else {
            return Poll::Pending; // This end has a sender too, so there is no end.
        };
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Poll::Ready((len, from))
    }
}

impl fmt::Debug for SocketStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketStreams")
            .field("streams", &self.streams)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// The socket's end of one stream.
struct Carrier {
    queue: mpsc::Sender<Bytes>,
    queued: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Carrier {
    fn send(&self, datagram: &[u8]) {
        let len = datagram.len();
        if self.queued.fetch_add(len, Ordering::Relaxed) + len <= QUEUE_BYTES_MAX
            && self
                .queue
                .try_send(Bytes::copy_from_slice(datagram))
                .is_ok()
        {
            return;
        }
        self.queued.fetch_sub(len, Ordering::Relaxed);
        tracing::trace!(len, "datagram lost: the queue of its stream is full");
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // The server ends an allocation with its stream.
        self.task.abort();
    }
}

/// The task of one stream.
struct Carrying {
    server: StreamServer,
    stand_in: SocketAddr,
    streams: Arc<Streams>,
    from: Option<IpAddr>,
    waiting: mpsc::Receiver<Bytes>,
    queued: Arc<AtomicUsize>,
    receiving: slim::Sender<Received>,
}

impl Carrying {
    /// Opens the stream when there is something to send, and again after it has broken.
    async fn run(mut self) {
        let mut pause = RECONNECT_MIN;
        while let Some(first) = self.waiting.recv().await {
            let streams = Arc::clone(&self.streams);
            let settings = streams.settings();
            let trouble = match self.server.connect(settings, self.from).await {
                Ok(stream) => {
                    pause = RECONNECT_MIN;
                    self.carry(stream, first).await
                }
                Err(trouble) => {
                    self.dequeued(&first);
                    trouble
                }
            };
            settings.tell(&format!("{}: {trouble}", self.server));
            sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_MAX);
            // What has waited so long is sent again if it still matters.
            while let Ok(late) = self.waiting.try_recv() {
                self.dequeued(&late);
            }
        }
    }

    fn dequeued(&self, datagram: &Bytes) {
        self.queued.fetch_sub(datagram.len(), Ordering::Relaxed);
    }

    /// Carries datagrams both ways until the stream breaks; returns why.
    async fn carry(&mut self, stream: impl AsyncRead + AsyncWrite, first: Bytes) -> String {
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            trouble = read(reader, self.stand_in, &mut self.receiving) => trouble,
            trouble = write(writer, first, &mut self.waiting, &self.queued) => trouble,
        }
    }
}

/// Hands over what the server sends.
async fn read(
    mut reader: impl AsyncRead + Unpin,
    stand_in: SocketAddr,
    receiving: &mut slim::Sender<Received>,
) -> String {
    let mut deframer = Deframer::default();
    loop {
        deframer.buffer().reserve(READ_BYTES);
        match reader.read_buf(deframer.buffer()).await {
            Ok(0) => return "the server has closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
        loop {
            match deframer.next() {
                Ok(Some(datagram)) => {
                    // There is a receiver as long as there is the task.
                    let _ = receiving.send((stand_in, datagram)).await;
                }
                Ok(None) => break,
                Err(_) => return "what answers is no TURN server".to_owned(),
            }
        }
    }
}

/// Sends what waits, each datagram by itself: what comes in one piece a server passes on in one,
/// and of 64 KiB that the other relay got at once, coturn lost some. A request that the stack
/// repeats while the stream opens is sent once.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    first: Bytes,
    waiting: &mut mpsc::Receiver<Bytes>,
    queued: &AtomicUsize,
) -> String {
    let mut before = Bytes::new();
    let mut stream = BytesMut::new();
    let mut next = Some(first);
    while let Some(datagram) = next {
        queued.fetch_sub(datagram.len(), Ordering::Relaxed);
        if before != datagram && !frame(&datagram, &mut stream) {
            tracing::debug!(len = datagram.len(), "datagram lost: it is none of TURN");
        }
        before = datagram;
        let written = async {
            writer.write_all_buf(&mut stream).await?;
            writer.flush().await
        };
        match timeout(STALL_TIMEOUT, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("nothing could be sent for {STALL_TIMEOUT:?}"),
        }
        next = waiting.recv().await;
    }
    "the link has ended".to_owned()
}
