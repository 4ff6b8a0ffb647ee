//! What the WebRTC library reports of one connection, as a queue of notices.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceConnectionState, RTCIceGatheringState,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState,
};

use super::pace::Pace;

/// What the library, or a resolved name, has for the session.
#[derive(Debug)]
pub(super) enum Notice {
    /// A candidate of ours.
    Candidate(String),
    /// All candidates of ours are known.
    Gathered,
    /// ICE has found a path.
    Reached,
    /// The connection has reached a state from which it does not come back.
    Failed(RTCPeerConnectionState),
    /// A candidate of the peer whose name has been resolved.
    Resolved(String),
    /// The first packet of a track has come.
    Track(Incoming),
}

/// A stream of a track.
pub(super) struct Incoming(pub(super) Arc<dyn TrackRemote>);

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

/// Passes on what the library reports of a connection.
pub(super) struct Observer {
    notices: mpsc::Sender<Notice>,
    pace: Arc<Pace>,
}

impl Observer {
    pub(super) fn new(notices: mpsc::Sender<Notice>, pace: Arc<Pace>) -> Self {
        Self { notices, pace }
    }

    async fn notify(&self, notice: Notice) {
        // Fails when the session has ended, which then is no longer interested.
        let _ = self.notices.send(notice).await;
    }
}

#[async_trait]
impl PeerConnectionEventHandler for Observer {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        match event.candidate.to_json() {
            Ok(init) => self.notify(Notice::Candidate(init.candidate)).await,
            Err(error) => tracing::debug!(%error, "candidate of ours not told"),
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.notify(Notice::Gathered).await;
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        if state == RTCIceConnectionState::Connected {
            self.pace.reached();
            self.notify(Notice::Reached).await;
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.notify(Notice::Track(Incoming(track))).await;
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            self.pace.secured();
        }
        if matches!(
            state,
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed
        ) {
            self.notify(Notice::Failed(state)).await;
        }
    }
}
