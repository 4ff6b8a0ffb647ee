//! Frames in both directions, and how much of them waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use mesh_core::Channel;
use mesh_core::agent::{Allowance, LinkEnd, LinkFact, MEASURED_BYTES};
use tokio::sync::{Notify, mpsc};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::error::{Error, Result};

use super::pace::Pace;
use super::under_way::UnderWay;

/// Bytes waiting, in our queue and the data channels, at which a link is given up. It holds what
/// the mesh may hand over in one turn, a thousand of the largest frames, so only a driver which
/// goes on after [`LinkFact::Congested`] gets here.
pub(super) const BUFFERED_BYTES_MAX: usize = 24 * 1024 * 1024;

/// A link's data channels, by [`Channel`].
pub(super) type Channels = [Arc<dyn DataChannel>; Channel::ALL.len()];

/// What is known on both sides of a link's queues about the bytes in them.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Bytes ordered and not yet handed to a data channel.
    queued: AtomicUsize,
    /// Bytes in the data channels which the peer has not acknowledged, as last measured.
    outstanding: AtomicUsize,
    /// As many of them at which a congested link has drained.
    drained_at: AtomicUsize,
    congested: AtomicBool,
    overflowed: AtomicBool,
    closing: Notify,
}

impl Flow {
    /// Counts a frame to be sent; false if it is too much.
    pub(super) fn admit(&self, bytes: usize) -> bool {
        let queued = self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        queued + self.outstanding.load(Ordering::Relaxed) <= BUFFERED_BYTES_MAX
    }

    /// Ends the link, because its queue is full.
    pub(super) fn overflow(&self) {
        self.overflowed.store(true, Ordering::Release);
        self.close();
    }

    pub(super) fn close(&self) {
        self.closing.notify_one();
    }

    /// Resolves when the link is to end; true if its queue overflowed.
    pub(super) async fn closing(&self) -> bool {
        self.closing.notified().await;
        self.overflowed.load(Ordering::Acquire)
    }
}

/// Where a link's facts go.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    id: u64,
    sender: mpsc::Sender<(u64, LinkFact)>,
}

/// The agent's driver is gone: there is no one to work for.
#[derive(Debug)]
pub(super) struct Unheard;

impl Facts {
    pub(super) fn new(id: u64, sender: mpsc::Sender<(u64, LinkFact)>) -> Self {
        Self { id, sender }
    }

    pub(super) async fn send(&self, fact: LinkFact) -> std::result::Result<(), Unheard> {
        self.sender.send((self.id, fact)).await.map_err(|_| Unheard)
    }
}

/// The sending half of a link's traffic.
pub(super) struct Outbound {
    channels: Channels,
    flow: Arc<Flow>,
    facts: Facts,
    /// Bytes sent since the data channels were measured.
    unmeasured: usize,
    pace: Arc<Pace>,
    under_way: UnderWay,
    allowance: Allowance,
}

impl Outbound {
    pub(super) async fn new(
        channels: Channels,
        flow: Arc<Flow>,
        pace: Arc<Pace>,
        facts: Facts,
    ) -> Result<Self> {
        let outbound = Self {
            channels,
            flow,
            facts,
            unmeasured: 0,
            pace,
            under_way: UnderWay::new(Instant::now()),
            allowance: Allowance::UNMEASURED,
        };
        outbound.set_marks().await?;
        Ok(outbound)
    }

    /// Has the data channels tell when little waits in them.
    async fn set_marks(&self) -> Result<()> {
        let drained_at = self.allowance.drained_at();
        self.flow.drained_at.store(drained_at, Ordering::Release);
        for (id, channel) in Channel::ALL.into_iter().zip(&self.channels) {
            channel
                .set_buffered_amount_low_threshold(self.allowance.low_water_of(id))
                .await?;
        }
        Ok(())
    }

    pub(super) fn channels(&self) -> Channels {
        self.channels.clone()
    }

    /// Hands a frame to its data channel.
    pub(super) async fn transmit(&mut self, channel: Channel, frame: Bytes) -> Result<()> {
        let bytes = frame.len();
        self.flow.queued.fetch_sub(bytes, Ordering::Relaxed);
        self.unmeasured += bytes;
        self.under_way.sent(bytes);
        // The library encrypts in place: it needs the buffer for itself. A frame made for this
        // link is not shared, so this copies only those sent to many.
        let frame = frame
            .try_into_mut()
            .unwrap_or_else(|frame| BytesMut::from(&frame[..]));
        self.channels[usize::from(channel.id())].send(frame).await
    }

    /// Measures what waits, when enough was sent, and tells if it is too much.
    pub(super) async fn check(&mut self) -> std::result::Result<(), Unheard> {
        if self.unmeasured < MEASURED_BYTES {
            return Ok(());
        }
        self.unmeasured = 0;
        let outstanding = outstanding(&self.channels, &self.flow).await;
        let allowance =
            self.under_way
                .measured(outstanding, self.pace.round_trip(), Instant::now());
        if self.flow.congested.load(Ordering::Acquire) {
            return Ok(());
        }
        // Not while the link is congested: the channel would not tell of a mark that it is below.
        if allowance != std::mem::replace(&mut self.allowance, allowance)
            && let Err(error) = self.set_marks().await
        {
            tracing::trace!(%error, "the link is ending");
        }
        if outstanding < allowance.congested_at() {
            return Ok(());
        }
        self.facts.send(LinkFact::Congested).await?;
        self.flow.congested.store(true, Ordering::Release);
        // What drained before the flag was up was not reported by the receiving task.
        report_drained(&self.channels, &self.flow, &self.facts).await
    }

