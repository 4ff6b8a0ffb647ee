//! The settings every link of a process shares, each with what it is for.
//!
//! Most were chosen by measuring: the defaults of the WebRTC stack suit one call with video,
//! not hundreds of data links in a process.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mesh_core::{Channel, IceConfig, IceServer, IceTransportPolicy};
use rtc::crypto::{self, RTCCryptoProvider, SignatureScheme};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::certificate::CertificateParams;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::peer_connection::transport::RTCDtlsRole;
use webrtc::data_channel::RTCDataChannelInit;
use webrtc::peer_connection::{
    CipherSuiteId, RTCCertificate, RTCConfigurationBuilder, RTCIceServer, RTCIceTransportPolicy,
    SettingEngine, SettingEngineBuilder,
};

use super::turn::{Streams, Told};
use super::{LinkError, Shared};
use crate::addresses;

/// The largest SCTP message that is taken. Frames have 16 KiB at most, which every browser can send
/// and receive whole, and which holds up a more urgent frame only shortly. The rest lets a frame
/// that is too large arrive, so that it is rejected and counted instead of lost in the library.
const MESSAGE_BYTES_MAX: u32 = 17 * 1024;

/// What SCTP may hold for us unread, in bytes. It also bounds what a peer has in flight: with this,
/// as browsers and `webrtc` have it by default, 80 Mbit/s at a round trip of 100 ms. It is a bound,
/// not memory that is taken: a link whose reader keeps up holds next to nothing.
const RECEIVE_BUFFER_BYTES: u32 = 1 << 20;

/// Bytes of an SCTP packet on a path that may drop large ones: with DTLS (37), TURN (4), UDP (8)
/// and IPv6 (40) no more than 969, so a tunnel in a tunnel passes it. The library's own limit,
/// 1,191, fills the 1,280 bytes that every path of IPv6 has to pass (RFC 8200, section 5).
const SMALL_PACKET_BYTES: u32 = 880;

/// The interval of connectivity checks. Their ticks, not the network, make up most of the time
/// a link takes to open; later checks are slowed down by [`super::pace::Pace`].
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Checks sent before a candidate pair is given up. At the default of 7 a pair would be lost
/// after 140 ms, before a far peer has answered, or a NAT is open from both sides.
const CHECKS_MAX: u16 = 500;

/// The wait before a pair with a peer-reflexive candidate is used. Such is the first path to a
/// tab behind mDNS names or a NAT; waiting lets a path over known addresses win.
const PEER_REFLEXIVE_WAIT: Duration = Duration::from_millis(100);

/// The wait before a pair with a relayed candidate is used: a direct path that is found at the same
/// time wins. The default, 2 s, would be added to each relayed link.
const RELAY_WAIT: Duration = Duration::from_millis(250);

/// Consent is renewed this often, half as often as RFC 7675 recommends: links that opened together
/// renew it together, and a check is as much work as a message. A dead peer is noticed earlier by
/// the mesh's own keepalive; whatever is heard from the peer counts against these timeouts.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(10);
const DISCONNECTED_TIMEOUT: Duration = Duration::from_secs(15);

/// Silence after disconnection until the link fails: together two minutes, as long as the mesh
/// keeps the connection of a silent link. The mesh's own keepalive has given the link up long
/// before, and closes the connection as soon as it is of no use.
const FAILED_TIMEOUT: Duration = Duration::from_secs(105);

/// How long the list of interfaces is used before it is read again: many links that open together
/// read it once, and those after a change of addresses have the new ones.
const INTERFACES_TTL: Duration = Duration::from_millis(250);

/// What differs between the links of one process and those of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkSettings {
    /// Gather loopback candidates too: for tests, and for agents and tabs on one machine.
    pub(crate) loopback: bool,
    /// Gather exactly these addresses, reading no interfaces, when not empty: for hosts where
    /// only one address is to be used, and load tests, which save the other sockets.
    pub(crate) addresses: Vec<IpAddr>,
    /// Certificates in PEM that TURN servers may be certified by, beside those that the machine
    /// trusts.
    pub(crate) ca: Option<Vec<u8>>,
}

