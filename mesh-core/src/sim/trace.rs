//! Everything that happens in a world, folded into one number.
//!
//! Each input, output and fault has a code of its own, followed by what it is about. Names of
//! variants and fields do not enter, so that renaming one leaves the number as it is: the
//! [golden traces](super::golden) show that a change of the code is none of the behaviour.

use crate::id::PeerId;
use crate::io::{Event, Input, Output};
use crate::time::Instant;
use crate::wire::LinkSignal;

/// The number before anything has happened: the offset basis of FNV-1a.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// The prime of FNV-1a.
const PRIME: u64 = 0x0100_0000_01b3;

/// What a world does to an agent, or to the hub as agent 0.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Fault {
    Crash = 1,
    Restart,
    HubCrash,
    Freeze,
    Thaw,
    Address,
    NoHub,
    Pace,
    Stall,
    Rough,
    Narrow,
}

/// The number so far: FNV-1a, eight bytes at a time.
#[derive(Debug)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(BASIS)
    }
}

impl Trace {
    pub(super) fn number(&self) -> u64 {
        self.0
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let little_endian = chunk.iter().rev();
            self.word(little_endian.fold(0, |word, &byte| word << 8 | u64::from(byte)));
        }
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(PRIME).rotate_left(23);
    }

    fn head(&mut self, code: u8, agent: usize, at: Instant) {
        self.word(at.as_micros());
        self.word((agent as u64) << 8 | u64::from(code));
    }

    fn peer(&mut self, peer: PeerId) {
        self.bytes(peer.as_bytes());
    }

    fn signal(&mut self, signal: &LinkSignal) {
        match signal {
            LinkSignal::Offer { sdp } => {
                self.word(0);
                self.bytes(sdp.as_bytes());
            }
            LinkSignal::Answer { sdp } => {
                self.word(1);
                self.bytes(sdp.as_bytes());
            }
            LinkSignal::Candidate { candidate, .. } => {
                self.word(2);
                self.bytes(candidate.as_bytes());
            }
        }
    }

    pub(super) fn fault(&mut self, fault: Fault, agent: usize, at: Instant) {
        self.head(fault as u8, agent, at);
    }

    pub(super) fn input(&mut self, input: &Input, agent: usize, at: Instant) {
        let mut head = |code| self.head(code, agent, at);
        match input {
            Input::SignalingOpened { socket } => {
                head(32);
                self.word(socket.0);
            }
            Input::SignalingReceived { socket, text } => {
                head(33);
                self.word(socket.0);
                self.bytes(text.as_bytes());
            }
            Input::SignalingClosed { socket, reason } => {
                head(34);
                self.word(socket.0);
                self.bytes(reason.as_bytes());
            }
            Input::LinkSignaled { link, signal } => {
                head(35);
                self.word(link.0);
                self.signal(signal);
            }
            Input::LinkReached { link } => {
                head(36);
                self.word(link.0);
            }
            Input::LinkPath { link, path } => {
                head(44);
                self.word(link.0 << 1 | u64::from(path.relayed));
            }
            Input::LinkOpened { link } => {
                head(37);
                self.word(link.0);
            }
            Input::FrameReceived {
                link,
                channel,
                frame,
            } => {
                head(38);
                self.word(link.0 << 8 | u64::from(channel.id()));
                self.bytes(frame);
            }
            Input::LinkCongested { link } => {
                head(39);
                self.word(link.0);
            }
            Input::LinkDrained { link } => {
                head(40);
                self.word(link.0);
            }
            Input::NetworkChanged => head(41),
            Input::LinkStranded { link } => {
                head(43);
                self.word(link.0);
            }
            Input::LinkClosed { link, reason } => {
                head(42);
                self.word(link.0);
                self.bytes(reason.as_bytes());
            }
        }
    }

    pub(super) fn output(&mut self, output: &Output, agent: usize, at: Instant) {
        let mut head = |code| self.head(code, agent, at);
        match output {
            Output::OpenSignaling { socket, hub } => {
                head(64);
                self.word(socket.0);
                self.word(*hub as u64);
            }
            Output::SendSignaling { socket, text } => {
                head(65);
                self.word(socket.0);
                self.bytes(text.as_bytes());
            }
            Output::CloseSignaling { socket } => {
                head(66);
                self.word(socket.0);
            }
            Output::OpenLink {
                link, peer, offer, ..
            } => {
                head(67);
                self.word(link.0);
                self.peer(*peer);
                self.bytes(offer.as_deref().unwrap_or_default().as_bytes());
            }
            Output::ApplySignal { link, signal } => {
                head(68);
                self.word(link.0);
                self.signal(signal);
            }
            // Its bytes count where they arrive; here, that and when they left.
            Output::Transmit {
                link,
                channel,
                frame,
            } => {
                head(69);
                self.word(link.0 << 8 | u64::from(channel.id()));
                self.word(frame.len() as u64);
            }
            Output::CloseLink { link } => {
                head(70);
                self.word(link.0);
            }
            Output::Writable => head(71),
            Output::RestartLink { link } => {
                head(73);
                self.word(link.0);
            }
            Output::NegotiateTracks { link, .. } => {
                head(75);
                self.word(link.0);
            }
            // Without servers it changes nothing.
            Output::ConfigureLink { link, ice } if !ice.servers.is_empty() => {
                head(74);
                self.word(link.0);
            }
            Output::ConfigureLink { .. } => {}
            Output::Emit(event) => {
                head(72);
                self.event(event);
            }
        }
    }

    /// The JSON of an event is public, and stays as it is.
    fn event(&mut self, event: &Event) {
        // In a large room there are very many of these, and names say nothing new.
        if let Event::PeerJoined { peer, .. } = event {
            return self.peer(*peer);
        }
        let json = serde_json::to_vec(event);
        self.bytes(&json.expect("an event has string keys only"));
    }
}
