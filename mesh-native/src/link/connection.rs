//! One link's connection, from its description to its end.
//!
//! A link begins by building the connection and its channels, and describing it to the peer.
//! Candidates go inside the description as far as they are found within [`GATHER_WAIT`], which
//! saves the peer waiting for them; later ones, from STUN and TURN servers, follow one by one.
//! Then [`Session::drive`] executes orders and hears the library until either side ends the link.

mod describe;

pub(crate) use self::describe::Opening;
use self::describe::Round;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use mesh_core::agent::{LinkEnd, LinkFact};
use mesh_core::{CandidateType, Channel, IceConfig, LinkPath, LinkSignal, Tracks};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use webrtc::error::Result;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, RTCPeerConnectionState, RTCSessionDescription,
};

use super::LinkFactory;
use super::codecs;
use super::early::Stage;
use super::observer::{Incoming, Notice, Observer};
use super::pace::Pace;
use super::remote::Remote;
use super::runtime::LinkRuntime;
use super::settings::{self, LinkAddresses};
use super::tracks::ConnectionTracks;
use super::traffic::{self, Channels, Facts, Flow, Outbound, Received, Unheard};
use super::turn::Streams;
use crate::media::PeerMedia;

/// How long a link may take to open once ICE has found a path. DTLS sends again after one, two
/// and four seconds; a peer which refuses our certificate does so silently.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a closing link waits for what it sent to be acknowledged.
const LINGER: Duration = Duration::from_millis(200);

/// How often a lingering link looks.
const LINGER_STEP: Duration = Duration::from_millis(5);

/// How long an ended link waits for its last frames to be taken by the driver.
const LAST_FRAMES: Duration = Duration::from_secs(1);

/// Orders executed before anything else is looked at.
const ORDERS_AT_ONCE: usize = 64;

/// Notices of the library which may wait. There are a few for each candidate and change of state;
/// the library's driver waits when they are full.
const NOTICES_MAX: usize = 64;

/// An order to a link.
#[derive(Debug)]
pub(super) enum Command {
    Configure(IceConfig),
    Apply(LinkSignal),
    Restart,
    Negotiate(Tracks),
    Transmit(Channel, Bytes),
}

/// What ties a link to the agent's driver.
pub(super) struct Ends {
    pub(super) id: u64,
    pub(super) facts: mpsc::Sender<(u64, LinkFact)>,
    pub(super) orders: mpsc::Receiver<Command>,
    pub(super) flow: Arc<Flow>,
    /// What its sockets are bound to.
    pub(super) addresses: LinkAddresses,
    /// The TURN servers that it reaches over TCP and TLS.
    pub(super) streams: Arc<Streams>,
    /// The tracks that its peer and this agent send each other.
    pub(super) media: Arc<PeerMedia>,
}

/// Why a link ends.
pub(super) enum Ending {
    /// The driver closed it, or is gone.
    Ours,
    /// Anything else: the driver is told.
    Lost(LinkEnd),
}

impl From<Unheard> for Ending {
    fn from(Unheard: Unheard) -> Self {
        Self::Ours
    }
}

/// Runs one link until it ends.
pub(super) async fn run(factory: LinkFactory, ice: IceConfig, opening: Opening, ends: Ends) {
    let facts = Facts::new(ends.id, ends.facts.clone());
    match Session::build(factory, &ice, ends).await {
        Ok(session) => session.run(opening).await,
        Err(error) => {
            let end = LinkEnd::NotMade(error.to_string());
            tracing::debug!(%end, "link ended");
            // No one listening is no one to tell.
            let _ = facts.send(LinkFact::Closed(end)).await;
        }
    }
}

/// A link's connection and all it needs.
struct Session {
    facts: Facts,
    orders: mpsc::Receiver<Command>,
    streams: Arc<Streams>,
    flow: Arc<Flow>,
    pace: Arc<Pace>,
    connection: Arc<dyn PeerConnection>,
    outbound: Outbound,
    inbound: JoinHandle<Received>,
    notices: mpsc::Receiver<Notice>,
    remote: Remote,
    tracks: ConnectionTracks,
    /// An offer of ours awaits its answer.
    offered: bool,
    /// When it is looked whether the link has opened, from when a path is found.
    open_by: Option<Instant>,
}

