//! Tracks of audio and video that an agent sends to its neighbours and gets from them.
//!
//! A track belongs to a neighbour, not to a connection: while the link gets fresh keys, or a direct
//! path for a relayed one, it goes on over the next. So each neighbour has a [`PeerMedia`], which
//! its connections share. They tell it what their descriptions say ([`mesh_core::sections`]), which
//! packets come, and which sections they have for what this agent sends.

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

use mesh_core::{Event, PeerId, TRACKS_MAX, TrackError, TrackKind, TrackSection, Tracks};
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
        all.retain(|_, media| !media.is_idle());
        let media = all.entry(peer).or_insert_with(|| {
            let tell = Arc::clone(tell);
            Arc::new(PeerMedia::new(peer, tell))
        });
        media.lock().connections.insert(link, Vec::new());
        Arc::clone(media)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<PeerMedia>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tracks of one neighbour, in both directions.
pub(crate) struct PeerMedia {
    pub(crate) peer: PeerId,
    tell: Tell,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The link is open, as the application has been told.
    is_open: bool,
    locals: Vec<Arc<Local>>,
    remotes: BTreeMap<String, Arc<Remote>>,
    /// The connections, the newest last, and the sections in which the other end sends over each.
    connections: BTreeMap<u64, Vec<TrackSection>>,
}

impl PeerMedia {
    fn new(peer: PeerId, tell: Tell) -> Self {
        let state = Mutex::default();
        Self { peer, tell, state }
    }

    /// Those of a link that no agent owns.
    #[cfg(any(test, feature = "pairs"))]
    pub(crate) fn of_no_agent() -> Self {
        Self::new(PeerId::from_bytes([0; 32]), Arc::new(|_| {}))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self) -> bool {
        let state = self.lock();
        state.connections.is_empty() && !state.is_open
    }

    /// The link is open, or works again. Returns what is to be told.
    pub(crate) fn opened(&self) -> Vec<Event> {
        let mut state = self.lock();
        state.is_open = true;
        state.compare(self.peer)
    }

    /// The link is closed: its tracks end. Returns what is to be told.
    pub(crate) fn closed(&self) -> Vec<Event> {
        let mut state = self.lock();
        state.is_open = false;
        for local in std::mem::take(&mut state.locals) {
            local.end();
        }
        state.compare(self.peer)
    }

    /// A connection has a description of the other end, with these sections.
    pub(crate) fn described(&self, link: u64, sections: Vec<TrackSection>) {
        let mut state = self.lock();
        let Some(known) = state.connections.get_mut(&link) else {
            return;
        };
        *known = sections;
        let events = state.compare(self.peer);
        drop(state);
        events.into_iter().for_each(|event| (self.tell)(event));
    }

    /// A connection has ended.
    pub(crate) fn disconnected(&self, link: u64) {
        let mut state = self.lock();
        state.connections.remove(&link);
        for local in &state.locals {
            local.leave(link);
        }
        let events = state.compare(self.peer);
        drop(state);
        events.into_iter().for_each(|event| (self.tell)(event));
    }

    /// A packet has come in the section of a connection.
    pub(crate) fn received(&self, link: u64, mid: &str, source: &Source, packet: rtp::Packet) {
        let state = self.lock();
        let sections = state.connections.get(&link).into_iter().flatten();
        let mut ids = sections.filter(|section| section.mid == mid);
        let id = ids.next().and_then(|section| section.id.as_ref());
        let remote = id.and_then(|id| state.remotes.get(id)).map(Arc::clone);
        drop(state);
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
        self.lock().locals.clone()
    }

    /// One more is to be sent. Returns it, and how many there are then.
    ///
    /// # Errors
    /// [`TrackError`], where there may not be.
    pub(crate) fn add(&self, kind: TrackKind) -> Result<(Arc<Local>, Tracks), TrackError> {
        let mut state = self.lock();
        if !state.is_open {
            return Err(TrackError::NotLinked(self.peer));
        }
        if state.locals.len() >= usize::from(TRACKS_MAX) {
            return Err(TrackError::TooMany(TRACKS_MAX));
        }
        let local = Arc::new(Local::new(kind));
        state.locals.push(Arc::clone(&local));
        Ok((local, state.tracks()))
    }

    /// A track is sent no more. Returns how many are.
    pub(crate) fn remove(&self, local: &Arc<Local>) -> Tracks {
        let mut state = self.lock();
        local.end();
        state.locals.retain(|other| !Arc::ptr_eq(other, local));
        state.tracks()
    }

    /// A track that the other end sends.
    pub(crate) fn remote(&self, id: &str) -> Option<RemoteTrack> {
        let remote = self.lock().remotes.get(id).map(Arc::clone)?;
        Some(RemoteTrack::new(self.peer, remote))
    }
}

impl State {
    fn tracks(&self) -> Tracks {
        let mut tracks = Tracks::default();
        self.locals.iter().for_each(|local| tracks.add(local.kind));
        tracks
    }

    /// Begins the tracks that the other end sends now, and ends those that it does not.
    fn compare(&mut self, peer: PeerId) -> Vec<Event> {
        let mut events = Vec::new();
        let sections = self.connections.values().flatten();
        let named = sections.filter_map(|section| Some((section.id.clone()?, section.kind)));
        let named: BTreeMap<String, TrackKind> = named.filter(|_| self.is_open).collect();
        self.remotes.retain(|id, remote| {
            let goes_on = named.contains_key(id);
            if !goes_on {
                remote.end();
                let id = id.clone();
                events.push(Event::TrackEnded { peer, id });
            }
            goes_on
        });
        for (id, kind) in named {
            if self.remotes.len() < usize::from(TRACKS_MAX) && !self.remotes.contains_key(&id) {
                let remote = Remote::new(id.clone(), kind);
                self.remotes.insert(id.clone(), Arc::new(remote));
                events.push(Event::Track { peer, id, kind });
            }
        }
        events
    }
}

impl Drop for PeerMedia {
    fn drop(&mut self) {
        let mut state = self.lock();
        state.locals.drain(..).for_each(|local| local.end());
        let remotes = std::mem::take(&mut state.remotes);
        remotes.values().for_each(|remote| remote.end());
    }
}

impl fmt::Debug for PeerMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerMedia")
            .field("peer", &self.peer)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
