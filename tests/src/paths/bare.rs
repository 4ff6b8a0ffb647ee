//! `webrtc` as it comes as one end: no setting touched, one channel as it is by default.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::BytesMut;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCSessionDescription,
};

use super::end::{Commands, Connection, Total, answer};

/// Bytes that may wait in the channel: as many as browsers let pages wait for usually.
const BUFFERED_MAX: u32 = 1 << 20;

/// What messages are: the first byte of each.
const DATA: u8 = b'd';
const QUESTION: u8 = b'q';
const ANSWER: u8 = b'a';

type Questions = Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>;

struct Bare {
    channel: Arc<dyn DataChannel>,
    asked: AtomicU64,
    questions: Questions,
}

fn lock(questions: &Questions) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
    questions.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(kind: u8, payload: &[u8]) -> BytesMut {
    BytesMut::from(&[&[kind], payload].concat()[..])
}

#[async_trait]
impl Connection for Bare {
    async fn ask(&self, mut payload: Vec<u8>) -> Result<()> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        payload[..8].copy_from_slice(&number.to_be_bytes());
        let (tell, answered) = oneshot::channel();
        lock(&self.questions).insert(number, tell);
        self.channel.send(message(QUESTION, &payload)).await?;
        Ok(answered.await?)
    }

    async fn send(&self, payload: Vec<u8>) -> Result<()> {
        Ok(self.channel.send(message(DATA, &payload)).await?)
    }
}

/// Takes what comes over the channel; tells when it is open.
async fn receive(
    channel: Arc<dyn DataChannel>,
    questions: Questions,
    total: Total,
    opened: mpsc::Sender<()>,
) {
    while let Some(event) = channel.poll().await {
        match event {
            DataChannelEvent::OnOpen => _ = opened.try_send(()),
            DataChannelEvent::OnMessage(received) => match received.data.split_first() {
                Some((&DATA, payload)) => {
                    total.fetch_add(payload.len() as u64, Ordering::Relaxed);
                }
                Some((&QUESTION, payload)) => {
                    let _ = channel.send(message(ANSWER, payload)).await; // It may have closed.
                }
                Some((&ANSWER, payload)) => {
                    let number = payload
                        .first_chunk()
                        .map(|number| u64::from_be_bytes(*number));
                    let asked = number.and_then(|number| lock(&questions).remove(&number));
                    let _ = asked.map(|asked| asked.send(()));
                }
                _ => {}
            },
            _ => {}
        }
    }
}

struct Handler {
    gathered: mpsc::Sender<()>,
    channels: mpsc::Sender<Arc<dyn DataChannel>>,
}

#[async_trait]
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

/// Connects with the other end, `["offer"]` or `["answer", OFFER]` being the first command, tells
/// when the channel is open, and carries out the others.
///
/// # Errors
/// If the connection fails.
pub(super) async fn run(address: &str) -> Result<()> {
    let (gathered, mut when_gathered) = mpsc::channel(1);
    let (channels, mut new_channels) = mpsc::channel(1);
    let builder = PeerConnectionBuilder::new()
        .with_handler(Arc::new(Handler { gathered, channels }))
        .with_udp_addrs(vec![format!("{address}:0")]);
    let connection = Box::pin(builder.build()).await?;
    let mut commands = Commands::new();
    let first = commands.next().await?.context("a command")?;
    let offered = match first[0].as_str() {
        Some("offer") => Some(connection.create_data_channel("data", None).await?),
        Some("answer") => {
            let offer: RTCSessionDescription = serde_json::from_value(first[1].clone())?;
            connection.set_remote_description(offer).await?;
            None
        }
        _ => bail!("an unknown command: {first}"),
    };
    let description = match offered {
        Some(_) => connection.create_offer(None).await?,
        None => connection.create_answer(None).await?,
    };
    connection.set_local_description(description).await?;
    when_gathered.recv().await;
    let description = connection.local_description().await;
    answer(&json!(description.context("a description")?));
    let channel = match offered {
        Some(channel) => {
            let accept = commands.next().await?.context("an answer")?;
            let accept: RTCSessionDescription = serde_json::from_value(accept[1].clone())?;
            connection.set_remote_description(accept).await?;
            channel
        }
        None => new_channels.recv().await.context("a channel")?,
    };
    let high = channel.set_buffered_amount_high_threshold(BUFFERED_MAX);
    high.await?;
    let (questions, total) = (Questions::default(), Total::default());
    let (tell, mut opened) = mpsc::channel(1);
    tokio::spawn(receive(
        Arc::clone(&channel),
        Arc::clone(&questions),
        Arc::clone(&total),
        tell,
    ));
    opened.recv().await.context("the channel closed")?;
    answer(&json!("open"));
    let bare = Bare {
        channel,
        asked: AtomicU64::new(0),
        questions,
    };
    commands.serve(Arc::new(bare), total).await
}
