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

/// Fields of a candidate (RFC 8839): foundation, component, transport, priority, address, port,
/// `typ`, type, …
const COMPONENT: usize = 1;
const TRANSPORT: usize = 2;
const ADDRESS: usize = 4;
const PORT: usize = 5;
const KIND: usize = 7;

/// The component that all of a link goes over: RTCP shares it (RFC 5761).
const ONLY_COMPONENT: &str = "1";

/// Counts the candidates of one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    kinds: [usize; 3],
    /// Address and port of each that was admitted.
    known: Vec<[String; 2]>,
}

impl Budget {
    /// Whether a candidate is new, and not one more than enough of its kind. A candidate that is
    /// told again costs nothing: descriptions repeat them, and must not crowd out others.
    pub(super) fn admits(&mut self, candidate: &str) -> bool {
        let fields: Vec<&str> = candidate.split_ascii_whitespace().collect();
        let field = |at: usize| (*fields.get(at).unwrap_or(&"")).to_owned();
        let place = [field(ADDRESS), field(PORT)];
        let kind = match fields.get(KIND) {
            Some(&"host") => 0,
            Some(&"relay") => 2,
            _ => 1,
        };
        if self.kinds[kind] == KINDS_MAX[kind] || self.known.contains(&place) {
            return false;
        }
        self.kinds[kind] += 1;
        self.known.push(place);
        true
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
        let component = fields.nth(COMPONENT)?;
        let transport = fields.nth(TRANSPORT - COMPONENT - 1)?;
        let address = fields.nth(ADDRESS - TRANSPORT - 1)?;
        if component != ONLY_COMPONENT || !transport.eq_ignore_ascii_case("udp") {
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
                    if named.len() < NAMES_MAX && !named.contains(&candidate) {
                        named.push(candidate);
                    }
                    continue;
                }
                _ => continue,
            }
        }
        screened.push_str(line);
        screened.push_str("\r\n");
    }
    (screened, named)
}

/// Takes from a description of ours the candidates for RTCP: the library lists each candidate a
/// second time for them, though they share the first component.
pub(super) fn without_rtcp(sdp: &str) -> String {
    let is_of_use = |line: &&str| {
        let candidate = line.strip_prefix("a=candidate:");
        candidate.is_none_or(|fields| {
            fields.split_ascii_whitespace().nth(COMPONENT) == Some(ONLY_COMPONENT)
        })
    };
    sdp.split_inclusive('\n').filter(is_of_use).collect()
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
            "candidate:1 2 udp 1 192.0.2.5 4000 typ host",
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
        let kinds = ["host", "srflx", "relay"];
        let flood = kinds.map(|kind| flood_of(kind, 100));
        let (screened, _) = screen(&flood.concat(), &mut Budget::default());
        for (kind, kept) in kinds.into_iter().zip(KINDS_MAX) {
            assert_eq!(screened.matches(kind).count(), kept, "{kind}");
        }
        assert_eq!(KINDS_MAX.iter().sum::<usize>(), CANDIDATES_MAX);
    }

    /// Lines of a description with as many candidates of a kind.
    fn flood_of(kind: &str, count: usize) -> String {
        let ports = 4000..4000 + count;
        let lines = ports.map(|port| format!("a=candidate:2 1 udp 5 192.0.2.5 {port} typ {kind}"));
        lines.map(|line| line + "\r\n").collect()
    }

    #[test]
    fn candidates_that_are_told_again_crowd_out_no_others() {
        let all = flood_of("host", KINDS_MAX[0]);
        let mut budget = Budget::default();
        // Each for RTCP as well, as the library describes itself, and in a second section.
        let rtcp = all.replace(":2 1 udp", ":2 2 udp");
        let (screened, _) = screen(&[&*rtcp, &all, &all].concat(), &mut budget);
        assert_eq!(screened, all);
        assert_eq!(
            without_rtcp(&[&*rtcp, "a=mid:0\r\n", &all].concat()),
            format!("a=mid:0\r\n{all}")
        );
        let named = format!("a=candidate:{}\r\n", named()).repeat(NAMES_MAX + 1);
        assert_eq!(screen(&named, &mut budget).1.len(), 1);
    }
}
