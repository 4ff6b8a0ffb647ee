//! How the NAT before this machine maps and filters (RFC 4787, found out as RFC 5780 has it).

use std::net::SocketAddr;

use mesh_core::IceServer;
use rtc::ice::url::{SchemeType, Url};
use serde::Serialize;
use tokio::net::lookup_host;

use super::stun::{Answer, From, ask, socket_for, source_to};
use super::{Check, Report};

/// What a NAT's mapping, or its filter, depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// On nothing: one mapping for all, or anyone gets in.
    EndpointIndependent,
    /// On the other end's address.
    AddressDependent,
    /// On its address and port.
    AddressAndPortDependent,
}

/// The NAT before this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NatType {
    /// Whether the address is changed at all.
    pub translates: bool,
    /// What the mapping depends on.
    pub mapping: Behaviour,
    /// What the filter depends on, if a server could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtering: Option<Behaviour>,
}

impl NatType {
    /// What it was called before RFC 4787, and still is by most.
    pub fn name(&self) -> &'static str {
        use Behaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        match (self.translates, self.mapping, self.filtering) {
            (false, _, None | Some(EndpointIndependent)) => "no NAT",
            (false, _, Some(_)) => "no NAT, but a firewall",
            (true, AddressDependent | AddressAndPortDependent, _) => "symmetric NAT",
            (true, EndpointIndependent, None) => "NAT that keeps its mapping (a cone)",
            (true, EndpointIndependent, Some(EndpointIndependent)) => "full cone NAT",
            (true, EndpointIndependent, Some(AddressDependent)) => "address-restricted NAT",
            (true, EndpointIndependent, Some(AddressAndPortDependent)) => "port-restricted NAT",
        }
    }

    /// Whether links to a peer behind a NAT of the same kind need a TURN server.
    pub fn is_symmetric(&self) -> bool {
        self.translates && self.mapping != Behaviour::EndpointIndependent
    }
}

/// Asks all STUN servers, and finds out about the NAT from them.
pub(super) async fn examine(servers: &[IceServer], report: &mut Report) {
    let mut answers = Vec::new();
    let mut any = false;
    for server in servers {
        let url = server.urls.first().map_or("", String::as_str);
        let Some(parsed) = speaks_stun(url) else {
            continue;
        };
        any = true;
        let before = answers.len();
        let mut silent = Vec::new();
        for address in resolve(url, &parsed, report).await {
            match first_answer(address).await {
                Some(answer) => {
                    let found = format!("this machine is seen as {}", answer.mapped);
                    report.ok(Check::Stun, url, &found, Some(answer.took));
                    answers.push((address, answer));
                }
                None => silent.push(address),
            }
        }
        let works_otherwise = answers.len() > before;
        for address in silent {
            tell_silence(url, address, works_otherwise, report);
        }
    }
    if any {
        judge(&answers, report).await;
    }
}

/// A URL of a server that can be asked over UDP.
fn speaks_stun(url: &str) -> Option<Url> {
    let parsed = Url::parse_url(url).ok()?;
    let over_udp = parsed.proto.to_string() == "udp";
    (over_udp && matches!(parsed.scheme, SchemeType::Stun | SchemeType::Turn)).then_some(parsed)
}

async fn resolve(url: &str, parsed: &Url, report: &mut Report) -> Vec<SocketAddr> {
    match reachable(parsed).await {
        Ok(addresses) => addresses,
        Err(reason) => {
            let remedy = "correct the name, or the DNS of this machine";
            report.wrong(Check::Stun, url, &reason, remedy);
            Vec::new()
        }
    }
}

