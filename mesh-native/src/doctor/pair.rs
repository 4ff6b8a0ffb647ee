//! Two members of a running mesh: why they are not linked, as both tell a member that joins to ask.

use std::time::Duration;

use mesh_core::doctor::Check;
use mesh_core::{MeshError, PeerId, PeerView};
use tokio::time::{Instant, timeout_at};

use super::Report;
use crate::agent::{Agent, Events};
use crate::options::JoinOptions;

/// The name of the member that asks.
const NAME: &str = "doctor";

/// Time until a member that is there must be known, with a way to it: a newcomer to a large room
/// has its links and the records of the others within seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Time that a member has to answer: some repetitions of the question.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Members that are named where none is meant, at most: a screen has room for so many.
const NAMED_MAX: usize = 10;

/// Hexadecimal digits of an id from which on its beginning names a member: of fewer a name might be
/// made.
const PREFIX_MIN: usize = 4;

/// Likeness of names (Jaro and Winkler's) from which on one is taken for a misspelling of the
/// other.
const ALIKE: f64 = 0.8;

/// Which two members are looked at, and where.
#[derive(Clone, Debug, Default)]
pub struct PairOptions {
    /// Where the signaling servers are.
    pub signaling: Vec<String>,
    /// Certificates in PEM that servers may be certified by, beside those that the machine trusts.
    pub ca: Option<Vec<u8>>,
    /// The room.
    pub room: String,
    /// The two, each by its name, its id, or the beginning of its id.
    pub members: [String; 2],
}

/// Why no member is meant, and what to do.
struct Unfound {
    found: String,
    remedy: String,
    /// It stays so, whoever else comes to be known.
    is_final: bool,
}

/// Joins a room, asks two of its members how they see the link between them, and leaves. What fails
/// is a finding, never an error.
pub async fn examine_pair(options: PairOptions) -> Report {
    let mut report = Report::default();
    let PairOptions {
        signaling,
        ca,
        room,
        members,
    } = options;
    let joined = Agent::join_with_events(JoinOptions {
        ca,
        ..JoinOptions::with_hubs(signaling, &room, NAME)
    });
    let (agent, mut events) = match joined.await {
        Ok(joined) => joined,
        Err(error) => {
            let remedy = "see which step fails: mesh doctor --signaling URL";
            let found = format!("cannot be joined: {error}");
            report.wrong(Check::Room, &room, &found, remedy);
            return report;
        }
    };
    let found = format!(
        "joined as the member {NAME:?}: as long as it is here, a link or two of others may be \
         another"
    );
    report.ok(Check::Room, &room, &found, None);
    if let Some([one, other]) = until_found(&agent, &mut events, &members, &mut report).await {
        let diagnosed = agent.diagnose_pair(one, other, Some(ANSWER_PATIENCE));
        match diagnosed.await {
            Ok(findings) => report.findings.extend(findings),
            Err(error) => {
                let remedy = "ask again, from a room that this agent can stay in";
                report.wrong(Check::Pair, "", &error.to_string(), remedy);
            }
        }
    }
    agent.close().await;
    report
}

/// Waits until both are known and paths lead to them, or for as long as that may take. Tells what
/// is wrong if one is not known by then.
async fn until_found(
    agent: &Agent,
    events: &mut Events,
    members: &[String; 2],
    report: &mut Report,
) -> Option<[PeerId; 2]> {
    let until = Instant::now() + PATIENCE;
    loop {
        let late = Instant::now() >= until;
        match look_for(agent, members) {
            Ok(found) if late || are_reached(agent, found) => return distinct(found, report),
            Err(unfound) if late || unfound.iter().any(|(_, why)| why.is_final) => {
                for (wanted, why) in unfound {
                    report.wrong(Check::Member, wanted, &why.found, &why.remedy);
                }
                return None;
            }
            _ => {}
        }
        // Each change of the room or of paths is an event.
        if let Ok(None) = timeout_at(until, events.next()).await {
            let remedy = "see whether another agent has joined with this one's identity";
            report.wrong(Check::Room, agent.room(), "this agent was put out", remedy);
            return None;
        }
    }
}

fn are_reached(agent: &Agent, pair: [PeerId; 2]) -> bool {
    let peers = agent.peers().unwrap_or_default();
    let reached = |id: PeerId| {
        let peer = peers.iter().find(|peer| peer.id == id);
        peer.is_none_or(|peer| peer.hops.is_some()) // No others are known of other shards.
    };
    pair.into_iter().all(reached)
}

fn distinct(pair: [PeerId; 2], report: &mut Report) -> Option<[PeerId; 2]> {
    if pair[0] == pair[1] {
        let remedy = "name two members: by name, id, or the beginning of an id";
        let about = pair[0].to_string();
        report.wrong(Check::Member, &about, "both are this one member", remedy);
        return None;
    }
    Some(pair)
}

