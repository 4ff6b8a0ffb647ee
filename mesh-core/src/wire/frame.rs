//! Frames: records in, bytes out, and back.

use bytes::Bytes;

use super::record::Record;
use crate::error::DecodeError;

/// The wire version this build speaks: the first byte of every frame.
pub const WIRE_VERSION: u8 = 2;

/// The largest frame. 16 KiB is the largest data-channel message that every WebRTC stack takes
/// whole ([RFC 8831], section 6.6).
///
/// [RFC 8831]: https://www.rfc-editor.org/rfc/rfc8831
pub const FRAME_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a number of 64 bits on the wire, at most: seven bits a byte.
pub(crate) const NUMBER_BYTES_MAX: usize = 10;

/// The records of one received data-channel message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// In the order of sending; never empty.
    pub records: Vec<Record>,
}

impl Frame {
    /// Decodes a data-channel message.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong with the bytes; none of the records is used then.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::Oversized {
                bytes: bytes.len(),
                bytes_max: FRAME_BYTES_MAX,
            });
        }
        let (version, mut rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
        if *version != WIRE_VERSION {
            return Err(DecodeError::Version(*version));
        }
        let mut records = Vec::new();
        while !rest.is_empty() {
            let index = records.len();
            let (record, after) =
                postcard::take_from_bytes(rest).map_err(|_| DecodeError::Record { index })?;
            records.push(record);
            rest = after;
        }
        if records.is_empty() {
            return Err(DecodeError::Empty);
        }
        Ok(Self { records })
    }
}

/// Packs encoded records into frames of at most [`FRAME_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct FrameWriter {
    bytes: Vec<u8>,
}

impl FrameWriter {
    /// The most bytes that one encoded record may have.
    pub const RECORD_BYTES_MAX: usize = FRAME_BYTES_MAX - 1;

    /// Encodes a record, to be pushed later.
    pub fn encode(record: &Record) -> Bytes {
        postcard::to_stdvec(record)
            .expect("records always encode")
            .into()
    }

    /// Whether an encoded record of this size still fits.
    pub fn fits(&self, record_bytes: usize) -> bool {
        self.bytes.len().max(1) + record_bytes <= FRAME_BYTES_MAX
    }

    /// Appends an encoded record that [fits](Self::fits).
    pub fn push(&mut self, encoded: &[u8]) {
        debug_assert!(self.fits(encoded.len()), "the caller asks fits() first");
        if self.bytes.is_empty() {
            self.bytes.push(WIRE_VERSION);
        }
        self.bytes.extend_from_slice(encoded);
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished frame.
    pub fn finish(self) -> Bytes {
        self.bytes.into()
    }
}
