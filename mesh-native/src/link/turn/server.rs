//! A TURN server that is reached by a stream.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;

use super::StreamSettings;
use crate::proxy::{self, Proxies, address};
use crate::tls;

/// How long a connection may take, with a proxy and TLS: the stack gives a request up after 7.8
/// seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamServer {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl StreamServer {
    /// Connects, from an address of this machine if one is given.
    ///
    /// # Errors
    /// The cause and the remedy.
    pub(super) async fn connect(
        &self,
        settings: &StreamSettings,
        from: Option<IpAddr>,
    ) -> Result<MaybeTlsStream<TcpStream>, String> {
        match timeout(CONNECT_TIMEOUT, self.dial(settings, from)).await {
            Ok(dialled) => dialled,
            Err(_) => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
        }
    }

    async fn dial(
        &self,
        settings: &StreamSettings,
        from: Option<IpAddr>,
    ) -> Result<MaybeTlsStream<TcpStream>, String> {
        let stream = proxy::connect(Proxies::of_environment(), &self.host, self.port, from).await;
        let stream = stream.map_err(|error| error.to_string())?;
        if !self.tls {
            return Ok(MaybeTlsStream::Plain(stream));
        }
        let connector = TlsConnector::from(settings.tls()?);
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(MaybeTlsStream::Rustls(stream)),
            Err(error) => Err(tls::failure(&error)),
        }
    }
}

impl fmt::Display for StreamServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.tls { "TLS" } else { "TCP" };
        write!(
            f,
            "TURN server {} over {over}",
            address(&self.host, self.port)
        )
    }
}