/// An address of each family that this machine has a way to; if it has none, any.
///
/// # Errors
/// If the name has no address.
pub(super) async fn reachable(parsed: &Url) -> Result<Vec<SocketAddr>, String> {
    let host = parsed.host.as_str();
    let found = lookup_host((host, parsed.port)).await;
    let found = found.map_err(|error| format!("{host} has no address: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    let mut ways = Vec::new();
    for is_v4 in [true, false] {
        if let Some(&address) = found.iter().find(|address| address.is_ipv4() == is_v4)
            && source_to(address).await.is_some()
        {
            ways.push(address);
        }
    }
    if ways.is_empty() {
        let first = found.first();
        ways.push(*first.ok_or_else(|| format!("{host} has no address"))?);
    }
    Ok(ways)
}

fn tell_silence(url: &str, address: SocketAddr, works_otherwise: bool, report: &mut Report) {
    if works_otherwise {
        let found = format!("no answer from {address}, while the other family of addresses works");
        let remedy = "that family is broken between here and there: have it repaired, or turned \
                      off on this machine; links take the other";
        report.wrong(Check::Stun, url, &found, remedy);
    } else {
        report.wrong(
            Check::Stun,
            url,
            &format!("no answer from {address} over UDP"),
            "let UDP out to that address and port; where a firewall does not, links need a TURN \
             server over TCP or TLS. If other machines get no answer either, the server is down, \
             or its address is wrong",
        );
    }
}

async fn first_answer(server: SocketAddr) -> Option<Answer> {
    let socket = socket_for(server).await.ok()?;
    ask(&socket, server, From::Here).await
}

/// Names the NAT by the server that can tell most.
async fn judge(answers: &[(SocketAddr, Answer)], report: &mut Report) {
    let apart = |(server, answer): &&(SocketAddr, Answer)| {
        answer.other.is_some_and(|other| other.ip() != server.ip())
    };
    let nat = match answers.iter().find(apart) {
        Some((server, answer)) => by_one(*server, answer.other).await,
        None => by_several(answers).await,
    };
    let Some(nat) = nat else {
        let remedy = "name a STUN server with two addresses (coturn has them where it listens on \
                      two), or several servers";
        let found = "how the NAT behaves cannot be told";
        if !answers.is_empty() {
            report.note(Check::Nat, "", found, Some(remedy));
        }
        return;
    };
    report.nat = Some(nat);
    let found = format!("{}: {}", nat.name(), in_words(&nat));
    if nat.is_symmetric() {
        let remedy = "links to peers that are behind a NAT too need a TURN server";
        report.note(Check::Nat, "", &found, Some(remedy));
    } else {
        report.ok(Check::Nat, "", &found, None);
    }
}

fn in_words(nat: &NatType) -> String {
    let on = |behaviour| match behaviour {
        Behaviour::EndpointIndependent => "the same for all",
        Behaviour::AddressDependent => "another for each address",
        Behaviour::AddressAndPortDependent => "another for each address and port",
    };
    let lets = |behaviour| match behaviour {
        Behaviour::EndpointIndependent => "anyone may send here",
        Behaviour::AddressDependent => "addresses that were sent to may answer",
        Behaviour::AddressAndPortDependent => "only what was sent to may answer",
    };
    match nat.filtering {
        Some(filtering) => format!("mapping {}, {}", on(nat.mapping), lets(filtering)),
        None => format!("mapping {}", on(nat.mapping)),
    }
}

/// By a server with two addresses and two ports (RFC 5780, sections 4.3 and 4.4).
async fn by_one(server: SocketAddr, other: Option<SocketAddr>) -> Option<NatType> {
    let other = other?;
    let socket = socket_for(server).await.ok()?;
    let port = socket.local_addr().ok()?.port();
    let local = SocketAddr::new(source_to(server).await?, port);
    let first = ask(&socket, server, From::Here).await?.mapped;
    let translates = first != local;
    let filtering = Some(filtering(server).await);
    let beside = SocketAddr::new(other.ip(), server.port());
    let second = ask(&socket, beside, From::Here).await?.mapped;
    let mapping = if second == first {
        Behaviour::EndpointIndependent
    } else if ask(&socket, other, From::Here).await?.mapped == second {
        Behaviour::AddressDependent
    } else {
        Behaviour::AddressAndPortDependent
    };
    Some(NatType {
        translates,
        mapping,
        filtering,
    })
}

/// From a socket of its own, which nothing else has opened a way to.
async fn filtering(server: SocketAddr) -> Behaviour {
    let Ok(socket) = socket_for(server).await else {
        return Behaviour::AddressAndPortDependent;
    };
    let came_from_elsewhere = async |from| {
        let answer = ask(&socket, server, from).await;
        answer.is_some_and(|answer| answer.from != server)
    };
    // A NAT opens to the server itself by this.
    ask(&socket, server, From::Here).await;
    if came_from_elsewhere(From::OtherAddress).await {
        Behaviour::EndpointIndependent
    } else if came_from_elsewhere(From::OtherPort).await {
        Behaviour::AddressDependent
    } else {
        Behaviour::AddressAndPortDependent
    }
}

/// By several servers, as far as that goes: they see this machine under one address or not.
async fn by_several(answers: &[(SocketAddr, Answer)]) -> Option<NatType> {
    let (server, _) = *answers.first()?;
    let socket = socket_for(server).await.ok()?;
    let port = socket.local_addr().ok()?.port();
    let local = SocketAddr::new(source_to(server).await?, port);
    let mut seen = Vec::new();
    let alike = answers
        .iter()
        .filter(|(other, _)| other.is_ipv4() == server.is_ipv4());
    for (server, _) in alike {
        let answer = ask(&socket, *server, From::Here).await?;
        seen.push((*server, answer.mapped));
    }
    from_mappings(local, &seen)
}

pub(super) fn from_mappings(
    local: SocketAddr,
    seen: &[(SocketAddr, SocketAddr)],
) -> Option<NatType> {
    let (first, mapped) = *seen.first()?;
    let translates = mapped != local;
    let differs = seen.iter().find(|(_, other)| *other != mapped);
    let mapping = match differs {
        Some((server, _)) if server.ip() == first.ip() => Behaviour::AddressAndPortDependent,
        Some(_) => Behaviour::AddressDependent,
        // One server alone cannot tell, unless nothing is changed.
        None if seen.len() < 2 && translates => return None,
        None => Behaviour::EndpointIndependent,
    };
    Some(NatType {
        translates,
        mapping,
        filtering: None,
    })
}
