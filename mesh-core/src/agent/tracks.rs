//! The tracks of one neighbour, in both directions: which there are, over which connections, and
//! what the application is told of them. Each driver keeps what is sent and shown, behind a lock of
//! its own.
//!
//! A track belongs to a neighbour, not to a connection: while the link gets fresh keys, or a direct
//! path for a relayed one, it goes on over the next.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::TrackError;
use crate::id::PeerId;
use crate::io::Event;
use crate::media::{TRACKS_MAX, TrackKind, TrackSection, Tracks};

/// What a driver has of tracks, and does with them.
pub trait TrackEnds {
    /// A track that this agent sends.
    type Local;
    /// A track that the neighbour sends.
    type Remote;
    /// What a connection makes of a section in which the neighbour sends.
    type Source: Clone;

    /// What a track carries.
    fn kind(local: &Self::Local) -> TrackKind;

    /// A connection has ended, over which the track may be sent.
    fn leave(local: &Self::Local, link: u64);

    /// The track is sent no more.
    fn end(local: &Self::Local);

    /// A track has begun; `None` if the driver cannot take it.
    fn begin(id: &str, kind: TrackKind, link: u64, source: Self::Source) -> Option<Self::Remote>;

    /// The newest connection has the track; `oldest` is the first connection that there is.
    fn follow(remote: &Self::Remote, link: u64, source: Self::Source, oldest: u64);

    /// The track comes no more.
    fn ended(remote: &Self::Remote);
}

/// A section in which the neighbour sends, and what its connection makes of it.
type Incoming<E> = (TrackSection, <E as TrackEnds>::Source);

/// The tracks of one neighbour.
pub struct PeerTracks<E: TrackEnds> {
    peer: PeerId,
    /// The link is open, as the application has been told.
    is_open: bool,
    locals: Vec<E::Local>,
    remotes: BTreeMap<String, E::Remote>,
    /// The connections, the newest last, and what the neighbour sends over each.
    connections: BTreeMap<u64, Vec<Incoming<E>>>,
}

impl<E: TrackEnds> PeerTracks<E> {
    /// Those of a neighbour that has no connection yet.
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            is_open: false,
            locals: Vec::new(),
            remotes: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    /// A connection to the neighbour is made.
    pub fn connect(&mut self, link: u64) {
        self.connections.insert(link, Vec::new());
    }

    /// Whether there is neither a connection nor an open link.
    pub fn is_idle(&self) -> bool {
        self.connections.is_empty() && !self.is_open
    }

    /// The link is open, or works again. Returns what is to be told.
    pub fn opened(&mut self) -> Vec<Event> {
        self.is_open = true;
        self.compare()
    }

    /// The link is closed: its tracks end. Returns what is to be told.
    pub fn closed(&mut self) -> Vec<Event> {
        self.is_open = false;
        self.locals.drain(..).for_each(|local| E::end(&local));
        self.compare()
    }

    /// A connection has a description of the other end, with these sections. Returns what is to be
    /// told.
    pub fn described(&mut self, link: u64, incoming: Vec<Incoming<E>>) -> Vec<Event> {
        let Some(known) = self.connections.get_mut(&link) else {
            return Vec::new(); // It has ended.
        };
        *known = incoming;
        self.compare()
    }

    /// A connection has ended. Returns what is to be told.
    pub fn disconnected(&mut self, link: u64) -> Vec<Event> {
        self.connections.remove(&link);
        self.locals.iter().for_each(|local| E::leave(local, link));
        self.compare()
    }

    /// The tracks that this agent sends.
    pub fn locals(&self) -> &[E::Local] {
        &self.locals
    }

    /// Whether one more may be sent.
    ///
    /// # Errors
    /// [`TrackError`], if it may not.
    pub fn check_room(&self) -> Result<(), TrackError> {
        if !self.is_open {
            return Err(TrackError::NotLinked(self.peer));
        }
        if self.locals.len() >= usize::from(TRACKS_MAX) {
            return Err(TrackError::TooMany(TRACKS_MAX));
        }
        Ok(())
    }

