//! Tracks of audio and video that travel beside the messages of a link, as far as both drivers
//! need to know the same.
//!
//! Each track has a section of the connection's description to itself, of one direction for ever.
//! The stream that the section names (`a=msid`) is the track's id; a section that names none
//! carries nothing for now, and is used again for the next track of its kind. So nothing depends on
//! how a WebRTC stack changes the direction of a section or gives one up, in which they differ.

use serde::{Deserialize, Serialize};

/// Tracks that one end of a link may send: a few cameras, screens and microphones. Each takes a
/// section of a kilobyte in the connection's descriptions.
pub const TRACKS_MAX: u8 = 8;

/// Sections of a description that are looked at: those of both ends, of either kind, and one for
/// the data channels.
const SECTIONS_MAX: usize = 4 * TRACKS_MAX as usize + 1;

/// The longest id of a track, in bytes: a browser's stream has a UUID of 36.
const ID_BYTES_MAX: usize = 64;

/// The stream of a section that carries nothing for now
/// ([RFC 8830](https://www.rfc-editor.org/rfc/rfc8830), section 2).
pub const NO_STREAM: &str = "-";

/// What a track carries: Opus, or VP8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl TrackKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Audio, Self::Video];

    /// Its name, in descriptions and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// How many tracks there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracks {
    /// Of sound.
    pub audio: u8,
    /// Of pictures.
    pub video: u8,
}

impl Tracks {
    /// How many of a kind.
    pub const fn of(self, kind: TrackKind) -> u8 {
        match kind {
            TrackKind::Audio => self.audio,
            TrackKind::Video => self.video,
        }
    }

    /// One more of a kind.
    pub const fn add(&mut self, kind: TrackKind) {
        let count = match kind {
            TrackKind::Audio => &mut self.audio,
            TrackKind::Video => &mut self.video,
        };
        *count = count.saturating_add(1);
    }

    /// Whether one end may send as many.
    pub const fn are_allowed(self) -> bool {
        self.audio.saturating_add(self.video) <= TRACKS_MAX
    }

    /// Whether there are as many of each kind.
    pub const fn cover(self, other: Self) -> bool {
        self.audio >= other.audio && self.video >= other.video
    }

    /// The sections of an offer in which its answerer may send.
    pub(crate) fn taken_by(offer: &str) -> Self {
        let mut tracks = Self::default();
        for section in sections(offer).iter().filter(|section| !section.sends) {
            tracks.add(section.kind);
        }
        tracks
    }
}

/// The section of a track in a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSection {
    /// Its identification tag, the same in all descriptions of a connection.
    pub mid: String,
    /// What it carries.
    pub kind: TrackKind,
    /// Whether the description's author sends in it; else the other end may.
    pub sends: bool,
    /// The track that its author sends in it.
    pub id: Option<String>,
}

/// The sections of tracks in a description, in order. What is no such section is left out.
pub fn sections(sdp: &str) -> Vec<TrackSection> {
    let parts = sdp.split("\nm=").skip(1).take(SECTIONS_MAX);
    parts.filter_map(section).collect()
}

/// One section, from after its `m=`.
fn section(part: &str) -> Option<TrackSection> {
    let mut kinds = TrackKind::ALL.into_iter();
    let kind = kinds.find(|kind| part.split(' ').next() == Some(kind.name()))?;
    let attributes = || {
        part.lines()
            .filter_map(|line| line.trim_end().strip_prefix("a="))
    };
    let value = |name| attributes().find_map(|attribute| attribute.strip_prefix(name));
    let mid = value("mid:").filter(|mid| mid.len() <= ID_BYTES_MAX)?;
    let is = |direction| attributes().any(|attribute| attribute == direction);
    let sends = match () {
        () if is("sendonly") => true,
        () if is("recvonly") => false,
        () => return None, // Of no agent of this mesh.
    };
    let stream = value("msid:").and_then(|msid| msid.split(' ').next());
    let id = stream.filter(|id| *id != NO_STREAM && !id.is_empty() && id.len() <= ID_BYTES_MAX);
    Some(TrackSection {
        mid: mid.to_owned(),
        kind,
        sends,
        id: id.filter(|_| sends).map(str::to_owned),
    })
}

/// The lines of a description that say no more than both ends need: Opus and VP8 alone, and of the
/// header extensions those by which sections are told apart and the bandwidth is measured. A
/// browser's section has 6 kB with all that it knows, and a signal has to fit a frame.
pub fn lean(sdp: &str) -> String {
    let mut lean = String::with_capacity(sdp.len());
    for (index, part) in sdp.split("\nm=").enumerate() {
        if index > 0 {
            lean.push_str("\nm=");
        }
        match TrackKind::ALL
            .iter()
            .any(|kind| part.starts_with(kind.name()))
            && index > 0
        {
            true => lean.push_str(&lean_section(part)),
            false => lean.push_str(part),
        }
    }
    lean
}