impl Session {
    async fn build(factory: LinkFactory, ice: &IceConfig, ends: Ends) -> Result<Self> {
        let pace = Pace::new(factory.shared.connecting.clone());
        let (notify, notices) = mpsc::channel(NOTICES_MAX);
        let configuration = settings::configuration(ice, &ends.streams)
            .with_certificates(vec![factory.certificate.clone()])
            .build();
        let runtime = LinkRuntime::new(Arc::clone(&pace), Arc::clone(&ends.streams));
        let (codecs, registry) = codecs::engine()?;
        let builder = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(codecs)
            .with_interceptor_registry(registry)
            .with_setting_engine(factory.engine(ice.policy))
            .with_runtime(Arc::new(runtime))
            .with_handler(Arc::new(Observer::new(notify.clone(), Arc::clone(&pace))))
            .with_udp_addrs(vec![ends.addresses]);
        // Boxed, or every link would carry this future's 20 KB to its end.
        let connection = Box::pin(builder.build()).await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let facts = Facts::new(ends.id, ends.facts);
        let (link, tracked) = (ends.id, Arc::clone(&connection));
        let tracks = ConnectionTracks::new(link, ends.media, tracked, Arc::clone(&pace));
        let flow = ends.flow;
        let prepared = prepare(&*connection, &flow, Arc::clone(&pace), &facts).await;
        let outbound = match prepared {
            Ok(outbound) => outbound,
            Err(error) => {
                // Only closing ends the library's driver.
                let _ = connection.close().await;
                return Err(error);
            }
        };
        let inbound = tokio::spawn(traffic::receive(
            outbound.channels(),
            Arc::clone(&flow),
            Arc::clone(&pace),
            facts.clone(),
        ));
        let remote = Remote::new(factory, Arc::clone(&connection), notify);
        Ok(Self {
            facts,
            orders: ends.orders,
            streams: ends.streams,
            flow,
            pace,
            connection,
            outbound,
            inbound,
            notices,
            remote,
            tracks,
            offered: false,
            open_by: None,
        })
    }

    async fn run(mut self, opening: Opening) {
        // The library is young, and what it parses comes from strangers: a panic in it must end
        // this link and be told, like any other failure.
        let driven = AssertUnwindSafe(self.drive(opening)).catch_unwind().await;
        let ending = driven.unwrap_or_else(|_| lost("the library panicked"));
        self.end(ending).await;
    }

