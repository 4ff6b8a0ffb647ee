//! Links without a mesh: pairs of ends in one process, for measuring what the mesh adds to them,
//! and single ends, for trying them with other WebRTC stacks.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mesh_core::agent::LinkFact;
use mesh_core::{Channel, IceConfig, LinkSignal};
use tokio::sync::{mpsc, oneshot};
use webrtc::data_channel::RTCDataChannelInit;
use webrtc::peer_connection::{RTCCertificate, SettingEngine};

use crate::link::{Connecting, Link, LinkFactory, LinkSettings, channel_init};

/// Facts that may wait.
const FACTS_MAX: usize = 4_096;

/// How often a sender looks whether a congested link has drained.
const LOOK: Duration = Duration::from_millis(1);

/// What the `webrtc` library is told for a link, for who makes a connection with nothing else of
/// ours: no runtime, no pace and no tasks.
#[expect(
    missing_debug_implementations,
    reason = "the library's own settings have none"
)]
pub struct BareSettings {
    /// How the library is to behave.
    pub engine: SettingEngine,
    /// What all links of a process present to their peers.
    pub certificate: RTCCertificate,
    /// The data channels of a link: label, and how it is opened.
    pub channels: [(&'static str, RTCDataChannelInit); 3],
}

impl BareSettings {
    /// The settings of a link, with a fresh certificate.
    ///
    /// # Errors
    /// When no certificate can be generated, or no crypto provider is compiled in.
    pub fn new() -> Result<Self, String> {
        let factory = LinkFactory::new(LinkSettings::default(), Connecting::default());
        let (engine, certificate) = factory.map_err(|error| error.to_string())?.told();
        Ok(Self {
            engine,
            certificate,
            channels: Channel::ALL.map(|channel| (channel.label(), channel_init(channel))),
        })
    }
}

/// Open links, each with both its ends here: end `2n` has offered to end `2n + 1`.
#[derive(Debug)]
pub struct Pairs {
    ends: Arc<Vec<End>>,
}

#[derive(Debug, Default)]
struct End {
    link: Mutex<Option<Link>>,
    is_congested: AtomicBool,
}

impl Pairs {
    /// Opens so many links at once, over loopback; returns when all are open. `received` is given
    /// what arrives.
    ///
    /// # Errors
    /// Why a link did not open.
    pub async fn open(
        pairs: usize,
        received: impl Fn(Bytes) + Send + 'static,
    ) -> Result<Self, String> {
        let settings = LinkSettings {
            loopback: true,
            addresses: vec![Ipv4Addr::LOCALHOST.into()],
            ca: None,
        };
        let factory =
            LinkFactory::new(settings, Connecting::default()).map_err(|error| error.to_string())?;
        let (sender, facts) = mpsc::channel(FACTS_MAX);
        let ends: Arc<Vec<End>> = Arc::new((0..2 * pairs).map(|_| End::default()).collect());
        for (id, end) in ends.iter().enumerate().step_by(2) {
            end.set(Link::offer(
                &factory,
                id as u64,
                &IceConfig::default(),
                sender.clone(),
            ));
        }
        let (opened, all_open) = oneshot::channel();
        let relay = Relay {
            factory,
            ends: Arc::clone(&ends),
            sender,
            open: 0,
            opened: Some(opened),
        };
        tokio::spawn(relay.run(facts, received));
        all_open
            .await
            .unwrap_or_else(|_| Err("the relay has ended".to_owned()))?;
        Ok(Self { ends })
    }

    /// Sends from an end to its other end, once there is room.
    pub async fn send(&self, from: usize, frame: Bytes) {
        let end = &self.ends[from];
        while end.is_congested.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
        end.with(|link| link.transmit(Channel::Data, frame));
    }
}

impl End {
    fn set(&self, link: Link) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
    }

    fn with(&self, order: impl FnOnce(&Link)) {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = &*link {
            order(link);
        }
    }
}

/// What becomes of a [`Single`].
#[derive(Clone, Debug)]
pub enum Told {
    /// To be brought to the other end.
    Signal(LinkSignal),
    /// All channels are open.
    Opened,
    /// The other end sent this.
    Received(Channel, Bytes),
    /// The link has ended, and why.
    Closed(String),
}

/// One end of a link. The other end is anywhere, of any WebRTC stack.
#[derive(Debug)]
pub struct Single {
    link: Link,
    facts: mpsc::Receiver<(u64, LinkFact)>,
}

impl Single {
    /// Begins a link: by answering when there is an offer, else by offering.
    ///
    /// # Errors
    /// When no links can be made at all.
    pub fn begin(offer_sdp: Option<String>) -> Result<Self, String> {
        let factory = LinkFactory::new(LinkSettings::default(), Connecting::default());
        let factory = factory.map_err(|error| error.to_string())?;
        let (sender, facts) = mpsc::channel(FACTS_MAX);
        let link = match offer_sdp {
            Some(sdp) => Link::answer(&factory, 0, &IceConfig::default(), sdp, sender),
            None => Link::offer(&factory, 0, &IceConfig::default(), sender),
        };
        Ok(Self { link, facts })
    }

