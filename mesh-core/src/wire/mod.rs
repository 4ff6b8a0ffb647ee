//! What travels over a link, byte by byte. Only this module knows layouts; PROTOCOL.md shows them.
//!
//! A data-channel message carries one [`Frame`]: a version byte, then one or more [`Record`]s until
//! its end, each in [postcard] encoding (variable-length integers, no padding, no field names).
//! Several records share a frame because a datagram costs far more than the bytes in it.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

mod chunk;
mod clear;
mod frame;
#[cfg(test)]
mod golden;
mod record;
mod statement;
#[cfg(test)]
mod tests;

pub use chunk::{CHUNK_BYTES, Chunk, Form, Head, Purpose, Stop};
pub use clear::{ClearHeader, Kind};
pub(crate) use frame::NUMBER_BYTES_MAX;
pub use frame::{FRAME_BYTES_MAX, Frame, FrameWriter, WIRE_VERSION};
pub use record::{DigestEntry, Envelope, Record};
pub use statement::{
    Admit, Content, Data, ITEMS_MAX, Item, LinkEntry, LinkSignal, LinkState, MISSING_MAX, Message,
    MessageHeader, PeerSignal, Place, Progress, Reply, Step,
};
