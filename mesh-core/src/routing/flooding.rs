//! Link state travels: announced when our links change, and flooded over a few rings in batches.
//! What was lost with a link is found again when databases are [compared](super::anti_entropy).
//!
//! Nothing is repeated at rest: a record stands until its author replaces it, and whether the
//! author lives shows in its neighbours' records (see [`routing`](super)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::throttle::Throttle;
use super::{GATHERED, Routing};
use crate::config::{Config, K};
use crate::context::Context;
use crate::error::RejectReason;
use crate::id::{LinkId, PeerId};
use crate::links::{LINGER, Link, Links, Suspicion};
use crate::log::decided;
use crate::metric::Metric;
use crate::name::check_name;
use crate::rng::unit;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::trust::{Signed, Trust};
use crate::wire::{LinkEntry, LinkState, Record};

/// Links that one record may announce: the largest k, as many that others may open beyond it, and
/// room for a larger k of a later version.
const LINKS_ANNOUNCED_MAX: usize = 256;

/// Time for which changes of this agent's links gather until they are announced in one record, if
/// it was quiet before. All members of the room verify every record, which would be most of the
/// work in a mass join.
const ANNOUNCE_DELAY: Duration = Duration::from_millis(50);

/// Wait of a link that has opened to be announced, while others are still awaited: most open within
/// it.
pub(super) const OPENING_DELAY: Duration = Duration::from_secs(1);

const _: () = assert!(
    *K.end() * 2 <= LINKS_ANNOUNCED_MAX,
    "all links can be announced"
);
const _: () = assert!(
    GATHERED.as_millis() < ANNOUNCE_DELAY.as_millis()
        && ANNOUNCE_DELAY.as_millis() < OPENING_DELAY.as_millis()
        && OPENING_DELAY.as_millis() < QUALITY_DELAY.as_millis(),
    "news that matter less wait longer"
);
const _: () = assert!(
    OPENING_DELAY.as_millis() < LINGER.as_millis(),
    "the link that another replaces is there until that is known"
);

/// Wait of a changed round trip or bandwidth to be announced, where paths depend on it: it may
/// change back, and others may change too. Records that change no path are gathered for half of it
/// at each hop.
const QUALITY_DELAY: Duration = Duration::from_secs(2);

/// Additional wait of the same for each member that will verify the record, at most, where no path
/// depends on it: 1,000 members spread their records over more than three minutes.
const QUALITY_DELAY_SHARE: Duration = Duration::from_millis(200);

/// A change of a round trip, in microseconds, that is never announced, however large it is for the
/// link: smoothed samples of a busy wireless network differ by as much.
const RTT_NOISE_US: u32 = 5_000;

/// What is to be announced and passed on.
#[derive(Debug)]
pub(super) struct Flooding {
    /// How soon our links are announced.
    announcing: Throttle,
    /// Links have opened that were not announced yet.
    unannounced: bool,
    /// What the others were told of each link last.
    announced: BTreeMap<LinkId, LinkEntry>,
    /// The neighbours that records are flooded to: on the inner rings.
    neighbours: BTreeSet<PeerId>,
    /// Authors whose records a link's other end should get.
    waiting: BTreeMap<LinkId, BTreeSet<PeerId>>,
}