    /// Applies an answer or a candidate of the other end.
    pub fn apply(&self, signal: LinkSignal) {
        self.link.apply(signal);
    }

    /// Sends, once open.
    pub fn send(&self, channel: Channel, frame: Bytes) {
        self.link.transmit(channel, frame);
    }

    /// What comes next of the link; nothing when it has ended.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            let (_, fact) = self.facts.recv().await?;
            return Some(match fact {
                LinkFact::Signal(signal) => Told::Signal(signal),
                LinkFact::Opened => Told::Opened,
                LinkFact::FrameReceived { channel, frame } => Told::Received(channel, frame),
                LinkFact::Closed(end) => Told::Closed(end.to_string()),
                LinkFact::Reached
                | LinkFact::Path(_)
                | LinkFact::Stranded
                | LinkFact::Congested
                | LinkFact::Drained => continue,
            });
        }
    }
}

/// Stands between the two ends while they negotiate, as signaling does.
struct Relay {
    factory: LinkFactory,
    ends: Arc<Vec<End>>,
    sender: mpsc::Sender<(u64, LinkFact)>,
    open: usize,
    /// Told once, when all are open or one is not.
    opened: Option<oneshot::Sender<Result<(), String>>>,
}

impl Relay {
    async fn run(
        mut self,
        mut facts: mpsc::Receiver<(u64, LinkFact)>,
        received: impl Fn(Bytes) + Send,
    ) {
        while let Some((id, fact)) = facts.recv().await {
            let end = &self.ends[id as usize];
            match fact {
                LinkFact::Signal(signal) => self.deliver(id ^ 1, signal),
                LinkFact::Reached | LinkFact::Path(_) | LinkFact::Stranded => {}
                LinkFact::Opened => {
                    self.open += 1;
                    if self.open == self.ends.len() {
                        self.tell(Ok(()));
                    }
                }
                LinkFact::FrameReceived { frame, .. } => received(frame),
                LinkFact::Congested => end.is_congested.store(true, Ordering::Relaxed),
                LinkFact::Drained => end.is_congested.store(false, Ordering::Relaxed),
                LinkFact::Closed(end) => self.tell(Err(end.to_string())),
            }
        }
    }

    fn deliver(&self, to: u64, signal: LinkSignal) {
        let end = &self.ends[to as usize];
        if let LinkSignal::Offer { sdp } = signal {
            let facts = self.sender.clone();
            end.set(Link::answer(
                &self.factory,
                to,
                &IceConfig::default(),
                sdp,
                facts,
            ));
        } else {
            end.with(|link| link.apply(signal));
        }
    }

    fn tell(&mut self, result: Result<(), String>) {
        if let Some(opened) = self.opened.take() {
            let _ = opened.send(result); // Nobody waits any more if the opening was given up.
        }
    }
}
