//! The handle of a native agent. Mirrors the browser's `Mesh` name for name.

mod admission;
mod calls;
mod events;
mod pairs;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::agent::{AgentState, Line};
use mesh_core::{
    Delivery, Gauges, Identity, Instant, Mesh, MeshError, MessageId, Payload, PeerId, PeerView,
    RouteView, SendError, SendOptions, Shards, Stats, TimeoutView, TopologyView, TrackError,
    TrackKind,
};
use tokio::sync::watch;

use self::calls::Call;
pub use self::calls::{PendingReply, Sending};
pub use self::events::Events;

use crate::addresses;
use crate::clock::{self, Clock};
use crate::driver::Driver;
use crate::error::JoinError;
use crate::link::LinkSettings;
use crate::media::{LocalTrack, RemoteTrack};
use crate::options::JoinOptions;
use crate::random_seed;
use crate::shared::{Shared, Subscriber};
use crate::signaling::Endpoint;

/// Time between two looks at what is under way: neighbours are asked to acknowledge at each.
const FINISH_INTERVAL: Duration = Duration::from_millis(50);

/// One agent of a mesh. Clones are handles of the same agent, which leaves the mesh when it is
/// closed or the last of them is dropped.
#[derive(Clone, Debug)]
pub struct Agent {
    id: PeerId,
    name: String,
    room: String,
    shared: Arc<Shared>,
    /// Closed when the loop has ended; the loop ends when all handles are gone.
    running: watch::Receiver<()>,
}

impl Agent {
    /// Joins a room. Returns when the signaling server has admitted the agent; links open from
    /// then on by themselves, and what is sent before waits for them. Dropped before it returns, it
    /// leaves no agent behind.
    ///
    /// # Errors
    /// [`JoinError`] says what was wrong and what to do.
    pub async fn join(options: JoinOptions) -> Result<Self, JoinError> {
        let (agent, _) = Self::join_with_events(options).await?;
        Ok(agent)
    }

    /// As [`Agent::join`], with the events from the very first.
    ///
    /// # Errors
    /// As [`Agent::join`].
    pub async fn join_with_events(options: JoinOptions) -> Result<(Self, Events), JoinError> {
        let config = options.config()?;
        let addresses = options.signaling.iter();
        let endpoints = addresses.map(|url| Endpoint::new(url, options.ca.as_deref()));
        let endpoints: Vec<_> = endpoints.collect::<Result<_, _>>()?;
        addresses::check(&options.addresses)?;
        let settings = LinkSettings {
            loopback: endpoints.iter().any(Endpoint::is_loopback),
            addresses: options.addresses,
            ca: options.ca,
        };
        let factory =
            options
                .process
                .link_factory(settings)
                .map_err(|error| JoinError::Unsupported {
                    reason: error.to_string(),
                })?;
        let identity = options
            .identity
            .unwrap_or_else(|| Identity::from_secret(random_seed()));
        let clock = Clock::start();
        let id = identity.peer();
        let mut mesh = Mesh::new(
            config,
            identity,
            random_seed(),
            clock.now(),
            Clock::unix_now(),
        );
        mesh.share_signatures(options.process.signatures());
        if options.metrics.is_some() {
            mesh.take_samples(clock::stopwatch);
        }
        let shared = Shared::new(mesh, &options.signaling, clock, options.metrics.clone());
        let shared = Arc::new(shared);
        if let Some(metrics) = &options.metrics {
            metrics.watch_agent(&shared);
        }
        let (loops, running) = watch::channel(());
        let driver = Driver::new(Arc::clone(&shared), endpoints.clone(), factory, loops);
        let agent = Self {
            id,
            name: options.name,
            room: options.room,
            shared,
            running,
        };
        let events = agent.events();
        tokio::spawn(driver.run());
        match admission::wait(&agent.shared, &endpoints, options.timeout).await {
            Ok(()) => Ok((agent, events)),
            Err(error) => {
                agent.close().await;
                Err(error.into())
            }
        }
    }

    /// The agent's identity: its public key.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The agent's label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The room that it joined.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// Events from now on. Ends when the agent is closed.
    pub fn events(&self) -> Events {
        let queue = Subscriber::default();
        self.shared.lock().agent.subscribe(queue.clone());
        Events { queue }
    }

    /// Waits until what is sent leaves at once: until the first link is open, or not at all in an
    /// empty room. What is sent before waits by itself, up to its deadline.
    ///
    /// # Errors
    /// [`MeshError::Closed`] if the agent is.
    pub async fn ready(&self) -> Result<(), MeshError> {
        self.when_writable(Line::Ready, |mesh, _| mesh.ready())
            .await
    }

