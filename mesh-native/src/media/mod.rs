//! Tracks of audio and video that an agent sends to its neighbours and gets from them.
//!
//! Each neighbour has a [`PeerMedia`], which its connections share. They tell it what their
//! descriptions say ([`mesh_core::sections`]), which packets come, and which sections they have for
//! what this agent sends. Which tracks there are by that, the core knows ([`PeerTracks`]).

mod files;
mod local;
mod numbering;
mod remote;
#[cfg(test)]
mod tests;

pub use self::files::MediaFileError;
pub use self::local::LocalTrack;
pub(crate) use self::local::{Local, Slot};
use self::remote::Remote;
pub use self::remote::RemoteTrack;
pub(crate) use self::remote::Source;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_core::agent::{PeerTracks, TrackEnds};
use mesh_core::{Event, PeerId, TrackError, TrackKind, TrackSection, Tracks};
use rtc::rtp;

/// How an event is told that a connection's own task has found out.
pub(crate) type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// The tracks of all neighbours.
#[derive(Debug, Default)]
pub(crate) struct Media(Mutex<BTreeMap<PeerId, Arc<PeerMedia>>>);

impl Media {
    /// Those of one neighbour.
    pub(crate) fn of(&self, peer: PeerId) -> Option<Arc<PeerMedia>> {
        self.lock().get(&peer).map(Arc::clone)
    }

    /// A connection to a peer is made, which shares its tracks.
    pub(crate) fn connect(&self, peer: PeerId, link: u64, tell: &Tell) -> Arc<PeerMedia> {
        let mut all = self.lock();
        all.retain(|_, media| !media.lock().is_idle());
        let media = all.entry(peer).or_insert_with(|| {
            let tell = Arc::clone(tell);
            Arc::new(PeerMedia::new(peer, tell))
        });
        media.lock().connect(link);
        Arc::clone(media)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<PeerMedia>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of tracks here.
#[derive(Debug)]
struct Ends;

impl TrackEnds for Ends {
    type Local = Arc<Local>;
    type Remote = Arc<Remote>;
    /// Packets say themselves whence they come.
    type Source = ();

    fn kind(local: &Arc<Local>) -> TrackKind {
        local.kind
    }

    fn leave(local: &Arc<Local>, link: u64) {
        local.leave(link);
    }

    fn end(local: &Arc<Local>) {
        local.end();
    }

    fn begin(id: &str, kind: TrackKind, _: u64, (): ()) -> Option<Arc<Remote>> {
        Some(Arc::new(Remote::new(id.to_owned(), kind)))
    }

    fn follow(_: &Arc<Remote>, _: u64, (): (), _: u64) {}

    fn ended(remote: &Arc<Remote>) {
        remote.end();
    }
}

/// The tracks of one neighbour, in both directions.
pub(crate) struct PeerMedia {
    pub(crate) peer: PeerId,
    tell: Tell,
    tracks: Mutex<PeerTracks<Ends>>,
}

impl PeerMedia {
    fn new(peer: PeerId, tell: Tell) -> Self {
        let tracks = Mutex::new(PeerTracks::new(peer));
        Self { peer, tell, tracks }
    }

    /// Those of a link that no agent owns.
    #[cfg(any(test, feature = "pairs"))]
    pub(crate) fn of_no_agent() -> Self {
        Self::new(PeerId::from_bytes([0; 32]), Arc::new(|_| {}))
    }

    fn lock(&self) -> MutexGuard<'_, PeerTracks<Ends>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link is open, or works again. Returns what is to be told.
    pub(crate) fn opened(&self) -> Vec<Event> {
        self.lock().opened()
    }

    /// The link is closed: its tracks end. Returns what is to be told.
    pub(crate) fn closed(&self) -> Vec<Event> {
        self.lock().closed()
    }

    /// A connection has a description of the other end, with these sections.
    pub(crate) fn described(&self, link: u64, sections: Vec<TrackSection>) {
        let incoming = sections.into_iter().map(|section| (section, ()));
        let events = self.lock().described(link, incoming.collect());
        events.into_iter().for_each(|event| (self.tell)(event));
    }

    /// A connection has ended.
    pub(crate) fn disconnected(&self, link: u64) {
        let events = self.lock().disconnected(link);
        events.into_iter().for_each(|event| (self.tell)(event));
    }

    /// A packet has come in the section of a connection.
    pub(crate) fn received(&self, link: u64, mid: &str, source: &Source, packet: rtp::Packet) {
        let remote = self.lock().remote_in(link, mid).map(Arc::clone);
        if let Some(remote) = remote {
            remote.push(link, source, packet);
        }
    }

    /// The other end needs a keyframe of what this agent sends.
    pub(crate) fn keyframe_wanted(&self, id: String) {
        let peer = self.peer;
        (self.tell)(Event::KeyframeWanted { peer, id });
    }

    /// The tracks that this agent sends.
    pub(crate) fn locals(&self) -> Vec<Arc<Local>> {
        self.lock().locals().to_vec()
    }

    /// One more is to be sent. Returns it, and how many there are then.
    ///
    /// # Errors
    /// [`TrackError`], where there may not be.
    pub(crate) fn add(&self, kind: TrackKind) -> Result<(Arc<Local>, Tracks), TrackError> {
        let mut tracks = self.lock();
        tracks.check_room()?;
        let local = Arc::new(Local::new(kind));
        let count = tracks.add(Arc::clone(&local));
        Ok((local, count))
    }

    /// A track is sent no more. Returns how many are.
    pub(crate) fn remove(&self, local: &Arc<Local>) -> Tracks {
        self.lock().remove(|other| Arc::ptr_eq(other, local))
    }

    /// A track that the other end sends.
    pub(crate) fn remote(&self, id: &str) -> Option<RemoteTrack> {
        let remote = self.lock().remote(id).map(Arc::clone)?;
        Some(RemoteTrack::new(self.peer, remote))
    }
}

impl fmt::Debug for PeerMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerMedia")
            .field("tracks", &self.tracks)
            .finish_non_exhaustive()
    }
}