    /// One more is sent. Returns how many there are then.
    pub fn add(&mut self, local: E::Local) -> Tracks {
        self.locals.push(local);
        self.tracks()
    }

    /// A track is sent no more: the one that `is_it` tells. Returns how many there are then.
    pub fn remove(&mut self, is_it: impl Fn(&E::Local) -> bool) -> Tracks {
        for ended in self.locals.extract_if(.., |local| is_it(local)) {
            E::end(&ended);
        }
        self.tracks()
    }

    /// A track that the neighbour sends.
    pub fn remote(&self, id: &str) -> Option<&E::Remote> {
        self.remotes.get(id)
    }

    /// The track in a section of a connection.
    pub fn remote_in(&self, link: u64, mid: &str) -> Option<&E::Remote> {
        let mut sections = self.connections.get(&link)?.iter();
        let (section, _) = sections.find(|(section, _)| section.mid == mid)?;
        self.remote(section.id.as_ref()?)
    }

    fn tracks(&self) -> Tracks {
        let mut tracks = Tracks::default();
        let kinds = self.locals.iter().map(E::kind);
        kinds.for_each(|kind| tracks.add(kind));
        tracks
    }

    /// Begins the tracks that the neighbour sends now, and ends those that it does not.
    fn compare(&mut self) -> Vec<Event> {
        let (peer, mut events) = (self.peer, Vec::new());
        let named = self.named();
        self.remotes.retain(|id, remote| {
            let goes_on = named.contains_key(id);
            if !goes_on {
                E::ended(remote);
                let id = id.clone();
                events.push(Event::TrackEnded { peer, id });
            }
            goes_on
        });
        let oldest = self.connections.keys().next().copied().unwrap_or_default();
        for (id, (kind, link, source)) in named {
            if let Some(remote) = self.remotes.get(&id) {
                E::follow(remote, link, source, oldest);
            } else if self.remotes.len() < usize::from(TRACKS_MAX)
                && let Some(remote) = E::begin(&id, kind, link, source)
            {
                self.remotes.insert(id.clone(), remote);
                events.push(Event::Track { peer, id, kind });
            }
        }
        events
    }

    /// The tracks that the neighbour names; each as the newest connection has it.
    fn named(&self) -> BTreeMap<String, (TrackKind, u64, E::Source)> {
        let connections = self.connections.iter().filter(|_| self.is_open);
        let sections = connections.flat_map(|(link, all)| all.iter().map(|one| (*link, one)));
        let named = sections.filter_map(|(link, (section, source))| {
            Some((section.id.clone()?, (section.kind, link, source.clone())))
        });
        named.collect()
    }
}

impl<E: TrackEnds> Drop for PeerTracks<E> {
    fn drop(&mut self) {
        self.locals.iter().for_each(E::end);
        self.remotes.values().for_each(E::ended);
    }
}

