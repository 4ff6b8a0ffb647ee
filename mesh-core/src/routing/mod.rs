//! Where a message goes next: link-state records in, shortest paths out.
//!
//! Every agent announces its open links in a signed record; each agent holds the newest record of
//! each author ([`Database`]) and computes shortest paths over the links that both ends announce
//! ([`Routes`]), as OSPF does ([RFC 2328], section 16.1, the two-way check). So a dead agent needs
//! no timer to disappear: when its neighbours stop announcing their links to it, no path leads
//! there.
//!
//! [RFC 2328]: https://www.rfc-editor.org/rfc/rfc2328

mod anti_entropy;
mod database;
mod flooding;
#[cfg(test)]
mod golden;
mod graph;
mod routes;
mod search;
#[cfg(any(test, feature = "sim"))]
mod shared_records;
#[cfg(test)]
mod tests;
mod throttle;
mod tree;
mod verify_queue;

pub(crate) use database::Database;
#[cfg(any(test, feature = "sim"))]
use database::Known;
pub(crate) use routes::Routes;
#[cfg(any(test, feature = "sim"))]
pub(crate) use shared_records::SharedRecords;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::links::{Link, Links};
use crate::metric::Metric;
use crate::rng::Stream;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::timers::Timers;
use crate::topology::Shards;
use crate::trust::Trust;
use anti_entropy::AntiEntropy;
use flooding::Flooding;
use graph::LinkGraph;
use routes::RoutePolicy;
use throttle::Throttle;
use verify_queue::VerifyQueue;

/// Time for which news of link state gathers until it is passed on in one frame, and until paths
/// are computed again. Records of one event come within a few milliseconds of each other, and
/// people notice no delay as short. A message that finds no way has paths computed at once.
const GATHERED: Duration = Duration::from_millis(20);

/// Neighbours around which paths are computed in one turn, at most: each computation takes as long
/// as that of all paths, a millisecond in a large room.
const DETOURS_MAX: usize = 4;

/// What this agent knows of the links of others, and the paths that follow from it.
#[derive(Debug)]
pub(crate) struct Routing {
    database: Database,
    /// The links that the database tells of, since paths were last computed.
    graph: LinkGraph,
    policy: RoutePolicy,
    routes: Routes,
    /// Something has happened since paths were last computed.
    stale: bool,
    /// Paths have changed since the application was told.
    news: bool,
    /// An agent that was in reach no longer is, and has not said that it leaves.
    missed: bool,
    /// Counts the times that paths were computed: what was derived from others is void.
    generation: u64,
    computing: Throttle,
    flooding: Flooding,
    verify_queue: VerifyQueue,
    anti_entropy: AntiEntropy,
    timers: Timers,
    rng: ChaCha8Rng,
}

/// Paths that leave a neighbour out, computed once for all that is repeated in a turn.
#[derive(Debug, Default)]
pub(crate) struct Detours(BTreeMap<PeerId, Routes>);

impl Routing {
    /// Nothing is known yet. `seed` is the agent's.
    pub(crate) fn new(metric: Metric, seed: [u8; 32]) -> Self {
        Self {
            database: Database::default(),
            graph: LinkGraph::default(),
            policy: RoutePolicy::by(metric),
            routes: Routes::default(),
            stale: false,
            news: false,
            missed: false,
            generation: 0,
            computing: Throttle::new(GATHERED),
            flooding: Flooding::new(),
            verify_queue: VerifyQueue::default(),
            anti_entropy: AntiEntropy::default(),
            timers: Timers::default(),
            rng: Stream::Routing.of(seed),
        }
    }

