//! `matchbox_socket`, with `matchbox_signaling`: one reliable channel, no servers but loopback.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use futures::channel::mpsc::UnboundedSender;
use matchbox_signaling::SignalingServer;
use matchbox_socket::{Packet, PeerId, PeerState, RtcIceServerConfig, WebRtcSocket};

use crate::trial::{Mesh, PEERS, Sink};

/// How long the mesh may take to form.
const FORMING: Duration = Duration::from_secs(60);

pub struct Matchbox {
    peers: Vec<Peer>,
}

struct Peer {
    id: PeerId,
    sender: UnboundedSender<(PeerId, Packet)>,
}

#[async_trait::async_trait]
impl Mesh for Matchbox {
    async fn open(sink: &'static Sink) -> anyhow::Result<Self> {
        let mut server = SignalingServer::full_mesh_builder((Ipv4Addr::LOCALHOST, 0)).build();
        let url = format!("ws://{}/versus", server.bind()?);
        tokio::spawn(server.serve());
        let mut sockets: Vec<_> = (0..PEERS).map(|_| connect(&url)).collect();
        let mut connected = [0; PEERS];
        let until = Instant::now() + FORMING;
        while connected.iter().any(|&peers| peers < PEERS - 1) {
            ensure!(
                Instant::now() < until,
                "not all are connected: {connected:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
            for (socket, connected) in sockets.iter_mut().zip(&mut connected) {
                let changes = socket.try_update_peers()?.into_iter();
                *connected += changes.filter(|(_, s)| *s == PeerState::Connected).count();
            }
        }
        let mut peers = Vec::new();
        for mut socket in sockets {
            let id = socket.id().context("who is connected has an id")?;
            let (sender, mut received) = socket.take_channel(0)?.split();
            tokio::spawn(async move {
                let _open = socket;
                while let Some((_, packet)) = received.next().await {
                    sink.received(&packet);
                }
            });
            peers.push(Peer { id, sender });
        }
        Ok(Self { peers })
    }

    async fn send(&self, from: usize, to: usize, payload: Vec<u8>) -> anyhow::Result<()> {
        let to = self.peers[to].id;
        // Its queue has no bound, nor a way to wait.
        self.peers[from]
            .sender
            .unbounded_send((to, payload.into()))?;
        Ok(())
    }
}

fn connect(url: &str) -> WebRtcSocket {
    let (socket, messages) = WebRtcSocket::builder(url)
        .ice_server(RtcIceServerConfig {
            urls: Vec::new(),
            username: None,
            credential: None,
        })
        .add_reliable_channel()
        .build();
    tokio::spawn(messages);
    socket
}
