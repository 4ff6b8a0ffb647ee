//! Agents that know several hubs.

use mesh_core::agent::AdmissionError;
use tokio::net::TcpListener;

use super::*;

/// An address where nothing listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    format!("ws://{address}/signal")
}

async fn failure(signaling: &[&str], timeout: Duration) -> JoinError {
    let signaling = signaling.iter().map(|&url| url.to_owned()).collect();
    let options = JoinOptions {
        timeout,
        ..JoinOptions::with_hubs(signaling, "room", "lost")
    };
    let joined = tokio::time::timeout(DEADLINE, Agent::join(options)).await;
    joined.expect("it ends").expect_err("no hub")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_address_among_good_ones_is_refused_by_its_name() {
    let good = hub();
    for (bad, words) in [
        ("http://host:9600/signal", "write ws://host:9600/signal"),
        ("nonsense", "\"nonsense\" is no signaling URL"),
        (good.as_str(), "is there twice"),
    ] {
        let error = failure(&[&good, bad], DEADLINE).await.to_string();
        assert!(error.contains(bad) && error.contains(words), "{error}");
    }
    let error = failure(&[], DEADLINE).await;
    assert_eq!(error.code(), "config", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_all_hubs_fail_lists_each_with_its_cause() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let silent = format!("ws://{}/signal", silent.local_addr().expect("bound"));
    let (nowhere, page) = (nowhere(), hub().replace("/signal", "/elsewhere"));
    // The time is up long before each was tried.
    let error = failure(&[&nowhere, &silent, &page], Duration::from_millis(10)).await;
    assert_eq!(error.code(), "signaling-unreachable");
    let JoinError::NotAdmitted(AdmissionError::NoneAdmits(errors)) = &error else {
        panic!("{error}");
    };
    let causes = [
        (&nowhere, "refused"),
        (&silent, "does not answer"),
        (&page, "404"),
    ];
    for (error, (url, cause)) in errors.iter().zip(causes) {
        let error = error.to_string();
        assert!(
            error.contains(url.as_str()) && error.contains(cause),
            "{error}"
        );
    }
    let all = error.to_string();
    assert!(
        errors.iter().all(|one| all.contains(&one.to_string())),
        "{all}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_that_are_none_end_a_join_at_once() {
    let page = hub().replace("/signal", "/elsewhere");
    let error = failure(&[&page, &(page.clone() + "/too")], DEADLINE * 2).await;
    assert_eq!(error.code(), "not-a-hub", "{error}");
    let words = error.to_string();
    assert!(words.contains("none of the 2 signaling servers"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_meet_at_the_first_hub_that_is_there() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let silent = format!("ws://{}/signal", silent.local_addr().expect("bound"));
    let urls = vec![nowhere(), silent, hub()];
    let (first, _) = join(&urls[2], "first").await;
    let options = JoinOptions::with_hubs(urls, "room", "second");
    let second = Agent::join(options).await.expect("joins");
    second.ready().await.expect("open");
    let reached = second.peers().expect("open");
    assert_eq!(reached[0].id, first.id());
}
