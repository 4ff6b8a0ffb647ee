//! What we read in a peer's ICE candidates before the WebRTC stack sees them.
//!
//! Candidates come from strangers, inside a description or trickled. Only UDP candidates are
//! let through (TCP ones would have us connect wherever a peer says), only so many a link, and
//! those with an mDNS name are taken aside to be resolved: see [`super::mdns`].

use std::net::IpAddr;

use super::turn;

/// Candidates accepted from one peer: of its own addresses, of those that others see it under, and
/// of relays. Agents of ours have six addresses at most, browsers fewer; each candidate is paired
/// with every address of ours and checked many times a second, wherever the peer says that it is.
const KINDS_MAX: [usize; 3] = [8, 4, 4];

/// All of them.
pub(super) const CANDIDATES_MAX: usize = 16;

/// mDNS names resolved for one peer: a tab has one for each of its addresses.
pub(super) const NAMES_MAX: usize = 8;

/// Fields of a candidate (RFC 8839): foundation, component, transport, priority, address, …
const TRANSPORT: usize = 2;
const ADDRESS: usize = 4;
const KIND: usize = 7;

/// Counts the candidates of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget([usize; 3]);

impl Budget {
    /// Whether a candidate is one more than enough of its kind; if not it is counted.
    pub(super) fn admits(&mut self, candidate: &str) -> bool {
        let kind = match candidate.split_ascii_whitespace().nth(KIND) {
            Some("host") => 0,
            Some("relay") => 2,
            _ => 1,
        };
        self.0[kind] += 1;
        self.0[kind] <= KINDS_MAX[kind]
    }
}

/// A candidate of a peer, by what has to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RemoteCandidate {
    /// To be given to the WebRTC stack as it is.
    Plain(String),
    /// To be resolved first.
    Named { candidate: String, name: String },
}

impl RemoteCandidate {
    /// Sorts a candidate attribute, with or without its `candidate:` prefix. `None` for the end
    /// of candidates and for what is of no use.
    pub(super) fn parse(candidate: &str) -> Option<Self> {
        let candidate = candidate.trim();
        let mut fields = candidate.split_ascii_whitespace();
        let transport = fields.nth(TRANSPORT)?;
        let address = fields.nth(ADDRESS - TRANSPORT - 1)?;
        if !transport.eq_ignore_ascii_case("udp") {
            return None;
        }
        if let Ok(address) = address.parse() {
            return is_of_one_host(address).then(|| Self::Plain(candidate.to_owned()));
        }
        if !is_mdns_name(address) {
            tracing::debug!(
                address,
                "candidate dropped: neither an address nor an mDNS name"
            );
            return None;
        }
        let name = address.to_owned();
        Some(Self::Named {
            candidate: candidate.to_owned(),
            name,
        })
    }
}

/// Puts the resolved `address` in the place of a candidate's name.
pub(super) fn with_address(candidate: &str, address: IpAddr) -> String {
    let mut fields: Vec<&str> = candidate.split_ascii_whitespace().collect();
    let address = address.to_string();
    if let Some(field) = fields.get_mut(ADDRESS) {
        *field = &address;
    }
    fields.join(" ")
}

/// Whether an address is that of one host: to others a check would go to many at once, or nowhere.
pub(super) fn is_of_one_host(address: IpAddr) -> bool {
    let broadcast = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    let nowhere = address.is_unspecified() || turn::is_stand_in(address);
    !(broadcast || address.is_multicast() || nowhere)
}

/// Takes from a description the candidates that must not reach the WebRTC stack as they are;
/// returns what remains of it and those with a name.
pub(super) fn screen(sdp: &str, budget: &mut Budget) -> (String, Vec<RemoteCandidate>) {
    let mut screened = String::with_capacity(sdp.len());
    let mut named = Vec::new();
    for line in sdp.lines() {
        if let Some(attribute) = line.strip_prefix("a=candidate:") {
            match RemoteCandidate::parse(attribute) {
                Some(RemoteCandidate::Plain(_)) if budget.admits(attribute) => {}
                Some(candidate @ RemoteCandidate::Named { .. }) => {
                    named.push(candidate);
                    continue;
                }
                _ => continue,
            }
        }
        screened.push_str(line);
        screened.push_str("\r\n");
    }
    named.truncate(NAMES_MAX);
    (screened, named)
}

