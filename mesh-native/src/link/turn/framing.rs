//! TURN on a stream: where one datagram ends and the next begins (RFC 8656, sections 5 and 12.5).
//!
//! A STUN message tells its own length. ChannelData does too, and is padded to four bytes, which
//! over UDP it need not be.

use bytes::{Buf, Bytes, BytesMut};

/// The header of a STUN message, and where its length and its cookie stand.
const STUN_HEADER_BYTES: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// What ChannelData begins with.
const CHANNELS: std::ops::RangeInclusive<u8> = 0x40..=0x4f;

/// The header of ChannelData: the channel's number and the length.
const CHANNEL_HEADER_BYTES: usize = 4;

/// All that travels on the stream is a multiple of this.
const ALIGNMENT: usize = 4;

/// The largest piece, from the 16 bits of its length.
#[cfg(test)]
const PIECE_BYTES_MAX: usize = STUN_HEADER_BYTES + u16::MAX as usize;

/// The other end does not speak TURN. The stream is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotTurn;

/// Finds the datagrams in a stream. It holds the largest piece and one read at most.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    bytes: BytesMut,
    /// A server answers a request first: what looks like ChannelData before may be HTTP.
    answered: bool,
}

impl Deframer {
    /// Where what was read goes, after what is there.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// The next datagram, without padding; none before more was read.
    ///
    /// # Errors
    /// If what came is neither a STUN message nor ChannelData.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, NotTurn> {
        let is_channel_data = self
            .bytes
            .first()
            .is_some_and(|first| CHANNELS.contains(first));
        if is_channel_data && !self.answered {
            return Err(NotTurn);
        }
        let Some(len) = length(&self.bytes)? else {
            return Ok(None);
        };
        let padded = len.next_multiple_of(ALIGNMENT);
        if self.bytes.len() < padded {
            return Ok(None);
        }
        let datagram = self.bytes.split_to(len).freeze();
        self.bytes.advance(padded - len);
        self.answered = true;
        Ok(Some(datagram))
    }
}

/// Puts a datagram on the stream, which may be padded already. False if it is none of TURN, which
/// no server would take.
pub(super) fn frame(datagram: &[u8], stream: &mut BytesMut) -> bool {
    let Ok(Some(len)) = length(datagram) else {
        return false;
    };
    let padded = len.next_multiple_of(ALIGNMENT);
    if !(len..=padded).contains(&datagram.len()) {
        return false;
    }
    stream.extend_from_slice(datagram);
    stream.extend_from_slice(&[0; ALIGNMENT][..padded - datagram.len()]);
    true
}

