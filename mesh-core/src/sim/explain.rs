//! Members that are asked over the mesh why they are not linked.

use std::time::Duration;

use super::{World, WorldConfig};
use crate::doctor::{Check, Finding, Outcome};
use crate::error::{LossReason, MeshError, SendError};
use crate::id::{MessageId, PeerId};
use crate::io::Event;
use crate::link_report::{LinkCondition, LinkReport, LinkStep};

const SECOND: Duration = Duration::from_secs(1);

fn id(world: &World, agent: usize) -> PeerId {
    world.agents()[agent].id()
}

fn ask(world: &mut World, asker: usize, of: usize, about: usize) -> Result<MessageId, SendError> {
    let (of, about) = (id(world, of), id(world, about));
    world.command(asker, |mesh, now| {
        mesh.explain_link(of, about, Some(SECOND * 5), now)
    })
}

/// What became of a question.
fn outcome(
    world: &World,
    asker: usize,
    question: MessageId,
) -> Option<Result<LinkReport, LossReason>> {
    let mut events = world.agents()[asker].events().iter();
    events.find_map(|event| match event {
        Event::LinkExplained { id, report, .. } if *id == question => Some(Ok((**report).clone())),
        Event::DeliveryFailed { id, reason, .. } if *id == question => Some(Err(*reason)),
        _ => None,
    })
}

/// How one agent sees its link to another, as it tells a third.
fn asked(
    world: &mut World,
    asker: usize,
    of: usize,
    about: usize,
) -> Result<LinkReport, LossReason> {
    let question = ask(world, asker, of, about).expect("it may be asked");
    let answered = |world: &World| outcome(world, asker, question).is_some();
    assert!(world.run_until(SECOND * 6, answered), "an outcome");
    outcome(world, asker, question).expect("there is one")
}

/// What an agent finds out about two others.
fn diagnosed(world: &mut World, asker: usize, pair: [usize; 2]) -> Vec<Finding> {
    let ends = [(pair[0], pair[1]), (pair[1], pair[0])].map(|(of, about)| {
        let report = asked(world, asker, of, about).map_err(MeshError::from);
        (id(world, of), report)
    });
    world.agents()[asker].mesh().diagnose_pair(ends)
}

/// Agents of which the first two cannot link.
fn divided_pair(seed: u64, agents: usize) -> World {
    let mut world = World::new(WorldConfig::new(seed));
    world.start_agents(agents);
    world.block_direct(0, 1, true);
    let failed_often = |world: &World| {
        [(0, 1), (1, 0)].iter().all(|&(one, other)| {
            let report = world.agents()[one].mesh().link_report(id(world, other));
            report.failed.is_some_and(|failed| failed.left_out)
        })
    };
    assert!(world.run_until(SECOND * 120, failed_often), "seed {seed}");
    world
}

#[test]
fn both_ends_of_a_pair_that_cannot_link_tell_a_third_why() {
    for seed in 0..8 {
        let mut world = divided_pair(seed, 3);
        for (of, about) in [(0, 1), (1, 0)] {
            let report = asked(&mut world, 2, of, about).expect("it answers");
            assert_eq!(
                (report.hops, report.next_hop),
                (Some(2), Some(id(&world, 2)))
            );
            assert!(!is_linked(&report), "seed {seed}: {report:?}");
            let failed = report.failed.expect("attempts have failed");
            assert_eq!(failed.at, LinkStep::Path, "seed {seed}: {failed:?}");
            assert!(failed.count >= 3 && !failed.relays, "{failed:?}");
            assert!(!failed.reason.is_empty());
        }
        let findings = diagnosed(&mut world, 2, [0, 1]);
        let ends = findings.iter().filter(|it| it.check == Check::PairEnd);
        for end in ends {
            assert_eq!(end.outcome, Outcome::Wrong, "seed {seed}: {end}");
            assert!(end.found.contains("no TURN server is known"), "{end}");
        }
        assert!(findings[0].found.contains("2 hops, through agent-002"));
        for agent in world.agents() {
            let rejected = agent.mesh().stats().rejected;
            assert!(rejected.is_empty(), "{rejected:?}");
        }
    }
}

fn is_linked(report: &LinkReport) -> bool {
    matches!(report.condition, LinkCondition::Linked { .. })
}