    /// Sends a message to one member, waiting while as much is under way to it as it and the path
    /// take. What is sent to one member arrives in the order of sending, each message once; but for
    /// datagrams, and what is not [`ordered`](SendOptions::ordered).
    ///
    /// One of more than [`PAYLOAD_BYTES_MAX`](mesh_core::PAYLOAD_BYTES_MAX) travels in parts,
    /// outside that order, and is waited for until all of it has arrived: see
    /// [`Agent::start_send`].
    ///
    /// # Errors
    /// [`MeshError::Send`] for what the caller should know now; later news is an
    /// [`Event`](mesh_core::Event).
    pub async fn send(
        &self,
        to: PeerId,
        payload: impl Into<Payload>,
        options: SendOptions,
    ) -> Result<MessageId, MeshError> {
        let mut sending = self.start_send(to, payload, options).await?;
        while sending.progress().await?.is_some() {}
        Ok(sending.id())
    }

    /// Sends a message. Returns once it was taken, in the order of what else is sent; how far a
    /// large one has come, and what becomes of it, is waited for apart.
    ///
    /// # Errors
    /// As [`Agent::send`].
    pub async fn start_send(
        &self,
        to: PeerId,
        payload: impl Into<Payload>,
        options: SendOptions,
    ) -> Result<Sending, MeshError> {
        let payload = payload.into();
        // Who sends without end would keep its thread from the loop that carries it out.
        tokio::task::coop::consume_budget().await;
        let mut call = Call::of(&self.shared, Line::of(to, &payload, options.delivery));
        let sent = poll_fn(|context| {
            call.shared.call(|agent, now| {
                let what = (to, &payload);
                agent.poll_send(&mut call.ticket, context, what, options, now)
            })
        });
        let (id, is_under_way) = sent.await?;
        Ok(Sending {
            shared: Arc::clone(&self.shared),
            id,
            is_under_way,
        })
    }

