//! Tracks of audio and video that this tab sends to its neighbours and gets from them.
//!
//! Each neighbour has a [`PeerMedia`], which its connections share, and tell what their
//! descriptions say ([`mesh_core::sections`]). Which tracks there are by that, the core knows
//! ([`PeerTracks`]). A remote track has one `MediaStream` as long as it lives, in which the
//! browser's track is swapped: a `<video>` plays on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mesh_core::agent::{PeerTracks, TrackEnds};
use mesh_core::{Event, PeerId, TrackError, TrackKind, TrackSection, Tracks};
use wasm_bindgen::JsValue;
use web_sys::{MediaStream, MediaStreamTrack};

// Of streams and tracks `object.clone()` is the browser's own, which makes another: `Clone::clone`
// refers to the same.
mod local;
mod remote;

pub(crate) use local::{Local, kind_of, set_streams};
use remote::Remote;

/// How an event is told that a connection has found out.
pub(crate) type Tell = Rc<dyn Fn(Event)>;

/// The tracks of all neighbours. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Media(Rc<RefCell<BTreeMap<PeerId, Rc<PeerMedia>>>>);

impl Media {
    /// Those of one neighbour.
    pub(crate) fn of(&self, peer: PeerId) -> Option<Rc<PeerMedia>> {
        self.0.borrow().get(&peer).map(Rc::clone)
    }

    /// A connection to a peer is made, which shares its tracks.
    pub(crate) fn connect(&self, peer: PeerId, link: u64, tell: &Tell) -> Rc<PeerMedia> {
        let mut all = self.0.borrow_mut();
        all.retain(|_, media| !media.tracks.borrow().is_idle());
        let media = all.entry(peer).or_insert_with(|| {
            let tell = Rc::clone(tell);
            Rc::new(PeerMedia::new(peer, tell))
        });
        media.tracks.borrow_mut().connect(link);
        Rc::clone(media)
    }

    /// The stream of a remote track, and what it has in it now.
    pub(crate) fn stream(&self, peer: PeerId, id: &str) -> Option<(MediaStream, MediaStreamTrack)> {
        let media = self.of(peer)?;
        let tracks = media.tracks.borrow();
        tracks.remote(id).map(Remote::shown)
    }

    /// The agent has closed: all tracks end.
    pub(crate) fn end(&self) {
        for media in self.0.take().into_values() {
            media.closed();
        }
    }
}

/// What becomes of tracks here.
#[derive(Debug)]
struct Ends;

impl TrackEnds for Ends {
    type Local = Rc<Local>;
    type Remote = Remote;
    /// What the browser makes of a section.
    type Source = Shown;

    fn kind(local: &Rc<Local>) -> TrackKind {
        local.kind
    }

    fn leave(local: &Rc<Local>, link: u64) {
        local.leave(link);
    }

    fn end(local: &Rc<Local>) {
        local.end();
    }

    fn begin(_: &str, _: TrackKind, link: u64, Shown(track): Shown) -> Option<Remote> {
        Remote::new(link, track).ok()
    }

    fn follow(remote: &Remote, link: u64, Shown(track): Shown, oldest: u64) {
        remote.follow(link, track, oldest);
    }

    fn ended(remote: &Remote) {
        remote.end();
    }
}

/// The browser's track of a section; clones refer to the same.
pub(crate) struct Shown(pub(crate) MediaStreamTrack);

impl Clone for Shown {
    fn clone(&self) -> Self {
        Self(Clone::clone(&self.0))
    }
}

/// The tracks of one neighbour, in both directions.
pub(crate) struct PeerMedia {
    tell: Tell,
    tracks: RefCell<PeerTracks<Ends>>,
}

/// A section in which the other end sends, and what the browser makes of it.
pub(crate) type Incoming = (TrackSection, Shown);

impl PeerMedia {
    fn new(peer: PeerId, tell: Tell) -> Self {
        let tracks = RefCell::new(PeerTracks::new(peer));
        Self { tell, tracks }
    }

    /// Those of a link that no agent owns.
    #[cfg(test)]
    pub(crate) fn of_no_agent() -> Rc<Self> {
        Rc::new(Self::new(PeerId::from_bytes([0; 32]), Rc::new(|_| {})))
    }

    /// The link is open, or works again. Returns what is to be told.
    pub(crate) fn opened(&self) -> Vec<Event> {
        self.tracks.borrow_mut().opened()
    }

    /// The link is closed: its tracks end. Returns what is to be told.
    pub(crate) fn closed(&self) -> Vec<Event> {
        self.tracks.borrow_mut().closed()
    }

    /// A connection has a description of the other end, with these sections.
    pub(crate) fn described(&self, link: u64, incoming: Vec<Incoming>) {
        let events = self.tracks.borrow_mut().described(link, incoming);
        events.into_iter().for_each(|event| (self.tell)(event));
    }

    /// A connection has ended.
    pub(crate) fn disconnected(&self, link: u64) {
        let events = self.tracks.borrow_mut().disconnected(link);
        events.into_iter().for_each(|event| (self.tell)(event));
    }

    /// The tracks that this agent sends.
    pub(crate) fn locals(&self) -> Vec<Rc<Local>> {
        self.tracks.borrow().locals().to_vec()
    }

    /// One more is to be sent. Returns it, and how many there are then.
    ///
    /// # Errors
    /// [`TrackError`], where there may not be; or what the browser says.
    pub(crate) fn add(
        &self,
        track: MediaStreamTrack,
    ) -> Result<Result<(Rc<Local>, Tracks), TrackError>, JsValue> {
        let mut tracks = self.tracks.borrow_mut();
        if let Err(error) = tracks.check_room() {
            return Ok(Err(error));
        }
        let local = Rc::new(Local::new(track)?);
        let count = tracks.add(Rc::clone(&local));
        Ok(Ok((local, count)))
    }

    /// A track is sent no more. Returns how many are.
    pub(crate) fn remove(&self, local: &Rc<Local>) -> Tracks {
        let mut tracks = self.tracks.borrow_mut();
        tracks.remove(|other| Rc::ptr_eq(other, local))
    }
}

impl std::fmt::Debug for PeerMedia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerMedia")
            .field("tracks", &self.tracks)
            .finish_non_exhaustive()
    }
}