    /// Bytes not acknowledged yet.
    pub(super) async fn outstanding(&self) -> usize {
        outstanding(&self.channels, &self.flow).await
    }
}

/// Why receiving ended.
#[derive(Debug)]
pub(super) enum Received {
    /// The peer or the library closed the channels.
    Closed(LinkEnd),
    /// No one listens.
    Unheard,
}

impl From<Unheard> for Received {
    fn from(Unheard: Unheard) -> Self {
        Self::Unheard
    }
}

/// Passes on what the data channels report, until they close.
pub(super) async fn receive(
    channels: Channels,
    flow: Arc<Flow>,
    pace: Arc<Pace>,
    facts: Facts,
) -> Received {
    // Each channel opens before its first frame, and they open together: what follows on one
    // waits in its queue until we have seen the others open.
    for channel in &channels {
        match channel.poll().await {
            Some(DataChannelEvent::OnOpen) => {}
            _ => return Received::Closed(LinkEnd::Other("closed before it was open".to_owned())),
        }
    }
    pace.opened();
    match forward(&channels, &flow, &facts).await {
        Ok(end) => Received::Closed(end),
        Err(unheard) => unheard.into(),
    }
}

async fn forward(
    channels: &Channels,
    flow: &Flow,
    facts: &Facts,
) -> std::result::Result<LinkEnd, Unheard> {
    facts.send(LinkFact::Opened).await?;
    let mut polls = channels.each_ref().map(|channel| channel.poll());
    let closed = loop {
        let (channel, event) = next_event(channels, &mut polls).await;
        match event {
            Some(DataChannelEvent::OnMessage(message)) => {
                let frame = message.data.freeze();
                facts
                    .send(LinkFact::FrameReceived { channel, frame })
                    .await?;
            }
            Some(DataChannelEvent::OnBufferedAmountLow) => {
                report_drained(channels, flow, facts).await?;
            }
            Some(DataChannelEvent::OnClosing | DataChannelEvent::OnClose) => {
                break LinkEnd::ByPeer;
            }
            Some(DataChannelEvent::OnError) => {
                break LinkEnd::Other("a data channel failed".to_owned());
            }
            None => break LinkEnd::Other("the connection ended".to_owned()),
            Some(event) => tracing::trace!(?event, "data channel event"),
        }
    };
    // Frames of the other channels may have come before the end of this one.
    for (channel, poll) in Channel::ALL.into_iter().zip(polls) {
        let mut next = poll.now_or_never().flatten();
        while let Some(event) = next {
            if let DataChannelEvent::OnMessage(message) = event {
                let frame = message.data.freeze();
                facts
                    .send(LinkFact::FrameReceived { channel, frame })
                    .await?;
            }
            next = channels[usize::from(channel.id())]
                .poll()
                .now_or_never()
                .flatten();
        }
    }
    Ok(closed)
}

type EventPoll<'a> = Pin<Box<dyn Future<Output = Option<DataChannelEvent>> + Send + 'a>>;

/// The next event of any channel. The control channel goes first: its frames keep links alive.
async fn next_event<'a>(
    channels: &'a Channels,
    polls: &mut [EventPoll<'a>; Channel::ALL.len()],
) -> (Channel, Option<DataChannelEvent>) {
    std::future::poll_fn(|cx| {
        for (at, channel) in Channel::ALL.into_iter().enumerate() {
            if let Poll::Ready(event) = polls[at].as_mut().poll(cx) {
                polls[at] = channels[at].poll();
                return Poll::Ready((channel, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// Tells that a congested link has drained, if it has.
async fn report_drained(
    channels: &Channels,
    flow: &Flow,
    facts: &Facts,
) -> std::result::Result<(), Unheard> {
    let drained_at = flow.drained_at.load(Ordering::Acquire);
    let drained = outstanding(channels, flow).await <= drained_at;
    if drained && flow.congested.swap(false, Ordering::AcqRel) {
        facts.send(LinkFact::Drained).await?;
    }
    Ok(())
}

/// Measures what waits in the data channels. One that has closed has nothing waiting.
async fn outstanding(channels: &Channels, flow: &Flow) -> usize {
    let mut bytes = 0;
    for channel in channels {
        bytes += channel.outstanding_bytes().await.unwrap_or(0);
    }
    flow.outstanding.store(bytes, Ordering::Relaxed);
    bytes
}

/// Why a frame could not be sent.
pub(super) fn transmit_failure(error: &Error) -> LinkEnd {
    match error {
        Error::ErrDataChannelClosed => LinkEnd::ByPeer,
        error => LinkEnd::NotSent(error.to_string()),
    }
}
