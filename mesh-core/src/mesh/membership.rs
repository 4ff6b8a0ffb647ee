//! What the hubs tell, and which members the room has by it.

use std::time::Duration;

use super::Mesh;
use crate::error::RejectReason;
use crate::ice::{IceServer, IceTransportPolicy};
use crate::id::{PeerId, SocketId};
use crate::io::{Event, WarningCode};
use crate::links::Suspicion;
use crate::log::decided;
use crate::signaling::{
    Admission, Arrival, ClientFact, ClientTask, ErrorCode, Listing, Lost, Member,
};
use crate::topology::Shards;

/// Time after admission within which the hub may name members as new that the welcome has listed:
/// they are no new processes then. Notices gather for less than this in the largest room.
const LISTED_TWICE: Duration = Duration::from_secs(5);

/// The warning that no link of an agent can open that uses relayed candidates alone.
const NO_RELAY: &str = "only relayed candidates may be used, and the signaling server names no \
                        TURN server: no link can open. Name one there, or allow all candidates";

impl Mesh {
    pub(super) fn signaling_opened(&mut self, socket: SocketId) {
        let (cx, identity) = (&mut self.cx, self.trust.identity());
        let shards = self.overlay.shards();
        let hello = self
            .signaling
            .opened(socket, &cx.config, identity, shards, cx.now);
        cx.outbox.extend(hello);
    }

    pub(super) fn signaling_received(&mut self, socket: SocketId, text: &str) {
        let (cx, identity) = (&mut self.cx, self.trust.identity());
        let (fact, answer) = self
            .signaling
            .received(socket, text, &cx.config, identity, cx.now);
        cx.outbox.extend(answer);
        match fact {
            None => {}
            Some(ClientFact::Admitted(admission)) => self.admitted(admission),
            Some(ClientFact::Divided(listing)) => {
                self.divide(listing.shards);
                self.overlay.clear_list();
                let (members, newcomers) = (listing.room_members, listing.newcomers);
                self.overlay.room_counted(members, newcomers, &self.cx);
                for member in listing.members {
                    self.hub_lists(member);
                }
                self.members_changed();
            }
            Some(ClientFact::Members {
                joined,
                left,
                room_members,
                newcomers,
            }) => {
                self.overlay.room_counted(room_members, newcomers, &self.cx);
                self.hub_left(&left);
                self.hub_joined(joined);
                self.members_changed();
                self.overlay.settle_waiting(&self.cx);
            }
            Some(ClientFact::Pong(time, ice_servers)) => {
                if let Some(time) = time {
                    self.hub_told_time(time);
                }
                if let Some(servers) = ice_servers {
                    self.take_ice_servers(servers);
                }
            }
            Some(ClientFact::Signal(signed)) => self.with_net(|messages, net| {
                messages.direct_received(&signed, None, 0, net);
            }),
            Some(ClientFact::NotPassedOn { to, code }) => self.not_passed_on(to, code),
            Some(ClientFact::Lost(lost)) => self.signaling_lost(lost),
            Some(ClientFact::Refused { code, message }) => self.refused(code, message),
            Some(ClientFact::Nonsense) => {
                let reason = RejectReason::Signaling;
                self.links.reject(None, None, reason, &mut self.cx);
            }
        }
    }

    /// No hub will ever let this agent in.
    fn refused(&mut self, code: ErrorCode, message: String) {
        decided!(
            self.cx,
            code = code.as_str(),
            "give up: every hub refuses this agent"
        );
        self.overlay.forget_list();
        self.cx.emit(Event::Refused {
            code: code.as_str().to_owned(),
            message,
        });
        if code == ErrorCode::Replaced {
            // Two agents of one identity would outdate each other's records without end.
            self.end(false);
        } else {
            self.members_changed();
        }
    }

    /// A hub has let this agent in, for the first time or again.
    fn admitted(&mut self, admission: Admission) {
        let Admission {
            hub,
            listing,
            ice_servers,
            arrival,
            time,
        } = admission;
        let members = listing.room_members;
        decided!(self.cx, hub, ?arrival, members, "admitted");
        self.take_ice_servers(ice_servers);
        if let Some(time) = time {
            self.hub_told_time(time);
        }
        if self.messages.is_unused() {
            self.trust.begin(self.cx.unix()); // By the time of the room.
        }
        let event = match arrival {
            Arrival::Again => Event::SignalingRestored { hub },
            Arrival::Moved => Event::SignalingMoved { hub },
            Arrival::First => {
                self.overlay.admitted(&self.cx);
                Event::Joined {
                    room: self.cx.config.room.clone(),
                    members: listing.room_members.saturating_sub(1),
                }
            }
        };
        self.cx.emit(event);
        self.divide(listing.shards);
        if arrival == Arrival::Moved {
            // The others move too, one by one, and this hub may not know yet which are to come.
            self.overlay.remember_list();
        } else {
            self.overlay.remember_members();
        }
        self.overlay.await_return(&self.cx);
        self.take_list(listing, arrival);
        self.members_changed();
        self.with_net(crate::messages::Messages::notify_writable);
        self.links.restart_silent(&self.cx);
        if arrival == Arrival::Again {
            // Members that could not be reached without the hub can be now, though none is new.
            self.overlay.settle_soon(&self.cx);
        }
    }