#[test]
fn a_pair_that_is_linked_says_so_and_one_that_need_not_be_too() {
    let mut world = World::formed(3, Some(2), 8);
    world.run_for(SECOND * 15);
    let linked = |world: &World, one: usize, other: usize| {
        let mut peers = world.agents()[one].mesh().open_peers();
        peers.any(|peer| peer == id(world, other))
    };
    let others: Vec<usize> = (1..8).collect();
    let near = others.iter().copied().find(|&it| linked(&world, 0, it));
    let far = others.iter().copied().find(|&it| !linked(&world, 0, it));
    let (near, far) = (near.expect("a neighbour"), far.expect("not all"));
    for asker in [0, near, far] {
        let findings = diagnosed(&mut world, asker, [0, near]);
        assert!(
            findings.iter().all(|it| it.outcome == Outcome::Ok),
            "{findings:?}"
        );
        assert!(findings[0].found.starts_with("linked"), "{findings:?}");
        let findings = diagnosed(&mut world, asker, [0, far]);
        assert!(
            findings.iter().all(|it| it.outcome == Outcome::Ok),
            "{findings:?}"
        );
        assert!(findings[0].found.contains("need not be"), "{findings:?}");
    }
}

#[test]
fn a_question_is_asked_again_until_its_answer_comes() {
    let mut world = World::formed(3, None, 2);
    world.block(0, 1);
    let question = ask(&mut world, 0, 1, 0).expect("it may be asked");
    world.run_for(SECOND * 2);
    assert_eq!(outcome(&world, 0, question), None);
    world.unblock_all();
    world.run_for(SECOND);
    let report = outcome(&world, 0, question)
        .expect("an outcome")
        .expect("an answer");
    assert!(is_linked(&report), "{report:?}");
    let rejected = &world.agents()[1].mesh().stats().rejected;
    assert!(rejected.is_empty(), "{rejected:?}");
}

#[test]
fn a_member_that_gives_no_answer_costs_the_deadline_and_no_more() {
    let mut world = World::formed(3, None, 3);
    world.freeze(1);
    assert_eq!(asked(&mut world, 0, 1, 2), Err(LossReason::Deadline));
    let question = ask(&mut world, 0, 1, 2).expect("it may be asked");
    world.leave(0);
    assert_eq!(outcome(&world, 0, question), Some(Err(LossReason::Left)));
}

#[test]
fn whatever_cannot_be_asked_is_refused_at_once() {
    let mut world = World::formed(3, None, 3);
    assert_eq!(ask(&mut world, 0, 1, 1), Err(SendError::ToSelf));
    let (stranger, other) = (PeerId::from_bytes([9; 32]), id(&world, 1));
    let limit = world.agents()[0].mesh().config().deadline_max;
    let ask = |world: &mut World, of, about, deadline| {
        world.command(0, |mesh, now| mesh.explain_link(of, about, deadline, now))
    };
    let refused = ask(&mut world, stranger, other, None);
    assert_eq!(refused, Err(SendError::UnknownPeer(stranger)));
    let refused = ask(&mut world, other, stranger, Some(limit + SECOND));
    assert_eq!(refused, Err(SendError::Deadline(limit)));
    world.freeze(1);
    let asked: Vec<_> = (0..100)
        .map(|_| ask(&mut world, other, stranger, None))
        .collect();
    let taken = asked.iter().filter(|asked| asked.is_ok()).count();
    assert_eq!(
        asked[taken..],
        vec![Err(SendError::TooManyPending(taken)); 100 - taken]
    );
    world.thaw(1);
    world.run_for(SECOND * 5);
    let unknown = outcome(&world, 0, asked[0].expect("taken"));
    let unknown = unknown.map(|report| report.map(|report| report.condition));
    assert_eq!(unknown, Some(Ok(LinkCondition::Unknown)));
}

#[test]
fn an_agent_answers_some_questions_a_second_and_goes_on() {
    let mut world = World::formed(3, None, 3);
    let mut questions = Vec::new();
    for _ in 0..60 {
        questions.push(ask(&mut world, 0, 1, 2).expect("it may be asked"));
    }
    world.run_for(Duration::from_millis(500));
    let answered = |world: &World| {
        let answered = questions
            .iter()
            .filter_map(|question| outcome(world, 0, *question));
        answered.filter(Result::is_ok).count()
    };
    let at_once = answered(&world);
    assert!((20..=25).contains(&at_once), "{at_once} at once");
    world.run_for(SECOND * 10);
    assert_eq!(
        answered(&world),
        60,
        "the others when they were asked again"
    );
}

#[test]
fn a_link_that_one_end_alone_has_is_found() {
    let mut world = World::formed(3, None, 3);
    world.run_for(SECOND * 15);
    world.half_open(0, 1);
    let findings = diagnosed(&mut world, 2, [0, 1]);
    assert_eq!(findings[0].outcome, Outcome::Wrong, "{findings:?}");
    assert!(findings[0].found.contains("does not"), "{findings:?}");
}
