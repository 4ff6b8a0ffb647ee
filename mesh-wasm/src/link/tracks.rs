//! The sections of tracks in one connection: which there are, and what each carries.
//!
//! What a section of ours carries is its sender's track; the stream that the description names
//! tells the other end which that is. A section's direction never changes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use js_sys::Array;
use mesh_core::{TrackKind, Tracks, sections};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    MediaStreamTrack, RtcPeerConnection, RtcRtpTransceiver, RtcRtpTransceiverDirection,
    RtcRtpTransceiverInit,
};

use crate::media::{Local, PeerMedia, Shown, set_streams};

/// The tracks of one connection. Clones are the same.
#[derive(Clone)]
pub(super) struct ConnectionTracks(Rc<Inner>);

struct Inner {
    link: u64,
    media: Rc<PeerMedia>,
    connection: RtcPeerConnection,
    /// Sections of ours.
    sending: RefCell<Vec<Sending>>,
    /// Sections that we have offered the other end to send in.
    offered: Cell<Tracks>,
    /// Sections that the other end has offered us to send in.
    taken: RefCell<BTreeSet<String>>,
}

/// A section of ours, and what it carries.
#[derive(Clone)]
struct Sending {
    transceiver: RtcRtpTransceiver,
    kind: TrackKind,
    local: Option<Rc<Local>>,
}

impl ConnectionTracks {
    pub(super) fn new(link: u64, media: Rc<PeerMedia>, connection: RtcPeerConnection) -> Self {
        Self(Rc::new(Inner {
            link,
            media,
            connection,
            sending: RefCell::default(),
            offered: Cell::default(),
            taken: RefCell::default(),
        }))
    }

    /// Makes sections for the tracks of this end, and for so many of the other end. An offer
    /// follows.
    pub(super) async fn offer(&self, theirs: Tracks) -> Result<(), JsValue> {
        let inner = &self.0;
        for local in self.unplaced().await? {
            let init = RtcRtpTransceiverInit::new();
            init.set_direction(RtcRtpTransceiverDirection::Sendonly);
            let transceiver = inner
                .connection
                .add_transceiver_with_str_and_init(local.kind.name(), &init);
            local.enter(inner.link, transceiver.sender()).await?;
            let (kind, local) = (local.kind, Some(local));
            let sending = Sending {
                transceiver,
                kind,
                local,
            };
            inner.sending.borrow_mut().push(sending);
        }
        let mut offered = inner.offered.get();
        for kind in TrackKind::ALL {
            while offered.of(kind) < theirs.of(kind) {
                let init = RtcRtpTransceiverInit::new();
                init.set_direction(RtcRtpTransceiverDirection::Recvonly);
                inner
                    .connection
                    .add_transceiver_with_str_and_init(kind.name(), &init);
                offered.add(kind);
            }
        }
        inner.offered.set(offered);
        Ok(())
    }

    /// Takes the sections that an offer, which was applied, has for this end. An answer follows.
    pub(super) async fn answer(&self, offer: &str) -> Result<(), JsValue> {
        for section in sections(offer).into_iter().filter(|section| !section.sends) {
            let Some(transceiver) = self.transceiver(&section.mid) else {
                continue;
            };
            if self.0.taken.borrow_mut().insert(section.mid) {
                transceiver.set_direction(RtcRtpTransceiverDirection::Sendonly);
                let (kind, local) = (section.kind, None);
                let sending = Sending {
                    transceiver,
                    kind,
                    local,
                };
                self.0.sending.borrow_mut().push(sending);
            }
        }
        self.unplaced().await?; // For those that are left the core asks for another round.
        Ok(())
    }

    /// Empties the sections of tracks that have ended, and gives those that are free to tracks that
    /// have none. Returns the tracks that are left.
    async fn unplaced(&self) -> Result<Vec<Rc<Local>>, JsValue> {
        let inner = &self.0;
        let locals = inner.media.locals();
        let mut sending = inner.sending.borrow().clone();
        for section in &mut sending {
            let is_among = |local: &Rc<Local>| locals.iter().any(|other| Rc::ptr_eq(other, local));
            if section.local.take_if(|local| !is_among(local)).is_some() {
                let sender = section.transceiver.sender();
                set_streams(&sender, None)?;
                JsFuture::from(sender.replace_track(None)).await?;
            }
        }
        let mut left = Vec::new();
        for local in locals {
            let carries = |section: &Sending| {
                let here = section.local.as_ref();
                here.is_some_and(|here| Rc::ptr_eq(here, &local))
            };
            if sending.iter().any(carries) {
                continue;
            }
            let is_free =
                |section: &&mut Sending| section.local.is_none() && section.kind == local.kind;
            let Some(free) = sending.iter_mut().find(is_free) else {
                left.push(local);
                continue;
            };
            local.enter(inner.link, free.transceiver.sender()).await?;
            free.local = Some(local);
        }
        inner.sending.replace(sending);
        Ok(left)
    }

    /// A round is complete: both ends know what each section carries.
    pub(super) fn agreed(&self, theirs: &str) {
        let sections = sections(theirs).into_iter().filter(|section| section.sends);
        let incoming = sections.filter_map(|section| {
            let track: MediaStreamTrack = self.transceiver(&section.mid)?.receiver().track();
            Some((section, Shown(track)))
        });
        self.0.media.described(self.0.link, incoming.collect());
    }

    fn transceiver(&self, mid: &str) -> Option<RtcRtpTransceiver> {
        let all: Array = self.0.connection.get_transceivers();
        let mut all = all.iter().map(JsCast::unchecked_into::<RtcRtpTransceiver>);
        all.find(|transceiver| transceiver.mid().as_deref() == Some(mid))
    }

    /// The connection is closed.
    pub(super) fn end(&self) {
        self.0.media.disconnected(self.0.link);
    }
}