    /// When records are verified or a timer fires next, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, TimeoutReason)> {
        let verify = self.verify_at().map(|at| (at, TimeoutReason::Verify));
        verify.into_iter().chain(self.timers.deadline()).min()
    }

    /// A timer has fired.
    pub(crate) fn disarm(&mut self, timer: TimeoutReason) {
        self.timers.disarm(timer);
    }

    /// The link-state records held.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The paths, as they were last computed.
    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// How the room is divided.
    fn shards(&self) -> Shards {
        self.policy.shards
    }

    /// Whether a peer is of another shard.
    fn is_remote(&self, peer: PeerId, cx: &Context) -> bool {
        !self.shards().same(peer, cx.this)
    }

    /// Whether an agent has said goodbye to this one.
    pub(crate) fn has_departed(&self, peer: PeerId) -> bool {
        let state = self.database.state(peer);
        state.is_some_and(|state| state.departed)
    }

    /// Usable links to other shards.
    pub(crate) fn remote_links<'a>(
        &'a self,
        links: &'a Links,
        cx: &'a Context,
    ) -> impl Iterator<Item = &'a Link> {
        let remote = |link: &&Link| self.is_remote(link.peer, cx);
        links.usable().filter(remote)
    }

    /// Messages go through none of these from now on, as far as this agent chooses the path.
    pub(crate) fn avoid(&mut self, members: BTreeSet<PeerId>, cx: &Context) {
        self.policy.avoid = members;
        self.changed(cx);
    }

    /// Paths must be computed again, soon.
    pub(crate) fn changed(&mut self, cx: &Context) {
        self.stale = true;
        let due = self.computing.due(cx.now) + cx.lag();
        self.timers.arm(TimeoutReason::Routes, due);
    }

    /// Computes paths, as their timer asks.
    pub(crate) fn update(&mut self, links: &Links, cx: &Context) {
        self.computing.done(cx.now);
        self.refresh(links, cx);
        self.expire(cx);
    }

    /// Whether paths have changed since this was last asked.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether an agent has fallen out of reach, without a word, since this was last asked.
    pub(crate) fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    /// Notes which records are of agents out of reach, and forgets them in time.
    fn expire(&mut self, cx: &Context) {
        let (this, routes) = (cx.this, &self.routes);
        let reachable = |peer| peer == this || routes.contains(peer);
        self.database.expire(reachable, cx.now);
    }

    /// Computes paths if anything has happened since the last time. Returns whether it has.
    pub(crate) fn refresh(&mut self, links: &Links, cx: &Context) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        self.generation += 1;
        let open = links.open().map(|link| link.peer).collect();
        let policy = &self.policy;
        self.graph = LinkGraph::of(&self.database, &open, policy.metric, policy.shards);
        let routes = Routes::compute(cx.this, &open, &self.graph, &self.database, policy);
        // A message may have had them computed before it was their time: that is told then.
        self.news |= routes != self.routes;
        let is_missed = |peer| !routes.contains(peer) && !self.has_departed(peer);
        self.missed |= self.routes.iter().any(|(peer, _)| is_missed(peer));
        self.routes = routes;
        true
    }

    /// Holds records once together with others.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn share_records(&mut self, records: SharedRecords) {
        self.database.share(records);
    }

    /// Computes all paths again, whether anything has happened or not.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn recompute(&mut self, links: &Links, cx: &Context) {
        self.stale = true;
        self.refresh(links, cx);
    }

    /// The neighbour that is the next hop to a member: on a shortest path, and one that `takes` it.
    pub(crate) fn next_hop(
        &self,
        to: PeerId,
        cx: &Context,
        takes: impl FnMut(PeerId) -> bool,
    ) -> Option<PeerId> {
        let flow = to.prefix() ^ cx.this.prefix();
        self.routes.next_hop(to, flow, &self.database, takes)
    }

    /// As [`Routing::next_hop`], on paths that leave a neighbour out.
    pub(crate) fn next_hop_around(
        &self,
        (to, left_out): (PeerId, PeerId),
        detours: &mut Detours,
        (links, cx): (&Links, &Context),
        takes: impl FnMut(PeerId) -> bool,
    ) -> Option<PeerId> {
        if detours.0.len() >= DETOURS_MAX && !detours.0.contains_key(&left_out) {
            return None;
        }
        let paths = detours.0.entry(left_out).or_insert_with(|| {
            let open = links.open().map(|link| link.peer);
            let open = open.filter(|&peer| peer != left_out).collect();
            let (graph, policy) = (&self.graph, &self.policy);
            Routes::compute(cx.this, &open, graph, &self.database, policy)
        });
        let flow = to.prefix() ^ cx.this.prefix();
        paths.next_hop(to, flow, &self.database, takes)
    }

    /// Those that a source's broadcasts are passed on to, in its shortest-path tree; none if there
    /// is no tree. They are so as long as the generation is the same.
    pub(crate) fn children(&self, source: PeerId, cx: &Context) -> Option<Vec<PeerId>> {
        tree::children(source, cx.this, &self.graph, self.policy.shards)
    }

    /// Counts the times that paths were computed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The room is divided otherwise: records of others are of no use any more.
    pub(crate) fn divide(&mut self, shards: Shards, links: &Links, cx: &Context) {
        self.policy.shards = shards;
        let mut database = std::mem::take(&mut self.database);
        database.retain(|author, state| self.concerns_us(author, state, cx));
        self.database = database;
        self.changed(cx);
        // Peers of other shards may be neighbours now, whose records are all news. One is asked,
        // for all would answer the same, and another soon: the first may not have followed yet.
        if let Some(&id) = self.flood_links(links, cx).first() {
            self.compare_with(id, cx);
        }
    }

    /// A link is gone, and what was to be sent over it.
    pub(crate) fn link_down(&mut self, id: LinkId) {
        self.flooding.forget(id);
        self.anti_entropy.forget(id);
    }

    /// Another connection has taken the place of a link: what its other end knows stays.
    pub(crate) fn link_replaced(&mut self, former: LinkId, link: LinkId) {
        self.flooding.replace(former, link);
        self.anti_entropy.replace(former, link);
    }

    /// Whether nothing waits to be verified or passed on.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn is_idle(&self) -> bool {
        self.verify_queue.is_empty() && self.flooding.is_idle()
    }

    /// The agent leaves, and says so if it can. What it knows of the others stays, for the next
    /// time.
    pub(crate) fn leave(
        &mut self,
        goodbye: bool,
        links: &mut Links,
        trust: &mut Trust,
        cx: &mut Context,
    ) {
        if goodbye {
            self.say_goodbye(links, trust, cx);
        }
        self.verify_queue = VerifyQueue::default();
        self.anti_entropy = AntiEntropy::default();
        self.timers.clear();
    }
}
