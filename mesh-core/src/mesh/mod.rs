//! The root machine: owns the parts, decides everything between them, fills the outbox.
//!
//! Each file here is one concern of [`Mesh`], in the order in which an agent lives through them:
//! membership, signals, links, gossip, messages, views.

mod adapt;
mod backlog;
mod broadcast;
mod clocks;
mod compare;
mod delivery;
mod drafts;
mod finish;
mod gossip;
mod inbox;
mod links;
mod membership;
mod messages;
mod outcomes;
mod partners;
mod roster;
mod signals;
mod silent;
mod territory;
#[cfg(test)]
mod tests;
mod throttle;
mod views;
mod waiting;

pub(crate) use inbox::TTL_MAX;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::config::Config;
use crate::context::Context;
use crate::error::RejectReason;
use crate::ice::IceServer;
use crate::id::{LinkId, MessageId, PeerId, Target};
use crate::identity::Identity;
use crate::io::{Event, Input, Output};
use crate::link::{Dialer, Link, Links, SilentLinks};
use crate::routing::{Database, LinkGraph, ReplayWindow, RoutePolicy, Routes};
use crate::samples::{Sample, Samples, Stopwatch};
use crate::signaling::{Client, Crowd};
use crate::stats::Stats;
use crate::time::{Instant, UnixTime};
use crate::timers::Timer;
use crate::topology::Topology;
use crate::verifier::{KnownSignatures, Verifier};
use crate::wire::Envelope;
use adapt::Adaptation;
use backlog::Backlog;
use broadcast::Broadcasts;
use compare::Comparisons;
use delivery::Pending;
use drafts::Drafts;
use outcomes::Outcomes;
use partners::{Formation, Search};
use roster::Roster;
use throttle::Throttle;
use waiting::Waiting;

/// Orders in the outbox at which the driver should carry them out before the next input: one frame
/// can cause some thousands of events, and thousands of frames may be ready.
const OUTBOX_MAX: usize = 1_024;

/// One agent of the mesh. See the [crate's documentation](crate) for the loop around it.
#[derive(Debug)]
pub struct Mesh {
    cx: Context,
    identity: Identity,
    /// Grows with every start of this identity; dates its messages and link-state records.
    incarnation: u64,
    /// When the hub first did let this agent in.
    admitted_at: Instant,

    // Membership.
    client: Client,
    ice_servers: Vec<IceServer>,
    roster: Roster,
    /// How many are in the room, as the hub last said.
    room_members: usize,
    /// The first of the membership changes that links do not follow yet.
    unsettled_since: Option<Instant>,
    crowd: Crowd,

    // Links.
    links: Links,
    by_peer: BTreeMap<PeerId, LinkId>,
    /// Those that were open and fell silent.
    silent: SilentLinks,
    last_link: u64,
    dialer: Dialer,
    /// The links of this agent's shard.
    topology: Topology,
    /// The k that they were computed for.
    topology_k: usize,
    /// Those out of it that fall to this agent: for each whom it may lead to, the first choice
    /// first.
    crossings: Vec<Vec<PeerId>>,
    /// Whom a star of the present members has in its middle.
    star: Option<PeerId>,
    adaptation: Adaptation,
    /// The k of the room's size, before this agent has adapted it.
    k_room: Option<usize>,
    /// Peers that this agent wants to be linked with.
    wanted: BTreeSet<PeerId>,
    /// Its neighbours on the inner rings, to whom link-state records are flooded.
    flood: BTreeSet<PeerId>,
    /// The same, with others for those that cannot be reached.
    inner: BTreeSet<PeerId>,
    formation: Formation,
    search: Search,
    /// Links with something to send.
    busy: BTreeSet<LinkId>,

