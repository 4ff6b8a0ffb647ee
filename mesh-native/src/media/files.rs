//! Tracks from files and into files: IVF with VP8, Ogg with Opus.

mod ivf;
mod opus;
mod reorder;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use mesh_core::{MeshError, TrackKind};
use rtc::rtp;
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use self::ivf::{IvfReader, IvfWriter};
use self::opus::{OpusReader, OpusWriter};
use self::reorder::Reorder;
use super::{LocalTrack, RemoteTrack};

/// Why a file is not played, or a track not recorded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MediaFileError {
    /// The file cannot be read or written.
    #[error("the file {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The file is of another format, or damaged.
    #[error(
        "the file {} is no {wanted}: {reason}; `ffmpeg -i FILE {remedy}` makes one",
        path.display()
    )]
    Format {
        /// Which.
        path: PathBuf,
        /// What a track of its kind is played from.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
        /// How `ffmpeg` makes one.
        remedy: &'static str,
    },
    /// The track has ended.
    #[error(transparent)]
    Track(#[from] MeshError),
}

/// What is wrong with a file.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Format(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Fault {
    fn of(self, path: &Path, kind: TrackKind) -> MediaFileError {
        let path = path.to_owned();
        let (wanted, remedy) = match kind {
            TrackKind::Audio => ("Ogg file with Opus", "-vn -c:a libopus FILE.ogg"),
            TrackKind::Video => ("IVF file with VP8", "-an -c:v libvpx FILE.ivf"),
        };
        match self {
            Self::Io(error) => MediaFileError::File { path, error },
            Self::Format(reason) => MediaFileError::Format {
                path,
                wanted,
                reason,
                remedy,
            },
        }
    }
}

/// What an encoder has made, and when it is to be shown or heard, from the beginning.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    data: Bytes,
    at: Duration,
    lasts: Duration,
}

enum Reader {
    Ivf(IvfReader<BufReader<File>>),
    Opus(OpusReader<BufReader<File>>),
}

impl Reader {
    fn open(path: &Path, kind: TrackKind) -> Result<Self, Fault> {
        let file = BufReader::new(File::open(path)?);
        Ok(match kind {
            TrackKind::Audio => Self::Opus(OpusReader::new(file)?),
            TrackKind::Video => Self::Ivf(IvfReader::new(file)?),
        })
    }

    fn next(&mut self) -> Result<Option<Frame>, Fault> {
        match self {
            Self::Ivf(reader) => reader.next(),
            Self::Opus(reader) => reader.next(),
        }
    }
}

impl LocalTrack {
    /// Whether a file can be played as a track of this kind.
    ///
    /// # Errors
    /// As [`LocalTrack::play`].
    pub fn check(path: impl AsRef<Path>, kind: TrackKind) -> Result<(), MediaFileError> {
        let path = path.as_ref();
        let opened = Reader::open(path, kind);
        opened.map(|_| ()).map_err(|fault| fault.of(path, kind))
    }

    /// Plays a file: IVF with VP8 or Ogg with Opus, as the track's kind is. Returns how many frames
    /// were played, at its end or when this track has ended. A neighbour that needs a keyframe gets
    /// the last again, and what follows it.
    ///
    /// # Errors
    /// [`MediaFileError`] says what is wrong with the file, and what to do.
    pub async fn play(&self, path: impl AsRef<Path>) -> Result<u64, MediaFileError> {
        let (path, kind) = (path.as_ref(), self.kind());
        let fault = |fault: Fault| fault.of(path, kind);
        let mut reader = Reader::open(path, kind).map_err(fault)?;
        self.ready().await?;
        self.replace();
        let mut played = 0;
        let mut began = Instant::now();
        while let Some(frame) = reader.next().map_err(fault)? {
            sleep_until(began + frame.at).await;
            if self.is_keyframe_wanted()
                && let Reader::Ivf(ivf) = &mut reader
                && let Some(at) = ivf.rewind().map_err(fault)?
            {
                began += frame.at.saturating_sub(at);
                continue;
            }
            match self.write_sample(frame.data, frame.lasts).await {
                Ok(()) => played += 1,
                Err(_) => break, // It has ended.
            }
        }
        Ok(played)
    }
}

enum Writer {
    Ivf(IvfWriter<BufWriter<File>>),
    Opus(OpusWriter<BufWriter<File>>),
}

impl Writer {
    fn create(path: &Path, kind: TrackKind) -> Result<Self, Fault> {
        let file = BufWriter::new(File::create(path)?);
        Ok(match kind {
            TrackKind::Audio => Self::Opus(OpusWriter::new(file)?),
            TrackKind::Video => Self::Ivf(IvfWriter::new(file)),
        })
    }

    /// Takes the next packet. Returns whether a keyframe is needed.
    fn write(&mut self, packet: &rtp::Packet, is_after_loss: bool) -> Result<bool, Fault> {
        match self {
            Self::Ivf(writer) => writer.write(packet, is_after_loss),
            Self::Opus(writer) => writer.write(packet).map(|()| false),
        }
    }

    fn frames(&self) -> u64 {
        match self {
            Self::Ivf(writer) => writer.frames(),
            Self::Opus(writer) => writer.frames(),
        }
    }

    fn finish(&mut self) -> Result<(), Fault> {
        match self {
            Self::Ivf(writer) => writer.finish(),
            Self::Opus(writer) => writer.finish(),
        }
    }
}

/// A recording: dropped, it is what has come until then.
struct Recording(Writer);

impl Drop for Recording {
    fn drop(&mut self) {
        if let Err(fault) = self.0.finish() {
            tracing::debug!(?fault, "recording not complete");
        }
    }
}

impl RemoteTrack {
    /// Makes the file that a track is recorded into, empty as yet.
    ///
    /// # Errors
    /// [`MediaFileError::File`] where that cannot be.
    pub fn check(path: impl AsRef<Path>) -> Result<(), MediaFileError> {
        let path = path.as_ref().to_owned();
        let made = File::create(&path).map(|_| ());
        made.map_err(|error| MediaFileError::File { path, error })
    }

    /// Records the track into a file: IVF with VP8 or Ogg with Opus, as its kind is. Returns how
    /// many frames were, when the track has ended; given up before, the file has what has come.
    ///
    /// # Errors
    /// [`MediaFileError`] where the file cannot be written.
    pub async fn record(&self, path: impl AsRef<Path>) -> Result<u64, MediaFileError> {
        let (path, kind) = (path.as_ref(), self.kind());
        let fault = |fault: Fault| fault.of(path, kind);
        let mut recording = Recording(Writer::create(path, kind).map_err(fault)?);
        let mut order = Reorder::default();
        let mut asked_at: Option<Instant> = None;
        self.request_keyframe().await;
        while let Some(packet) = self.read_rtp().await {
            order.push(packet);
            while let Some((packet, is_after_loss)) = order.pop() {
                let needs_keyframe = recording.0.write(&packet, is_after_loss).map_err(fault)?;
                if needs_keyframe && asked_at.is_none_or(|at| at.elapsed() > KEYFRAME_PATIENCE) {
                    asked_at = Some(Instant::now());
                    self.request_keyframe().await;
                }
            }
        }
        recording.0.finish().map_err(fault)?;
        Ok(recording.0.frames())
    }
}

/// How long a keyframe that was asked for may take, until it is asked for again.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(500);