/// The length of the datagram that begins here, without padding; none if too little is there.
fn length(bytes: &[u8]) -> Result<Option<usize>, NotTurn> {
    let Some(&[first, _, high, low]) = bytes.first_chunk::<CHANNEL_HEADER_BYTES>() else {
        return Ok(None);
    };
    let told = usize::from(u16::from_be_bytes([high, low]));
    match first {
        _ if CHANNELS.contains(&first) => Ok(Some(CHANNEL_HEADER_BYTES + told)),
        0x00..=0x3f if told.is_multiple_of(ALIGNMENT) => {
            let cookie = bytes.get(4..8);
            if cookie.is_some_and(|cookie| cookie != STUN_COOKIE) {
                return Err(NotTurn);
            }
            Ok(cookie.map(|_| STUN_HEADER_BYTES + told))
        }
        _ => Err(NotTurn),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stun(kind: u16, attributes: usize) -> Vec<u8> {
        let mut message = kind.to_be_bytes().to_vec();
        message.extend(((attributes * ALIGNMENT) as u16).to_be_bytes());
        message.extend(STUN_COOKIE);
        message.resize(STUN_HEADER_BYTES + attributes * ALIGNMENT, 7);
        message
    }

    fn channel_data(number: u16, bytes: &[u8]) -> Vec<u8> {
        let mut data = number.to_be_bytes().to_vec();
        data.extend((bytes.len() as u16).to_be_bytes());
        data.extend(bytes);
        data
    }

    fn datagram() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (0u16..0x4000, 0usize..300).prop_map(|(kind, attributes)| stun(kind, attributes)),
            (
                0x4000u16..0x5000,
                prop::collection::vec(any::<u8>(), 0..1500)
            )
                .prop_map(|(number, bytes)| channel_data(number, &bytes)),
        ]
    }

    /// The datagrams of a stream that is read in these pieces.
    fn read(mut stream: &[u8], mut sizes: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
        let (mut deframer, mut found) = (Deframer::default(), Vec::new());
        let answer = stun(0x0101, 0);
        deframer.buffer().extend_from_slice(&answer);
        assert_eq!(deframer.next(), Ok(Some(answer.into())));
        while !stream.is_empty() {
            let size = sizes.next().unwrap_or(usize::MAX).min(stream.len());
            let (piece, rest) = stream.split_at(size);
            deframer.buffer().extend_from_slice(piece);
            stream = rest;
            while let Some(datagram) = deframer.next().expect("it is TURN") {
                found.push(datagram.to_vec());
            }
        }
        assert!(deframer.bytes.is_empty());
        found
    }

    proptest! {
        #[test]
        fn datagrams_leave_a_stream_as_they_entered_it_however_it_is_cut(
            datagrams in prop::collection::vec(datagram(), 1..12),
            sizes in prop::collection::vec(1usize..2000, 0..64),
        ) {
            let mut stream = BytesMut::new();
            for datagram in &datagrams {
                prop_assert!(frame(datagram, &mut stream));
                prop_assert!(stream.len().is_multiple_of(ALIGNMENT));
            }
            prop_assert_eq!(read(&stream, sizes.into_iter()), datagrams);
        }

        #[test]
        fn any_bytes_end_in_datagrams_or_an_error_and_are_not_hoarded(
            bytes in prop::collection::vec(any::<u8>(), 0..4000),
        ) {
            let mut deframer = Deframer { answered: true, ..Deframer::default() };
            deframer.buffer().extend_from_slice(&bytes);
            while let Ok(Some(datagram)) = deframer.next() {
                let mut again = BytesMut::new();
                prop_assert!(frame(&datagram, &mut again));
            }
            prop_assert!(deframer.bytes.len() <= PIECE_BYTES_MAX.max(bytes.len()));
        }
    }

    #[test]
    fn a_stream_of_something_else_is_told_by_its_first_bytes() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\x15\x03\x01\x00\x02\x02\x28\x00",
            &[0; 8],
        ] {
            let mut deframer = Deframer::default();
            deframer.buffer().extend_from_slice(bytes);
            assert_eq!(deframer.next(), Err(NotTurn), "{bytes:?}");
        }
        let mut stream = BytesMut::new();
        for bytes in [&[22u8, 254, 253, 0][..], b"", &stun(1, 2)[..23]] {
            assert!(!frame(bytes, &mut stream) && stream.is_empty(), "{bytes:?}");
        }
    }

    #[test]
    fn what_a_fuzzer_found_ends_in_datagrams_or_an_error() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/turn_stream");
        let mut replayed = 0;
        for file in std::fs::read_dir(folder).expect("the target has a corpus") {
            let bytes = std::fs::read(file.expect("listed").path()).expect("read");
            let mut deframer = Deframer::default();
            deframer.buffer().extend_from_slice(&bytes);
            while let Ok(Some(datagram)) = deframer.next() {
                assert!(frame(&datagram, &mut BytesMut::new()));
            }
            replayed += 1;
        }
        assert!(replayed >= 3, "{replayed}");
    }

    #[test]
    fn what_is_padded_already_is_not_padded_again() {
        let mut stream = BytesMut::new();
        for datagram in [&b"\x40\x00\x00\x01a"[..], b"\x40\x00\x00\x01a\x00\x00\x00"] {
            assert!(frame(datagram, &mut stream), "{datagram:?}");
        }
        assert_eq!(stream.len(), 16);
        assert!(
            !frame(b"\x40\x00\x00\x01a\x00\x00\x00\x00", &mut stream),
            "too long"
        );
    }

    #[test]
    fn the_padding_of_channel_data_is_not_handed_over() {
        let stream = b"\x40\x00\x00\x01a\x00\x00\x00\x40\x01\x00\x04abcd";
        let expected = [channel_data(0x4000, b"a"), channel_data(0x4001, b"abcd")];
        assert_eq!(read(stream, std::iter::repeat(1)), expected);
    }
}