    // Routing.
    database: Database,
    verifier: Verifier,
    /// The links that the database tells of, since paths were last computed.
    graph: LinkGraph,
    policy: RoutePolicy,
    routes: Routes,
    routes_stale: bool,
    /// Paths have changed since the application was told.
    routes_news: bool,
    /// How soon our links are announced, and paths computed.
    announcing: Throttle,
    /// Links have opened that were not announced yet.
    unannounced: bool,
    routing: Throttle,
    /// Records that wait to be verified.
    backlog: Backlog,
    /// Authors whose records a link's other end should get.
    gossip: BTreeMap<LinkId, BTreeSet<PeerId>>,
    /// Neighbours whose database is to be compared with ours.
    comparisons: Comparisons,

    // Messages.
    /// Those that are to be signed.
    drafts: Drafts,
    /// Those that no way leads to yet.
    waiting: Waiting,
    /// Those that may still be told to have failed.
    outcomes: Outcomes,
    sequences: BTreeMap<Target, u64>,
    /// The highest sequence of targets that were forgotten: where new ones start.
    sequence_floor: u64,
    windows: BTreeMap<PeerId, Windows>,
    /// Messages of this agent that await a receipt or a reply.
    pending: BTreeMap<MessageId, Pending>,
    broadcasts: Broadcasts,
    /// The topics that the application wants to hear of; `None` for all.
    topics: Option<BTreeSet<String>>,
    /// Requests received, with the reply once there is one; oldest first.
    requests: VecDeque<(MessageId, Option<Envelope>)>,
    /// Somebody was told to wait until the mesh is writable.
    starved: bool,
}

/// What was seen of one author.
#[derive(Clone, Debug, Default)]
struct Windows {
    direct: ReplayWindow,
    room: ReplayWindow,
}

impl Mesh {
    /// An agent that has not joined yet. `seed` is all the randomness it will use; `now` and
    /// `unix_now` are the same moment on the two clocks.
    pub fn new(
        config: Config,
        identity: Identity,
        seed: [u8; 32],
        now: Instant,
        unix_now: UnixTime,
    ) -> Self {
        let cx = Context::new(config, identity.peer(), seed, now, unix_now);
        Self {
            identity,
            incarnation: unix_now.as_micros(),
            admitted_at: now,
            client: Client::default(),
            ice_servers: Vec::new(),
            roster: Roster::default(),
            room_members: 0,
            unsettled_since: None,
            crowd: Crowd::default(),
            links: Links::default(),
            by_peer: BTreeMap::new(),
            silent: SilentLinks::default(),
            last_link: 0,
            dialer: Dialer::default(),
            topology: Topology::partial_mesh(&BTreeSet::new(), 2),
            topology_k: 2,
            crossings: Vec::new(),
            star: None,
            adaptation: Adaptation::default(),
            k_room: None,
            wanted: BTreeSet::new(),
            flood: BTreeSet::new(),
            inner: BTreeSet::new(),
            formation: Formation::default(),
            search: Search::default(),
            busy: BTreeSet::new(),
            database: Database::default(),
            verifier: Verifier::default(),
            graph: LinkGraph::default(),
            policy: RoutePolicy::by(cx.config.metric),
            routes: Routes::default(),
            routes_stale: false,
            routes_news: false,
            announcing: Throttle::new(cx.config.announce_delay, cx.config.announce_delay_max),
            unannounced: false,
            routing: Throttle::new(cx.config.routes_delay, cx.config.routes_delay_max),
            backlog: Backlog::default(),
            gossip: BTreeMap::new(),
            comparisons: Comparisons::default(),
            drafts: Drafts::default(),
            waiting: Waiting::default(),
            outcomes: Outcomes::default(),
            sequences: BTreeMap::new(),
            sequence_floor: 0,
            windows: BTreeMap::new(),
            pending: BTreeMap::new(),
            broadcasts: Broadcasts::default(),
            topics: None,
            requests: VecDeque::new(),
            starved: false,
            cx,
        }
    }

    /// Shares with other agents of the process which signatures are known to be valid.
    pub fn share_signatures(&mut self, signatures: KnownSignatures) {
        self.verifier.signatures = Some(signatures);
    }

    /// Takes samples from now on, to be collected with [`Mesh::poll_sample`]; few wait.
    pub fn take_samples(&mut self, stopwatch: Stopwatch) {
        self.cx.samples.begin(stopwatch);
        self.verifier.samples.begin(stopwatch);
    }

