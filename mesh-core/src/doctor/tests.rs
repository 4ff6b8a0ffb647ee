//! What both ends say, and what is made of it.

use super::*;
use crate::error::{LossReason, MeshError};
use crate::ice::{CandidateType, LinkPath};
use crate::id::PeerId;
use crate::link_report::{FailedAttempts, LinkCondition, LinkReport, LinkStep};

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

/// An end that wants no link, and reaches the other over carol.
fn apart() -> LinkReport {
    LinkReport {
        condition: LinkCondition::Absent,
        wanted: false,
        remote: false,
        k: 4,
        links: 4,
        links_max: 8,
        knows_relays: false,
        hops: Some(2),
        next_hop: Some(peer(3)),
        failed: None,
    }
}

fn linked(relayed: bool, for_ms: u32) -> LinkReport {
    let local = match relayed {
        true => CandidateType::Relay,
        false => CandidateType::Host,
    };
    LinkReport {
        condition: LinkCondition::Linked {
            for_ms,
            rtt_us: Some(850),
            path: Some(LinkPath::new(local, CandidateType::Srflx)),
        },
        wanted: true,
        hops: Some(1),
        next_hop: None,
        ..apart()
    }
}

/// An end whose attempts have failed at a step.
fn failing(at: LinkStep) -> LinkReport {
    LinkReport {
        wanted: true,
        links: 3,
        failed: Some(FailedAttempts {
            count: 3,
            at,
            relays: false,
            reason: "as the backend says".to_owned(),
            ago_ms: 1_500,
            retry_in_ms: 28_000,
            left_out: true,
        }),
        ..apart()
    }
}

fn end(n: u8, name: &str, report: Result<LinkReport, MeshError>) -> PairEnd {
    PairEnd {
        id: peer(n),
        name: name.to_owned(),
        hops: Some(1),
        report,
    }
}

fn diagnosed(one: LinkReport, other: LinkReport) -> Vec<Finding> {
    let ends = [end(1, "anna", Ok(one)), end(2, "bert", Ok(other))];
    diagnose_pair(&ends, |_| "carol".to_owned())
}

fn outcomes(findings: &[Finding]) -> Vec<Outcome> {
    findings.iter().map(|finding| finding.outcome).collect()
}

/// The finding about anna has these words, and those in its remedy.
#[track_caller]
fn assert_anna(findings: &[Finding], outcome: Outcome, words: &str, remedy: &str) {
    let mut ends = findings.iter().filter(|it| it.check == Check::PairEnd);
    let anna = ends.find(|it| it.about == "anna (01010101)");
    let anna = anna.expect("a finding about anna");
    assert_eq!(anna.outcome, outcome, "{anna}");
    assert!(anna.found.contains(words), "{anna}");
    let said = anna.remedy.as_deref().unwrap_or_default();
    assert!(said.contains(remedy), "{anna}");
}

#[test]
fn a_link_that_both_ends_have_is_well_and_a_relayed_one_is_worth_knowing() {
    let direct = diagnosed(linked(false, 60_000), linked(false, 60_000));
    assert_eq!(outcomes(&direct), [Outcome::Ok; 3]);
    let words = "for 60 s, directly (host to srflx), round trip 0.8 ms";
    assert_anna(&direct, Outcome::Ok, words, "");
    let relayed = diagnosed(linked(true, 60_000), linked(false, 60_000));
    assert_anna(&relayed, Outcome::Note, "over a TURN server", "docs/nat.md");
}

#[test]
fn two_that_reach_each_other_through_others_need_no_link() {
    let findings = diagnosed(apart(), apart());
    assert_eq!(outcomes(&findings), [Outcome::Ok; 3]);
    let found = &findings[0].found;
    assert!(found.contains("messages take 2 hops, through carol"));
    assert_anna(&findings, Outcome::Ok, "has 4 links, and keeps 4", "");
}

#[test]
fn two_that_no_path_joins_are_wrong_whatever_they_want() {
    let alone = || LinkReport {
        hops: None,
        next_hop: None,
        ..apart()
    };
    let findings = diagnosed(alone(), alone());
    assert_eq!(findings[0].outcome, Outcome::Wrong);
    assert!(findings[0].found.contains("no path of links leads"));
    let one_way = diagnosed(alone(), apart());
    assert_eq!(one_way[0].outcome, Outcome::Ok, "a path is enough");
}

#[test]
fn each_step_that_attempts_fail_at_has_words_and_a_remedy_of_its_own() {
    let steps = [
        (
            LinkStep::Offer,
            "bert has offered no link",
            "what bert says",
        ),
        (LinkStep::Answer, "bert has not answered", "bert runs"),
        (
            LinkStep::Path,
            "no TURN server is known",
            "mesh signal --ice-server",
        ),
        (
            LinkStep::Channels,
            "no link opened over it",
            "large UDP packets",
        ),
        (LinkStep::Room, "as many links as it takes", "set k alike"),
        (LinkStep::Life, "the link was lost", "both hosts"),
    ];
    for (step, words, remedy) in steps {
        let findings = diagnosed(failing(step), apart());
        assert_anna(&findings, Outcome::Wrong, words, remedy);
        let words = "3 attempts to link have failed in a row, the last 1 s ago";
        assert_anna(&findings, Outcome::Wrong, words, remedy);
        let words = "(as the backend says); does without until it tries again in 28 s";
        assert_anna(&findings, Outcome::Wrong, words, remedy);
        assert_eq!(findings[0].outcome, Outcome::Note, "{}", findings[0]);
        assert!(findings[0].found.contains("2 hops, through carol"));
    }
}

