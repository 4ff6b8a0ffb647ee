//! Agents that are closed, dropped, replaced, or send before they have a link.

mod hubs;

use std::net::{Ipv4Addr, SocketAddr};

use mesh_core::{Event, HubConfig};

use super::*;
use crate::hub::HubServer;

/// Only a failure takes so long, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A hub of this process, and the URL of its signaling.
fn hub() -> String {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let hub = HubServer::bind(any, HubConfig::default()).expect("binds");
    let url = format!("ws://{}/signal", hub.local_addr().expect("bound"));
    tokio::spawn(hub.serve(std::future::pending()));
    url
}

async fn join(url: &str, name: &str) -> (Agent, Events) {
    let joined = Agent::join_with_events(JoinOptions::new(url, "room", name)).await;
    joined.expect("joins")
}

/// The first event that is wanted.
async fn event(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    let mut others = Vec::new();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        match tokio::time::timeout_at(deadline, events.next()).await {
            Ok(Some(event)) if wanted(&event) => return event,
            Ok(Some(event)) => others.push(event),
            Ok(None) => panic!("the events ended, and these came: {others:?}"),
            Err(_) => panic!("not within {DEADLINE:?}, and these came: {others:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_agent_says_so_and_its_events_end() {
    let (agent, mut events) = join(&hub(), "closing").await;
    let request = agent.request(PeerId::from_bytes([1; 32]), "anybody there?", None);
    assert!(matches!(request.await, Err(MeshError::Send(_))));
    let ended = async { while events.next().await.is_some() {} };
    tokio::join!(agent.close(), agent.close(), ended);
    assert!(matches!(agent.peers(), Err(MeshError::Closed)));
    let sent = agent.send(agent.id(), "too late", SendOptions::default());
    assert!(matches!(sent.await, Err(MeshError::Closed)));
    assert!(matches!(agent.ready().await, Err(MeshError::Closed)));
    assert!(agent.events().next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_right_after_joining_arrives() {
    let url = hub();
    let (first, mut heard) = join(&url, "first").await;
    first.ready().await.expect("alone, it is ready at once");
    let (second, _events) = join(&url, "second").await;
    // No link is open yet.
    second.broadcast("news", "hello").await.expect("it waits");
    let options = SendOptions::default();
    second
        .send(first.id(), "hi", options)
        .await
        .expect("it waits");
    let is = |event: &Event, topic: Option<&str>| match event {
        Event::Message(message) => message.topic.as_deref() == topic,
        _ => false,
    };
    // Each goes its own way: they may come in any order.
    event(&mut heard, |e| is(e, Some("news")) || is(e, None)).await;
    event(&mut heard, |e| is(e, Some("news")) || is(e, None)).await;
    second.ready().await.expect("linked");
    assert_eq!(second.stats().expect("open").links.open, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_or_request_may_be_dropped_at_any_time() {
    let url = hub();
    let (watcher, mut events) = join(&url, "watcher").await;
    for micros in [0, 50, 200, 1_000, 5_000, 20_000] {
        let joining = Agent::join(JoinOptions::new(&url, "room", "dropped"));
        let _ = tokio::time::timeout(Duration::from_micros(micros), joining).await;
    }
    let (stays, _) = join(&url, "stays").await;
    let asked = stays.request(watcher.id(), "anybody?", None);
    let _ = tokio::time::timeout(Duration::from_millis(1), asked).await;
    let names = || {
        let peers = watcher.peers().expect("open").into_iter();
        peers.map(|peer| peer.name).collect::<Vec<_>>()
    };
    let alone = async {
        while names() != ["stays"] {
            let is_change =
                |event: &Event| matches!(event, Event::PeerLeft { .. } | Event::PeerJoined { .. });
            event(&mut events, is_change).await;
        }
    };
    let alone = tokio::time::timeout(DEADLINE, alone).await;
    alone.expect("a dropped join leaves no agent behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_of_an_identity_takes_over_and_the_first_leaves() {
    let url = hub();
    let (other, mut others) = join(&url, "other").await;
    let identity = Identity::from_secret(random_seed());
    let options = JoinOptions {
        identity: Some(identity),
        ..JoinOptions::new(&url, "room", "copy")
    };
    let joined = Agent::join_with_events(options.clone()).await;
    let (first, mut told) = joined.expect("joins");
    first.ready().await.expect("linked");
    let (second, _) = Agent::join_with_events(options).await.expect("joins");
    let refused = event(&mut told, |event| matches!(event, Event::Refused { .. })).await;
    assert!(matches!(refused, Event::Refused { code, .. } if code == "replaced"));
    event(&mut told, |event| matches!(event, Event::Left)).await;
    assert!(told.next().await.is_none(), "nothing after the last event");
    let sent = first.broadcast("", "from beyond").await;
    assert!(matches!(sent, Err(MeshError::Closed)));
    // The newer one is a member as any, and nobody disturbs it.
    second.ready().await.expect("linked");
    second
        .send(other.id(), "here", SendOptions::default())
        .await
        .expect("sent");
    event(&mut others, |event| matches!(event, Event::Message(_))).await;
    let records = || other.stats().expect("open").link_states;
    let before = records();
    tokio::time::sleep(Duration::from_secs(2)).await; // The time in which they are counted.
    assert!(
        records() - before <= 3,
        "{} records in 2 s",
        records() - before
    );
    assert_eq!(other.members().expect("open"), 1);
}