/// Both members, or what is wrong with the words for one or both.
fn look_for<'a>(
    agent: &Agent,
    members: &'a [String; 2],
) -> Result<[PeerId; 2], Vec<(&'a str, Unfound)>> {
    let closed = |_: MeshError| Vec::new();
    let peers = agent.peers().map_err(closed)?;
    let divided = agent.shards().map_err(closed)?.count() > 1;
    let mut found = Vec::new();
    let mut unfound = Vec::new();
    for wanted in members {
        match find(wanted, &peers, divided) {
            Ok(peer) => found.push(peer),
            Err(why) => unfound.push((wanted.as_str(), why)),
        }
    }
    match found[..] {
        [one, other] => Ok([one, other]),
        _ => Err(unfound),
    }
}

/// The member that is meant. Of a divided room not all members are known.
fn find(wanted: &str, peers: &[PeerView], divided: bool) -> Result<PeerId, Unfound> {
    let by_id = wanted.to_lowercase().parse::<PeerId>();
    if let Ok(peer) = by_id
        && (divided || peers.iter().any(|known| known.id == peer))
    {
        return Ok(peer);
    }
    let named = peers.iter().filter(|peer| peer.name == wanted);
    let mut meant: Vec<&PeerView> = named.collect();
    if meant.is_empty() && wanted.len() >= PREFIX_MIN {
        let begins = |peer: &&PeerView| peer.id.to_string().starts_with(&wanted.to_lowercase());
        meant = peers.iter().filter(begins).collect();
    }
    match choose(&meant) {
        Meant::One(peer) => Ok(peer),
        Meant::Several(several) => Err(Unfound {
            found: format!("{} members are called so: {several}", meant.len()),
            remedy: "give more of the id, or all of it".to_owned(),
            is_final: true,
        }),
        Meant::None => Err(unknown(wanted, peers, divided)),
    }
}

enum Meant {
    None,
    One(PeerId),
    Several(String),
}

fn choose(meant: &[&PeerView]) -> Meant {
    match meant {
        [] => Meant::None,
        [peer] => Meant::One(peer.id),
        several => {
            let several = several.iter().take(NAMED_MAX);
            let several: Vec<_> = several
                .map(|peer| format!("{} ({})", peer.name, peer.id))
                .collect();
            Meant::Several(several.join(", "))
        }
    }
}

fn unknown(wanted: &str, peers: &[PeerView], divided: bool) -> Unfound {
    let likeness = |peer: &PeerView| {
        let (wanted, name) = (wanted.to_lowercase(), peer.name.to_lowercase());
        strsim::jaro_winkler(&wanted, &name)
    };
    let alike = peers.iter().map(|peer| (likeness(peer), &peer.name));
    let alike = alike.max_by(|(a, _), (b, _)| a.total_cmp(b));
    let others = peers.iter().map(|peer| peer.name.as_str());
    let remedy = match alike.filter(|(likeness, _)| *likeness >= ALIKE) {
        Some((_, name)) => format!("did you mean {name:?}?"),
        None if divided => {
            "members of other shards of this large room are known by their whole id alone".into()
        }
        None if peers.is_empty() => {
            "no other member is here: see whether it is the right room".into()
        }
        None => {
            let some: Vec<_> = others.take(NAMED_MAX).collect();
            let more = match peers.len().saturating_sub(NAMED_MAX) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            format!(
                "see whether it has joined; there are {}{more}",
                some.join(", ")
            )
        }
    };
    Unfound {
        found: "no member is called so, or has an id that begins so".to_owned(),
        remedy,
        is_final: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8, name: &str) -> PeerView {
        PeerView {
            id: PeerId::from_bytes([n; 32]),
            name: name.to_owned(),
            direct: false,
            hops: None,
            next_hop: None,
            rtt_ms: None,
            loss: None,
            path: None,
            bytes_in: None,
            bytes_out: None,
            in_hub: true,
        }
    }

    fn room() -> Vec<PeerView> {
        let names = ["anna", "bert", "bert", "0303"];
        (1..).zip(names).map(|(n, name)| member(n, name)).collect()
    }

    #[test]
    fn a_member_is_found_by_name_id_or_the_beginning_of_its_id() {
        let room = room();
        let found = |wanted: &str| find(wanted, &room, false).ok().map(|id| id.as_bytes()[0]);
        assert_eq!(found("anna"), Some(1));
        assert_eq!(found("0202"), Some(2));
        assert_eq!(found("0303"), Some(4), "a name before an id");
        assert_eq!(found("030303"), Some(3));
        assert_eq!(found(&"02".repeat(32)), Some(2));
        assert_eq!(found("020"), None, "too short");
        assert_eq!(found("bert"), None);
        let stranger = "0F".repeat(32);
        assert_eq!(found(&stranger), None);
        assert!(find(&stranger, &room, true).is_ok(), "of another shard");
    }

    #[test]
    fn what_is_not_found_is_told_with_what_may_be_meant() {
        let room = room();
        let why = |wanted: &str| find(wanted, &room, false).expect_err("not found");
        let ambiguous = why("bert");
        assert!(ambiguous.is_final && ambiguous.found.starts_with("2 members"));
        assert!(ambiguous.found.contains(&"03".repeat(32)));
        assert_eq!(why("Ana").remedy, "did you mean \"anna\"?");
        assert!(why("zoe").remedy.contains("anna, bert, bert, 0303"));
        let alone = find("anna", &[], false).expect_err("not found");
        assert!(alone.remedy.contains("the right room") && !alone.is_final);
    }
}
