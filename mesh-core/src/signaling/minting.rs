//! Credentials of TURN servers that a hub makes for each of its members.
//!
//! A user name is the second until which it holds, since 1970, and a label after a colon; its
//! password is the HMAC-SHA1 of that under a secret that the hub and the TURN server share, in
//! Base64 (draft-uberti-behave-turn-rest-00; coturn: `use-auth-secret`). So the hub need not tell
//! the server of its members, several hubs with one secret are as good as one, and what a member
//! gives away is of use for hours, not for ever.

use std::fmt;
use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::hub::Hub;
use super::protocol::HubMessage;
use crate::ice::IceServer;
use crate::id::{ClientId, PeerId};
use crate::time::Instant;

/// What a hub makes credentials from, and for which servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnMint {
    /// The servers: `turn:` and `turns:` URLs.
    pub urls: Vec<String>,
    /// What they and the hub share.
    pub secret: TurnSecret,
    /// How long credentials hold; a member gets new ones when half of it is over.
    pub ttl: Duration,
}

/// A secret of TURN servers, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnSecret(String);

impl TurnSecret {
    /// The least bytes of a secret: members see the HMAC of a name that they know, and may try all
    /// secrets that are shorter.
    pub const BYTES_MIN: usize = 16;

    /// The secret, as it stands in the configuration of the TURN server.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// Whether it is too short.
    pub(crate) fn is_short(&self) -> bool {
        self.0.len() < Self::BYTES_MIN
    }
}

impl fmt::Debug for TurnSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl TurnMint {
    /// Time for which credentials hold unless set: four hours, as LiveKit's. A member gets new ones
    /// as long as it has a hub; a longer time would only help a member that has been without one
    /// for longer.
    pub const TTL: Duration = Duration::from_secs(14_400);

    /// Credentials that hold from this second on, for the member of this label.
    pub(super) fn mint(&self, label: &str, now_s: u64) -> IceServer {
        let until = now_s.saturating_add(self.ttl.as_secs());
        let username = format!("{until}:{label}");
        let key = self.secret.0.as_bytes();
        let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any length is a key");
        mac.update(username.as_bytes());
        let credential = BASE64.encode(&mac.finalize().into_bytes());
        IceServer {
            urls: self.urls.clone(),
            username: Some(username),
            credential: Some(credential),
        }
    }
}

impl Hub {
    /// The servers for a member that has just been admitted, or has had its own for long.
    pub(super) fn ice_servers(
        &mut self,
        id: ClientId,
        peer: PeerId,
        now: Instant,
    ) -> Vec<IceServer> {
        let mut servers = self.config.ice_servers.clone();
        let time_ms = self.time_ms(now);
        if let (Some(mint), Some(time_ms)) = (&self.config.turn, time_ms) {
            // Enough to tell members apart, by which coturn counts what each has.
            let label = format!("{:016x}", peer.prefix());
            servers.push(mint.mint(&label, time_ms / 1_000));
            if let Some(client) = self.clients.get_mut(&id) {
                client.minted_at = now;
            }
        }
        servers
    }

    /// Answers a sign of life, with new credentials if half of the time is over for which those of
    /// the member hold. So no timer is needed for each member.
    pub(super) fn pong(&mut self, id: ClientId, peer: PeerId, now: Instant) {
        let half = self.config.turn.as_ref().map(|mint| mint.ttl / 2);
        let client = self.clients.get(&id);
        let minted_at = client.map_or(now, |client| client.minted_at);
        let is_due = half.is_some_and(|half| now.since(minted_at) >= half);
        let ice_servers = is_due.then(|| self.ice_servers(id, peer, now));
        let time_ms = self.time_ms(now);
        let pong = HubMessage::Pong {
            time_ms,
            ice_servers,
        };
        self.send(id, &pong);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::HubConfig;

    pub(in crate::signaling) fn mint() -> TurnMint {
        TurnMint {
            urls: vec!["turn:turn.example.org:3478".to_owned()],
            secret: TurnSecret::new("a secret of the hub and coturn".to_owned()),
            ttl: TurnMint::TTL,
        }
    }

    /// `openssl dgst -sha1 -hmac 'a secret of the hub and coturn' -binary | base64` says the same.
    #[test]
    fn a_password_is_the_hmac_of_the_name_as_coturn_makes_it() {
        let server = mint().mint("8a88e3dd7409f195", 1_795_848_123);
        let username = server.username.as_deref();
        assert_eq!(username, Some("1795862523:8a88e3dd7409f195"));
        let credential = server.credential.as_deref();
        assert_eq!(credential, Some("wS+CAKc6yML4QB2YBUkMs1w9/uQ="));
        assert_eq!(server.check(), Ok(()));
    }

    #[test]
    fn a_secret_does_not_show() {
        let config = HubConfig {
            turn: Some(mint()),
            ..HubConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("turn.example.org") && !shown.contains("of the hub"));
    }
}