impl Flooding {
    pub(super) fn new() -> Self {
        Self {
            announcing: Throttle::new(ANNOUNCE_DELAY),
            unannounced: false,
            announced: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    pub(super) fn forget(&mut self, id: LinkId) {
        self.waiting.remove(&id);
    }

    /// Another connection has taken the place of a link.
    pub(super) fn replace(&mut self, former: LinkId, link: LinkId) {
        if let Some(entry) = self.announced.remove(&former) {
            self.announced.insert(link, entry);
        }
        if let Some(authors) = self.waiting.remove(&former) {
            self.waiting.entry(link).or_default().extend(authors);
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A neighbour has a record already: one copy less to send.
    pub(super) fn neighbour_has(&mut self, id: LinkId, author: PeerId) {
        if let Some(authors) = self.waiting.get_mut(&id) {
            authors.remove(&author);
        }
    }

    /// A neighbour should get these authors' records.
    pub(super) fn add(&mut self, id: LinkId, authors: impl IntoIterator<Item = PeerId>) {
        self.waiting.entry(id).or_default().extend(authors);
    }
}

/// Announcing our links.
impl Routing {
    /// Our links have changed: the others should know.
    pub(crate) fn announce_soon(&mut self, cx: &Context) {
        let due = self.flooding.announcing.due(cx.now) + cx.grace();
        self.timers.arm(TimeoutReason::Announce, due);
    }

    /// A link has opened. The last that was awaited is news; what opens before it waits, because
    /// every agent verifies every record, and in a mass join that is much work.
    pub(crate) fn announce_opened(&mut self, is_last: bool, cx: &Context) {
        self.flooding.unannounced = true;
        if is_last {
            self.announce_soon(cx);
        } else {
            let wait = OPENING_DELAY + cx.grace();
            self.timers.arm(TimeoutReason::Announce, cx.now + wait);
        }
    }

    /// Announces what has opened, if it was not yet: nothing more is awaited.
    pub(crate) fn announce_rest(&mut self, cx: &Context) {
        if self.flooding.unannounced {
            self.announce_soon(cx);
        }
    }

    /// All links of all members are about to change: one record of each tells of it, and not all at
    /// once.
    pub(crate) fn hold_announcements(&mut self, cx: &Context) {
        let turn = (1.0 + unit(&mut self.rng)) / 2.0;
        let until = cx.now + OPENING_DELAY.mul_f64(turn);
        self.flooding.announcing.hold(until);
    }

    /// Records are flooded to these neighbours from now on.
    pub(crate) fn flood_to(&mut self, neighbours: BTreeSet<PeerId>) {
        self.flooding.neighbours = neighbours;
    }

    /// A link was measured. What others know of it may be wrong by now; there is no hurry.
    pub(crate) fn measured(&mut self, id: LinkId, links: &Links, others: usize, cx: &Context) {
        let metric = cx.config.metric;
        let link = links.get(id);
        if !link.is_some_and(|link| self.has_changed(link, metric)) {
            return;
        }
        // Where paths are chosen by hops it is for people, and can wait for all first samples:
        // the longer, the more members have to verify it, and not all at the same time. An agent
        // has its turn from its id, for it is asked for each link.
        let others = u32::try_from(others).unwrap_or(u32::MAX);
        let turn = cx.this.prefix() as f64 / u64::MAX as f64;
        let spread = (QUALITY_DELAY_SHARE * others).mul_f64(turn);
        let wait = match metric {
            // The slowest of the links is measured by then.
            Metric::Hops => cx.config.ping_interval_max + spread,
            Metric::Latency | Metric::Bandwidth => QUALITY_DELAY,
        };
        self.timers.arm(TimeoutReason::Announce, cx.now + wait);
    }

    /// Whether a link differs so much from what the others know that they should be told. Where
    /// paths do not depend on it, they are told once.
    fn has_changed(&self, link: &Link, metric: Metric) -> bool {
        if metric == Metric::Hops && !link.keepalive.just_measured() {
            return false;
        }
        let unmeasured = LinkEntry::unmeasured(link.peer);
        let old = self.flooding.announced.get(&link.id);
        let (new, old) = (link.entry(), old.copied().unwrap_or(unmeasured));
        let apart = |a: u32, b: u32| a.abs_diff(b) > a.min(b) / 2;
        let first = old.rtt_us == 0 && new.rtt_us > 0;
        let rtt = apart(new.rtt_us, old.rtt_us) && new.rtt_us.abs_diff(old.rtt_us) > RTT_NOISE_US;
        first || rtt || apart(new.kbps, old.kbps)
    }

    /// Signs and spreads a record of our open links, and of how many this agent lacks or can spare.
    pub(crate) fn announce(
        &mut self,
        lacks: i8,
        links: &Links,
        trust: &mut Trust,
        cx: &mut Context,
    ) {
        let flooding = &mut self.flooding;
        flooding.announcing.done(cx.now);
        flooding.unannounced = false;
        flooding.announced.retain(|&id, _| links.knows(id));
        let mut entries = Vec::new();
        for link in links.open() {
            let entry = link.entry();
            flooding.announced.insert(link.id, entry);
            entries.push(entry);
        }
        entries.sort_unstable_by_key(|entry| entry.peer_prefix);
        decided!(cx, links = entries.len(), lacks, "announce links");
        self.publish(entries, Some(lacks), links, trust, cx);
        self.changed(cx); // What our links cost counts for our own paths too.
    }

    /// The last record: this agent has left.
    pub(super) fn say_goodbye(&mut self, links: &mut Links, trust: &mut Trust, cx: &mut Context) {
        self.publish(Vec::new(), None, links, trust, cx);
        // All that are about to lose a link hear it at once, not only the flood's neighbours.
        for link in links.ids() {
            self.flooding.add(link, [cx.this]);
        }
        self.flush_records(links);
    }

    /// Signs and spreads a record; the last one of this agent lacks nothing.
    fn publish(
        &mut self,
        entries: Vec<LinkEntry>,
        lacks: Option<i8>,
        links: &Links,
        trust: &mut Trust,
        cx: &mut Context,
    ) {
        let last = self.database.version(cx.this).unwrap_or_default();
        let state = LinkState {
            version: cx.unix().as_micros().max(last + 1),
            name: cx.config.name.clone(),
            departed: lacks.is_none(),
            lacks: lacks.unwrap_or_default(),
            links: entries,
        };
        let signed = trust.sign(&state, cx);
        self.insert_ours(signed, trust, cx);
        let gathered = cx.now + GATHERED;
        self.spread(cx.this, None, gathered, links, cx);
    }

    fn insert_ours(&mut self, signed: Signed, trust: &mut Trust, cx: &Context) {
        let verified = trust.verify_once(&signed, cx);
        let verified = verified.expect("our own signature verifies");
        self.database.insert(signed, verified);
    }
}

/// Passing records on.
impl Routing {
    /// Passes the record of an author on, to all that the flood leads to but the link it came over.
    fn spread(
        &mut self,
        author: PeerId,
        from: Option<LinkId>,
        at: Instant,
        links: &Links,
        cx: &Context,
    ) {
        let mut ids = self.flood_links(links, cx);
        if author == cx.this {
            ids.extend(self.remote_links(links, cx).map(|link| link.id));
        }
        for id in ids.into_iter().filter(|id| Some(*id) != from) {
            self.flooding.add(id, [author]);
        }
        self.timers.arm(TimeoutReason::Gossip, at);
    }

    /// The links that news is spread over inside the shard: those of the first rings, and for each
    /// of them that is not open another one.
    pub(crate) fn flood_links(&self, links: &Links, cx: &Context) -> Vec<LinkId> {
        let neighbours = &self.flooding.neighbours;
        let local = links.usable().filter(|link| !self.is_remote(link.peer, cx));
        let (mut on_rings, others): (Vec<_>, Vec<_>) =
            local.partition(|link| neighbours.contains(&link.peer));
        let missing = neighbours.len().saturating_sub(on_rings.len());
        on_rings.extend(others.into_iter().take(missing));
        on_rings.into_iter().map(|link| link.id).collect()
    }

    /// Sends every link the records that gathered for it.
    pub(crate) fn flush_records(&mut self, links: &mut Links) {
        for (id, authors) in std::mem::take(&mut self.flooding.waiting) {
            for author in authors {
                self.send_record(id, author, links);
            }
        }
    }

    pub(super) fn send_record(&self, id: LinkId, author: PeerId, links: &mut Links) {
        if let Some(signed) = self.database.signed(author) {
            links.queue_control(id, &Record::LinkState(signed.clone()));
        }
    }

    /// Takes a record over, if it is what it claims to be.
    pub(super) fn verify_link_state(
        &mut self,
        (id, signed): (LinkId, Signed),
        authors_max: usize,
        links: &mut Links,
        trust: &mut Trust,
        cx: &mut Context,
    ) {
        let author = signed.claimed_author();
        let version = signed.peek::<u64>().unwrap_or_default();
        if version <= self.database.version(author).unwrap_or_default() {
            return; // It came over another link meanwhile.
        }
        // A link may be closed right after the last record came over it.
        let peer = links.get(id).map(|link| link.peer);
        let verified = match trust.verify_once::<LinkState>(&signed, cx) {
            Ok(verified) => verified,
            Err(error) => return links.reject(peer, Some(author), error.into(), cx),
        };
        let claim = verified.get();
        if author == cx.this {
            self.outlived(version, trust, cx);
            return;
        }
        if !self.concerns_us(author, claim, cx) {
            return; // A neighbour divides the room otherwise, or the author has left our shard.
        }
        let known = self.database.version(author).is_some();
        let too_much = claim.links.len() > LINKS_ANNOUNCED_MAX
            || check_name("name", &claim.name).is_err()
            || !(known || self.database.make_room(authors_max));
        if too_much {
            links.reject(peer, Some(author), RejectReason::Limit, cx);
            return;
        }
        self.suspect(author, claim, links, cx);
        let known = self.database.state(author);
        let is_news = known.is_none_or(|known| concerns_paths(known, claim, &cx.config));
        self.database.insert(signed, verified);
        cx.stats.link_states += 1;
        let wait = if is_news {
            self.changed(cx);
            GATHERED
        } else {
            QUALITY_DELAY / 2
        };
        self.spread(author, Some(id), cx.now + wait, links, cx);
    }

    /// Whether a record is of use to this shard.
    pub(super) fn concerns_us(&self, author: PeerId, state: &LinkState, cx: &Context) -> bool {
        let shards = self.shards();
        let here = shards.of(cx.this);
        let mut links = state.links.iter();
        let leads_here = |link: &LinkEntry| shards.of_prefix(link.peer_prefix) == here;
        !self.is_remote(author, cx) || links.any(leads_here)
    }

    /// A record of an earlier life of this agent is about, newer than what it says now (its clock
    /// was set back): the next record of this life comes after it. Messages go by their dates
    /// alone, so that those under way stay of this life.
    fn outlived(&mut self, version: u64, trust: &mut Trust, cx: &mut Context) {
        decided!(cx, version, "take over from an earlier life of this agent");
        if version >= cx.unix().as_micros() {
            // Date the next record after it: `publish` takes the larger of the clock and this.
            let state = LinkState {
                version,
                name: cx.config.name.clone(),
                departed: false,
                lacks: 0,
                links: Vec::new(),
            };
            let signed = trust.sign(&state, cx);
            self.insert_ours(signed, trust, cx);
        }
        self.announce_soon(cx);
    }

    /// Links that an author has just withdrawn: if this agent has one to the same peer, the peer
    /// may be dead, and is asked now rather than at the next interval.
    fn suspect(&self, author: PeerId, new: &LinkState, links: &mut Links, cx: &Context) {
        let Some(old) = self.database.state(author) else {
            return;
        };
        let names = |state: &LinkState, peer: PeerId| {
            let mut links = state.links.iter();
            links.any(|entry| entry.peer_prefix == peer.prefix())
        };
        let withdrawn = |&peer: &PeerId| names(old, peer) && !names(new, peer);
        let mut suspects: Vec<_> = links.peers().filter(withdrawn).collect();
        if new.departed {
            suspects.push(author);
        }
        for peer in suspects {
            decided!(
                cx,
                ?peer,
                ?author,
                "ask whether a neighbour lives: another has withdrawn its link"
            );
            links.probe(peer, Suspicion::Unanswered, cx);
        }
    }
}

/// Whether a new record can change paths, or what is derived from them: by hops it does not matter
/// what links are like.
fn concerns_paths(old: &LinkState, new: &LinkState, config: &Config) -> bool {
    let end = |link: &LinkEntry| link.peer_prefix;
    let same_ends = old.links.iter().map(end).eq(new.links.iter().map(end));
    let by_hops = config.metric == Metric::Hops && config.adaptive.is_none();
    !by_hops || old.departed != new.departed || !same_ends
}
