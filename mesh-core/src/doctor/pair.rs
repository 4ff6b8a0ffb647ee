//! Why two members are not linked, from what both ends say of the link.

use super::{Check, Finding};
use crate::error::{LossReason, MeshError};
use crate::ice::LinkPath;
use crate::id::PeerId;
use crate::link_report::{FailedAttempts, LinkCondition, LinkReport, LinkStep};
use crate::name::shown;

/// Age in milliseconds up to which a link that only one end has is new, or about to end: an end
/// opens a round trip before the other, and an end that hears nothing gives a link up within some
/// pings.
const SETTLING_MS: u32 = 10_000;

/// What there is to do about something that changes by itself.
const ASK_AGAIN: &str = "ask again in ten seconds";

/// One of two members, as the agent that asks both sees it.
#[derive(Clone, Debug)]
pub struct PairEnd {
    /// The member.
    pub id: PeerId,
    /// Its label.
    pub name: String,
    /// Hops from the agent that asks; 0 for that agent itself, none without a route.
    pub hops: Option<u8>,
    /// What it says of its link to the other.
    pub report: Result<LinkReport, MeshError>,
}

/// One end of the link that is looked at, and the name of the other.
struct End {
    about: String,
    name: String,
    other: String,
}

/// What there is to say of two members and their link: first of both together, if both have told,
/// then of each. `name_of` names other members.
pub fn diagnose_pair(ends: &[PairEnd; 2], name_of: impl Fn(PeerId) -> String) -> Vec<Finding> {
    let [one, other] = ends;
    let same = one.name == other.name;
    let full = |end: &PairEnd| format!("{} ({})", shown(&end.name), end.id.short());
    let names = [one, other].map(|end| match same {
        true => full(end),
        false => shown(&end.name),
    });
    let mut findings = Vec::new();
    if let (Ok(one_says), Ok(other_says)) = (&one.report, &other.report) {
        let (about, says) = (names.join(" - "), [one_says, other_says]);
        let way = says
            .into_iter()
            .find_map(|report| Way::of(report, &name_of));
        findings.push(of_both(&about, says, &names, way.as_ref()));
        findings.extend(differing_k(&about, says, &names));
    }
    let [one_name, other_name] = names;
    let ends = [
        (one, &one_name, &other_name),
        (other, &other_name, &one_name),
    ];
    findings.extend(ends.map(|(end, name, other)| {
        let seen = End {
            about: full(end),
            name: name.clone(),
            other: other.clone(),
        };
        match &end.report {
            Ok(report) => seen.of_report(report),
            Err(error) => seen.without_report(*error, end.hops),
        }
    }));
    findings
}

/// How messages get from one to the other without a link.
struct Way {
    hops: u8,
    via: Option<String>,
}

impl Way {
    fn of(report: &LinkReport, name_of: impl Fn(PeerId) -> String) -> Option<Self> {
        Some(Self {
            hops: report.hops?,
            via: report.next_hop.map(|peer| shown(&name_of(peer))),
        })
    }

    fn said(&self) -> String {
        let via = self.via.as_ref();
        let via = via.map_or(String::new(), |via| format!(", through {via}"));
        format!("messages take {} hops{via}", self.hops)
    }
}

fn is_linked(report: &LinkReport) -> bool {
    matches!(report.condition, LinkCondition::Linked { .. })
}

fn is_changing(report: &LinkReport) -> bool {
    match report.condition {
        LinkCondition::Opening { .. } | LinkCondition::Closing => true,
        LinkCondition::Linked { for_ms, .. } => for_ms < SETTLING_MS,
        _ => false,
    }
}

fn has_failed(report: &LinkReport) -> bool {
    let failed = report.failed.as_ref();
    failed.is_some_and(|failed| failed.count > 0 || failed.left_out)
}

/// Whether an end has tried in vain, or would try.
fn is_missed(report: &LinkReport) -> bool {
    report.wanted || has_failed(report)
}

