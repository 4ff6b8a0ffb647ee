//! Pairs without a mesh: our links alone, and `webrtc` as it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use mesh_native::pairs::{BareSettings, Pairs};
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceGatheringState, RTCSessionDescription,
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
pub async fn form_links(links: usize) -> anyhow::Result<Figures> {
    let started = Instant::now();
    let _pairs = Pairs::open(links, drop).await.map_err(anyhow::Error::msg)?;
    Ok(Figures::of_forming(started))
}

/// Opens pairs of bare `webrtc` with the settings of our links, and measures no more than that.
pub async fn form_webrtc(pairs: usize) -> anyhow::Result<Figures> {
    let started = Instant::now();
    let settings = BareSettings::new().map_err(anyhow::Error::msg)?;
    let settings: &'static BareSettings = Box::leak(Box::new(settings));
    let opening = (0..pairs).map(|_| async {
        tokio::spawn(tokio::time::timeout(OPENING, linked(settings)))
            .await?
            .context("not open in time")?
    });
    let _couples = try_join_all(opening).await?;
    Ok(Figures::of_forming(started))
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
    let mut offerer = End::new(None).await?;
    let mut answerer = End::new(None).await?;
    let channel = offerer.connection.create_data_channel("data", None).await?;
    negotiate(&mut offerer, &mut answerer).await?;
    let theirs = answerer.channels.recv().await.context("a channel")?;
    let channels = [channel, theirs];
    let pumped = channels.each_ref();
    for mut opened in pumped.map(|channel| pump(Arc::clone(channel), Some(sink))) {
        opened.recv().await.context("the channel closed")?;
    }
    Ok(([offerer.connection, answerer.connection], channels))
}

/// Two connections with each other, and all the channels of a link open.
async fn linked(settings: &BareSettings) -> anyhow::Result<[Arc<dyn PeerConnection>; 2]> {
    let mut offerer = End::new(Some(settings)).await?;
    let mut answerer = End::new(Some(settings)).await?;
    let mut opening = Vec::new();
    for end in [&offerer, &answerer] {
        for (label, init) in &settings.channels {
            let init = Some(init.clone());
            let channel = end.connection.create_data_channel(label, init).await?;
            opening.push(pump(channel, None));
        }
    }
    negotiate(&mut offerer, &mut answerer).await?;
    for opened in &mut opening {
        opened.recv().await.context("the channel closed")?;
    }
    Ok([offerer.connection, answerer.connection])
}

/// Offer and answer, candidates inside.
async fn negotiate(offerer: &mut End, answerer: &mut End) -> anyhow::Result<()> {
    let offer = offerer.connection.create_offer(None).await?;
    let offer = offerer.describe(offer).await?;
    answerer.connection.set_remote_description(offer).await?;
    let answer = answerer.connection.create_answer(None).await?;
    let answer = answerer.describe(answer).await?;
    offerer.connection.set_remote_description(answer).await?;
    Ok(())
}

/// Hands over what arrives; tells when the channel is open.
fn pump(channel: Arc<dyn DataChannel>, sink: Option<&'static Sink>) -> mpsc::Receiver<()> {
    let (opened, opens) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(event) = channel.poll().await {
            match event {
                DataChannelEvent::OnOpen => _ = opened.try_send(()),
                DataChannelEvent::OnMessage(message) => {
                    if let Some(sink) = sink {
                        sink.received(&message.data);
                    }
                }
                _ => {}
            }
        }
    });
    opens
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

/// A connection, and what it tells.
struct End {
    connection: Arc<dyn PeerConnection>,
    gathered: mpsc::Receiver<()>,
    channels: mpsc::Receiver<Arc<dyn DataChannel>>,
}

impl End {
    async fn new(settings: Option<&BareSettings>) -> anyhow::Result<Self> {
        let (gathered, when_gathered) = mpsc::channel(1);
        let (channels, new_channels) = mpsc::channel(1);
        let mut builder = PeerConnectionBuilder::new()
            .with_handler(Arc::new(Handler { gathered, channels }))
            .with_udp_addrs(vec!["127.0.0.1:0".to_owned()]);
        if let Some(settings) = settings {
            let configuration = RTCConfigurationBuilder::new()
                .with_certificates(vec![settings.certificate.clone()])
                .build();
            builder = builder
                .with_configuration(configuration)
                .with_setting_engine(settings.engine.clone());
        }
        Ok(Self {
            connection: Arc::new(builder.build().await?),
            gathered: when_gathered,
            channels: new_channels,
        })
    }

    /// Describes this end with all its candidates.
    async fn describe(
        &mut self,
        description: RTCSessionDescription,
    ) -> anyhow::Result<RTCSessionDescription> {
        let connection = &self.connection;
        connection.set_local_description(description).await?;
        self.gathered.recv().await;
        let described = connection.local_description().await;
        described.context("a description")
    }
}