impl LinkSettings {
    /// The addresses to gather candidates from, as they are now.
    fn addresses(&self) -> Vec<IpAddr> {
        if self.addresses.is_empty() {
            addresses::usable(self.loopback)
        } else {
            self.addresses.clone()
        }
    }
}

/// The addresses gathered from, read again when they have become old.
#[derive(Debug)]
pub(super) struct Addresses {
    settings: LinkSettings,
    cached: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Addresses {
    pub(super) fn new(settings: LinkSettings) -> Self {
        Self {
            settings,
            cached: Mutex::new(None),
        }
    }

    /// What to bind a link's sockets to.
    pub(super) fn current(&self) -> Vec<SocketAddr> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, addresses)) = &*cached
            && read_at.elapsed() < INTERFACES_TTL
        {
            return addresses.clone();
        }
        let addresses = self.settings.addresses();
        let mut addresses: Vec<SocketAddr> = addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, 0))
            .collect();
        if addresses.is_empty() {
            // Offline, or only loopback: a socket all the same, for an interface yet to come up
            // may lead to a relay.
            addresses.push(SocketAddr::from(([0, 0, 0, 0], 0)));
        }
        *cached = Some((Instant::now(), addresses.clone()));
        addresses
    }
}

/// What one link's sockets are bound to: asked for when they are bound, and again whenever a
/// restart binds them anew, so that they follow a change of addresses.
#[derive(Clone)]
pub(super) struct LinkAddresses {
    shared: Arc<Shared>,
    bound: Arc<Mutex<Vec<SocketAddr>>>,
}

impl LinkAddresses {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            bound: Arc::default(),
        }
    }

    /// What they are bound to; nothing before they are.
    pub(super) fn bound(&self) -> Vec<SocketAddr> {
        let bound = self.bound.lock();
        bound.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ToSocketAddrs for LinkAddresses {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let current = self.shared.addresses.current();
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.clone_from(&current);
        Ok(current.into_iter())
    }
}

impl fmt::Debug for LinkAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.bound()).finish()
    }
}

/// The crypto that all links of a process share.
pub(crate) fn crypto_provider() -> Result<Arc<dyn RTCCryptoProvider>, LinkError> {
    crypto::default_provider().map_err(|error| LinkError::Crypto(error.to_string()))
}

/// A fresh DTLS certificate.
pub(super) fn certificate(crypto: &dyn RTCCryptoProvider) -> Result<RTCCertificate, LinkError> {
    let certificate_error = |error: String| LinkError::Certificate(error);
    // The name is of no consequence: peers compare fingerprints.
    let params = CertificateParams::new(vec!["mesh".to_owned()])
        .map_err(|error| certificate_error(error.to_string()))?;
    RTCCertificate::generate(crypto.crypto(), SignatureScheme::EcdsaP256Sha256, params)
        .map_err(|error| certificate_error(error.to_string()))
}

/// How the WebRTC stack is to behave for a link that uses such candidates.
pub(super) fn engine(
    crypto: Arc<dyn RTCCryptoProvider>,
    policy: IceTransportPolicy,
    small_packets: bool,
) -> SettingEngine {
    // Relayed candidates have nothing better to wait for where there are no others.
    let relay_wait = match policy {
        IceTransportPolicy::All => RELAY_WAIT,
        IceTransportPolicy::Relay => Duration::ZERO,
    };
    let engine = SettingEngineBuilder::new()
        .with_crypto_provider(crypto)
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS_MAX))
        .with_ice_timeouts(
            Some(DISCONNECTED_TIMEOUT),
            Some(FAILED_TIMEOUT),
            Some(KEEPALIVE),
        )
        .with_prflx_acceptance_min_wait(Some(PEER_REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(Some(relay_wait))
        // A restart is for a path that is gone, most often with an address of this machine.
        .with_discard_local_candidates_during_ice_restart(true)
        // One resolver serves all links instead: see `mdns`.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        // The offerer, which controls ICE, knows first when a path is up: as the DTLS client it
        // starts at once. The other way round its ClientHello meets a closed door.
        .with_answering_dtls_role(RTCDtlsRole::Server)
        // ChaCha20 costs least here; browsers offer all three.
        .with_dtls_cipher_suites(vec![
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
        ])
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(MESSAGE_BYTES_MAX))
        .with_sctp_max_receive_buffer_size(RECEIVE_BUFFER_BYTES);
    let engine = match small_packets {
        true => engine.with_sctp_mtu(SMALL_PACKET_BYTES),
        false => engine,
    };
    engine.build()
}