#[test]
fn relays_that_are_known_or_were_tried_are_told() {
    let mut report = failing(LinkStep::Path);
    report.knows_relays = true;
    let findings = diagnosed(report.clone(), apart());
    assert_anna(
        &findings,
        Outcome::Wrong,
        "before relays were tried",
        "TURN servers work",
    );
    report.failed.as_mut().expect("some").relays = true;
    let findings = diagnosed(report, apart());
    assert_anna(
        &findings,
        Outcome::Wrong,
        "over TURN servers neither",
        "TURN servers work",
    );
}

#[test]
fn an_end_that_has_enough_links_does_not_miss_the_one_that_was_declined_or_lost() {
    for step in [LinkStep::Room, LinkStep::Life] {
        let report = LinkReport {
            wanted: false,
            links: 4,
            ..failing(step)
        };
        assert_anna(&diagnosed(report, apart()), Outcome::Note, "", "");
    }
}

#[test]
fn a_link_that_one_end_alone_has_is_named_unless_it_is_new() {
    let findings = diagnosed(linked(false, 60_000), apart());
    assert_eq!(findings[0].outcome, Outcome::Wrong);
    assert!(
        findings[0]
            .found
            .contains("anna has the link, and bert does not")
    );
    let findings = diagnosed(apart(), linked(false, 60_000));
    assert!(
        findings[0]
            .found
            .contains("bert has the link, and anna does not")
    );
    let silent = LinkReport {
        condition: LinkCondition::Silent { for_ms: 7_000 },
        ..apart()
    };
    let findings = diagnosed(silent, linked(false, 60_000));
    assert_eq!(findings[0].outcome, Outcome::Wrong);
    assert_anna(
        &findings,
        Outcome::Wrong,
        "heard nothing of bert for 7 s",
        "bert runs",
    );
    let findings = diagnosed(linked(false, 400), apart());
    assert_eq!(findings[0].outcome, Outcome::Note, "it may be opening");
}

#[test]
fn a_link_that_is_being_opened_is_to_be_asked_for_again() {
    let opening = |failed| LinkReport {
        condition: LinkCondition::Opening {
            for_ms: 900,
            offers: true,
            via_hub: true,
            awaits: LinkStep::Answer,
        },
        failed,
        ..apart()
    };
    let findings = diagnosed(opening(None), apart());
    assert_eq!(findings[0].outcome, Outcome::Note);
    let words = "for 900 ms by its own offer, through the hub, and waits for the answer";
    assert_anna(&findings, Outcome::Note, words, "ask again");
    let before = failing(LinkStep::Path).failed;
    let findings = diagnosed(opening(before), apart());
    assert_anna(&findings, Outcome::Wrong, "ICE has found no path", "TURN");
    let wants = LinkReport {
        wanted: true,
        ..apart()
    };
    assert_anna(
        &diagnosed(wants, apart()),
        Outcome::Note,
        "wants the link",
        "ask again",
    );
}

#[test]
fn an_end_without_an_answer_is_told_by_whether_a_path_leads_to_it() {
    let silent = |hops| {
        let error = MeshError::NoReply(LossReason::Deadline);
        let anna = PairEnd {
            hops,
            ..end(1, "anna", Err(error))
        };
        diagnose_pair(&[anna, end(2, "bert", Ok(apart()))], |_| String::new())
    };
    let findings = silent(None);
    assert_eq!(findings.len(), 2, "one end alone says nothing of both");
    assert_anna(
        &findings,
        Outcome::Wrong,
        "no path of links leads to it",
        "on its host",
    );
    assert_anna(
        &silent(Some(2)),
        Outcome::Wrong,
        "though a path leads",
        "older version",
    );
}

#[test]
fn ends_that_differ_in_k_that_do_not_know_each_other_or_have_one_name_are_told_apart() {
    let fewer = LinkReport { k: 2, ..apart() };
    let findings = diagnosed(apart(), fewer);
    assert_eq!(findings[1].found, "anna keeps 4 links and bert 2");
    let strange = LinkReport {
        condition: LinkCondition::Unknown,
        ..apart()
    };
    assert_anna(
        &diagnosed(strange, apart()),
        Outcome::Wrong,
        "knows no member bert",
        "one room",
    );
    let far = LinkReport {
        remote: true,
        ..apart()
    };
    let findings = diagnosed(far.clone(), far);
    assert!(findings[0].found.contains("two shards"), "{}", findings[0]);
    let twins = [end(1, "eve", Ok(apart())), end(2, "eve", Ok(apart()))];
    let findings = diagnose_pair(&twins, |_| String::new());
    assert_eq!(findings[0].about, "eve (01010101) - eve (02020202)");
}

#[test]
fn words_of_other_agents_cannot_move_the_cursor() {
    let mut report = failing(LinkStep::Path);
    report.failed.as_mut().expect("some").reason = "\u{1b}[2Jgone\n".to_owned();
    let text = diagnosed(report, apart())[1].to_string();
    assert!(
        !text.contains('\u{1b}') && text.lines().count() == 2,
        "{text}"
    );
}
