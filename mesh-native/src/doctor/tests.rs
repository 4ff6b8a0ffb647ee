//! What is told of NATs, and how a report reads.

use std::net::SocketAddr;

use super::nat::from_mappings;
use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn several_servers_tell_a_cone_from_a_symmetric_nat() {
    let local = address("10.0.0.2:5000");
    let seen = |mapped: [&str; 2], second: &str| {
        let servers = ["192.0.2.1:3478", second];
        let pairs = servers.into_iter().zip(mapped);
        let pairs: Vec<_> = pairs.map(|(a, b)| (address(a), address(b))).collect();
        from_mappings(local, &pairs).expect("it can be told").name()
    };
    let (one, other) = ("203.0.113.7:5000", "203.0.113.7:61000");
    assert_eq!(
        seen([one, one], "192.0.2.2:3478"),
        "NAT that keeps its mapping (a cone)"
    );
    assert_eq!(seen([one, other], "192.0.2.2:3478"), "symmetric NAT");
    assert_eq!(seen([one, other], "192.0.2.1:3479"), "symmetric NAT");
    assert_eq!(seen(["10.0.0.2:5000"; 2], "192.0.2.2:3478"), "no NAT");
    let alone = [(address("192.0.2.1:3478"), address(one))];
    assert_eq!(from_mappings(local, &alone), None, "one server cannot tell");
}

#[test]
fn the_four_types_have_their_names() {
    use Behaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let name = |translates, mapping, filtering| {
        let nat = NatType {
            translates,
            mapping,
            filtering: Some(filtering),
        };
        (nat.name(), nat.is_symmetric())
    };
    let same = EndpointIndependent;
    for (translates, mapping, filtering, expected) in [
        (true, same, EndpointIndependent, "full cone NAT"),
        (true, same, AddressDependent, "address-restricted NAT"),
        (true, same, AddressAndPortDependent, "port-restricted NAT"),
        (
            true,
            AddressAndPortDependent,
            AddressAndPortDependent,
            "symmetric NAT",
        ),
        (true, AddressDependent, AddressDependent, "symmetric NAT"),
        (false, same, EndpointIndependent, "no NAT"),
        (
            false,
            same,
            AddressAndPortDependent,
            "no NAT, but a firewall",
        ),
    ] {
        let (found, symmetric) = name(translates, mapping, filtering);
        assert_eq!((found, symmetric), (expected, expected == "symmetric NAT"));
    }
}

#[test]
fn a_report_names_each_finding_with_its_remedy_and_counts_what_is_wrong() {
    let mut report = Report::default();
    let took = std::time::Duration::from_micros(1_234);
    report.ok(
        Check::HubTcp,
        "hub:9600",
        "it takes connections",
        Some(took),
    );
    assert!(!report.is_wrong() && report.to_string().ends_with("nothing is wrong"));
    report.wrong(Check::TurnTls, "turns:t", "it is silent", "start it");
    let text = report.to_string();
    assert!(
        report.is_wrong() && text.ends_with("1 thing is wrong"),
        "{text}"
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "ok     hub-tcp        hub:9600: it takes connections (1.2 ms)"
    );
    assert!(lines[1].starts_with("WRONG  turn-tls       turns:t: it is silent"));
    assert!(lines[2].ends_with("-> start it"), "{text}");
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["findings"][1]["check"], "turn-tls");
    assert_eq!(json["findings"][1]["outcome"], "wrong");
}

#[test]
fn each_url_is_looked_at_once() {
    let server = |urls: &[&str]| IceServer {
        urls: urls.iter().map(|&url| url.to_owned()).collect(),
        ..IceServer::default()
    };
    let servers = one_by_one(vec![server(&["stun:a", "stun:b"]), server(&["stun:a"])]);
    let urls: Vec<_> = servers
        .iter()
        .map(|server| server.urls[0].as_str())
        .collect();
    assert_eq!(urls, ["stun:a", "stun:b"]);
}
