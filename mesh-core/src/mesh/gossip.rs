//! Link state travels: announced when our links change, and flooded over a few rings in batches.
//! What was lost with a link is found again when databases are [compared](super::compare).
//!
//! Nothing is repeated at rest: a record stands until its author replaces it, and whether the
//! author lives shows in its neighbours' records (see [`crate::routing`]).

use std::time::Duration;

use super::Mesh;
use crate::error::RejectReason;
use crate::id::{LinkId, PeerId};
use crate::identity::Signed;
use crate::io::Event;
use crate::link::Link;
use crate::name::check_name;
use crate::routing::{LinkGraph, Metric, Routes};
use crate::time::Instant;
use crate::timers::Timer;
use crate::wire::{LinkEntry, LinkState, Record};

/// Links that one record may announce: the largest k, the slack, and room for a larger future.
const LINKS_ANNOUNCED_MAX: usize = 256;

/// How long a link's first measured round trip waits to be announced where no path depends on it:
/// as long as the slowest of an agent's links may take to be measured.
const QUALITY_DELAY_HOPS: Duration = Duration::from_secs(15);

/// How much longer it waits at most, for each member that will verify it.
const QUALITY_DELAY_SHARE: Duration = Duration::from_millis(200);

/// How long a record that changes no path is gathered with others before it is passed on.
const QUALITY_GATHERED: Duration = Duration::from_secs(1);

impl Mesh {
    /// Our links have changed: the others should know.
    pub(super) fn announce_soon(&mut self, now: Instant) {
        let due = self.announcing.due(now) + self.cx.grace();
        self.cx.timers.arm(Timer::Announce, due);
    }

    /// A link has opened. The last that was awaited is news; what opens before it waits, because
    /// everybody verifies every record, and in a mass join that is much work.
    pub(super) fn announce_opened(&mut self, now: Instant) {
        self.unannounced = true;
        if self.is_linked() {
            self.announce_soon(now);
        } else {
            let wait = self.cx.config.opening_delay + self.cx.grace();
            self.cx.timers.arm(Timer::Announce, now + wait);
        }
    }

    /// A link was measured. What others know of it may be wrong by now; there is no hurry.
    pub(super) fn measured(&mut self, id: LinkId, now: Instant) {
        let metric = self.cx.config.metric;
        let link = self.links.get(id);
        if link.is_some_and(|link| link.has_changed(metric)) {
            // Where paths are chosen by hops it is for people, and can wait for all first samples:
            // the longer, the more members have to verify it, and not all at the same time. When
            // its turn is an agent has from its id, for it is asked for each link.
            let others = u32::try_from(self.roster.len()).unwrap_or(u32::MAX);
            let turn = self.cx.this.prefix() as f64 / u64::MAX as f64;
            let spread = (QUALITY_DELAY_SHARE * others).mul_f64(turn);
            let wait = match metric {
                Metric::Hops => QUALITY_DELAY_HOPS + spread,
                Metric::Latency | Metric::Bandwidth => self.cx.config.quality_delay,
            };
            self.cx.timers.arm(Timer::Announce, now + wait);
        }
    }

    /// Signs and spreads a record of our open links.
    pub(super) fn announce(&mut self, now: Instant) {
        self.announcing.done(now);
        self.unannounced = false;
        let open = self.links.iter_mut().filter(|link| link.is_open());
        let mut links: Vec<_> = open.map(Link::announce).collect();
        links.sort_unstable_by_key(|entry| entry.peer_prefix);
        self.publish(links, false, now);
        self.routes_changed(now); // What our links cost counts for our own paths too.
    }

    /// The last record: this agent has left.
    pub(super) fn say_goodbye(&mut self, now: Instant) {
        self.publish(Vec::new(), true, now);
        // Everybody who is about to lose a link hears it at once, not only the flood's neighbours.
        let links = self.links.ids();
        for link in links {
            self.gossip.entry(link).or_default().insert(self.cx.this);
        }
        self.flush_gossip();
    }