impl<E: TrackEnds> fmt::Debug for PeerTracks<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTracks")
            .field("peer", &self.peer)
            .field("is_open", &self.is_open)
            .field("sent", &self.tracks())
            .field("received", &self.remotes.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "tests note what a driver does")]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A driver that notes what becomes of its tracks.
    struct Noted;

    type Notes = Sender<String>;

    impl TrackEnds for Noted {
        type Local = (&'static str, Notes);
        type Remote = (String, Notes);
        type Source = Notes;

        fn kind(_: &Self::Local) -> TrackKind {
            TrackKind::Audio
        }

        fn leave((name, notes): &Self::Local, link: u64) {
            note(notes, format!("{name} left {link}"));
        }

        fn end((name, notes): &Self::Local) {
            note(notes, format!("{name} ended"));
        }

        fn begin(id: &str, _: TrackKind, link: u64, notes: Notes) -> Option<Self::Remote> {
            note(&notes, format!("{id} began on {link}"));
            (!id.starts_with("no")).then(|| (id.to_owned(), notes))
        }

        fn follow((id, notes): &Self::Remote, link: u64, _: Notes, oldest: u64) {
            note(notes, format!("{id} follows {link} of {oldest}"));
        }

        fn ended((id, notes): &Self::Remote) {
            note(notes, format!("{id} ended"));
        }
    }

    fn note(notes: &Notes, note: String) {
        // Where the test has seen enough it hears no more.
        let _ = notes.send(note);
    }

    fn rig() -> (PeerTracks<Noted>, Notes, Receiver<String>) {
        let (notes, noted) = channel();
        let tracks = PeerTracks::new(PeerId::from_bytes([1; 32]));
        (tracks, notes, noted)
    }

    fn section(id: Option<&str>, notes: &Notes) -> Incoming<Noted> {
        let section = TrackSection {
            mid: "1".to_owned(),
            kind: TrackKind::Audio,
            sends: true,
            id: id.map(str::to_owned),
        };
        (section, notes.clone())
    }

    fn all(noted: &Receiver<String>) -> Vec<String> {
        noted.try_iter().collect()
    }

    #[test]
    fn a_track_goes_on_over_the_next_connection() {
        let (mut tracks, notes, noted) = rig();
        tracks.connect(1);
        let early = tracks.described(1, vec![section(Some("song"), &notes)]);
        assert_eq!(early, [], "the link is not open yet");
        assert_eq!(tracks.opened().len(), 1);
        tracks.connect(2);
        let again = tracks.described(2, vec![section(Some("song"), &notes)]);
        assert_eq!(again, []);
        assert!(tracks.remote_in(2, "1").is_some() && tracks.remote_in(2, "2").is_none());
        assert_eq!(tracks.disconnected(1), []);
        let expected = [
            "song began on 1",
            "song follows 2 of 1",
            "song follows 2 of 2",
        ];
        assert_eq!(all(&noted), expected);
        let (peer, id) = (tracks.peer, "song".to_owned());
        assert_eq!(tracks.closed(), [Event::TrackEnded { peer, id }]);
        assert_eq!(all(&noted), ["song ended"]);
        assert!(!tracks.is_idle());
        assert_eq!(tracks.disconnected(2), []);
        assert!(tracks.is_idle());
    }

    #[test]
    fn tracks_in_either_direction_are_bounded() {
        let (mut tracks, notes, _noted) = rig();
        let not_linked = TrackError::NotLinked(tracks.peer);
        assert_eq!(tracks.check_room(), Err(not_linked));
        tracks.connect(1);
        tracks.opened();
        for count in 1..=TRACKS_MAX {
            assert_eq!(tracks.check_room(), Ok(()));
            assert_eq!(tracks.add(("sent", notes.clone())).audio, count);
        }
        assert_eq!(tracks.check_room(), Err(TrackError::TooMany(TRACKS_MAX)));
        let ids: Vec<_> = (0..2 * TRACKS_MAX).map(|n| n.to_string()).collect();
        let incoming = ids.iter().map(|id| section(Some(id), &notes)).collect();
        assert_eq!(tracks.described(1, incoming).len(), usize::from(TRACKS_MAX));
    }

    #[test]
    fn a_track_that_the_driver_cannot_take_is_not_told() {
        let (mut tracks, notes, noted) = rig();
        tracks.connect(1);
        tracks.opened();
        let incoming = vec![section(Some("not this"), &notes), section(None, &notes)];
        assert_eq!(tracks.described(1, incoming), []);
        assert_eq!(all(&noted), ["not this began on 1"]);
        assert!(tracks.described(7, Vec::new()).is_empty(), "no connection");
    }

    #[test]
    fn what_this_agent_sends_leaves_a_connection_and_ends_with_the_link() {
        let (mut tracks, notes, noted) = rig();
        tracks.connect(1);
        tracks.opened();
        for name in ["a", "b"] {
            tracks.add((name, notes.clone()));
        }
        assert_eq!(tracks.remove(|(name, _)| *name == "a").audio, 1);
        tracks.disconnected(1);
        drop(tracks);
        assert_eq!(all(&noted), ["a ended", "b left 1", "b ended"]);
    }
}
