//! Files that are played to neighbours, and tracks of theirs that are recorded, beside the commands
//! that follow.

use std::path::{Path, PathBuf};

use mesh_core::{TRACKS_MAX, TrackKind};
use mesh_native::{Agent, LocalTrack, MediaFileError, RemoteTrack};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::{Failure, failure, find, tell};

/// Files that are played and recorded at once: as many tracks as 16 neighbours may send.
const RUNNING_MAX: usize = 16 * TRACKS_MAX as usize;

/// What is played and recorded. Dropped, it ends.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    running: JoinSet<()>,
    /// By the name of the track.
    known: Vec<(String, AbortHandle)>,
}

impl Tracks {
    /// Plays a file to a neighbour. A line tells when it has ended.
    pub(super) fn play(
        &mut self,
        agent: &Agent,
        to: &str,
        file: PathBuf,
        out: mpsc::Sender<Value>,
    ) -> Result<Value, Failure> {
        self.check()?;
        let kind = kind_of(&file)?;
        // Before the neighbour is told of a track that does not come.
        LocalTrack::check(&file, kind).map_err(file_failure)?;
        let track = agent.send_track(find(agent, to)?, kind).map_err(failure)?;
        let (id, peer) = (track.id().to_owned(), track.peer());
        let about = json!({ "type": "played", "peer": peer, "id": id });
        self.run(
            id.clone(),
            about,
            out,
            async move { track.play(file).await },
        );
        Ok(json!({ "id": id }))
    }

    /// Records a neighbour's track into a file. A line tells when it has ended.
    pub(super) fn record(
        &mut self,
        agent: &Agent,
        from: &str,
        id: &str,
        file: PathBuf,
        out: mpsc::Sender<Value>,
    ) -> Result<Value, Failure> {
        self.check()?;
        let peer = find(agent, from)?;
        let track = agent.remote_track(peer, id);
        let track = track.ok_or_else(|| {
            let message = format!("{from} sends no track {id:?}: the events `track` name those");
            Failure::new("unknown-track", message)
        })?;
        RemoteTrack::check(&file).map_err(file_failure)?;
        let about = json!({ "type": "recorded", "peer": peer, "id": id });
        self.run(id.to_owned(), about, out, async move {
            track.record(file).await
        });
        Ok(json!({}))
    }

    /// Ends what is played or recorded under this name.
    pub(super) fn end(&mut self, id: &str) -> Result<Value, Failure> {
        let found = self.known.iter().position(|(known, _)| known == id);
        let Some(found) = found else {
            let message = format!("no track {id:?} is played or recorded: it may have ended");
            return Err(Failure::new("unknown-track", message));
        };
        self.known.swap_remove(found).1.abort();
        Ok(json!({}))
    }

    fn check(&mut self) -> Result<(), Failure> {
        while self.running.try_join_next().is_some() {}
        self.known.retain(|(_, task)| !task.is_finished());
        if self.known.len() < RUNNING_MAX {
            return Ok(());
        }
        let message = format!("{RUNNING_MAX} tracks are played or recorded: end one first");
        Err(Failure::new("too-many-tracks", message))
    }

    fn run(
        &mut self,
        id: String,
        mut about: Value,
        out: mpsc::Sender<Value>,
        work: impl Future<Output = Result<u64, MediaFileError>> + Send + 'static,
    ) {
        let task = self.running.spawn(async move {
            match work.await {
                Ok(frames) => about["frames"] = frames.into(),
                Err(error) => about["error"] = error.to_string().into(),
            }
            tell(&out, about).await;
        });
        self.known.push((id, task));
    }
}

/// What a file is played as, by its name.
fn kind_of(file: &Path) -> Result<TrackKind, Failure> {
    let ending = file.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_lowercase).as_deref() {
        Some("ivf") => Ok(TrackKind::Video),
        Some("ogg" | "opus") => Ok(TrackKind::Audio),
        _ => {
            let message = format!(
                "the file {} is neither .ivf (VP8) nor .ogg or .opus (Opus): ffmpeg makes such",
                file.display()
            );
            Err(Failure::new("media-file", message))
        }
    }
}

fn file_failure(error: MediaFileError) -> Failure {
    Failure::new("media-file", error.to_string())
}