/// The finding about both.
fn of_both(about: &str, says: [&LinkReport; 2], names: &[String; 2], way: Option<&Way>) -> Finding {
    let check = Check::Pair;
    let [one, other] = says;
    match (is_linked(one), is_linked(other)) {
        (true, true) => return Finding::ok(check, about, "linked: both ends say so"),
        // What has failed before is likely to fail again.
        (false, false) if has_failed(one) || has_failed(other) => {}
        (false, false) if is_changing(one) || is_changing(other) => {
            let found = "not linked at this moment: the link is being opened or closed";
            return Finding::note(check, about, found, Some(ASK_AGAIN));
        }
        (false, false) => {}
        _ if is_changing(one) || is_changing(other) => {
            let found = "one end has the link already, or still, and the other has not";
            return Finding::note(check, about, found, Some(ASK_AGAIN));
        }
        (has, _) => {
            let [has, has_not] = match has {
                true => [&names[0], &names[1]],
                false => [&names[1], &names[0]],
            };
            return Finding::wrong(
                check,
                about,
                &format!("{has} has the link, and {has_not} does not: packets may go one way only"),
                &format!(
                    "ask again in a minute, {has} gives up a link that is dead; if it stays so, \
                     look for a firewall between them that lets packets through one way, and \
                     restart {has}"
                ),
            );
        }
    }
    let Some(way) = way else {
        return Finding::wrong(
            check,
            about,
            "not linked, and no path of links leads from one to the other",
            "see what their own findings say, and run `mesh doctor` on both hosts",
        );
    };
    let way = way.said();
    if is_missed(one) || is_missed(other) {
        return Finding::note(check, about, &format!("not linked; {way}"), None);
    }
    let found = match one.remote || other.remote {
        false => format!("not linked, and need not be, for each keeps some links only: {way}"),
        true => format!("not linked, for they are of two shards of a large room: {way}"),
    };
    Finding::ok(check, about, &found)
}

fn differing_k(about: &str, says: [&LinkReport; 2], names: &[String; 2]) -> Option<Finding> {
    let [one, other] = says.map(|report| report.k);
    (one != other).then(|| {
        let found = format!("{} keeps {one} links and {} {other}", names[0], names[1]);
        let remedy = "set k alike for all agents of a room (--k), unless they are to adapt it";
        Finding::note(Check::Pair, about, &found, Some(remedy))
    })
}

impl End {
    fn ok(&self, found: &str) -> Finding {
        Finding::ok(Check::PairEnd, &self.about, found)
    }

    fn note(&self, found: &str, remedy: Option<&str>) -> Finding {
        Finding::note(Check::PairEnd, &self.about, found, remedy)
    }

    fn wrong(&self, found: &str, remedy: &str) -> Finding {
        Finding::wrong(Check::PairEnd, &self.about, found, remedy)
    }

    /// The finding about an end that has not told.
    fn without_report(&self, error: MeshError, hops: Option<u8>) -> Finding {
        let name = &self.name;
        match error {
            MeshError::NoReply(LossReason::Deadline) if hops.is_none() => self.wrong(
                "gives no answer: no path of links leads to it",
                &format!(
                    "see whether {name} runs, and why it has no links: `mesh doctor` on its host"
                ),
            ),
            MeshError::NoReply(LossReason::Deadline) => self.wrong(
                "gives no answer, though a path leads to it",
                &format!(
                    "see whether {name} runs and is not stuck; one of an older version than this \
                     does not know the question: update it"
                ),
            ),
            error => self.wrong(
                &format!("cannot be asked: {error}"),
                "see whether this agent and that one are still in the room",
            ),
        }
    }

    fn of_report(&self, report: &LinkReport) -> Finding {
        let other = &self.other;
        let failed = report.failed.as_ref();
        match report.condition {
            LinkCondition::Linked {
                for_ms,
                rtt_us,
                path,
            } => self.linked(for_ms, rtt_us, path),
            LinkCondition::Silent { for_ms } => self.wrong(
                &format!(
                    "has heard nothing of {other} for {}, and waits for a sign of life",
                    spoken(for_ms)
                ),
                &format!("see whether {other} runs and has a network: `mesh doctor` on its host"),
            ),
            LinkCondition::Closing => self.note("is closing the link: it is not needed", None),
            LinkCondition::Unknown => self.wrong(
                &format!("knows no member {other}"),
                "see whether both are in one room, at hubs that share a directory; a newcomer is \
                 known after some seconds",
            ),
            LinkCondition::Absent => match failed.filter(|_| has_failed(report)) {
                Some(failed) => self.failing(report, failed),
                None => self.without_link(report),
            },
            LinkCondition::Opening { .. } => match failed.filter(|failed| failed.count > 0) {
                Some(failed) => self.failing(report, failed),
                None => self.opening(report.condition),
            },
        }
    }

    fn linked(&self, for_ms: u32, rtt_us: Option<u32>, path: Option<LinkPath>) -> Finding {
        let mut found = format!("linked with {} for {}", self.other, spoken(for_ms));
        if let Some(path) = path {
            found += match path.relayed {
                true => ", over a TURN server",
                false => ", directly",
            };
            let (local, remote) = (path.local.as_str(), path.remote.as_str());
            found += &format!(" ({local} to {remote})");
        }
        if let Some(rtt_us) = rtt_us {
            found += &format!(", round trip {:.1} ms", f64::from(rtt_us) / 1e3);
        }
        match path.is_some_and(|path| path.relayed) {
            true => self.note(
                &found,
                Some("docs/nat.md tells which networks need a relay"),
            ),
            false => self.ok(&found),
        }
    }

