//! What an agent tells of itself: facts and orders at the level `trace`, decisions at `debug`.
//!
//! The core only speaks: what listens, if anything does, is the driver's choice, and nothing is put
//! into words before that is known. Names, ids, reasons and sizes are told; payloads, texts,
//! session descriptions and keys never are.

use std::fmt;

use crate::id::PeerId;
use crate::io::{Event, Input, Output};
use crate::links::LinkEvent;
use crate::wire::{LinkSignal, PeerSignal, Step};

/// Tells of a decision of the agent whose context is given, as `tracing::debug!` would.
macro_rules! decided {
    ($cx:expr, $($told:tt)+) => {
        tracing::debug!(name: "decision", agent = ?$cx.this, $($told)+)
    };
}

pub(crate) use decided;

/// A fact or an order in a few words, without what it carries.
pub(crate) struct Brief<'a, T>(pub(crate) &'a T);

const fn kind(signal: &LinkSignal) -> &'static str {
    match signal {
        LinkSignal::Offer { .. } => "offer",
        LinkSignal::Answer { .. } => "answer",
        LinkSignal::Candidate { .. } => "candidate",
    }
}

/// The name of what two agents say to each other to open a link.
pub(crate) const fn name_of(signal: &PeerSignal) -> &'static str {
    match signal {
        PeerSignal::Link { signal, .. } => kind(signal),
        PeerSignal::Succeed { .. } => "succeed",
        PeerSignal::Ask(Step::Restart) => "ask-restart",
        PeerSignal::Ask(Step::Succeed) => "ask-succeed",
        PeerSignal::Ask(Step::Rebind) => "ask-rebind",
        PeerSignal::Ask(Step::Direct) => "ask-direct",
        PeerSignal::Ask(Step::Media(_)) => "ask-media",
        PeerSignal::Solicit => "solicit",
        PeerSignal::Decline => "decline",
        PeerSignal::Failed => "failed",
    }
}

impl fmt::Display for Brief<'_, Input> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Input::SignalingOpened { socket } => write!(f, "SignalingOpened {socket:?}"),
            Input::SignalingReceived { socket, text } => {
                write!(f, "SignalingReceived {socket:?} bytes={}", text.len())
            }
            Input::SignalingClosed { socket, reason } => {
                write!(f, "SignalingClosed {socket:?} {reason:?}")
            }
            Input::LinkSignaled { link, signal } => {
                write!(f, "LinkSignaled {link:?} {}", kind(signal))
            }
            Input::LinkReached { link } => write!(f, "LinkReached {link:?}"),
            Input::LinkPath { link, path } => write!(f, "LinkPath {link:?} {path:?}"),
            Input::LinkOpened { link } => write!(f, "LinkOpened {link:?}"),
            Input::LinkStranded { link } => write!(f, "LinkStranded {link:?}"),
            Input::FrameReceived {
                link,
                channel,
                frame,
            } => {
                let (channel, bytes) = (channel.label(), frame.len());
                write!(f, "FrameReceived {link:?} {channel} bytes={bytes}")
            }
            Input::LinkCongested { link } => write!(f, "LinkCongested {link:?}"),
            Input::LinkDrained { link } => write!(f, "LinkDrained {link:?}"),
            Input::NetworkChanged => f.write_str("NetworkChanged"),
            Input::LinkClosed { link, reason } => write!(f, "LinkClosed {link:?} {reason:?}"),
        }
    }
}

