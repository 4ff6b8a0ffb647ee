//! What the peer tells of itself: its description and its candidates.

use std::sync::Arc;

use mesh_core::agent::LinkEnd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use webrtc::error::{Error, Result};
use webrtc::peer_connection::{PeerConnection, RTCIceCandidateInit, RTCSessionDescription};

use super::LinkFactory;
use super::candidate::{self, Budget, CANDIDATES_MAX, NAMES_MAX, RemoteCandidate};
use super::connection::Ending;
use super::observer::Notice;

/// What the peer has told, and the connection it is told to.
pub(super) struct Remote {
    factory: LinkFactory,
    connection: Arc<dyn PeerConnection>,
    described: bool,
    /// The user name of its ICE agent.
    user: Option<String>,
    budget: Budget,
    /// Candidates that overtook the description.
    early: Vec<String>,
    /// The tasks that resolve names; they end with this.
    names: JoinSet<()>,
    names_asked: Vec<String>,
    resolved: mpsc::Sender<Notice>,
}

impl Remote {
    /// `resolved` gets the candidates whose names were resolved.
    pub(super) fn new(
        factory: LinkFactory,
        connection: Arc<dyn PeerConnection>,
        resolved: mpsc::Sender<Notice>,
    ) -> Self {
        Self {
            factory,
            connection,
            described: false,
            user: None,
            budget: Budget::default(),
            early: Vec::new(),
            names: JoinSet::new(),
            names_asked: Vec::new(),
            resolved,
        }
    }

    /// ICE restarts: what the peer has told of itself holds no longer.
    pub(super) fn forget(&mut self) {
        self.described = false;
        self.budget = Budget::default();
        self.early.clear();
        self.names = JoinSet::new();
        self.names_asked.clear();
    }

    /// Whether an offer of the peer restarts ICE: it has another user name.
    pub(super) fn restarts(&self, offer: &str) -> bool {
        user_of(offer) != self.user.as_deref()
    }

    /// Applies the peer's description, and the candidates that came before it.
    pub(super) async fn describe(
        &mut self,
        sdp: &str,
        parse: fn(String) -> Result<RTCSessionDescription>,
    ) -> std::result::Result<(), Ending> {
        let bad = |error: Error| Ending::Lost(LinkEnd::BadDescription(error.to_string()));
        let (screened, named) = candidate::screen(sdp, &mut self.budget);
        let description = parse(screened).map_err(bad)?;
        self.connection
            .set_remote_description(description)
            .await
            .map_err(bad)?;
        self.described = true;
        self.user = user_of(sdp).map(str::to_owned);
        for candidate in named {
            self.add(candidate).await;
        }
        for candidate in std::mem::take(&mut self.early) {
            self.add_candidate(&candidate).await;
        }
        Ok(())
    }

    /// Takes a trickled candidate. A bad one is dropped.
    pub(super) async fn add_candidate(&mut self, candidate: &str) {
        if !self.described {
            let candidate = candidate.to_owned();
            if self.early.len() < CANDIDATES_MAX && !self.early.contains(&candidate) {
                self.early.push(candidate);
            }
        } else if let Some(candidate) = RemoteCandidate::parse(candidate) {
            self.add(candidate).await;
        }
    }

    async fn add(&mut self, candidate: RemoteCandidate) {
        match candidate {
            RemoteCandidate::Plain(candidate) => self.add_resolved(candidate).await,
            // Each further description tells it again.
            RemoteCandidate::Named { candidate, .. } if self.names_asked.contains(&candidate) => {}
            RemoteCandidate::Named { candidate, name } if self.names_asked.len() < NAMES_MAX => {
                self.names_asked.push(candidate.clone());
                let shared = Arc::clone(&self.factory.shared);
                let resolved = self.resolved.clone();
                self.names.spawn(async move {
                    if let Some(address) = shared.resolver.resolve(&name).await
                        && candidate::is_of_one_host(address)
                    {
                        let candidate = candidate::with_address(&candidate, address);
                        // Fails when the link has ended meanwhile.
                        let _ = resolved.send(Notice::Resolved(candidate)).await;
                    } else {
                        tracing::debug!(name, "candidate dropped: name not resolved");
                    }
                });
            }
            RemoteCandidate::Named { name, .. } => {
                tracing::debug!(name, "candidate dropped: too many names");
            }
        }
    }

    /// Takes a candidate that has an address.
    pub(super) async fn add_resolved(&mut self, candidate: String) {
        if !self.budget.admits(&candidate) {
            tracing::debug!(
                candidate,
                "candidate dropped: known, or too many of its kind"
            );
            return;
        }
        let init = RTCIceCandidateInit {
            candidate,
            ..RTCIceCandidateInit::default()
        };
        if let Err(error) = self.connection.add_ice_candidate(init).await {
            tracing::debug!(%error, "candidate dropped");
        }
    }
}

/// The user name of the ICE agent that a description is of.
fn user_of(sdp: &str) -> Option<&str> {
    let mut lines = sdp.lines();
    lines.find_map(|line| line.trim_end().strip_prefix("a=ice-ufrag:"))
}
