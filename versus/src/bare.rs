//! Pairs without a mesh: our links alone, and `webrtc` as it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use mesh_native::pairs::Pairs;
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
};

use crate::trial::{Figures, Mesh, PEERS, Sink};

/// How long a connection may take.
const OPENING: Duration = Duration::from_secs(60);

/// Every two peers, the lower first.
fn couples() -> impl Iterator<Item = (usize, usize)> {
    (0..PEERS).flat_map(|higher| (0..higher).map(move |lower| (lower, higher)))
}

/// Our links alone: the settings, runtime and tasks of the mesh, and nothing of the mesh itself.
pub struct Links {
    pairs: Pairs,
    /// The number of each end.
    ends: BTreeMap<(usize, usize), usize>,
}

#[async_trait::async_trait]
impl Mesh for Links {
    async fn open(sink: &'static Sink) -> anyhow::Result<Self> {
        let received = |frame: Bytes| sink.received(&frame);
        let pairs = Pairs::open(couples().count(), received).await;
        let numbered = couples().enumerate();
        let ends = numbered.flat_map(|(n, (a, b))| [((a, b), 2 * n), ((b, a), 2 * n + 1)]);
        Ok(Self {
            pairs: pairs.map_err(anyhow::Error::msg)?,
            ends: ends.collect(),
        })
    }

    async fn send(&self, from: usize, to: usize, payload: Vec<u8>) -> anyhow::Result<()> {
        self.pairs
            .send(self.ends[&(from, to)], payload.into())
            .await;
        Ok(())
    }
}

/// Opens links, and measures no more than that.
pub async fn form(links: usize) -> anyhow::Result<Figures> {
    let started = Instant::now();
    let _pairs = Pairs::open(links, drop).await.map_err(anyhow::Error::msg)?;
    Ok(Figures {
        open_s: started.elapsed().as_secs_f64(),
        ..Figures::default()
    })
}

/// `webrtc` as it comes: no setting touched but the address, candidates inside the descriptions.
pub struct Webrtc {
    channels: BTreeMap<(usize, usize), Arc<dyn DataChannel>>,
    _connections: Vec<Arc<dyn PeerConnection>>,
}

#[async_trait::async_trait]
impl Mesh for Webrtc {
    async fn open(sink: &'static Sink) -> anyhow::Result<Self> {
        let opening = couples().map(|(a, b)| async move {
            let opened = tokio::spawn(tokio::time::timeout(OPENING, couple(sink)));
            let (connections, channels) = opened.await?.context("not open in time")??;
            let [ours, theirs] = channels;
            anyhow::Ok((connections, [((a, b), ours), ((b, a), theirs)]))
        });
        let opened = try_join_all(opening).await?;
        let (connections, channels): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        Ok(Self {
            channels: channels.into_iter().flatten().collect(),
            _connections: connections.into_iter().flatten().collect(),
        })
    }

    async fn send(&self, from: usize, to: usize, payload: Vec<u8>) -> anyhow::Result<()> {
        let payload = BytesMut::from(&payload[..]);
        self.channels[&(from, to)].send(payload).await?;
        Ok(())
    }
}

type Couple = ([Arc<dyn PeerConnection>; 2], [Arc<dyn DataChannel>; 2]);

/// Two connections with each other, and an open channel.
async fn couple(sink: &'static Sink) -> anyhow::Result<Couple> {
    let (offerer, mut ours) = connection().await?;
    let (answerer, mut theirs) = connection().await?;
    let channel = offerer.create_data_channel("data", None).await?;
    let offer = offerer.create_offer(None).await?;
    offerer.set_local_description(offer).await?;
    ours.gathered.recv().await;
    let offer = offerer.local_description().await.context("an offer")?;
    answerer.set_remote_description(offer).await?;
    let answer = answerer.create_answer(None).await?;
    answerer.set_local_description(answer).await?;
    theirs.gathered.recv().await;
    let answer = answerer.local_description().await.context("an answer")?;
    offerer.set_remote_description(answer).await?;
    let theirs = theirs.channels.recv().await.context("a channel")?;
    let mut opened = [&channel, &theirs].map(|channel| pump(Arc::clone(channel), sink));
    for opened in &mut opened {
        opened.recv().await.context("the channel closed")?;
    }
    Ok(([offerer, answerer], [channel, theirs]))
}

/// Hands over what arrives; tells when the channel is open.
fn pump(channel: Arc<dyn DataChannel>, sink: &'static Sink) -> mpsc::Receiver<()> {
    let (opened, opens) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(event) = channel.poll().await {
            match event {
                DataChannelEvent::OnOpen => _ = opened.try_send(()),
                DataChannelEvent::OnMessage(message) => sink.received(&message.data),
                _ => {}
            }
        }
    });
    opens
}

/// What a connection tells.
struct Told {
    gathered: mpsc::Receiver<()>,
    channels: mpsc::Receiver<Arc<dyn DataChannel>>,
}

struct Handler {
    gathered: mpsc::Sender<()>,
    channels: mpsc::Sender<Arc<dyn DataChannel>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.gathered.try_send(());
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let _ = self.channels.try_send(channel);
    }
}

async fn connection() -> anyhow::Result<(Arc<dyn PeerConnection>, Told)> {
    let (gathered, when_gathered) = mpsc::channel(1);
    let (channels, new_channels) = mpsc::channel(1);
    let connection = PeerConnectionBuilder::new()
        .with_handler(Arc::new(Handler { gathered, channels }))
        .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
        .build()
        .await?;
    let told = Told {
        gathered: when_gathered,
        channels: new_channels,
    };
    Ok((Arc::new(connection), told))
}