    fn publish(&mut self, links: Vec<LinkEntry>, departed: bool, now: Instant) {
        let last = self.database.version(self.cx.this).unwrap_or_default();
        let lacks = if departed { 0 } else { self.links_lacking() };
        let state = LinkState {
            version: self.cx.unix().as_micros().max(last + 1),
            name: self.cx.config.name.clone(),
            departed,
            lacks: u8::try_from(lacks).unwrap_or(u8::MAX),
            links,
        };
        let signed = self.sign_statement(&state);
        let verified = signed
            .verify_once(&mut self.verifier, &self.cx.config.room)
            .expect("our own signature verifies");
        self.database.insert(signed, verified);
        self.spread(self.cx.this, None, now + self.cx.config.gossip_delay);
    }

    /// Passes the record of an author on, to all that the flood leads to but the link it came over.
    fn spread(&mut self, author: PeerId, from: Option<LinkId>, at: Instant) {
        let mut links = self.gossip_links();
        if author == self.cx.this {
            links.extend(self.links_abroad().map(|link| link.id));
        }
        for id in links.into_iter().filter(|id| Some(*id) != from) {
            self.gossip.entry(id).or_default().insert(author);
        }
        self.cx.timers.arm(Timer::Gossip, at);
    }

    /// The links that news is spread over inside the shard: those of the first rings, and for each
    /// of them that is not open another one.
    pub(super) fn gossip_links(&self) -> Vec<LinkId> {
        let usable = self.links.iter().filter(|link| link.is_usable());
        let usable = usable.filter(|link| !self.is_abroad(link.peer));
        let (mut on_rings, others): (Vec<_>, Vec<_>) =
            usable.partition(|link| self.flood.contains(&link.peer));
        let missing = self.flood.len().saturating_sub(on_rings.len());
        on_rings.extend(others.into_iter().take(missing));
        on_rings.into_iter().map(|link| link.id).collect()
    }

    /// Sends every link the records that gathered for it.
    pub(super) fn flush_gossip(&mut self) {
        for (id, authors) in std::mem::take(&mut self.gossip) {
            for author in authors {
                self.send_record(id, author);
            }
        }
    }

    pub(super) fn send_record(&mut self, id: LinkId, author: PeerId) {
        if let Some(signed) = self.database.signed(author) {
            let record = Record::LinkState(signed.clone());
            self.queue_control(id, &record);
        }
    }

    /// Takes a record over, if it is what it claims to be.
    pub(super) fn verify_link_state(&mut self, id: LinkId, signed: Signed, now: Instant) {
        let author = signed.claimed_author();
        let version = signed.peek::<u64>().unwrap_or_default();
        if version <= self.database.version(author).unwrap_or_default() {
            return; // It came over another link meanwhile.
        }
        // A link may be closed right after the last record came over it.
        let peer = self.links.get(id).map(|link| link.peer);
        let verified =
            match signed.verify_once::<LinkState>(&mut self.verifier, &self.cx.config.room) {
                Ok(verified) => verified,
                Err(error) => return self.reject(peer, Some(author), error.into()),
            };
        let claim = verified.get();
        if author == self.cx.this {
            self.outlived(version, now);
            return;
        }
        if !self.concerns_us(author, claim) {
            return; // A neighbour divides the room otherwise, or the author has left our shard.
        }
        let known = self.database.version(author).is_some();
        let too_much = claim.links.len() > LINKS_ANNOUNCED_MAX
            || check_name("name", &claim.name).is_err()
            || !(known || self.database.make_room(self.authors_max()));
        if too_much {
            self.reject(peer, Some(author), RejectReason::Limit);
            return;
        }
        self.suspect(author, claim, now);
        let known = self.database.state(author);
        let is_news = known.is_none_or(|known| self.concerns_paths(known, verified.get()));
        self.database.insert(signed, verified);
        self.cx.stats.link_states += 1;
        let wait = if is_news {
            self.routes_changed(now);
            self.cx.config.gossip_delay
        } else {
            QUALITY_GATHERED
        };
        self.spread(author, Some(id), now + wait);
    }

