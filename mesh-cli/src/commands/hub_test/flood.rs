//! Clients that mean the hub no good: each costs it what it can, and comes again when it is closed.

use std::convert::Infallible;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use mesh_core::signaling::ClientMessage;
use mesh_core::wire::Admit;
use mesh_core::{Identity, PeerId};
use mesh_native::random_seed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::member::{Target, admit, hello, say};
use super::recorder::Failure;

/// The room of those that are admitted.
const ROOM: &str = "flood";

/// How long one that cannot connect waits.
const RETRY: Duration = Duration::from_millis(100);

/// Bytes of a receive buffer that is soon full.
const NARROW: u32 = 4_096;

/// Bytes of a text nearly as long as the hub takes.
const LONG: usize = 22_000;

/// Bytes of a frame: nearly as many as the hub lets any have.
const FRAME: usize = 64_000;

/// Time between two pings of one that wants to stay.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of a header field, of which one without an end is made.
const FIELD: usize = 64 * 1024;

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Connects and says nothing.
    Silent,
    /// Makes a request without an end.
    Endless,
    /// Says hello, and proves nothing.
    Greeting,
    /// Joins, and sends as fast as it can.
    Fast,
    /// Joins, sends itself and others long signals, and reads nothing.
    Deaf,
    /// Joins, sends all of a long text but its end, and pings like an honest member.
    Half,
}

/// Each is as frequent as the others.
pub(super) const KINDS: [Kind; 6] = [
    Kind::Silent,
    Kind::Endless,
    Kind::Greeting,
    Kind::Fast,
    Kind::Deaf,
    Kind::Half,
];

impl Kind {
    /// Goes on until it is aborted.
    pub(super) async fn attack(self, target: &Target, n: usize) -> Infallible {
        loop {
            // How it ends is the hub's business: it comes again.
            if self.once(target, n).await.is_err() {
                sleep(RETRY).await;
            }
        }
    }

    async fn once(self, target: &Target, n: usize) -> Result<(), Failure> {
        let narrow = matches!(self, Self::Deaf).then_some(NARROW);
        let connected = target.connect(n, narrow).await;
        let mut stream = connected.map_err(|error| error.kind().to_string())?;
        if matches!(self, Self::Silent) {
            let _ = stream.read(&mut [0]).await; // Until the hub closes it.
            return Ok(());
        }
        if matches!(self, Self::Endless) {
            let field = [
                b"GET /signal HTTP/1.1\r\nEndless: ".to_vec(),
                vec![b'x'; FIELD],
            ]
            .concat();
            while stream.write_all(&field).await.is_ok() {}
            return Ok(());
        }
        let mut socket = target.upgrade(stream).await?;
        let name = format!("flood-{n}");
        let identity = Identity::from_secret(random_seed());
        if matches!(self, Self::Greeting) {
            say(&mut socket, &hello(&identity, ROOM, &name)).await?;
            while let Some(Ok(_)) = socket.next().await {}
            return Ok(());
        }
        let peer = admit(&mut socket, ROOM, &name).await?;
        match self {
            Self::Silent | Self::Endless | Self::Greeting => Ok(()),
            Self::Fast => {
                let (mut sink, mut stream) = socket.split();
                let ping = Message::text(r#"{"type":"ping"}"#);
                let reading = async { while let Some(Ok(_)) = stream.next().await {} };
                let sending = async { while sink.send(ping.clone()).await.is_ok() {} };
                tokio::join!(reading, sending);
                Ok(())
            }
            Self::Deaf => {
                let long = long_signal(&identity, peer);
                loop {
                    say(&mut socket, &long).await?;
                }
            }
            Self::Half => {
                // A frame that is not the last of its text (RFC 6455, 5.4).
                let text = OpCode::Data(Data::Text);
                let frame = Frame::message(vec![b'x'; FRAME], text, false);
                let mut message = Message::Frame(frame);
                while socket.send(message).await.is_ok() {
                    sleep(PING_INTERVAL).await;
                    message = Message::Ping(Bytes::new());
                }
                Ok(())
            }
        }
    }
}

/// To its own sender: the hub passes it on unread.
fn long_signal(identity: &Identity, to: PeerId) -> ClientMessage {
    let (nonce, name) = ("n".repeat(LONG), String::new());
    ClientMessage::Signal {
        to,
        message: identity.sign(ROOM, &Admit { nonce, name }),
    }
}