    fn opening(&self, condition: LinkCondition) -> Finding {
        let LinkCondition::Opening {
            for_ms,
            offers,
            via_hub,
            awaits,
        } = condition
        else {
            return self.note("is opening the link", Some(ASK_AGAIN));
        };
        let by = if offers { "its own" } else { "the other's" };
        let way = if via_hub { "the hub" } else { "the mesh" };
        let found = format!(
            "has been opening the link for {} by {by} offer, through {way}, and waits for {}",
            spoken(for_ms),
            awaited(awaits)
        );
        self.note(&found, Some(ASK_AGAIN))
    }

    fn without_link(&self, report: &LinkReport) -> Finding {
        let (k, links) = (report.k, report.links);
        if report.wanted {
            return self.note("wants the link, and has not tried yet", Some(ASK_AGAIN));
        }
        if report.remote {
            return self.ok("is of another shard: a few links lead from one to the other");
        }
        self.ok(&format!(
            "does not want this link: it has {links} links, and keeps {k}"
        ))
    }

    /// The finding about an end that has tried in vain.
    fn failing(&self, report: &LinkReport, failed: &FailedAttempts) -> Finding {
        let (what, remedy) = self.cause(report, failed);
        let count = match failed.count {
            0 | 1 => "its attempt to link has failed".to_owned(),
            count => format!("{count} attempts to link have failed in a row, the last"),
        };
        let next = match failed.left_out {
            true => "does without until it tries again",
            false => "tries again",
        };
        let found = format!(
            "{count} {} ago: {what} ({}); {next} in {}",
            spoken(failed.ago_ms),
            shown(&failed.reason),
            spoken(failed.retry_in_ms)
        );
        let has_enough = report.links >= report.k;
        match failed.at {
            LinkStep::Offer if failed.count <= 1 => self.note(
                &format!("waits for the offer of {}", self.other),
                Some(ASK_AGAIN),
            ),
            LinkStep::Room if has_enough => self.note(&found, Some(&remedy)),
            LinkStep::Life if !report.wanted => self.note(&found, Some(&remedy)),
            _ => self.wrong(&found, &remedy),
        }
    }

    /// What an attempt lacked, and what to do about it.
    fn cause(&self, report: &LinkReport, failed: &FailedAttempts) -> (String, String) {
        let other = &self.other;
        let both = "run `mesh doctor` on both hosts";
        match failed.at {
            LinkStep::Offer => (
                format!("{other} has offered no link"),
                format!("see what {other} says; if that is nothing, whether it is busy or stuck"),
            ),
            LinkStep::Answer => (
                format!("{other} has not answered its offer"),
                format!(
                    "see whether {other} runs and is not too busy, and whether it has a hub: \
                     `mesh doctor` on its host"
                ),
            ),
            LinkStep::Path if failed.relays => (
                "ICE has found no path, over TURN servers neither".to_owned(),
                format!("{both}: it tells whether the TURN servers work from there"),
            ),
            LinkStep::Path if report.knows_relays => (
                "ICE has found no direct path, and ended before relays were tried".to_owned(),
                format!("{both}: it tells whether the TURN servers work from there"),
            ),
            LinkStep::Path => (
                "ICE has found no path, and no TURN server is known".to_owned(),
                format!(
                    "have the hub hand out a TURN server (mesh signal --ice-server, docs/nat.md), \
                     or let UDP through between the hosts; {both} to learn of their NATs"
                ),
            ),
            LinkStep::Channels => (
                "a path was found, but no link opened over it".to_owned(),
                "look for a firewall or a VPN between them that drops large UDP packets, and \
                 whether the hosts are overloaded"
                    .to_owned(),
            ),
            LinkStep::Room => (
                format!("{other} has as many links as it takes"),
                format!("set k alike for all agents of the room, or raise it at {other} (--k)"),
            ),
            LinkStep::Life => (
                "the link was lost".to_owned(),
                format!("see whether the network between them was away, and {both}"),
            ),
        }
    }
}

/// What an attempt waits for.
fn awaited(step: LinkStep) -> &'static str {
    match step {
        LinkStep::Offer => "an offer",
        LinkStep::Answer => "the answer",
        LinkStep::Path => "ICE to find a path",
        LinkStep::Channels => "the data channels",
        LinkStep::Room => "room at the other end",
        LinkStep::Life => "a sign of life",
    }
}

/// A time, as people say it.
fn spoken(ms: u32) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