impl fmt::Display for Brief<'_, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Output::OpenSignaling { socket, hub } => {
                write!(f, "OpenSignaling {socket:?} hub={hub}")
            }
            Output::SendSignaling { socket, text } => {
                write!(f, "SendSignaling {socket:?} bytes={}", text.len())
            }
            Output::CloseSignaling { socket } => write!(f, "CloseSignaling {socket:?}"),
            Output::OpenLink {
                link,
                peer,
                offer,
                small_packets,
                ..
            } => {
                let end = if offer.is_some() {
                    "answerer"
                } else {
                    "offerer"
                };
                let small = if *small_packets { " small packets" } else { "" };
                write!(f, "OpenLink {link:?} {peer:?} {end}{small}")
            }
            Output::ConfigureLink { link, .. } => write!(f, "ConfigureLink {link:?}"),
            Output::RestartLink { link } => write!(f, "RestartLink {link:?}"),
            Output::NegotiateTracks { link, .. } => write!(f, "NegotiateTracks {link:?}"),
            Output::ApplySignal { link, signal } => {
                write!(f, "ApplySignal {link:?} {}", kind(signal))
            }
            Output::Transmit {
                link,
                channel,
                frame,
            } => {
                let (channel, bytes) = (channel.label(), frame.len());
                write!(f, "Transmit {link:?} {channel} bytes={bytes}")
            }
            Output::CloseLink { link } => write!(f, "CloseLink {link:?}"),
            Output::Writable => f.write_str("Writable"),
            Output::Emit(event) => write!(f, "Emit {}", Brief(event)),
        }
    }
}

/// The name of an event, and the peer that it is about. Not `Debug`: a page would have to load the
/// text of every field of every event for it.
const fn about(event: &Event) -> (&'static str, Option<PeerId>) {
    match event {
        Event::Joined { .. } => ("Joined", None),
        Event::Refused { .. } => ("Refused", None),
        Event::SignalingLost { .. } => ("SignalingLost", None),
        Event::SignalingRestored { .. } => ("SignalingRestored", None),
        Event::SignalingMoved { .. } => ("SignalingMoved", None),
        Event::PeerJoined { peer, .. } => ("PeerJoined", Some(*peer)),
        Event::PeerLeft { peer, .. } => ("PeerLeft", Some(*peer)),
        Event::LinkOpened { peer, .. } => ("LinkOpened", Some(*peer)),
        Event::LinkClosed { peer, .. } => ("LinkClosed", Some(*peer)),
        Event::LinkFailed { peer, .. } => ("LinkFailed", Some(*peer)),
        Event::LinkRotated { peer, .. } => ("LinkRotated", Some(*peer)),
        Event::LinkPath { peer, .. } => ("LinkPath", Some(*peer)),
        Event::Track { peer, .. } => ("Track", Some(*peer)),
        Event::TrackEnded { peer, .. } => ("TrackEnded", Some(*peer)),
        Event::KeyframeWanted { peer, .. } => ("KeyframeWanted", Some(*peer)),
        Event::TopologyChanged => ("TopologyChanged", None),
        Event::Message(message) => ("Message", Some(message.from)),
        Event::Sending { to, .. } => ("Sending", Some(*to)),
        Event::Receiving { from, .. } => ("Receiving", Some(*from)),
        Event::Delivered { to, .. } => ("Delivered", Some(*to)),
        Event::Replied { from, .. } => ("Replied", Some(*from)),
        Event::LinkExplained { of, .. } => ("LinkExplained", Some(*of)),
        Event::DeliveryFailed { to, .. } => ("DeliveryFailed", *to),
        Event::Rejected { via, .. } => ("Rejected", *via),
        Event::Lagged { .. } => ("Lagged", None),
        Event::Warning { .. } => ("Warning", None),
        Event::Left => ("Left", None),
    }
}

impl fmt::Display for Brief<'_, Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match about(self.0) {
            (name, Some(peer)) => write!(f, "{name} {peer:?}"),
            (name, None) => f.write_str(name),
        }
    }
}

