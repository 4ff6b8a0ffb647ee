//! Copies of messages that were sent before: which way they take, and which would be of no use.
//!
//! What is handed to a link arrives in order, or not at all. While a neighbour has not acknowledged
//! a message, another copy over the same link can only come after it. On a path where packets get
//! lost one of them holds up many messages, and copies of them all would hold up what follows.

use std::collections::{BTreeMap, BTreeSet};

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
    /// What neighbours have not acknowledged, by target and sequence.
    ahead: BTreeMap<PeerId, BTreeSet<(Target, u64)>>,
}

impl Ways {
    /// The way for a copy of the message with this sequence, the last of which was handed to
    /// `last`; nothing if none leads to the target.
    pub(super) fn of_copy(
        &mut self,
        message: (Target, u64),
        last: Option<PeerId>,
        net: &mut Net<'_>,
    ) -> Option<Way> {
        let Target::Peer(to) = message.0 else {
            return None;
        };
        let hop = self.next_hop(to, last, net)?;
        let ahead = self.ahead.entry(hop);
        let ahead = ahead.or_insert_with(|| net.unacknowledged_by(hop));
        Some(match ahead.contains(&message) {
            true => Way::Behind,
            false => Way::Over(hop),
        })
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
    /// Messages of this agent that a neighbour was to pass on and has not acknowledged, by target
    /// and sequence.
    fn unacknowledged_by(&self, hop: PeerId) -> BTreeSet<(Target, u64)> {
        let link = self.links.open_to(hop);
        let envelopes = link
            .into_iter()
            .flat_map(|link| link.queue.unacknowledged());
        let ours = envelopes.filter(|it| it.signed.claimed_author() == self.cx.this);
        let headers = ours.filter_map(|it| it.signed.peek::<ClearHeader>());
        let messages = headers.flat_map(|ClearHeader { message, count, .. }| {
            (0..u64::from(count.max(1)))
                .map(move |n| (message.target, message.sequence.saturating_add(n)))
        });
        messages.collect()
    }
}