    /// Describes the connection and keeps it going, until something ends it.
    async fn drive(&mut self, opening: Opening) -> Ending {
        // Boxed, as what follows, or every link would carry this future to its end.
        if let Err(ending) = Box::pin(self.describe(Round::Path(opening))).await {
            return ending;
        }
        let mut orders = Vec::with_capacity(ORDERS_AT_ONCE);
        loop {
            let step = tokio::select! {
                biased;
                overflowed = self.flow.closing() => Err(closing(overflowed)),
                count = self.orders.recv_many(&mut orders, ORDERS_AT_ONCE) => match count {
                    0 => Err(Ending::Ours),
                    _ => self.execute(&mut orders).await,
                },
                Some(notice) = self.notices.recv() => self.hear(notice).await,
                received = &mut self.inbound => Err(match received {
                    Ok(Received::Closed(end)) => Ending::Lost(end),
                    Ok(Received::Unheard) => Ending::Ours,
                    Err(_) => lost("the library panicked"),
                }),
                reason = self.pace.ended() => Err(lost(reason)),
                () = overdue(self.open_by) => {
                    // Opening did not wake this task: only now is it known which came first.
                    self.open_by = None;
                    if self.pace.is_open() {
                        Ok(())
                    } else {
                        Err(lost(self.pace.missing()))
                    }
                }
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    async fn execute(&mut self, orders: &mut Vec<Command>) -> std::result::Result<(), Ending> {
        for order in orders.drain(..) {
            match order {
                Command::Transmit(channel, frame) => {
                    let sent = self.outbound.transmit(channel, frame).await;
                    sent.map_err(|error| Ending::Lost(traffic::transmit_failure(&error)))?;
                }
                Command::Apply(LinkSignal::Answer { sdp }) if self.offered => {
                    self.offered = false;
                    self.remote
                        .describe(&sdp, RTCSessionDescription::answer)
                        .await?;
                    self.pace.connecting();
                    let agreed = Box::pin(self.tracks.agreed(&sdp)).await;
                    agreed.map_err(|error| lost(&error.to_string()))?;
                }
                Command::Apply(LinkSignal::Offer { sdp: offer_sdp }) if self.has_described() => {
                    let restarts = self.remote.restarts(&offer_sdp);
                    let opening = Opening::Answer { offer_sdp };
                    let round = match restarts {
                        true => self.restarting(opening),
                        false => Round::Tracks(opening),
                    };
                    Box::pin(self.describe(round)).await?;
                }
                Command::Negotiate(tracks) if self.has_described() => {
                    let round = Round::Tracks(Opening::Offer { tracks });
                    Box::pin(self.describe(round)).await?;
                }
                Command::Configure(ice) => {
                    let configuration = settings::configuration(&ice, &self.streams).build();
                    if let Err(error) = self.connection.set_configuration(configuration).await {
                        // It goes on with the servers that it has.
                        tracing::debug!(%error, "ICE servers not taken");
                    }
                }
                Command::Restart if self.has_described() => {
                    let tracks = Tracks::default();
                    let round = self.restarting(Opening::Offer { tracks });
                    let restarted = self.connection.restart_ice().await;
                    restarted.map_err(|error| lost(&error.to_string()))?;
                    Box::pin(self.describe(round)).await?;
                }
                Command::Apply(LinkSignal::Candidate { candidate, .. }) => {
                    self.remote.add_candidate(&candidate).await;
                }
                Command::Apply(LinkSignal::Offer { .. } | LinkSignal::Answer { .. })
                | Command::Negotiate(_)
                | Command::Restart => {
                    tracing::debug!("description ignored: another comes first");
                }
            }
        }
        Ok(self.outbound.check().await?)
    }

    /// A round looks for another path.
    fn restarting(&mut self, opening: Opening) -> Round {
        self.pace.restarting();
        self.remote.forget();
        Round::Path(opening)
    }

    /// Whether an offer and its answer were applied, so that another round may begin.
    fn has_described(&self) -> bool {
        self.pace.gate().is(Stage::Described)
    }

    async fn hear(&mut self, notice: Notice) -> std::result::Result<(), Ending> {
        match notice {
            Notice::Candidate(candidate) => self.trickle(candidate).await,
            Notice::Gathered => Ok(()),
            Notice::Reached => {
                self.open_by
                    .get_or_insert_with(|| Instant::now() + HANDSHAKE_TIMEOUT);
                self.facts.send(LinkFact::Reached).await?;
                match self.path().await {
                    Some(path) => Ok(self.facts.send(LinkFact::Path(path)).await?),
                    None => Ok(()),
                }
            }
            Notice::Track(Incoming(track)) => {
                Box::pin(self.tracks.began(track)).await;
                Ok(())
            }
            Notice::Failed(RTCPeerConnectionState::Failed) => Err(Ending::Lost(LinkEnd::NoPath)),
            Notice::Failed(state) => Err(lost(&format!("the connection is {state}"))),
            Notice::Resolved(candidate) => {
                self.remote.add_resolved(candidate).await;
                Ok(())
            }
        }
    }

    /// The way that it takes.
    async fn path(&self) -> Option<LinkPath> {
        let sctp = self.connection.sctp().await?;
        let ice = sctp.transport().ice_transport();
        let pair = ice.get_selected_candidate_pair().await.ok()??;
        let [local, remote] = [pair.local(), pair.remote()]
            .map(|candidate| CandidateType::named(&candidate.typ.to_string()));
        Some(LinkPath::new(local?, remote?))
    }

    /// Frees all that the link holds, and tells the driver if it does not know.
    async fn end(mut self, ending: Ending) {
        match ending {
            Ending::Ours => {
                self.inbound.abort();
                self.linger().await;
                self.close().await;
            }
            Ending::Lost(end) => {
                tracing::debug!(%end, "link ended");
                // Closing ends the channels' events: the receiving task passes on what is left.
                self.close().await;
                if !self.inbound.is_finished() {
                    let _ = timeout(LAST_FRAMES, &mut self.inbound).await;
                    self.inbound.abort();
                }
                // No one listening is no one to tell.
                let _ = self.facts.send(LinkFact::Closed(end)).await;
            }
        }
    }

    /// Sends what was ordered before the close, and gives it time to arrive: closing discards
    /// what the peer has not acknowledged.
    async fn linger(&mut self) {
        let deadline = Instant::now() + LINGER;
        while let Ok(order) = self.orders.try_recv() {
            if let Command::Transmit(channel, frame) = order
                && let Err(error) = self.outbound.transmit(channel, frame).await
            {
                tracing::debug!(%error, "frame not sent: the link is closing");
                return;
            }
        }
        while self.outbound.outstanding().await > 0 && Instant::now() < deadline {
            sleep(LINGER_STEP).await;
        }
    }

    async fn close(&self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "connection not closed cleanly");
        }
    }
}

/// Opens the channels, before the connection is described: its description must have them.
async fn prepare(
    connection: &dyn PeerConnection,
    flow: &Arc<Flow>,
    pace: Arc<Pace>,
    facts: &Facts,
) -> Result<Outbound> {
    let open = async |channel: Channel| {
        let init = settings::channel_init(channel);
        connection
            .create_data_channel(channel.label(), Some(init))
            .await
    };
    let channels: Channels = [
        open(Channel::Control).await?,
        open(Channel::Data).await?,
        open(Channel::Stream).await?,
    ];
    Outbound::new(channels, Arc::clone(flow), pace, facts.clone()).await
}

/// Resolves when the deadline is over; never without one.
async fn overdue(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn closing(overflowed: bool) -> Ending {
    if overflowed {
        Ending::Lost(LinkEnd::Overflow)
    } else {
        Ending::Ours
    }
}

/// What only this library can tell.
fn lost(reason: &str) -> Ending {
    Ending::Lost(LinkEnd::Other(reason.to_owned()))
}
