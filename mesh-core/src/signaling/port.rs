//! The port between the hub and its driver: facts in, orders out.

use super::directory::{DirectoryFact, DirectoryOrder, Session};
use crate::id::ClientId;

/// A fact about a client's WebSocket, or about the directory that the hub shares with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubInput {
    /// A WebSocket was opened.
    ClientConnected(ClientId),
    /// A text arrived.
    TextReceived(ClientId, String),
    /// A ping was answered, or came from the client: a sign of life without a text.
    ClientAnswered(ClientId),
    /// A signal was not queued for its target, which has too many to take already.
    SignalDropped {
        /// The client that sent it, here or at another hub.
        from: Session,
        /// The client that it was for.
        to: ClientId,
    },
    /// The WebSocket closed.
    ClientClosed(ClientId),
    /// The directory.
    Directory(DirectoryFact),
}

/// An order about a client's WebSocket, or about the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubOutput {
    /// Send a text. A client whose queue is full is too slow, and to be closed.
    Send(ClientId, String),
    /// Send a text that another client caused: not if its target has too many of those to take
    /// already, of all clients or of this one. Then it is dropped, and the target stays.
    Relay {
        /// The client that caused it, here or at another hub.
        from: Session,
        /// The client that gets it.
        to: ClientId,
        /// The text.
        text: String,
    },
    /// Send a WebSocket ping. A browser answers it whatever its tab does, where timers of a hidden
    /// tab fire once a minute.
    Ping(ClientId),
    /// Close the WebSocket after what was ordered before is sent.
    Close(ClientId),
    /// The directory.
    Directory(DirectoryOrder),
}
