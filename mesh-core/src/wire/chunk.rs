//! Messages that are larger than a frame, in parts.

use serde::{Deserialize, Serialize};

use crate::error::LossReason;
use crate::payload::Delivery;

/// Bytes of a part; the last has what is left.
pub const CHUNK_BYTES: usize = 15 * 1024;

/// A part of a large message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Names the message: its sequence.
    pub message: u64,
    /// Which part it is, from 0 on.
    pub number: u64,
    /// The target is to tell the author at once what has come.
    pub asks: bool,
    /// What the message is; in the first part.
    pub head: Option<Head>,
    /// The bytes.
    pub part: Vec<u8>,
}

/// What a large message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The bytes of the payload.
    pub bytes: u64,
    /// Their SHA-256.
    pub hash: [u8; 32],
    /// What they are.
    pub form: Form,
    /// What the message is for.
    pub purpose: Purpose,
}

/// What the bytes of a payload are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// UTF-8 text.
    Text,
    /// A JSON value.
    Json,
    /// Bytes.
    Bytes,
}

/// What a large message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// For the application.
    Message {
        /// How it was sent.
        delivery: Delivery,
        /// The author waits for a reply.
        wants_reply: bool,
    },
    /// The answer to a request.
    Reply {
        /// The request's incarnation and sequence; its author is the target.
        request: (u64, u64),
    },
}

/// A large message ends before all of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The message's incarnation and sequence.
    pub message: (u64, u64),
    /// The message is of the author of this; else it is of the target.
    pub is_own: bool,
    /// Why.
    pub reason: LossReason,
}

impl Head {
    /// The parts of the message.
    pub(crate) fn chunks(&self) -> u64 {
        self.bytes.div_ceil(CHUNK_BYTES as u64).max(1)
    }

    /// The bytes of one part.
    pub(crate) fn bytes_of(&self, number: u64) -> Option<usize> {
        let begin = number.checked_mul(CHUNK_BYTES as u64)?;
        let left = self.bytes.checked_sub(begin)?;
        Some(left.min(CHUNK_BYTES as u64) as usize)
    }
}