impl fmt::Display for Brief<'_, LinkEvent> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            LinkEvent::Up(link, peer) => write!(f, "Up {link:?} {peer:?}"),
            LinkEvent::Draining => f.write_str("Draining"),
            LinkEvent::Measured(link) => write!(f, "Measured {link:?}"),
            LinkEvent::Down(down) => {
                let (link, peer, was) = (down.id, down.peer, down.was);
                let unacknowledged = down.unacknowledged.len();
                write!(
                    f,
                    "Down {link:?} {peer:?} was={was:?} unacknowledged={unacknowledged}"
                )
            }
            LinkEvent::Signal {
                to,
                attempt,
                signal,
                ..
            } => write!(f, "Signal {to:?} {} attempt={attempt:x}", name_of(signal)),
            LinkEvent::Replaced { former, link } => write!(f, "Replaced {former:?} {link:?}"),
            LinkEvent::RotationDue(link, peer) => write!(f, "RotationDue {link:?} {peer:?}"),
            LinkEvent::RestartDue(link) => write!(f, "RestartDue {link:?}"),
            LinkEvent::ForHub { to, .. } => write!(f, "ForHub {to:?}"),
            LinkEvent::Isolated => f.write_str("Isolated"),
            LinkEvent::Writable => f.write_str("Writable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Level, Metadata};

    use super::*;
    use crate::id::Target;
    use crate::payload::Delivery;
    use crate::sim::World;

    const SECOND: Duration = Duration::from_secs(1);

    /// Hands on what is told at a level or above it, a line each.
    struct Listener(Level, SyncSender<String>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            let _ = write!(self.0, "{field}={value:?} ");
        }
    }

    impl tracing::Subscriber for Listener {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= self.0
        }

        fn event(&self, event: &tracing::Event<'_>) {
            let metadata = event.metadata();
            let mut line = Line(format!("{} {}: ", metadata.level(), metadata.target()));
            event.record(&mut line);
            self.1.send(line.0).expect("the test listens");
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    /// What is told at a level or above it meanwhile.
    fn told(level: Level, act: impl FnOnce()) -> Vec<String> {
        let (listener, lines) = sync_channel(1 << 20);
        tracing::subscriber::with_default(Listener(level, listener), act);
        lines.try_iter().collect()
    }

    fn has(lines: &[String], agent: PeerId, level: Level, parts: &[&str]) -> bool {
        let (head, agent) = (format!("{level} mesh_core::"), format!("agent={agent:?} "));
        let mut lines = lines.iter().filter(|line| line.starts_with(&head));
        lines.any(|line| line.contains(&agent) && parts.iter().all(|part| line.contains(part)))
    }

    #[test]
    fn decisions_about_a_peer_that_dies_are_told_with_the_peer_and_the_reason() {
        let mut world = World::formed(3, None, 3);
        let (this, dead) = (world.agents()[0].id(), world.agents()[1].id());
        let lines = told(Level::DEBUG, || {
            world.crash(1);
            let apart = |world: &World| !world.agents()[0].mesh().open_peers().any(|it| it == dead);
            assert!(world.run_until(SECOND * 60, apart));
        });
        let peer = format!("peer={dead:?}");
        for message in ["message=give a link up", "message=keep a silent connection"] {
            assert!(
                has(&lines, this, Level::DEBUG, &[&peer, message]),
                "{lines:#?}"
            );
        }
        assert!(has(
            &lines,
            this,
            Level::DEBUG,
            &["reason=\"no sign of life\""]
        ));
        assert!(lines.iter().all(|line| !line.starts_with("TRACE")));
    }

    #[test]
    fn facts_and_orders_are_told_without_what_they_carry() {
        let mut world = World::formed(3, None, 2);
        let (this, other) = (world.agents()[0].id(), world.agents()[1].id());
        let lines = told(Level::TRACE, || {
            let to = Target::Peer(other);
            let sent = world.send(0, to, "a private word".into(), Delivery::Acknowledged);
            sent.expect("sent");
            world.run_for(SECOND);
        });
        assert!(has(
            &lines,
            this,
            Level::TRACE,
            &["Transmit", "data bytes="]
        ));
        assert!(has(&lines, this, Level::TRACE, &["Emit Delivered"]));
        assert!(has(&lines, other, Level::TRACE, &["FrameReceived"]));
        assert!(has(&lines, other, Level::TRACE, &["Emit Message"]));
        assert!(lines.iter().all(|line| !line.contains("private")));
    }

    #[test]
    fn nothing_is_told_to_a_listener_that_wants_less() {
        let lines = told(Level::INFO, || {
            World::formed(3, None, 3);
        });
        assert_eq!(lines, Vec::<String>::new());
    }
}