    /// Whether a new record can change paths, or what is derived from them: by hops it does not
    /// matter what links are like.
    fn concerns_paths(&self, old: &LinkState, new: &LinkState) -> bool {
        let end = |link: &LinkEntry| link.peer_prefix;
        let same_ends = old.links.iter().map(end).eq(new.links.iter().map(end));
        let by_hops = self.cx.config.metric == Metric::Hops && self.cx.config.adaptive.is_none();
        !by_hops || old.departed != new.departed || !same_ends
    }

    /// A record of an earlier life of this agent is about, newer than what it says now (its clock
    /// was set back): this life takes over from there.
    fn outlived(&mut self, version: u64, now: Instant) {
        self.incarnation = self.incarnation.max(version.saturating_add(1));
        let unix = self.cx.unix().as_micros();
        if version >= unix {
            // Date the next record after it: `publish` takes the larger of the clock and this.
            let state = LinkState {
                version,
                name: self.cx.config.name.clone(),
                departed: false,
                lacks: 0,
                links: Vec::new(),
            };
            let signed = self.sign_statement(&state);
            let verified = signed
                .verify(&self.cx.config.room)
                .expect("our own signature verifies");
            self.database.insert(signed, verified);
        }
        self.announce_soon(now);
    }

    /// Links that an author has just withdrawn: if this agent has one to the same peer, the peer
    /// may be dead, and is asked now rather than at the next interval.
    fn suspect(&mut self, author: PeerId, new: &LinkState, now: Instant) {
        let Some(old) = self.database.state(author) else {
            return;
        };
        let names = |state: &LinkState, peer: PeerId| {
            let mut links = state.links.iter();
            links.any(|entry| entry.peer_prefix == peer.prefix())
        };
        let ours = self.by_peer.keys().copied();
        let mut suspects: Vec<_> = ours
            .filter(|&peer| names(old, peer) && !names(new, peer))
            .collect();
        if new.departed {
            suspects.push(author);
        }
        for peer in suspects {
            self.probe(peer, now);
        }
    }

    /// Paths must be computed again, soon.
    pub(super) fn routes_changed(&mut self, now: Instant) {
        self.routes_stale = true;
        let due = self.routing.due(now) + self.cx.lag();
        self.cx.timers.arm(Timer::Routes, due);
    }

    /// Computes paths, and with them who is in the room.
    pub(super) fn update_routes(&mut self, now: Instant) {
        self.routing.done(now);
        self.refresh_routes();
        self.forget_authors(now);
        self.members_changed(now);
        if std::mem::take(&mut self.routes_news) {
            self.cx.stats.route_changes += 1;
            self.cx.emit(Event::TopologyChanged);
        }
        self.search_on(now);
        // What waited for a way, and callers that waited for room, may find one now.
        self.flush_waiting(now);
        self.notify_writable(now);
    }

    /// Notes whose records are of somebody out of reach, and forgets them in time.
    pub(super) fn forget_authors(&mut self, now: Instant) {
        let (this, routes) = (self.cx.this, &self.routes);
        let reachable = |peer| peer == this || routes.contains(peer);
        self.database
            .expire(reachable, self.cx.config.forget_after, now);
    }

    /// Computes paths if anything has happened since the last time.
    pub(super) fn refresh_routes(&mut self) {
        if !std::mem::take(&mut self.routes_stale) {
            return;
        }
        self.broadcasts.forget_trees();
        let open = self.links.iter().filter(|link| link.is_open());
        let open = open.map(|link| link.peer).collect();
        let policy = &self.policy;
        self.graph = LinkGraph::of(&self.database, &open, policy.metric, policy.shards);
        let routes = Routes::compute(self.cx.this, &open, &self.graph, &self.database, policy);
        // A message may have had them computed before it was their time: that is told then.
        self.routes_news |= routes != self.routes;
        self.routes = routes;
    }
}
