//! Rounds for tracks: a further offer and answer on a live link, because the tracks that its ends
//! send are others now. ICE is not restarted, and messages go on.
//!
//! Only the lower end of a link offers, here as in every round, so two ends never offer at once.
//! Its offer has a section for each track of its own and for each that the other end wants to send.
//! The higher end asks for a round and says how many those are; the answer then names them. What an
//! end asks for is a number, not a difference, so asking twice does no harm, and a round that was
//! lost is simply repeated.
//!
//! A round that runs delays the next. A link that is being replaced leaves its tracks to its
//! successor, whose first offer has them; what changed meanwhile follows when that is open.

use std::time::Duration;

use super::link::Link;
use super::{LinkEvent, Links, Way};
use crate::context::Context;
use crate::error::{RejectReason, TrackError};
use crate::id::{LinkId, PeerId};
use crate::io::{Event, Output, WarningCode};
use crate::log::decided;
use crate::media::{TRACKS_MAX, Tracks};
use crate::time::Instant;
use crate::wire::{PeerSignal, Step};

/// How long a round for tracks has until it is repeated, in time: two signals over the mesh, and a
/// tab that gathers candidates for its description.
const MEDIA_PATIENCE: Duration = Duration::from_secs(2);

/// Repetitions of such a round, or of asking for one: 10 s in all. A link that carries none of them
/// has been found silent by then.
const MEDIA_TRIES_MAX: u32 = 5;

/// The least time between two rounds for tracks of a link: tracks that begin together have one, and
/// a neighbour that asks again and again makes no more work.
const MEDIA_APART: Duration = Duration::from_millis(100);

const _: () = assert!(MEDIA_APART.as_millis() < MEDIA_PATIENCE.as_millis());

/// The tracks of one link, and whether both ends know of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Media {
    /// Tracks of this end.
    sends: Tracks,
    /// Tracks that the other end has asked to send: at the lower end only.
    receives: Tracks,
    /// The other end does not know of all that has changed.
    changed: bool,
    /// A round that tells it has been offered.
    offered: bool,
    /// When a round began last, or was asked for.
    begun_at: Option<Instant>,
    tries: u32,
    /// When this end acts next.
    pub(super) at: Option<Instant>,
}

impl Media {
    /// Sections that an offer has for the other end.
    pub(super) fn receives(&self) -> Tracks {
        self.receives
    }

    fn changed(&mut self, now: Instant) {
        self.changed = true;
        self.tries = 0;
        let earliest = self.begun_at.map_or(now, |at| at + MEDIA_APART).max(now);
        // A round that runs has its time.
        if !self.offered {
            self.at = Some(self.at.map_or(earliest, |at| at.min(earliest)));
        }
    }

    /// What has changed may be told now.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.changed {
            self.changed(now);
        }
    }

    /// The answer to an offer of this end is there.
    pub(super) fn answered(&mut self, now: Instant) {
        self.offered = false;
        self.tries = 0;
        self.at = None;
        self.resume(now);
    }

    /// An offer of the other end is here, and is answered with the tracks that there are.
    pub(super) fn offer_came(&mut self, sdp: &str) {
        if Tracks::taken_by(sdp).cover(self.sends) {
            self.changed = false;
            self.tries = 0;
            self.at = None;
        }
    }

    /// That of the link's successor, which has offered, or answered, with the tracks that there
    /// were.
    pub(super) fn succeeded(&self, now: Instant) -> Self {
        let mut media = Self {
            changed: self.changed || self.offered,
            offered: false,
            begun_at: None,
            at: None,
            ..*self
        };
        media.resume(now);
        media
    }

    /// The link was given up, and works again: its tracks have ended, and the other end is told.
    pub(super) fn revived(&self, now: Instant) -> Self {
        let mut media = Self {
            receives: self.receives,
            ..Self::default()
        };
        if *self != Self::default() {
            media.changed(now);
        }
        media
    }
}

impl Links {
    /// The tracks that this end sends to a neighbour are others now.
    pub(crate) fn set_tracks(
        &mut self,
        peer: PeerId,
        tracks: Tracks,
        cx: &Context,
    ) -> Result<(), TrackError> {
        let link = self.to_mut(peer).filter(|link| link.is_open());
        let link = link.ok_or(TrackError::NotLinked(peer))?;
        if !tracks.are_allowed() {
            return Err(TrackError::TooMany(TRACKS_MAX));
        }
        link.media.sends = tracks;
        link.media.changed(cx.now);
        Ok(())
    }

    /// The higher end of a link asks for a round, with sections for so many tracks of its own.
    pub(crate) fn tracks_asked(&mut self, peer: PeerId, tracks: Tracks, cx: &mut Context) {
        if !tracks.are_allowed() {
            return self.reject(None, Some(peer), RejectReason::Limit, cx);
        }
        // Whichever attempt it names: what it sends it sends to this end.
        if let Some(link) = self.to_mut(peer).filter(|link| link.is_open()) {
            link.media.receives = tracks;
            link.media.changed(cx.now);
        }
    }

    /// It is time to tell the other end of a link of tracks, or to do so again.
    pub(super) fn check_media(&mut self, id: LinkId, cx: &mut Context) {
        let this = cx.this;
        let Some(link) = self.table.get_mut(id).filter(|link| link.is_open()) else {
            return;
        };
        if link.media.at.take_if(|at| *at <= cx.now).is_none() {
            return;
        }
        let (peer, media) = (link.peer, &mut link.media);
        if std::mem::take(&mut media.offered) {
            media.changed = true; // Its answer has not come.
        }
        if self.table.successor_of(peer).is_some() {
            return; // It has the tracks.
        }
        let Some(link) = self.table.get_mut(id).filter(|link| link.media.changed) else {
            return;
        };
        link.media.at = Some(cx.now + MEDIA_PATIENCE + cx.grace());
        if this < peer && link.negotiation.awaits_answer() && link.media.tries == 0 {
            link.media.tries = 1; // A restart of ICE is under way: after it.
        } else if link.media.tries > MEDIA_TRIES_MAX {
            self.give_media_up(id, cx);
        } else {
            self.tell_media(id, cx);
        }
    }

    /// Offers a round, or asks for one.
    fn tell_media(&mut self, id: LinkId, cx: &mut Context) {
        let this = cx.this;
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let Link {
            peer,
            media,
            negotiation,
            ..
        } = link;
        let peer = *peer;
        media.tries += 1;
        media.begun_at = Some(cx.now);
        let (sends, receives, tries) = (media.sends, media.receives, media.tries);
        decided!(cx, link = ?id, ?peer, ?sends, ?receives, tries, "tell of tracks");
        if this > peer {
            let (attempt, signal) = (negotiation.attempt(), PeerSignal::Ask(Step::Media(sends)));
            let (to, way) = (peer, Way::Best);
            return self.events.push_back(LinkEvent::Signal {
                to,
                attempt,
                signal,
                way,
            });
        }
        media.changed = false;
        media.offered = true;
        negotiation.begin_round(negotiation.round().saturating_add(1));
        let tracks = receives;
        cx.order(Output::NegotiateTracks { link: id, tracks });
    }

    fn give_media_up(&mut self, id: LinkId, cx: &mut Context) {
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let peer = link.peer;
        link.media.changed = false;
        link.media.at = None;
        decided!(cx, link = ?id, ?peer, "give up telling of tracks");
        let message = format!(
            "{peer} was told of tracks {MEDIA_TRIES_MAX} times and did not answer: it may be of \
             a version without tracks; upgrade it, or end the tracks"
        );
        let code = WarningCode::Tracks;
        cx.emit(Event::Warning { code, message });
    }
}
