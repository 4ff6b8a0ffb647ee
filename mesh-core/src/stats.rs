//! Counters of everything sent, delivered, forwarded, lost and rejected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{LossReason, RejectReason};

/// What an agent has done since it started. Counts grow for ever, except [`LinkCounts`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Messages of this agent to single members.
    pub sent: u64,
    /// Broadcasts of this agent.
    pub broadcasts: u64,
    /// Copies of broadcasts sent to neighbours, our own and others'.
    pub broadcast_copies: u64,
    /// Broadcasts sent once more to neighbours that the tree had missed.
    pub broadcasts_mended: u64,
    /// Messages and broadcasts handed to the application.
    pub delivered: u64,
    /// Broadcasts not handed to the application, because it has not subscribed to their topics.
    pub unsubscribed: u64,
    /// Envelopes passed on for others, broadcast copies included.
    pub forwarded: u64,
    /// Copies of a broadcast or of an acknowledged message that had been delivered already.
    pub duplicates: u64,
    /// Receipts and replies that came back.
    pub acknowledged: u64,
    /// Messages sent once more, because they were not known to have arrived.
    pub retried: u64,
    /// Messages of others that were not waited for any more, so that those after them are not held
    /// back for ever.
    pub skipped: u64,
    /// Envelopes that left again over another path because their link died.
    pub rerouted: u64,
    /// Link-state records taken over.
    pub link_states: u64,
    /// Times that other paths were found than those before.
    pub route_changes: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Pings that are not sent again if they get lost, by what became of them: what the paths of
    /// the links lose.
    pub pings: PingCounts,
    /// Links as they are now, and as they went.
    pub links: LinkCounts,
    /// What was done for links that were lost or did not open, by step.
    pub repairs: BTreeMap<RepairStep, u64>,
    /// Messages lost here, by reason.
    pub lost: BTreeMap<LossReason, u64>,
    /// What was rejected, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
}

/// Links now and so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkCounts {
    /// Open now.
    pub open: usize,
    /// Being negotiated now.
    pub negotiating: usize,
    /// Wanted by the topology now.
    pub wanted: usize,
    /// Opened so far.
    pub opened: u64,
    /// Attempts that failed so far.
    pub failed: u64,
    /// Those of them that the other end declined, for want of room.
    pub declined: u64,
    /// Open links that closed so far.
    pub closed: u64,
    /// Those of them that were in use: neither end had given them up before.
    pub lost: u64,
    /// Links that went on over another connection, with fresh keys.
    pub rotated: u64,
    /// Attempts to rotate keys that failed; the links went on with those they had.
    pub rotations_failed: u64,
}

/// What became of pings that are not sent again if they get lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PingCounts {
    /// Answered so far.
    pub answered: u64,
    /// Lost so far, on their way there or back: a later one was answered.
    pub lost: u64,
}

impl PingCounts {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.lost += other.lost;
    }
}

/// A step by which the mesh gets a link back, or does without it; also the name of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RepairStep {
    /// A link that had fallen silent works again, on the same connection.
    Revival,
    /// A silent link's ICE was restarted, or its other end asked to.
    Restart,
    /// The peer was offered another link after one was lost or did not open.
    Redial,
    /// The peer, which has to offer, was asked for another offer.
    Solicit,
    /// A partner on the inner rings cannot be reached: the next on the ring took its place.
    Replacement,
    /// No partner could be reached: this agent turned to the middle of a star.
    Star,
}

/// How an agent stands: what rises and falls, where [`Stats`] only grows. Of links, of queues and
/// of messages that are not done with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Links that carry messages.
    pub links_open: usize,
    /// Links being negotiated.
    pub links_negotiating: usize,
    /// Links that take no new messages and close soon.
    pub links_draining: usize,
    /// Links that lead over a TURN server, as far as this end knows.
    pub links_relayed: usize,
    /// Links of which more is buffered than is good: nothing but control is sent until they have
    /// drained.
    pub links_congested: usize,
    /// Links that the topology wants.
    pub links_wanted: usize,
    /// Whether all of them are open and a path leads to every member.
    pub settled: bool,
    /// Whether the signaling server has admitted this agent and is there.
    pub signaling: bool,
    /// How many are in the room, this agent among them.
    pub room_members: usize,
    /// Members that this agent knows and no path leads to.
    pub unreachable: usize,
    /// Records that wait to be handed to the links.
    pub records_queued: usize,
    /// Bytes of messages that the other ends of the links have not acknowledged.
    pub bytes_unacknowledged: usize,
    /// How full the fullest queue of a link is, from 0 to 1: at 1 its senders are held up.
    pub fullest: f64,
    /// Acknowledged messages and requests whose outcome is awaited.
    pub pending: usize,
    /// Messages that wait for a way to their target.
    pub waiting: usize,
}