    fn take_list(&mut self, listing: Listing, arrival: Arrival) {
        let (members, newcomers) = (listing.room_members, listing.newcomers);
        self.overlay.room_counted(members, newcomers, &self.cx);
        if arrival == Arrival::Moved {
            // Those listed were listed before, and are no newcomers.
            for member in listing.members {
                self.hub_lists(member);
            }
        } else {
            self.hub_joined(listing.members);
        }
    }

    pub(super) fn signaling_closed(&mut self, socket: SocketId, reason: String) {
        let cx = &self.cx;
        if let Some(lost) = self.signaling.closed(socket, reason, &cx.config, cx.now) {
            self.signaling_lost(lost);
        }
    }

    fn signaling_lost(&mut self, lost: Lost) {
        let hub = lost.hub;
        decided!(self.cx, hub, reason = lost.reason, "go on without a hub");
        self.overlay.remember_members();
        self.cx.emit(Event::SignalingLost {
            hub: lost.hub,
            reason: lost.reason,
            retry_in_ms: u64::try_from(lost.retry_in.as_millis()).unwrap_or(u64::MAX),
        });
        self.members_changed();
    }

    /// Does what the connections to the hubs have due.
    pub(super) fn poll_signaling(&mut self) {
        loop {
            let cx = &mut self.cx;
            let task = self.signaling.poll(&cx.config, cx.now);
            match task {
                None => return,
                Some(ClientTask::Order(order)) => cx.order(order),
                Some(ClientTask::GiveUp(order, lost)) => {
                    decided!(cx, "give a hub up: it does not answer");
                    cx.order(order);
                    if let Some(lost) = lost {
                        self.signaling_lost(lost);
                    }
                }
            }
        }
    }

    /// Takes the ICE servers that every backend takes: one bad URL must not cost the others, nor
    /// all links.
    fn take_ice_servers(&mut self, servers: Vec<IceServer>) {
        let mut usable = Vec::new();
        for server in servers {
            match server.check() {
                Ok(()) => usable.push(server),
                Err(cause) => self.cx.emit(Event::Warning {
                    code: WarningCode::IceServer,
                    message: format!(
                        "{cause}. It is left out; the signaling server should not list it"
                    ),
                }),
            }
        }
        let relay_only = self.cx.config.ice_transport_policy == IceTransportPolicy::Relay;
        if relay_only && !usable.iter().any(IceServer::is_turn) {
            self.cx.emit(Event::Warning {
                code: WarningCode::IceServer,
                message: NO_RELAY.to_owned(),
            });
        }
        self.links.set_ice_servers(usable);
    }

    fn hub_joined(&mut self, joined: Vec<Member>) {
        for member in joined {
            let peer = member.peer;
            if !self.hub_lists(member) {
                continue;
            }
            self.links.forget_failures(peer);
            // A new connection is most likely a new process, which has not seen our offer.
            if self.cx.now.since(self.overlay.admitted_at()) >= LISTED_TWICE {
                self.redial_if_unseen(peer, Duration::ZERO);
            }
            self.links.probe(peer, Suspicion::Possible, &self.cx);
        }
    }

    /// The hub lists a member. Returns whether that is of use.
    fn hub_lists(&mut self, member: Member) -> bool {
        self.overlay.list(member, &mut self.links, &mut self.cx)
    }

    fn hub_left(&mut self, left: &[PeerId]) {
        for &peer in left {
            self.overlay.unlist(peer);
            // It may only have lost the hub. Its links will tell.
            self.links.probe(peer, Suspicion::Left, &self.cx);
        }
    }

    /// Members have come or gone, perhaps: tells the application.
    pub(super) fn members_changed(&mut self) {
        let (overlay, routing) = (&mut self.overlay, &self.routing);
        if overlay.members_changed(&mut self.links, routing, &mut self.cx) {
            self.messages.forget_strangers(&self.overlay, &self.cx);
        }
    }

    /// The hub has divided the room.
    fn divide(&mut self, shards: Shards) {
        if !self.overlay.divide(shards) {
            return;
        }
        decided!(
            self.cx,
            shards = shards.count(),
            "the room is divided otherwise: links follow"
        );
        self.routing.divide(shards, &self.links, &self.cx);
        if self.links.peers().next().is_some() {
            self.overlay.form_anew(&self.cx);
            self.routing.hold_announcements(&self.cx);
        }
        self.routing.repair_soon(&self.cx);
    }

    /// Members that have not come back to the hub by now have left.
    pub(super) fn give_up_absent(&mut self) {
        if self.signaling.is_admitted() {
            self.overlay.give_up_absent();
            self.members_changed();
        }
    }
}
