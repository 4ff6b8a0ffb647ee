//! Tracks of audio and video that this tab sends to its neighbours and gets from them.
//!
//! A track belongs to a neighbour, not to a connection: while the link gets fresh keys it goes on
//! over the next. So each neighbour has a [`PeerMedia`], which its connections share; what a
//! description names is compared with what there was ([`mesh_core::sections`]). A remote track has
//! one `MediaStream` as long as it lives, in which the browser's track is swapped: a `<video>`
//! plays on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mesh_core::{Event, PeerId, TRACKS_MAX, TrackError, TrackKind, TrackSection, Tracks};
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
        all.retain(|_, media| !media.is_idle());
        let media = all.entry(peer).or_insert_with(|| {
            let tell = Rc::clone(tell);
            Rc::new(PeerMedia::new(peer, tell))
        });
        media
            .state
            .borrow_mut()
            .connections
            .insert(link, Vec::new());
        Rc::clone(media)
    }

    /// The stream of a remote track, and what it has in it now.
    pub(crate) fn stream(&self, peer: PeerId, id: &str) -> Option<(MediaStream, MediaStreamTrack)> {
        let media = self.of(peer)?;
        let state = media.state.borrow();
        state.remotes.get(id).map(|remote| remote.shown())
    }

    /// The agent has closed: all tracks end.
    pub(crate) fn end(&self) {
        for media in self.0.take().into_values() {
            media.closed();
        }
    }
}

/// The tracks of one neighbour, in both directions.
pub(crate) struct PeerMedia {
    peer: PeerId,
    tell: Tell,
    state: RefCell<State>,
}

/// A section in which the other end sends, and what the browser makes of it.
pub(crate) type Incoming = (TrackSection, MediaStreamTrack);

#[derive(Default)]
struct State {
    /// The link is open, as the application has been told.
    is_open: bool,
    locals: Vec<Rc<Local>>,
    remotes: BTreeMap<String, Rc<Remote>>,
    /// The connections, the newest last, and what the other end sends over each.
    connections: BTreeMap<u64, Vec<Incoming>>,
}

impl PeerMedia {
    fn new(peer: PeerId, tell: Tell) -> Self {
        let state = RefCell::default();
        Self { peer, tell, state }
    }

    /// Those of a link that no agent owns.
    #[cfg(test)]
    pub(crate) fn of_no_agent() -> Rc<Self> {
        Rc::new(Self::new(PeerId::from_bytes([0; 32]), Rc::new(|_| {})))
    }

    fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.connections.is_empty() && !state.is_open
    }

    /// The link is open, or works again. Returns what is to be told.
    pub(crate) fn opened(&self) -> Vec<Event> {
        let mut state = self.state.borrow_mut();
        state.is_open = true;
        state.compare(self.peer)
    }

    /// The link is closed: its tracks end. Returns what is to be told.
    pub(crate) fn closed(&self) -> Vec<Event> {
        let mut state = self.state.borrow_mut();
        state.is_open = false;
        for local in std::mem::take(&mut state.locals) {
            local.end();
        }
        state.compare(self.peer)
    }

    /// A connection has a description of the other end, with these sections.
    pub(crate) fn described(&self, link: u64, incoming: Vec<Incoming>) {
        let mut state = self.state.borrow_mut();
        let Some(known) = state.connections.get_mut(&link) else {
            return;
        };
        *known = incoming;
        let events = state.compare(self.peer);
        drop(state);
        events.into_iter().for_each(|event| (self.tell)(event));
    }

    /// A connection has ended.
    pub(crate) fn disconnected(&self, link: u64) {
        let mut state = self.state.borrow_mut();
        state.connections.remove(&link);
        for local in &state.locals {
            local.leave(link);
        }
        let events = state.compare(self.peer);
        drop(state);
        events.into_iter().for_each(|event| (self.tell)(event));
    }

    /// The tracks that this agent sends.
    pub(crate) fn locals(&self) -> Vec<Rc<Local>> {
        self.state.borrow().locals.clone()
    }

    /// One more is to be sent. Returns it, and how many there are then.
    ///
    /// # Errors
    /// [`TrackError`], where there may not be; or what the browser says.
    pub(crate) fn add(
        &self,
        track: MediaStreamTrack,
    ) -> Result<Result<(Rc<Local>, Tracks), TrackError>, JsValue> {
        let mut state = self.state.borrow_mut();
        if !state.is_open {
            return Ok(Err(TrackError::NotLinked(self.peer)));
        }
        if state.locals.len() >= usize::from(TRACKS_MAX) {
            return Ok(Err(TrackError::TooMany(TRACKS_MAX)));
        }
        let local = Rc::new(Local::new(track)?);
        state.locals.push(Rc::clone(&local));
        Ok(Ok((local, state.tracks())))
    }

    /// A track is sent no more. Returns how many are.
    pub(crate) fn remove(&self, local: &Rc<Local>) -> Tracks {
        let mut state = self.state.borrow_mut();
        local.end();
        state.locals.retain(|other| !Rc::ptr_eq(other, local));
        state.tracks()
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
        let connections = self.connections.iter().filter(|_| self.is_open);
        let sections = connections.flat_map(|(link, all)| all.iter().map(move |one| (*link, one)));
        let named = sections.filter_map(|(link, (section, track))| {
            Some((
                section.id.clone()?,
                (section.kind, link, Clone::clone(track)),
            ))
        });
        // Of the same track the newest connection's stands.
        let named: BTreeMap<String, (TrackKind, u64, MediaStreamTrack)> = named.collect();
        self.remotes.retain(|id, remote| {
            let goes_on = named.contains_key(id);
            if !goes_on {
                remote.end();
                let id = id.clone();
                events.push(Event::TrackEnded { peer, id });
            }
            goes_on
        });
        let oldest = self.connections.keys().next().copied().unwrap_or_default();
        for (id, (kind, link, track)) in named {
            if let Some(remote) = self.remotes.get(&id) {
                remote.follow(link, track, oldest);
            } else if self.remotes.len() < usize::from(TRACKS_MAX)
                && let Ok(remote) = Remote::new(link, track)
            {
                self.remotes.insert(id.clone(), Rc::new(remote));
                events.push(Event::Track { peer, id, kind });
            }
        }
        events
    }
}

impl std::fmt::Debug for PeerMedia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerMedia")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