    /// Gives up a large message that this agent is sending, if it is still under way.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn cancel(&self, id: MessageId) -> Result<bool, MeshError> {
        self.call(|mesh, now| mesh.cancel(&id, now))
    }

    /// Sends a message to every member of the room, under a topic (may be empty), waiting while
    /// the queues of the links are full.
    ///
    /// # Errors
    /// As [`Agent::send`].
    pub async fn broadcast(
        &self,
        topic: &str,
        payload: impl Into<Payload>,
    ) -> Result<MessageId, MeshError> {
        let payload = payload.into();
        self.when_writable(Line::Room, |mesh, now| {
            mesh.broadcast(topic, payload.clone(), now)
        })
        .await
    }

    /// Receives broadcasts of these topics alone from now on; `None` for all, as at first. Others
    /// are passed on as before: everybody carries every broadcast of a room.
    ///
    /// # Errors
    /// [`MeshError::Closed`] if the agent is, and if a topic is longer than any broadcast's.
    pub fn subscribe(&self, topics: Option<BTreeSet<String>>) -> Result<(), MeshError> {
        Ok(self.call(|mesh, _| mesh.subscribe(topics))??)
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// As [`Agent::send`], and [`MeshError::NoReply`] when the deadline passes.
    pub async fn request(
        &self,
        to: PeerId,
        payload: impl Into<Payload>,
        deadline: Option<Duration>,
    ) -> Result<Payload, MeshError> {
        self.start_request(to, payload, deadline)
            .await?
            .wait()
            .await
    }

    /// Sends a request. Returns once it was taken, in the order of what else is sent; its reply is
    /// waited for apart.
    ///
    /// # Errors
    /// As [`Agent::send`].
    pub async fn start_request(
        &self,
        to: PeerId,
        payload: impl Into<Payload>,
        deadline: Option<Duration>,
    ) -> Result<PendingReply, MeshError> {
        let payload = payload.into();
        tokio::task::coop::consume_budget().await;
        let line = Line::of(to, &payload, Delivery::Acknowledged);
        let mut call = Call::of(&self.shared, line);
        let sent = poll_fn(|context| {
            call.shared.call(|agent, now| {
                let what = (to, &payload);
                agent.poll_request(&mut call.ticket, context, what, deadline, now)
            })
        });
        Ok(PendingReply {
            request: sent.await?,
            shared: Arc::clone(&self.shared),
            reply: None,
        })
    }

    /// Answers a request: a received message that wants a reply.
    ///
    /// # Errors
    /// [`SendError::UnknownRequest`] if there is none with this id.
    pub fn reply(&self, request: MessageId, payload: impl Into<Payload>) -> Result<(), MeshError> {
        let payload = payload.into();
        Ok(self.call(|mesh, now| mesh.reply(request, payload, now))??)
    }

    /// Sends a track of audio or video to a neighbour: a member that an open link leads to. What it
    /// carries is written into the [`LocalTrack`]. It goes on while the link gets fresh keys, and
    /// ends with the link.
    ///
    /// ```no_run
    /// # async fn example(agent: mesh_native::Agent) -> Result<(), Box<dyn std::error::Error>> {
    /// use mesh_native::core::{Event, TrackKind};
    ///
    /// let mut events = agent.events();
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         Event::LinkOpened { peer, .. } => {
    ///             let film = agent.send_track(peer, TrackKind::Video)?;
    ///             tokio::spawn(async move { film.play("film.ivf").await });
    ///         }
    ///         Event::Track { peer, id, .. } => {
    ///             let Some(track) = agent.remote_track(peer, &id) else { continue };
    ///             tokio::spawn(async move { track.record(format!("{id}.ivf")).await });
    ///         }
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TrackError`]: tracks travel to neighbours only, and
    /// [`TRACKS_MAX`](mesh_core::TRACKS_MAX) to each at most.
    pub fn send_track(&self, peer: PeerId, kind: TrackKind) -> Result<LocalTrack, MeshError> {
        let media = self.shared.media.of(peer);
        let local = self.call(|mesh, now| {
            let media = media.ok_or(TrackError::NotLinked(peer))?;
            let (local, tracks) = media.add(kind)?;
            match mesh.set_tracks(peer, tracks, now) {
                Ok(()) => Ok(local),
                Err(error) => {
                    media.remove(&local);
                    Err(error)
                }
            }
        })??;
        Ok(LocalTrack::new(peer, local, Arc::downgrade(&self.shared)))
    }

    /// A track that a neighbour sends, as [`Event::Track`](mesh_core::Event::Track) has told; none
    /// once it has ended.
    pub fn remote_track(&self, peer: PeerId, id: &str) -> Option<RemoteTrack> {
        self.shared.media.of(peer)?.remote(id)
    }

    /// How many others this agent knows: in a divided room, of its shard.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn members(&self) -> Result<usize, MeshError> {
        self.read(Mesh::members)
    }

    /// How the room is divided.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn shards(&self) -> Result<Shards, MeshError> {
        self.read(Mesh::shards)
    }

    /// Every other member of the room; of a divided one, of this agent's shard.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn peers(&self) -> Result<Vec<PeerView>, MeshError> {
        self.read(Mesh::peers)
    }

    /// The routing table.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn routes(&self) -> Result<Vec<RouteView>, MeshError> {
        self.read(Mesh::routes)
    }

    /// Sends nothing through these members from now on, as far as this agent chooses the path;
    /// forwarders choose theirs. To them it still sends.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn avoid(&self, members: BTreeSet<PeerId>) -> Result<(), MeshError> {
        self.call(|mesh, now| mesh.avoid(members, now))
    }

    /// Gives every link fresh DTLS keys now, make before break: each is told as
    /// [`Event::LinkRotated`](mesh_core::Event::LinkRotated). By itself each link does so every
    /// [`Config::rotate_interval`](mesh_core::Config::rotate_interval), an hour unless set.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn rotate_keys(&self) -> Result<(), MeshError> {
        self.call(Mesh::rotate_keys)
    }

    /// The mesh as this agent knows it.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn topology(&self) -> Result<TopologyView, MeshError> {
        self.read(Mesh::topology)
    }

    /// Counters.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn stats(&self) -> Result<Stats, MeshError> {
        self.read(Mesh::stats)
    }

    /// How this agent stands now: its links, its queues, and what is not done with.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn gauges(&self) -> Result<Gauges, MeshError> {
        self.read(Mesh::gauges)
    }

    /// When this agent acts by itself next, and why.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn next_timeout(&self) -> Result<Option<TimeoutView>, MeshError> {
        let now = self.shared.clock.now();
        self.read(|mesh| mesh.next_timeout(now))
    }

    /// Whether every wanted link is open and every member can be reached.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub fn is_settled(&self) -> Result<bool, MeshError> {
        self.read(Mesh::is_settled)
    }

    /// Waits until nothing that this agent has sent is under way any more: a neighbour has each
    /// message, the target each acknowledged one, and each request has its reply, or they have
    /// failed. What others send meanwhile is not waited for.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn finish(&self) -> Result<(), MeshError> {
        while self.call(|mesh, _| mesh.finish())? > 0 {
            tokio::time::sleep(FINISH_INTERVAL).await;
        }
        Ok(())
    }

    /// Leaves the mesh and closes every link. Closing twice does no harm.
    pub async fn close(&self) {
        self.shared.call(AgentState::leave);
        let _ = self.running.clone().changed().await; // Until the loop has ended.
    }

    /// Asks the mesh; its loop need not know.
    fn read<T>(&self, read: impl FnOnce(&Mesh) -> T) -> Result<T, MeshError> {
        self.shared.lock().agent.call(|mesh| read(mesh))
    }

    fn call<T>(&self, call: impl FnOnce(&mut Mesh, Instant) -> T) -> Result<T, MeshError> {
        self.shared
            .call(|agent, now| agent.call(|mesh| call(mesh, now)))
    }

    /// Calls until the mesh has room.
    async fn when_writable<T>(
        &self,
        line: Line,
        call: impl Fn(&mut Mesh, Instant) -> Result<T, SendError>,
    ) -> Result<T, MeshError> {
        // Who sends without end would keep its thread from the loop that carries it out.
        tokio::task::coop::consume_budget().await;
        let mut waiting = Call::of(&self.shared, line);
        poll_fn(|context| {
            waiting.shared.call(|agent, now| {
                agent.poll_call(&mut waiting.ticket, context, |mesh| call(mesh, now))
            })
        })
        .await
    }
}
