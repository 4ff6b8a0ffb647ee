//! Copies of messages that were sent before: which way they take, and which would be of no use.
//!
//! What is handed to a link arrives in order, or not at all. While a neighbour has not acknowledged
//! a message, another copy over the same link can only come after it. On a path where packets get
//! lost one of them holds up many messages, and copies of them all would hold up what follows.

use std::collections::BTreeMap;

use super::Net;
use crate::id::{PeerId, Target};
use crate::io::Channel;
use crate::links::Lane;
use crate::routing::Detours;
use crate::wire::ClearHeader;

/// The way of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// This neighbour.
    Over(PeerId),
    /// It would come after the copy before, which this agent's link has not passed on yet.
    Behind,
}

/// What was found out of ways, once for all copies that leave in a turn.
#[derive(Debug, Default)]
pub(super) struct Ways {
    detours: Detours,
    /// By neighbour and target, what the neighbour was to pass on and has not acknowledged: the
    /// first sequence and the count of each envelope.
    ahead: BTreeMap<(PeerId, PeerId), Vec<(u64, u64)>>,
}

impl Ways {
    /// The way for a copy of the message with this sequence, the last of which was handed to
    /// `last`; nothing if none leads to the target.
    pub(super) fn of_copy(
        &mut self,
        (target, sequence): (Target, u64),
        last: Option<PeerId>,
        net: &mut Net<'_>,
    ) -> Option<Way> {
        let Target::Peer(to) = target else {
            return None;
        };
        let hop = self.next_hop(to, last, net)?;
        if !self.is_ahead(hop, (to, sequence), net) {
            return Some(Way::Over(hop));
        }
        let other = self.next_hop(to, Some(hop), net);
        let other = other.filter(|other| *other != hop);
        let free = other.filter(|other| !self.is_ahead(*other, (to, sequence), net));
        Some(free.map_or(Way::Behind, Way::Over))
    }

    /// Whether a neighbour has not acknowledged a message yet.
    fn is_ahead(&mut self, hop: PeerId, (to, sequence): (PeerId, u64), net: &Net<'_>) -> bool {
        let ahead = self.ahead.entry((hop, to));
        let ahead = ahead.or_insert_with(|| net.unacknowledged_by(hop, to));
        let covers = |(first, count): &(u64, u64)| {
            let after = sequence.checked_sub(*first);
            after.is_some_and(|after| after < *count)
        };
        ahead.iter().any(covers)
    }

    /// Another neighbour than the last, which may be dead or lead to one that is, if any leads to
    /// the target at all.
    fn next_hop(&mut self, to: PeerId, last: Option<PeerId>, net: &mut Net<'_>) -> Option<PeerId> {
        let lane = Lane::new(net.cx.this, Channel::Data);
        let usual = net.next_hop(lane, to, None).ok();
        let Some(last) = last.filter(|last| usual == Some(*last)) else {
            return usual;
        };
        let takes = |peer| peer != last && net.takes_data(peer);
        let equal = net.routing.next_hop(to, net.cx, takes);
        if equal.is_some() {
            return equal;
        }
        let detours = &mut self.detours;
        let routing = &net.routing;
        let around = routing.next_hop_around((to, last), detours, (net.links, net.cx), takes);
        around.or(usual)
    }
}

impl Net<'_> {
    /// Messages of this agent to one target that a neighbour was to pass on and has not
    /// acknowledged.
    fn unacknowledged_by(&self, hop: PeerId, to: PeerId) -> Vec<(u64, u64)> {
        let link = self.links.to(hop).into_iter();
        let envelopes = link.flat_map(|link| link.queue.unacknowledged());
        let to_it = envelopes.filter(|it| it.target == Target::Peer(to));
        let ours = to_it.filter(|it| it.signed.claimed_author() == self.cx.this);
        let headers = ours.filter_map(|it| it.signed.peek::<ClearHeader>());
        let runs = headers.map(|it| (it.message.sequence, u64::from(it.count)));
        runs.collect()
    }
}
