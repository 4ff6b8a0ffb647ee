//! What happens to links and WebSockets, as both drivers tell it, and what the mesh makes of it.
//!
//! Why one ended has a type, so that people read the same words in a page and natively.

use bytes::Bytes;
use thiserror::Error;

use crate::ice::LinkPath;
use crate::id::{LinkId, SocketId};
use crate::io::{Channel, Input};
use crate::wire::LinkSignal;

/// A fact about one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFact {
    /// To be sent to the peer: our description, or a candidate found after it.
    Signal(LinkSignal),
    /// ICE has found a path; DTLS and the channels follow.
    Reached,
    /// The way that it takes, once ICE has found one, and after each further round.
    Path(LinkPath),
    /// All three channels are open. Comes before the first frame.
    Opened,
    /// All addresses of this machine that it leaves from are gone.
    Stranded,
    /// The peer sent a frame.
    FrameReceived {
        /// Over which channel.
        channel: Channel,
        /// The frame; empty for a text, which is none.
        frame: Bytes,
    },
    /// More waits to be sent than should: nothing more is to be transmitted until
    /// [`LinkFact::Drained`].
    Congested,
    /// What waited has been sent, or nearly.
    Drained,
    /// The link has ended other than by our own close. It has no further facts.
    Closed(LinkEnd),
}

/// Why a link has ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// The other end has closed it.
    #[error("closed by the peer")]
    ByPeer,
    /// ICE found no path, or the path is gone.
    #[error("no path to the peer was found, or it was lost")]
    NoPath,
    /// The system, the library or the browser refuses a connection.
    #[error("the connection could not be made: {0}")]
    NotMade(String),
    /// We have no offer or answer to give.
    #[error("no description could be made: {0}")]
    NotDescribed(String),
    /// The peer's offer or answer cannot be used.
    #[error("bad description: {0}")]
    BadDescription(String),
    /// The connection did not take a frame.
    #[error("a frame could not be sent: {0}")]
    NotSent(String),
    /// The driver has transmitted on and on though the link was congested.
    #[error("too much waits to be sent")]
    Overflow,
    /// The peer has sent on and on though the link was not open.
    #[error("too much came before it was open")]
    TooEarly,
    /// What only one WebRTC stack can tell.
    #[error("{0}")]
    Other(String),
}

/// A fact about the WebSocket to a signaling server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketFact {
    /// It is open.
    Opened,
    /// A text came; empty for bytes, which are not in the protocol.
    Received(String),
    /// It has closed other than by our own close, could not be opened, or is of no use.
    Closed(SocketEnd),
}

/// Why a WebSocket has ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SocketEnd {
    /// The server has closed it, and did not say why.
    #[error("closed by the server")]
    ByServer,
    /// The address of this machine that it leaves from is gone.
    #[error("the address that it was reached from is gone")]
    AddressGone,
    /// More texts wait to be sent than may.
    #[error("the signaling server takes texts too slowly")]
    TooSlow,
    /// The words of the server, the library or the browser.
    #[error("{0}")]
    Told(String),
}

impl SocketEnd {
    /// The server has closed it with these words, which may be none.
    pub fn by_server(words: &str) -> Self {
        match words {
            "" => Self::ByServer,
            words => Self::Told(words.to_owned()),
        }
    }
}

impl LinkFact {
    /// The fact, as the mesh takes it.
    pub(super) fn into_input(self, link: LinkId) -> Input {
        match self {
            Self::Signal(signal) => Input::LinkSignaled { link, signal },
            Self::Reached => Input::LinkReached { link },
            Self::Path(path) => Input::LinkPath { link, path },
            Self::Opened => Input::LinkOpened { link },
            Self::Stranded => Input::LinkStranded { link },
            Self::FrameReceived { channel, frame } => Input::FrameReceived {
                link,
                channel,
                frame,
            },
            Self::Congested => Input::LinkCongested { link },
            Self::Drained => Input::LinkDrained { link },
            Self::Closed(end) => Input::LinkClosed {
                link,
                reason: end.to_string(),
            },
        }
    }
}

impl SocketFact {
    /// The fact, as the mesh takes it.
    pub(super) fn into_input(self, socket: SocketId) -> Input {
        match self {
            Self::Opened => Input::SignalingOpened { socket },
            Self::Received(text) => Input::SignalingReceived { socket, text },
            Self::Closed(end) => Input::SignalingClosed {
                socket,
                reason: end.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ice::CandidateType;

    #[test]
    fn a_fact_of_a_link_is_the_input_of_that_link() {
        let link = LinkId(7);
        let signal = LinkSignal::Offer { sdp: "v=0".into() };
        let path = LinkPath::new(CandidateType::Host, CandidateType::Relay);
        let (channel, frame) = (Channel::Data, Bytes::from_static(b"frame"));
        let received = LinkFact::FrameReceived {
            channel,
            frame: frame.clone(),
        };
        for (fact, input) in [
            (
                LinkFact::Signal(signal.clone()),
                Input::LinkSignaled { link, signal },
            ),
            (LinkFact::Reached, Input::LinkReached { link }),
            (LinkFact::Path(path), Input::LinkPath { link, path }),
            (LinkFact::Opened, Input::LinkOpened { link }),
            (
                received,
                Input::FrameReceived {
                    link,
                    channel,
                    frame,
                },
            ),
            (LinkFact::Stranded, Input::LinkStranded { link }),
            (LinkFact::Congested, Input::LinkCongested { link }),
            (LinkFact::Drained, Input::LinkDrained { link }),
            (
                LinkFact::Closed(LinkEnd::NotSent("gone".into())),
                Input::LinkClosed {
                    link,
                    reason: "a frame could not be sent: gone".into(),
                },
            ),
        ] {
            assert_eq!(fact.into_input(link), input);
        }
    }

    #[test]
    fn a_fact_of_a_websocket_is_the_input_of_that_websocket() {
        let socket = SocketId(3);
        let reason = || "closed by the server".to_owned();
        for (fact, input) in [
            (SocketFact::Opened, Input::SignalingOpened { socket }),
            (
                SocketFact::Received("{}".into()),
                Input::SignalingReceived {
                    socket,
                    text: "{}".into(),
                },
            ),
            (
                SocketFact::Closed(SocketEnd::by_server("")),
                Input::SignalingClosed {
                    socket,
                    reason: reason(),
                },
            ),
            (
                SocketFact::Closed(SocketEnd::by_server("room full")),
                Input::SignalingClosed {
                    socket,
                    reason: "room full".into(),
                },
            ),
        ] {
            assert_eq!(fact.into_input(socket), input);
        }
    }
}
