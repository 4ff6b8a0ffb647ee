//! IVF: a header of 32 bytes, then each frame after its length and its time.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rtc::rtp;
use rtc::rtp::codec::vp8::Vp8Packet;
use rtc::rtp::packetizer::Depacketizer;

use super::{Fault, Frame};

const HEADER_BYTES: u16 = 32;

/// The largest frame that is read or written: a keyframe of 4K has about 1 MiB.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// Ticks a second of what is recorded: those of RTP.
const TICKS: u32 = 90_000;

/// How long the last frame is shown.
const LAST: Duration = Duration::from_millis(33);

/// The longest that one frame is shown: a file that says more is damaged, or has a pause that
/// nobody waits for.
const SHOWN_MAX: Duration = Duration::from_secs(10);

/// Reads frames of VP8.
pub(super) struct IvfReader<R> {
    reader: R,
    /// Seconds of a tick, as a fraction.
    tick: (u64, u64),
    /// The frame after the one that was read last.
    ahead: Option<(u64, Bytes)>,
    /// What is added to the times of the file, so that no frame is shown too long.
    shift: Duration,
    /// Where the last keyframe begins, and when it is shown.
    keyframe: Option<(u64, Duration)>,
}

impl<R: Read + Seek> IvfReader<R> {
    pub(super) fn new(mut reader: R) -> Result<Self, Fault> {
        let mut header = [0; HEADER_BYTES as usize];
        let read = reader.read_exact(&mut header);
        read.map_err(|_| Fault::Format("it is shorter than a header".to_owned()))?;
        if &header[..4] != b"DKIF" {
            return Err(Fault::Format("it does not begin with DKIF".to_owned()));
        }
        if &header[8..12] != b"VP80" {
            let codec = String::from_utf8_lossy(&header[8..12]).into_owned();
            return Err(Fault::Format(format!("its codec is {codec:?}, not VP80")));
        }
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| header[at + n]));
        let tick = (u64::from(number(20)), u64::from(number(16)));
        if tick.0 == 0 || tick.1 == 0 {
            return Err(Fault::Format("its time base is zero".to_owned()));
        }
        let mut reader = Self {
            reader,
            tick,
            ahead: None,
            shift: Duration::ZERO,
            keyframe: None,
        };
        reader.ahead = reader.read()?;
        if reader.ahead.is_none() {
            return Err(Fault::Format("it has no frame".to_owned()));
        }
        Ok(reader)
    }

    pub(super) fn next(&mut self) -> Result<Option<Frame>, Fault> {
        let Some((at, data)) = self.ahead.take() else {
            return Ok(None);
        };
        self.ahead = self.read()?;
        let shown = self.seconds(at).saturating_sub(self.shift);
        let next = self.ahead.as_ref().map(|(next, _)| self.seconds(*next));
        let lasts = next.map_or(LAST, |next| next.saturating_sub(self.seconds(at)));
        if lasts > SHOWN_MAX {
            self.shift += lasts - SHOWN_MAX;
        }
        let (at, lasts) = (shown, lasts.min(SHOWN_MAX));
        if is_keyframe(&data) {
            let end = self.reader.stream_position()?;
            let ahead = self.ahead.as_ref().map_or(0, |(_, ahead)| 12 + ahead.len());
            let begin = end - (ahead + 12 + data.len()) as u64;
            self.keyframe = Some((begin, at));
        }
        Ok(Some(Frame { data, at, lasts }))
    }

    /// Goes back to the last keyframe. Returns when it was to be shown; none if there was none.
    pub(super) fn rewind(&mut self) -> Result<Option<Duration>, Fault> {
        let Some((begin, at)) = self.keyframe else {
            return Ok(None);
        };
        self.reader.seek(SeekFrom::Start(begin))?;
        self.ahead = self.read()?;
        Ok(Some(at))
    }

    fn seconds(&self, ticks: u64) -> Duration {
        let micros =
            u128::from(ticks) * 1_000_000 * u128::from(self.tick.0) / u128::from(self.tick.1);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn read(&mut self) -> Result<Option<(u64, Bytes)>, Fault> {
        let mut header = [0; 12];
        match self.reader.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let [a, b, c, d, time @ ..] = header;
        let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        if bytes == 0 || bytes > FRAME_BYTES_MAX {
            return Err(Fault::Format(format!("a frame of it has {bytes} bytes")));
        }
        let mut data = BytesMut::zeroed(bytes);
        match self.reader.read_exact(&mut data) {
            Ok(()) => Ok(Some((u64::from_le_bytes(time), data.freeze()))),
            // Cut off, as what is written just now is.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes frames of VP8 from packets, from the first keyframe on.
pub(super) struct IvfWriter<W> {
    writer: W,
    frames: u32,
    /// What has come of the present frame.
    frame: BytesMut,
    /// Frames are left out until a keyframe begins.
    needs_keyframe: bool,
    /// The time of the first frame and of the last, counted on.
    first: Option<u64>,
    last: u64,
}

impl<W: Write + Seek> IvfWriter<W> {
    pub(super) fn new(writer: W) -> Self {
        Self {
            writer,
            frames: 0,
            frame: BytesMut::new(),
            needs_keyframe: true,
            first: None,
            last: 0,
        }
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames.into()
    }

    /// Takes the next packet. Returns whether a keyframe is needed: one before it was lost.
    pub(super) fn write(
        &mut self,
        packet: &rtp::Packet,
        is_after_loss: bool,
    ) -> Result<bool, Fault> {
        if is_after_loss {
            self.needs_keyframe = true;
            self.frame.clear();
        }
        let mut vp8 = Vp8Packet::default();
        let payload = match vp8.depacketize(&packet.payload) {
            Ok(payload) if !payload.is_empty() => payload,
            _ => return Ok(self.needs_keyframe), // It has nothing of a picture.
        };
        let begins = vp8.s == 1 && vp8.pid == 0;
        if begins {
            self.frame.clear();
        }
        if begins && self.needs_keyframe && is_keyframe(&payload) {
            self.needs_keyframe = false;
        }
        let fits = self.frame.len() + payload.len() <= FRAME_BYTES_MAX;
        if self.needs_keyframe || !fits || (self.frame.is_empty() && !begins) {
            return Ok(self.needs_keyframe);
        }
        self.frame.extend_from_slice(&payload);
        if packet.header.marker {
            let frame = self.frame.split();
            self.append(packet.header.timestamp, &frame)?;
        }
        Ok(false)
    }

    fn append(&mut self, timestamp: u32, frame: &[u8]) -> Result<(), Fault> {
        let ahead = timestamp.wrapping_sub(self.last as u32) as i32;
        let time = match self.first {
            None => u64::from(timestamp) + (1 << 32),
            Some(_) => self.last.saturating_add_signed(ahead.into()),
        };
        if self.first.is_none() {
            self.header(frame)?;
        }
        let first = *self.first.get_or_insert(time);
        self.last = time;
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.writer.write_all(&bytes.to_le_bytes())?;
        self.writer
            .write_all(&time.saturating_sub(first).to_le_bytes())?;
        self.writer.write_all(frame)?;
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }

    /// The header; `frame` is a keyframe, which tells its size.
    fn header(&mut self, frame: &[u8]) -> Result<(), Fault> {
        let side = |at: usize| match frame.get(at..at + 2) {
            Some(&[low, high]) => u16::from_le_bytes([low, high]) & 0x3fff,
            _ => 0,
        };
        self.writer.write_all(b"DKIF\0\0")?;
        self.writer.write_all(&HEADER_BYTES.to_le_bytes())?;
        self.writer.write_all(b"VP80")?;
        for side in [side(6), side(8)] {
            self.writer.write_all(&side.to_le_bytes())?;
        }
        for number in [TICKS, 1, 0, 0] {
            self.writer.write_all(&number.to_le_bytes())?;
        }
        Ok(())
    }

    /// Writes how many frames there are.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if self.first.is_some() {
            self.writer.seek(SeekFrom::Start(24))?;
            self.writer.write_all(&self.frames.to_le_bytes())?;
            self.writer.seek(SeekFrom::End(0))?;
        }
        Ok(self.writer.flush()?)
    }
}

/// Whether a frame of VP8, or its beginning, is a keyframe
/// ([RFC 6386](https://www.rfc-editor.org/rfc/rfc6386), section 9.1).
fn is_keyframe(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 0)
}