impl RepairStep {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Revival,
        Self::Restart,
        Self::Redial,
        Self::Solicit,
        Self::Replacement,
        Self::Star,
    ];
}

impl Stats {
    /// Adds what another agent has done, or this one in an earlier life.
    pub fn add(&mut self, other: &Self) {
        let Self {
            sent,
            broadcasts,
            broadcast_copies,
            broadcasts_mended,
            delivered,
            unsubscribed,
            forwarded,
            duplicates,
            acknowledged,
            retried,
            skipped,
            rerouted,
            link_states,
            route_changes,
            frames_in,
            frames_out,
            bytes_in,
            bytes_out,
            pings,
            links,
            repairs,
            lost,
            rejected,
        } = other;
        self.sent += sent;
        self.broadcasts += broadcasts;
        self.broadcast_copies += broadcast_copies;
        self.broadcasts_mended += broadcasts_mended;
        self.delivered += delivered;
        self.unsubscribed += unsubscribed;
        self.forwarded += forwarded;
        self.duplicates += duplicates;
        self.acknowledged += acknowledged;
        self.retried += retried;
        self.skipped += skipped;
        self.rerouted += rerouted;
        self.link_states += link_states;
        self.route_changes += route_changes;
        self.frames_in += frames_in;
        self.frames_out += frames_out;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.pings.add(*pings);
        self.links.add(*links);
        add_each(&mut self.repairs, repairs);
        add_each(&mut self.lost, lost);
        add_each(&mut self.rejected, rejected);
    }

    pub(crate) fn repair(&mut self, step: RepairStep) {
        *self.repairs.entry(step).or_default() += 1;
    }

    pub(crate) fn lose(&mut self, reason: LossReason) {
        *self.lost.entry(reason).or_default() += 1;
    }

    pub(crate) fn reject(&mut self, reason: RejectReason) {
        *self.rejected.entry(reason).or_default() += 1;
    }
}

impl LinkCounts {
    fn add(&mut self, other: Self) {
        let Self {
            open,
            negotiating,
            wanted,
            opened,
            failed,
            declined,
            closed,
            lost,
            rotated,
            rotations_failed,
        } = other;
        self.open += open;
        self.negotiating += negotiating;
        self.wanted += wanted;
        self.opened += opened;
        self.failed += failed;
        self.declined += declined;
        self.closed += closed;
        self.lost += lost;
        self.rotated += rotated;
        self.rotations_failed += rotations_failed;
    }
}

fn add_each<K: Copy + Ord>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (&key, count) in from {
        *to.entry(key).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each counter is another number, so that one added to the wrong place shows.
    #[test]
    fn what_several_agents_did_is_added_up_counter_by_counter() {
        let mut stats = serde_json::to_value(Stats::default()).expect("JSON");
        let mut numbers = (1..).map(serde_json::Value::from);
        let mut number = || numbers.next().expect("there are more");
        let map = stats.as_object_mut().expect("a map");
        map.values_mut()
            .filter(|value| value.is_u64())
            .for_each(|value| *value = number());
        let links = map["links"].as_object_mut().expect("a map");
        links.values_mut().for_each(|value| *value = number());
        map["lost"]["no-route"] = number();
        map["rejected"]["replayed"] = number();
        map["repairs"]["redial"] = number();
        let once: Stats = serde_json::from_value(stats).expect("counters");
        let mut twice = once.clone();
        twice.add(&once);
        let added = serde_json::to_string(&twice).expect("JSON");
        let numbers = |text: &str| -> Vec<u64> {
            let digits = text.split(|c: char| !c.is_ascii_digit());
            digits.filter_map(|digits| digits.parse().ok()).collect()
        };
        let once = numbers(&serde_json::to_string(&once).expect("JSON"));
        let doubled: Vec<_> = once.into_iter().map(|n| n * 2).collect();
        assert_eq!(numbers(&added), doubled);
    }
}
