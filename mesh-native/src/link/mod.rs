//! A link: one WebRTC connection to one peer, with the mesh's three data channels.
//!
//! The agent's driver owns the [`Link`]s and orders them about with methods that never block;
//! what happens to a link comes back as [`LinkFact`]s through a channel all links share. So the
//! driver stays a plain loop, and `webrtc`'s asynchronous interface stays in here.
//!
//! Behind a link are three tasks: `webrtc`'s own driver, on a runtime of ours ([`runtime`]); one
//! that executes the orders ([`connection`]); one that passes on what is received ([`traffic`]).
//! Each waits on its own queue, so a frame wakes only who must handle it. All queues are bounded:
//!
//! - A driver slow to read its facts holds up the receiving task, then the data channels'
//!   queues, then SCTP's window, and so the peer.
//! - Frames to be sent are counted in bytes from [`Link::transmit`] until the peer has
//!   acknowledged them. Above the core's high water the driver is told [`LinkFact::Congested`]
//!   and should stop; at [`traffic::BUFFERED_BYTES_MAX`], far above, the link closes.

mod asymmetric;
mod candidate;
mod check;
mod clock;
pub(crate) mod codecs;
mod connection;
mod early;
mod mdns;
mod observer;
mod pace;
mod reading;
mod relayed;
mod remote;
mod round_trip;
mod runtime;
mod settings;
#[cfg(test)]
mod tests;
mod tracks;
mod traffic;
mod turn;
mod under_way;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use mesh_core::agent::LinkFact;
use mesh_core::{Channel, IceConfig, IceTransportPolicy, LinkSignal, Tracks};
use rtc::crypto::RTCCryptoProvider;
use thiserror::Error;
use tokio::sync::mpsc;
use webrtc::peer_connection::{RTCCertificate, SettingEngine};

pub(crate) use self::pace::{Connecting, Pace};
pub(crate) use self::settings::LinkSettings;
#[cfg(feature = "pairs")]
pub(crate) use self::settings::channel_init;

pub(crate) use self::settings::crypto_provider;
#[cfg(feature = "doctor")]
pub(crate) use self::turn::{StreamServer, StreamSettings, TurnStream};

use self::connection::Command;
pub(crate) use self::connection::Opening;
use self::mdns::MdnsResolver;
use self::settings::{Addresses, LinkAddresses};
use self::traffic::Flow;
#[cfg(not(feature = "doctor"))]
use self::turn::StreamSettings;
use self::turn::Streams;
use crate::media::PeerMedia;

/// Orders a link may have waiting. The mesh queues at most 1,000 frames a link, and may hand
/// over all of them in one turn.
const COMMANDS_MAX: usize = 2048;

/// Why links cannot be made at all.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    /// No crypto provider is compiled in.
    #[error("no crypto provider: {0}")]
    Crypto(String),
    /// The DTLS certificate could not be generated.
    #[error("no DTLS certificate: {0}")]
    Certificate(String),
}

/// Everything the links of a process share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LinkFactory {
    certificate: RTCCertificate,
    small_packets: bool,
    shared: Arc<Shared>,
}

struct Shared {
    crypto: Arc<dyn RTCCryptoProvider>,
    addresses: Addresses,
    resolver: MdnsResolver,
    connecting: Connecting,
    streams: Arc<StreamSettings>,
}

impl LinkFactory {
    /// Generates the certificate that all links of this factory present. They take turns with all
    /// that are counted as connecting.
    ///
    /// # Errors
    /// When no certificate can be generated, or no crypto provider is compiled in.
    pub(crate) fn new(settings: LinkSettings, connecting: Connecting) -> Result<Self, LinkError> {
        let crypto = crypto_provider()?;
        let certificate = settings::certificate(&*crypto)?;
        let streams = Arc::new(StreamSettings::new(settings.ca.clone()));
        let addresses = Addresses::new(settings);
        let resolver = MdnsResolver::new();
        let shared = Arc::new(Shared {
            crypto,
            addresses,
            resolver,
            connecting,
            streams,
        });
        Ok(Self {
            certificate,
            small_packets: false,
            shared,
        })
    }

    /// The same, with a certificate of its own; with the same if none can be generated, which then
    /// could not have been at first.
    pub(crate) fn with_fresh_keys(&self) -> Self {
        let fresh = crypto_provider().and_then(|crypto| settings::certificate(&*crypto));
        let certificate = fresh.unwrap_or_else(|error| {
            tracing::warn!(%error, "keys not rotated");
            self.certificate.clone()
        });
        Self {
            certificate,
            small_packets: self.small_packets,
            shared: Arc::clone(&self.shared),
        }
    }

    /// The same, for a path that may drop large packets.
    pub(crate) fn with_small_packets(&self) -> Self {
        Self {
            small_packets: true,
            ..self.clone()
        }
    }