    /// The next sample, until there is none.
    pub fn poll_sample(&mut self) -> Option<Sample> {
        let sample = self.cx.samples.poll();
        sample.or_else(|| self.verifier.samples.poll())
    }

    /// Takes note of a fact. Whatever is wrong with it becomes an [`Event`] and a counter.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        let now = self.enter(now);
        match input {
            Input::SignalingOpened { socket } => self.signaling_opened(socket, now),
            Input::SignalingReceived { socket, text } => {
                self.signaling_received(socket, &text, now);
            }
            Input::SignalingClosed { socket, reason } => {
                self.signaling_closed(socket, reason, now);
            }
            Input::LinkSignaled { link, signal } => self.link_signaled(link, signal, now),
            Input::LinkReached { link } => self.link_reached(link, now),
            Input::LinkOpened { link } => self.link_opened(link, now),
            Input::FrameReceived {
                link,
                channel,
                frame,
            } => self.frame_received(link, channel, &frame, now),
            Input::LinkCongested { link } => self.set_congested(link, true, now),
            Input::LinkDrained { link } => self.set_congested(link, false, now),
            Input::LinkClosed { link, reason } => self.link_closed(link, &reason, now),
            Input::NetworkChanged => self.woke_up(now),
        }
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.enter(now);
        self.note_lag(now);
        self.poll_client(now);
        // Before the links: what records tell may have some of them asked whether they live.
        self.verify_some(now);
        self.poll_links(now);
        self.poll_timers(now);
        // A stalled neighbour may have been found dead, or be a reason to ask others, now; and the
        // links follow.
        self.poll_links(now);
        self.poll_timers(now);
    }

    fn poll_timers(&mut self, now: Instant) {
        while let Some(timer) = self.cx.timers.pop_due(now) {
            match timer {
                Timer::Settle => self.reconcile(now),
                Timer::Announce => self.announce(now),
                Timer::Gossip => self.flush_gossip(),
                Timer::Compare => self.compare_next(now),
                Timer::Repair => self.repair(now),
                Timer::Routes => self.update_routes(now),
                Timer::Acks => self.send_acks(now),
                Timer::Adapt => self.adapt(now),
                Timer::Tell => self.tell_broadcasts(),
                Timer::Ask => self.ask_again(now),
                Timer::Suspect => self.probe_stalled(now),
                Timer::Silent => self.ask_silent(now),
                Timer::Return => self.give_up_absent(now),
                Timer::Retry => self.retry_pending(now),
                Timer::Waiting => self.expire_waiting(now),
            }
        }
    }

    /// When [`Mesh::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline().map(|at| self.cx.driver.leave(at))
    }

    /// Whether the orders that wait are so many that the driver should carry them out before it
    /// hands over more inputs.
    pub fn wants_drain(&self) -> bool {
        self.cx.outbox.len() >= OUTBOX_MAX
    }

    fn deadline(&self) -> Option<Instant> {
        let links = self.links.deadline();
        let timers = self.cx.timers.deadline();
        [links, timers, self.client.deadline(), self.backlog.due]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next order, until there is none. Frames are packed only here, so that whatever one turn
    /// of the loop queued for a link shares them.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.seal_all();
        loop {
            if let Some(output) = self.cx.next_order() {
                return Some(output);
            }
            let Some(&id) = self.busy.first() else {
                self.links.settle();
                return None;
            };
            let Some(output) = self.next_transmit(id) else {
                self.busy.remove(&id);
                continue;
            };
            return Some(output);
        }
    }

    /// Counts and reports something that is not to be trusted.
    fn reject(&mut self, via: Option<PeerId>, author: Option<PeerId>, reason: RejectReason) {
        self.cx.stats.reject(reason);
        let reported = via
            .and_then(|peer| self.by_peer.get(&peer))
            .and_then(|&link| self.links.get_mut(link))
            .is_none_or(Link::misbehaved);
        if reported {
            let event = Event::Rejected {
                via,
                author,
                reason,
            };
            self.cx.emit(event);
        }
    }
}
