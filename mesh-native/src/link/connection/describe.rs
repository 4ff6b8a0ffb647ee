//! What a connection says of itself to its other end, in the first round and in further ones.

use std::time::Duration;

use mesh_core::agent::{LinkEnd, LinkFact};
use mesh_core::{LinkSignal, Tracks};
use tokio::time::{Instant, sleep_until};
use webrtc::error::Error;
use webrtc::peer_connection::RTCSessionDescription;

use super::super::candidate;
use super::super::observer::Notice;
use super::{Ending, Session, closing, lost};

/// How long a description waits for candidates. Those of our own interfaces are there within a
/// millisecond; a STUN server nearby can still make it.
const GATHER_WAIT: Duration = Duration::from_millis(50);

/// How a link begins.
pub(crate) enum Opening {
    /// With an offer, that has sections for so many tracks of the peer.
    Offer {
        /// How many.
        tracks: Tracks,
    },
    /// With the answer to the peer's.
    Answer {
        /// The offer.
        offer_sdp: String,
    },
}

/// What a description is for.
pub(super) enum Round {
    /// A new connection, or a restart of ICE: it waits for candidates.
    Path(Opening),
    /// Tracks alone.
    Tracks(Opening),
}

impl Session {
    /// Makes our description and sends it.
    pub(super) async fn describe(&mut self, round: Round) -> Result<(), Ending> {
        let bad = |error: Error| Ending::Lost(LinkEnd::NotDescribed(error.to_string()));
        let (opening, has_path) = match round {
            Round::Path(opening) => (opening, false),
            Round::Tracks(opening) => (opening, true),
        };
        let mut offer = None;
        let description = match opening {
            Opening::Offer { tracks } => {
                self.tracks.offer(tracks).await.map_err(bad)?;
                self.connection.create_offer(None).await
            }
            Opening::Answer { offer_sdp } => {
                self.tracks.answer(&offer_sdp).await.map_err(bad)?;
                self.remote
                    .describe(&offer_sdp, RTCSessionDescription::offer)
                    .await?;
                offer = Some(offer_sdp);
                self.connection.create_answer(None).await
            }
        };
        let answering = offer.is_some();
        self.offered = !answering;
        let description = description.map_err(bad)?;
        self.connection
            .set_local_description(description)
            .await
            .map_err(bad)?;
        if let Some(offer) = offer {
            self.pace.connecting();
            self.tracks.agreed(&offer).await.map_err(bad)?;
        }
        let found = match has_path {
            true => Vec::new(),
            false => self.gather().await?,
        };
        let Some(description) = self.connection.local_description().await else {
            return Err(lost("the connection has no description"));
        };
        let sdp = candidate::without_rtcp(&description.sdp);
        let left_out: Vec<String> = found
            .into_iter()
            .filter(|candidate| !sdp.contains(candidate.as_str()))
            .collect();
        let signal = if answering {
            LinkSignal::Answer { sdp }
        } else {
            LinkSignal::Offer { sdp }
        };
        self.facts.send(LinkFact::Signal(signal)).await?;
        for candidate in left_out {
            self.trickle(candidate).await?;
        }
        Ok(())
    }

    /// Waits for our candidates, but not long. Returns those found.
    async fn gather(&mut self) -> Result<Vec<String>, Ending> {
        let deadline = Instant::now() + GATHER_WAIT;
        let mut found = Vec::new();
        loop {
            tokio::select! {
                biased;
                overflowed = self.flow.closing() => return Err(closing(overflowed)),
                Some(notice) = self.notices.recv() => match notice {
                    Notice::Candidate(candidate) => found.push(candidate),
                    Notice::Gathered => return Ok(found),
                    notice => self.hear(notice).await?,
                },
                () = sleep_until(deadline) => return Ok(found),
            }
        }
    }

    pub(super) async fn trickle(&self, candidate: String) -> Result<(), Ending> {
        let mid = Some("0".to_owned());
        let signal = LinkSignal::Candidate {
            candidate,
            mid,
            line: Some(0),
        };
        Ok(self.facts.send(LinkFact::Signal(signal)).await?)
    }
}
