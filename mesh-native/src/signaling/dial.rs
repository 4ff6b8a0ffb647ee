//! One attempt to reach the signaling server, and what its failure means: what may heal is tried
//! again, what cannot ends a join at once.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use mesh_core::agent::{AdmissionError, Finding, HubAddress};
use rustls::ClientConfig;
use tokio_tungstenite::tungstenite::http::{Response, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::READ_BYTES;
use super::address;
use super::first_bytes::{FirstBytes, Listening};
use crate::error::JoinError;
use crate::proxy::{self, ConnectError, Proxies};
use crate::tls;

/// Bytes of an answer's line that an error passes on: a hub's longest words have about 200.
const LINE_MAX: usize = 400;

/// A WebSocket, over TLS or not.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<Listening>>;

/// The signaling server of an agent. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: HubAddress,
    /// Present if the address is `wss:`.
    tls: Option<Arc<ClientConfig>>,
    /// Whether the last attempt was turned away with words of the server.
    spoken: AtomicBool,
    /// Why trying again is of no use, once that is known.
    hopeless: OnceLock<AdmissionError>,
}

/// Why an attempt failed.
enum Failure {
    /// It may heal.
    Passing(String),
    /// It will not.
    Final(AdmissionError),
}

impl Endpoint {
    /// Checks a URL, and the PEM text of a CA that is trusted beside those of the machine.
    ///
    /// # Errors
    /// [`JoinError::Url`], [`JoinError::Ca`].
    pub(crate) fn new(url: &str, ca: Option<&[u8]>) -> Result<Self, JoinError> {
        let address = address::parse(url)?;
        if !address.tls && ca.is_some() {
            let reason = format!("{url} does without TLS: write wss:, or give no CA");
            return Err(JoinError::Ca { reason });
        }
        let tls = address.tls.then(|| tls::client(ca)).transpose()?;
        Ok(Self(Arc::new(Inner {
            address,
            tls,
            spoken: AtomicBool::new(false),
            hopeless: OnceLock::new(),
        })))
    }

    /// As it was given.
    pub(crate) fn url(&self) -> &str {
        &self.0.address.url
    }

    /// Its host and port.
    #[cfg(feature = "doctor")]
    pub(crate) fn host(&self) -> (&str, u16) {
        (&self.0.address.host, self.0.address.port)
    }

    /// Whether it names this machine: agents of one machine can then use its loopback.
    pub(crate) fn is_loopback(&self) -> bool {
        address::is_of_this_machine(&self.0.address)
    }

    /// What the attempts so far have found.
    pub(crate) fn finding(&self) -> Finding {
        match self.0.hopeless.get() {
            Some(error) => Finding::Final(error.clone()),
            None if self.0.spoken.load(Ordering::Relaxed) => Finding::Answers(None),
            None => Finding::Silence,
        }
    }

    fn give_up(&self, error: AdmissionError) -> String {
        let reason = error.to_string();
        let _ = self.0.hopeless.set(error); // The first is as good.
        reason
    }

    /// Opens a WebSocket; tells `source` the address of this machine that it leaves from.
    ///
    /// # Errors
    /// The cause, for people.
    pub(crate) async fn dial(&self, source: &OnceLock<IpAddr>) -> Result<Socket, String> {
        match self.attempt(source).await {
            Ok(socket) => Ok(socket),
            Err(Failure::Passing(reason)) => Err(reason),
            Err(Failure::Final(error)) => Err(self.give_up(error)),
        }
    }

    async fn attempt(&self, source: &OnceLock<IpAddr>) -> Result<Socket, Failure> {
        self.0.spoken.store(false, Ordering::Relaxed);
        let HubAddress {
            url, host, port, ..
        } = &self.0.address;
        let stream = proxy::connect(Proxies::of_environment(), host, *port, None)
            .await
            .map_err(|error| self.no_way(&error))?;
        if let Ok(address) = stream.local_addr() {
            let _ = source.set(address.ip().to_canonical()); // Dialled once.
        }
        let (stream, first) = Listening::new(stream);
        let connector = self
            .0
            .tls
            .clone()
            .map_or(Connector::Plain, Connector::Rustls);
        let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
        let opening = client_async_tls_with_config(url, stream, Some(config), Some(connector));
        match opening.await {
            Ok((socket, _response)) => Ok(socket),
            Err(error) => Err(self.judge(&error, &first)),
        }
    }

    fn no_way(&self, error: &ConnectError) -> Failure {
        let reason = error.to_string();
        if error.is_final() {
            let url = self.url().to_owned();
            Failure::Final(AdmissionError::Unreachable { url, reason })
        } else {
            Failure::Passing(reason)
        }
    }

    fn judge(&self, error: &Error, first: &FirstBytes) -> Failure {
        let url = || self.url().to_owned();
        let no_hub = |reason: String| {
            let url = url();
            Failure::Final(AdmissionError::NotAHub { url, reason })
        };
        if let Error::Io(error) = error
            && let Some(error) = tls::error_in(error)
            && let Some(reason) = tls::why_distrusted(error)
        {
            let url = url();
            return Failure::Final(AdmissionError::Distrusted { url, reason });
        }
        match (error, first.are_tls()) {
            (Error::Http(response), _) => {
                let said = said(response);
                self.0.spoken.store(!said.is_empty(), Ordering::Relaxed);
                match answered(response, &said) {
                    Ok(reason) => no_hub(reason),
                    Err(passing) => Failure::Passing(passing),
                }
            }
            (_, Some(true)) if !self.0.address.tls => {
                no_hub("it speaks TLS: write wss: instead of ws:".to_owned())
            }
            (_, Some(false)) if self.0.address.tls => {
                let line = first.line();
                no_hub(format!(
                    "it answers without TLS ({line:?}): write ws: instead of wss:"
                ))
            }
            (Error::Protocol(error), _) if !is_cut_off(error) => {
                let line = match self.0.tls {
                    Some(_) => error.to_string(),
                    None => format!("{:?}", first.line()),
                };
                no_hub(format!("it answered {line}, which is no WebSocket"))
            }
            _ => Failure::Passing(error.to_string()),
        }
    }
}

/// Whether a connection ended in the middle, as with a server that stops.
fn is_cut_off(error: &tungstenite::error::ProtocolError) -> bool {
    use tungstenite::error::ProtocolError;
    matches!(
        error,
        ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake
    )
}

/// What an answer other than an upgrade means; the error is one that may heal: of a proxy whose
/// hub starts again, or of a hub that is full.
fn answered(response: &Response<Option<Vec<u8>>>, said: &str) -> Result<String, String> {
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(format!("it answered {status}{said}"));
    }
    let location = response.headers().get(header::LOCATION);
    let hint = match location.and_then(|location| location.to_str().ok()) {
        Some(to) if status.is_redirection() => match to.strip_prefix("http") {
            Some(rest) => format!(" and leads to ws{rest}: write that, if a hub is there"),
            None => format!(" and leads to {to}"),
        },
        _ => "; the path of a hub is /signal".to_owned(),
    };
    Ok(format!("it answered {status}{said}{hint}"))
}

/// The words of an answer, in brackets: a hub says why in a line; a web server sends a page, which
/// is left out.
fn said(response: &Response<Option<Vec<u8>>>) -> String {
    let body = response.body().as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let is_line = !text.is_empty() && !text.starts_with('<') && !text.contains(char::is_control);
    if is_line && text.len() <= LINE_MAX {
        format!(" ({text})")
    } else {
        String::new()
    }
}
