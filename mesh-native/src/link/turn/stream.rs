//! A stream to a TURN server, datagram by datagram, without a link.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;

use super::framing::{Deframer, frame};
use super::{StreamServer, StreamSettings};

/// An open stream.
#[derive(Debug)]
pub(crate) struct TurnStream {
    stream: MaybeTlsStream<TcpStream>,
    deframer: Deframer,
}

impl TurnStream {
    /// Connects.
    ///
    /// # Errors
    /// The cause and the remedy.
    pub(crate) async fn open(
        server: &StreamServer,
        settings: &StreamSettings,
    ) -> Result<Self, String> {
        Ok(Self {
            stream: server.connect(settings, None).await?,
            deframer: Deframer::default(),
        })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// If the stream has broken.
    pub(crate) async fn send(&mut self, datagram: &[u8]) -> Result<(), String> {
        let mut framed = BytesMut::new();
        if !frame(datagram, &mut framed) {
            return Err("that is no datagram of TURN".to_owned());
        }
        let sent = self.stream.write_all(&framed).await;
        sent.map_err(|error| error.to_string())?;
        self.stream.flush().await.map_err(|error| error.to_string())
    }

    /// The next datagram. It may be given up and called again.
    ///
    /// # Errors
    /// If the stream has broken, or what answers is no TURN server.
    pub(crate) async fn receive(&mut self) -> Result<Bytes, String> {
        loop {
            match self.deframer.next() {
                Ok(Some(datagram)) => return Ok(datagram),
                Ok(None) => {}
                Err(_) => return Err("what answers is no TURN server".to_owned()),
            }
            match self.stream.read_buf(self.deframer.buffer()).await {
                Ok(0) => return Err("the server closes the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