/// How one of the three channels is opened: by agreement on its id, with no handshake.
pub(crate) fn channel_init(channel: Channel) -> RTCDataChannelInit {
    let lossy = channel == Channel::Stream;
    RTCDataChannelInit {
        ordered: !lossy,
        max_retransmits: lossy.then_some(0),
        negotiated: Some(channel.id()),
        ..RTCDataChannelInit::default()
    }
}

/// What a connection gathers candidates with, as the WebRTC stack wants it.
pub(super) fn configuration(ice: &IceConfig, streams: &Streams) -> RTCConfigurationBuilder {
    let policy = match ice.policy {
        IceTransportPolicy::All => RTCIceTransportPolicy::All,
        IceTransportPolicy::Relay => RTCIceTransportPolicy::Relay,
    };
    RTCConfigurationBuilder::new()
        .with_ice_servers(ice_servers(&ice.servers, streams))
        .with_ice_transport_policy(policy)
}

/// The servers as the WebRTC stack wants them. Those it cannot use are left out, for one bad URL
/// from the hub would keep every link from opening.
fn ice_servers(servers: &[IceServer], streams: &Streams) -> Vec<RTCIceServer> {
    let each_url = servers.iter().flat_map(|server| {
        server.urls.iter().filter_map(|url| {
            // A query is not allowed after stun:, but common.
            let plain = match url.split_once('?') {
                Some((plain, _)) if plain.starts_with("stun:") => plain,
                _ => url,
            };
            let url = match streams.tell_stack(plain) {
                Ok(Told::Plainly) => plain.to_owned(),
                Ok(Told::StandIn(url)) => url,
                Err(trouble) => {
                    streams.settings().tell(&trouble);
                    return None;
                }
            };
            Some(RTCIceServer {
                urls: vec![url],
                username: server.username.clone().unwrap_or_default(),
                credential: server.credential.clone().unwrap_or_default(),
            })
        })
    });
    let usable = |server: &RTCIceServer| {
        let usable = server.urls().is_ok();
        if !usable {
            tracing::debug!(urls = ?server.urls, "ICE server left out");
        }
        usable
    };
    each_url.filter(usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn useless_ice_servers_are_left_out() {
        let server = |urls: &[&str]| IceServer {
            urls: urls.iter().map(|&url| url.to_owned()).collect(),
            username: Some("name".to_owned()),
            credential: Some("secret".to_owned()),
        };
        let anonymous = IceServer {
            username: None,
            ..server(&["turn:192.0.2.2"])
        };
        let servers = [
            server(&["stun:192.0.2.1:3478", "stuns:192.0.2.1", "http://192.0.2.1"]),
            server(&[
                "nonsense",
                "turn:192.0.2.1:3478?transport=udp",
                "turns:192.0.2.3",
            ]),
            anonymous,
        ];
        let servers = ice_servers(&servers, &Streams::new(Arc::default()));
        let urls: Vec<&str> = servers
            .iter()
            .map(|server| server.urls[0].as_str())
            .collect();
        assert_eq!(
            urls,
            [
                "stun:192.0.2.1:3478",
                "turn:192.0.2.1:3478?transport=udp",
                "turn:0.turn-stream.invalid:3478?transport=udp"
            ]
        );
        assert_eq!(servers[1].credential, "secret");
    }

    #[test]
    fn given_addresses_replace_the_interfaces() {
        let only: IpAddr = "127.0.0.1".parse().expect("an address");
        let addresses = Addresses::new(LinkSettings {
            addresses: vec![only],
            ..LinkSettings::default()
        })
        .current();
        assert_eq!(addresses, [SocketAddr::new(only, 0)]);
        let loopback = Addresses::new(LinkSettings {
            loopback: true,
            ..LinkSettings::default()
        })
        .current();
        assert!(loopback.iter().any(|address| address.ip().is_loopback()));
    }
}