/// One section of a track, from after its `m=`.
fn lean_section(part: &str) -> String {
    let is_known = |line: &&str| {
        let codec = line.trim_end().rsplit(' ').next().unwrap_or_default();
        let codecs = ["opus/48000/2", "VP8/90000"];
        codecs.iter().any(|known| codec.eq_ignore_ascii_case(known))
    };
    let type_of = |line: &str, name: &str| {
        let (payload_type, _) = line.strip_prefix(name)?.split_once(' ')?;
        Some(payload_type.to_owned())
    };
    let maps = part.lines().filter(|line| line.starts_with("a=rtpmap:"));
    let known: Vec<_> = maps
        .filter(is_known)
        .filter_map(|line| type_of(line, "a=rtpmap:"))
        .collect();
    let mut sources = part.lines().filter_map(|line| line.strip_prefix("a=ssrc:"));
    let first_source = sources.next().and_then(|source| source.split(' ').next());
    let keeps = |line: &str| {
        let mut typed = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].into_iter();
        if let Some(payload_type) = typed.find_map(|name| type_of(line, name)) {
            return known.contains(&payload_type);
        }
        if let Some(source) = line.strip_prefix("a=ssrc:") {
            // The others of a section are of codecs that it has no more.
            let is_first = source.split(' ').next() == first_source;
            return is_first && !source.contains(" msid:");
        }
        if LEFT_OUT.iter().any(|left_out| line.starts_with(left_out)) {
            return false;
        }
        !line.starts_with("a=extmap:") || KEPT_EXTENSIONS.iter().any(|kept| line.contains(kept))
    };
    let mut lines = part.split_inclusive('\n');
    let mut lean = String::with_capacity(part.len());
    // The kind, the port and the protocol; then the payload types.
    let first = lines.next().unwrap_or_default();
    let end = &first[first.trim_end().len()..];
    let words: Vec<&str> = first.trim_end().split(' ').take(3).collect();
    lean.push_str(&words.join(" "));
    for payload_type in &known {
        lean.push(' ');
        lean.push_str(payload_type);
    }
    lean.push_str(end);
    lines
        .filter(|line| keeps(line))
        .for_each(|line| lean.push_str(line));
    // Where the last line was left out that before it ends the section.
    if !part.ends_with('\n') && lean.ends_with('\n') {
        lean.pop();
    }
    lean
}

/// Lines that say what others say too, or what is not heeded.
const LEFT_OUT: [&str; 3] = ["a=ssrc-group:", "a=rtcp:", "a=rtcp-xr:"];

/// Header extensions that stay.
const KEPT_EXTENSIONS: [&str; 2] = ["sdes:mid", "transport-wide-cc"];

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2 3\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=sendrecv\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=msid:camera v1\r\na=sendonly\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:2\r\na=recvonly\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:3\r\na=msid:- v2\r\na=sendonly\r\n";

    #[test]
    fn a_description_says_which_tracks_it_has_and_which_it_takes() {
        let section = |mid: &str, kind, sends, id: Option<&str>| TrackSection {
            mid: mid.into(),
            kind,
            sends,
            id: id.map(Into::into),
        };
        let expected = [
            section("1", TrackKind::Video, true, Some("camera")),
            section("2", TrackKind::Audio, false, None),
            section("3", TrackKind::Video, true, None),
        ];
        assert_eq!(sections(SDP), expected);
        let taken = Tracks { audio: 1, video: 0 };
        assert_eq!(Tracks::taken_by(SDP), taken);
    }

    #[test]
    fn what_is_no_description_has_no_tracks() {
        let long = format!(
            "v=0\nm=video 9 x 96\na=mid:1\na=msid:{} v\na=sendonly\n",
            "x".repeat(65)
        );
        assert_eq!(sections(&long)[0].id, None);
        for sdp in [
            "",
            "an offer",
            "v=0\nm=",
            "v=0\nm=video",
            "v=0\nm=audio 9\na=mid:1\n",
        ] {
            assert_eq!(sections(sdp), [], "{sdp:?}");
        }
        let many = "\nm=video 9\na=mid:1\na=recvonly".repeat(1_000);
        assert_eq!(sections(&many).len(), SECTIONS_MAX);
    }

    #[test]
    fn a_lean_description_has_the_codecs_that_all_have_and_no_others() {
        let fat = "v=0\r\na=extmap-allow-mixed\r\nm=application 9 x datachannel\r\n\
            a=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97 45\r\na=mid:1\r\n\
            a=extmap:1 urn:ietf:params:rtp-hdrext:toffset\r\n\
            a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rtpmap:96 VP8/90000\r\n\
            a=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
            a=rtpmap:45 AV1/90000\r\na=rtcp-fb:45 nack\r\na=sendonly\r\na=msid:s t\r\n\
            a=rtcp:9 IN IP4 0.0.0.0\r\na=ssrc-group:FID 7 8\r\n\
            a=ssrc:7 cname:c\r\na=ssrc:7 msid:s t\r\n\
            a=ssrc:8 cname:c\r\n";
        let expected = "v=0\r\na=extmap-allow-mixed\r\nm=application 9 x datachannel\r\n\
            a=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n\
            a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=rtpmap:96 VP8/90000\r\n\
            a=rtcp-fb:96 nack pli\r\na=sendonly\r\na=msid:s t\r\na=ssrc:7 cname:c\r\n";
        assert_eq!(lean(fat), expected);
        assert_eq!(lean(expected), expected);
        let twice = |sdp: &str| format!("{sdp}{}", &sdp[sdp.find("m=video").expect("there")..]);
        assert_eq!(lean(&twice(fat)), twice(expected), "no empty line between");
        for sdp in ["", "an offer", "v=0\nm=video", "v=0\nm=video 9 x 1\n"] {
            assert!(lean(sdp).len() <= sdp.len(), "{sdp:?}");
        }
    }

    #[test]
    fn tracks_are_counted_by_kind_and_bounded_together() {
        let mut tracks = Tracks { audio: 3, video: 4 };
        tracks.add(TrackKind::Video);
        assert_eq!(
            (tracks.of(TrackKind::Video), tracks.are_allowed()),
            (5, true)
        );
        assert!(tracks.cover(Tracks { audio: 3, video: 1 }));
        assert!(!tracks.cover(Tracks { audio: 4, video: 1 }));
        tracks.add(TrackKind::Audio);
        assert!(!tracks.are_allowed());
        let many = Tracks {
            audio: u8::MAX,
            video: u8::MAX,
        };
        assert!(!many.are_allowed());
    }
}
