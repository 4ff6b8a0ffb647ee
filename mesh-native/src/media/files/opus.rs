//! Ogg with Opus ([RFC 7845](https://www.rfc-editor.org/rfc/rfc7845)).

use std::io::{Read, Seek, Write};
use std::time::Duration;

use bytes::Bytes;
use ogg::PacketReader;
use ogg::reading::OggReadError;
use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use rtc::rtp;

use super::{Fault, Frame};

/// Samples a second, in which all of Opus is counted.
const RATE: u64 = 48_000;

/// What a decoder leaves out at the beginning, in samples: 80 ms, as RFC 7845 recommends.
const PRE_SKIP: u16 = 3_840;

/// Any number tells this stream from others of the file; there are none.
const SERIAL: u32 = 1;

/// A pause between two packets that is kept, in samples: a muted track sends none.
const PAUSE_MAX: u64 = RATE * 3_600;

/// Reads packets of Opus.
pub(super) struct OpusReader<R: Read + Seek> {
    reader: PacketReader<R>,
    /// The stream of the file.
    serial: u32,
    /// Samples so far.
    samples: u64,
}

impl<R: Read + Seek> OpusReader<R> {
    pub(super) fn new(reader: R) -> Result<Self, Fault> {
        let mut reader = PacketReader::new(reader);
        let head = reader.read_packet().map_err(fault)?;
        let head = head.filter(|head| head.data.starts_with(b"OpusHead"));
        let Some(head) = head else {
            return Err(Fault::Format("it does not begin with OpusHead".to_owned()));
        };
        let serial = head.stream_serial();
        reader.read_packet().map_err(fault)?; // The comments.
        Ok(Self {
            reader,
            serial,
            samples: 0,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Frame>, Fault> {
        while let Some(packet) = self.reader.read_packet().map_err(fault)? {
            let lasts = samples(&packet.data);
            if packet.stream_serial() != self.serial || lasts == 0 {
                continue;
            }
            let at = time(self.samples);
            self.samples += lasts;
            let (data, lasts) = (Bytes::from(packet.data), time(lasts));
            return Ok(Some(Frame { data, at, lasts }));
        }
        Ok(None)
    }
}

/// Writes packets of Opus.
pub(super) struct OpusWriter<W: Write> {
    writer: PacketWriter<'static, W>,
    packets: u64,
    /// The packet that came last: only the one after it tells whether it is the last.
    last: Option<Vec<u8>>,
    /// Its time, and samples until its end.
    timestamp: u32,
    samples: u64,
}

impl<W: Write> OpusWriter<W> {
    pub(super) fn new(writer: W) -> Result<Self, Fault> {
        let mut head = b"OpusHead\x01\x02".to_vec(); // Version 1, two channels.
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend((RATE as u32).to_le_bytes());
        head.extend([0, 0, 0]); // No gain; stereo.
        let vendor = b"webrtc-agent-mesh";
        let mut tags = b"OpusTags".to_vec();
        tags.extend((vendor.len() as u32).to_le_bytes());
        tags.extend(vendor);
        tags.extend([0; 4]);
        let mut writer = PacketWriter::new(writer);
        for header in [head, tags] {
            writer.write_packet(header, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        }
        Ok(Self {
            writer,
            packets: 0,
            last: None,
            timestamp: 0,
            samples: 0,
        })
    }

    pub(super) fn frames(&self) -> u64 {
        self.packets
    }

    pub(super) fn write(&mut self, packet: &rtp::Packet) -> Result<(), Fault> {
        let lasts = samples(&packet.payload);
        if lasts == 0 {
            return Ok(()); // No Opus.
        }
        if let Some(last) = self.last.take() {
            let end = PacketWriteEndInfo::NormalPacket;
            self.writer.write_packet(last, SERIAL, end, self.samples)?;
            // Since the one before it ended, unless it is early.
            let since = u64::from(packet.header.timestamp.wrapping_sub(self.timestamp));
            self.samples += if since <= PAUSE_MAX {
                since.max(lasts)
            } else {
                lasts
            };
        } else {
            self.samples += lasts;
        }
        self.timestamp = packet.header.timestamp;
        self.last = Some(packet.payload.to_vec());
        self.packets += 1;
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if let Some(last) = self.last.take() {
            let end = PacketWriteEndInfo::EndStream;
            self.writer.write_packet(last, SERIAL, end, self.samples)?;
        }
        Ok(self.writer.inner_mut().flush()?)
    }
}

fn fault(error: OggReadError) -> Fault {
    match error {
        OggReadError::ReadError(error) => Fault::Io(error),
        error => Fault::Format(error.to_string()),
    }
}

fn time(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / RATE)
}

/// How long a packet of Opus lasts, in samples ([RFC 6716](https://www.rfc-editor.org/rfc/rfc6716),
/// section 3.1); 0 if it is none.
fn samples(packet: &[u8]) -> u64 {
    let Some(&first) = packet.first() else {
        return 0;
    };
    let config = u32::from(first >> 3);
    let frame = match config {
        0..=11 => [480, 960, 1_920, 2_880][(config % 4) as usize],
        12..=15 => [480, 960][(config % 2) as usize],
        _ => 120 << (config % 4),
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |second| u64::from(second & 0x3f)),
    };
    let samples = frame * frames;
    // A packet has 120 ms at most.
    if samples <= RATE * 120 / 1_000 {
        samples
    } else {
        0
    }
}