    /// How the WebRTC stack is to behave.
    fn engine(&self, policy: IceTransportPolicy) -> SettingEngine {
        settings::engine(Arc::clone(&self.shared.crypto), policy, self.small_packets)
    }

    /// Whether its links present the same certificate.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// What the library is told for each link.
    #[cfg(feature = "pairs")]
    pub(crate) fn told(self) -> (SettingEngine, RTCCertificate) {
        (self.engine(IceTransportPolicy::All), self.certificate)
    }
}

impl fmt::Debug for LinkFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkFactory")
            .field("addresses", &self.shared.addresses)
            .finish_non_exhaustive()
    }
}

/// One link to one peer. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Link {
    commands: mpsc::Sender<Command>,
    flow: Arc<Flow>,
    addresses: LinkAddresses,
}

impl Link {
    /// Starts a link: [`LinkFact::Signal`] with our offer, or the answer to the peer's, follows
    /// soon.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn start(
        factory: &LinkFactory,
        id: u64,
        ice: &IceConfig,
        opening: Opening,
        media: Arc<PeerMedia>,
        facts: mpsc::Sender<(u64, LinkFact)>,
    ) -> Self {
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let flow = Arc::new(Flow::default());
        let streams = Streams::new(Arc::clone(&factory.shared.streams));
        let addresses = LinkAddresses::new(Arc::clone(&factory.shared));
        let session = connection::run(
            factory.clone(),
            ice.clone(),
            opening,
            connection::Ends {
                id,
                facts,
                orders,
                flow: Arc::clone(&flow),
                addresses: addresses.clone(),
                streams,
                media,
            },
        );
        tokio::spawn(session);
        Self {
            commands,
            flow,
            addresses,
        }
    }

    /// Starts a link of no agent by offering.
    #[cfg(any(test, feature = "pairs"))]
    pub(crate) fn offer(
        factory: &LinkFactory,
        id: u64,
        ice: &IceConfig,
        facts: mpsc::Sender<(u64, LinkFact)>,
    ) -> Self {
        let tracks = Tracks::default();
        let media = Arc::new(PeerMedia::of_no_agent());
        Self::start(factory, id, ice, Opening::Offer { tracks }, media, facts)
    }

    /// Starts a link of no agent from a peer's offer.
    #[cfg(any(test, feature = "pairs"))]
    pub(crate) fn answer(
        factory: &LinkFactory,
        id: u64,
        ice: &IceConfig,
        offer_sdp: String,
        facts: mpsc::Sender<(u64, LinkFact)>,
    ) -> Self {
        let media = Arc::new(PeerMedia::of_no_agent());
        Self::start(
            factory,
            id,
            ice,
            Opening::Answer { offer_sdp },
            media,
            facts,
        )
    }

    /// Whether all addresses that it was made from are gone, by those that the machine has now.
    pub(crate) fn is_stranded(&self, present: &BTreeSet<IpAddr>) -> bool {
        let is_gone = |ip: IpAddr| !ip.is_unspecified() && !present.contains(&ip);
        let bound = self.addresses.bound();
        !bound.is_empty() && bound.iter().all(|address| is_gone(address.ip()))
    }

    /// Gathers candidates with this from its next round on.
    pub(crate) fn configure(&self, ice: IceConfig) {
        self.order(Command::Configure(ice));
    }

    /// Restarts ICE with sockets bound anew: [`LinkFact::Signal`] with an offer follows soon.
    pub(crate) fn restart(&self) {
        self.order(Command::Restart);
    }

    /// Offers a further round, for the tracks that there are and so many of the peer's:
    /// [`LinkFact::Signal`] with an offer follows soon.
    pub(crate) fn negotiate(&self, tracks: Tracks) {
        self.order(Command::Negotiate(tracks));
    }

    /// Applies an answer or a candidate of the peer, or its offer of a further round. A bad
    /// description closes the link, a bad candidate is ignored.
    pub(crate) fn apply(&self, signal: LinkSignal) {
        self.order(Command::Apply(signal));
    }

    /// Sends a frame, after all those before it on the same channel. To be called only once the
    /// link has opened.
    pub(crate) fn transmit(&self, channel: Channel, frame: Bytes) {
        if self.flow.admit(frame.len()) {
            self.order(Command::Transmit(channel, frame));
        } else {
            self.flow.overflow();
        }
    }

    /// Closes the link, when what was transmitted has been sent or a short time has passed. The
    /// peer is told; no [`LinkFact::Closed`] follows. Closing twice does no harm.
    pub(crate) fn close(&self) {
        self.flow.close();
    }

    fn order(&self, command: Command) {
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.flow.overflow(),
            // The link has ended: its Closed fact is there or on its way.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}