/// Whether `address` is `<uuid>.local`, the only kind of name a browser makes. Anything else
/// would let a peer have us ask the local network for names of its choice.
fn is_mdns_name(address: &str) -> bool {
    let Some(uuid) = address.strip_suffix(".local") else {
        return false;
    };
    uuid.len() == 36
        && uuid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0b9cdd7a-5a35-4d0c-8a5e-2f4a8a3f1c11.local";

    fn named() -> String {
        format!("1 1 udp 2113937151 {NAME} 51000 typ host generation 0")
    }

    #[test]
    fn candidates_are_sorted() {
        let plain = "candidate:1 1 UDP 2122252543 192.0.2.5 4000 typ host";
        let ipv6 = "2 1 udp 2122252543 2001:db8::5 4000 typ host";
        for candidate in [plain, ipv6] {
            let expected = Some(RemoteCandidate::Plain(candidate.to_owned()));
            assert_eq!(RemoteCandidate::parse(candidate), expected);
        }
        let expected = RemoteCandidate::Named {
            candidate: named(),
            name: NAME.to_owned(),
        };
        assert_eq!(RemoteCandidate::parse(&named()), Some(expected));
        for useless in [
            "",
            "candidate:1 1 udp",
            "candidate:1 1 tcp 1 192.0.2.5 9 typ host tcptype passive",
            "candidate:1 1 udp 1 printer.local 4000 typ host",
            "candidate:1 1 udp 1 example.org 4000 typ host",
            "candidate:1 1 udp 1 224.0.0.251 5353 typ host",
            "candidate:1 1 udp 1 255.255.255.255 4000 typ host",
            "candidate:1 1 udp 1 0.0.0.0 4000 typ host",
            "candidate:1 1 udp 1 ff02::1 4000 typ host",
            "candidate:1 1 udp 1 :: 4000 typ host",
        ] {
            assert_eq!(RemoteCandidate::parse(useless), None, "{useless}");
        }
    }

    #[test]
    fn a_resolved_candidate_keeps_its_other_fields() {
        let address = "192.0.2.9".parse().expect("an address");
        let expected = "1 1 udp 2113937151 192.0.2.9 51000 typ host generation 0";
        assert_eq!(with_address(&named(), address), expected);
        assert_eq!(with_address("short", address), "short");
    }

    #[test]
    fn a_description_is_screened() {
        let plain = "a=candidate:2 1 udp 5 192.0.2.5 4000 typ host\r\n";
        let tcp = "a=candidate:3 1 tcp 5 192.0.2.5 9 typ host tcptype active\r\n";
        let sdp = format!("v=0\r\na=candidate:{}\r\n{plain}{tcp}a=mid:0\n", named());
        let (screened, names) = screen(&sdp, &mut Budget::default());
        assert_eq!(screened, format!("v=0\r\n{plain}a=mid:0\r\n"));
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_flood_of_candidates_leaves_room_for_those_of_other_kinds() {
        let of = |kind| format!("a=candidate:2 1 udp 5 192.0.2.5 4000 typ {kind}\r\n");
        let flood = ["host", "srflx", "relay"].map(|kind| of(kind).repeat(100));
        let (screened, _) = screen(&flood.concat(), &mut Budget::default());
        for (kind, kept) in ["host", "srflx", "relay"].into_iter().zip(KINDS_MAX) {
            assert_eq!(screened.matches(&of(kind)).count(), kept, "{kind}");
        }
        assert_eq!(KINDS_MAX.iter().sum::<usize>(), CANDIDATES_MAX);
    }
}
