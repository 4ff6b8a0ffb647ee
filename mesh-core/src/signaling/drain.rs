//! A hub that is about to stop: its members are asked to move, and no client is let in any more.

use std::time::Duration;

use super::hub::Hub;
use super::port::HubOutput;
use super::protocol::{ErrorCode, HubMessage};
use super::session::{ClientState, Refusal};
use crate::id::ClientId;
use crate::time::Instant;

impl Hub {
    /// Asks all members to move to another hub, each at some moment of this time, and turns away
    /// clients that have not been admitted yet. From now on none is let in. There is no way back.
    pub fn drain(&mut self, within: Duration, now: Instant) {
        self.draining = true;
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let admitted = |client: &ClientId| self.clients[client].peer().is_some();
        let (members, others): (Vec<_>, Vec<_>) = self.clients.keys().copied().partition(admitted);
        for member in members {
            self.send(member, &HubMessage::Move { within_ms });
        }
        for client in others {
            let (code, message) = refusal();
            self.turn_away(client, code, message, now);
        }
    }

    /// A client has gone while this hub drains. A member has moved, unless it said goodbye before.
    pub(super) fn moved(&mut self, client: ClientId, now: Instant) {
        let state = self.clients.get(&client).map(|client| &client.state);
        if let Some(ClientState::Admitted { room, peer }) = state
            && let Some(room) = self.rooms.get_mut(room)
            && room.client_of(*peer) == Some(client)
        {
            room.moved_away(*peer);
        }
        self.forget(client, now);
    }

    /// Turns away a client that connects to a hub that is about to stop.
    pub(super) fn refuse_late(&mut self, client: ClientId) {
        let (code, message) = refusal();
        self.complain(client, code, message);
        self.outbox.push_back(HubOutput::Close(client));
    }
}

fn refusal() -> Refusal {
    let message = "this server is about to stop: try another, or this address again later";
    (ErrorCode::Draining, message.to_owned())
}
