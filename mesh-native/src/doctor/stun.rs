//! Questions to STUN servers over UDP (RFC 8489, and RFC 5780 for how a NAT behaves).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use rtc::stun::addr::MappedAddress;
use rtc::stun::attributes::{ATTR_CHANGE_REQUEST, ATTR_OTHER_ADDRESS};
use rtc::stun::message::{BINDING_REQUEST, Getter, Message, TransactionId};
use rtc::stun::xoraddr::XorMappedAddress;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How often a question is asked, and how long each time waits: a datagram may be lost.
const WAITS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(750),
    Duration::from_millis(1_000),
];

/// From where the server is asked to answer, as CHANGE-REQUEST has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// From where it was asked.
    Here,
    /// From its other port.
    OtherPort,
    /// From its other address and port.
    OtherAddress,
}

impl From {
    fn flags(self) -> Option<[u8; 4]> {
        match self {
            Self::Here => None,
            Self::OtherPort => Some([0, 0, 0, 0b010]),
            Self::OtherAddress => Some([0, 0, 0, 0b110]),
        }
    }
}

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Where the question came from, as the server saw it.
    pub(super) mapped: SocketAddr,
    /// The server's other address and port, if it has them.
    pub(super) other: Option<SocketAddr>,
    /// From where it answered.
    pub(super) from: SocketAddr,
    pub(super) took: Duration,
}

/// A socket of this machine from which servers of a family are asked.
pub(super) async fn socket_for(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).await
}

/// The address of this machine that datagrams to a server leave from.
pub(super) async fn source_to(server: SocketAddr) -> Option<IpAddr> {
    let socket = socket_for(server).await.ok()?;
    socket.connect(server).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Asks a server; nothing if it does not answer.
pub(super) async fn ask(socket: &UdpSocket, server: SocketAddr, from: From) -> Option<Answer> {
    let mut question = Message::new();
    let built = question.build(&[Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)]);
    built.ok()?;
    if let Some(flags) = from.flags() {
        question.add(ATTR_CHANGE_REQUEST, &flags);
    }
    for wait in WAITS {
        let asked = Instant::now();
        // What the network refuses is no answer either; it may take the next.
        let _ = socket.send_to(&question.raw, server).await;
        if let Ok(Some((message, from))) = timeout(wait, answer_to(socket, &question)).await {
            return read(&message, from, asked.elapsed());
        }
    }
    None
}

/// The next datagram that answers a question.
async fn answer_to(socket: &UdpSocket, question: &Message) -> Option<(Message, SocketAddr)> {
    let mut buffer = [0; 2_048];
    loop {
        // A refused port is told by an error of the next call.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let mut message = Message::new();
        message.raw = buffer[..len].to_vec();
        if message.decode().is_ok() && message.transaction_id == question.transaction_id {
            return Some((message, from));
        }
    }
}

fn read(message: &Message, from: SocketAddr, took: Duration) -> Option<Answer> {
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(message).ok()?;
    let mut other = MappedAddress::default();
    let other = other
        .get_from_as(message, ATTR_OTHER_ADDRESS)
        .is_ok()
        .then(|| SocketAddr::new(other.ip, other.port));
    Some(Answer {
        mapped: SocketAddr::new(mapped.ip, mapped.port),
        other,
        from,
        took,
    })
}
