//! What the server says of itself.

use axum::body::to_bytes;
use axum::extract::State;
use axum::response::Response;
use tokio::time::sleep;

use super::*;
use crate::hub::driver::{self, Outlets};
use crate::hub::health::{Health, healthz, readyz};

/// What handlers share, of a server whose loop takes facts from `queue`.
fn shared(health: &Health) -> (Shared, mpsc::Receiver<Fact>) {
    let (facts, queue) = mpsc::channel(1);
    let shared = Shared {
        facts,
        health: health.clone(),
        last_client: Arc::default(),
        text_bytes_max: 1,
        queued: Total::default(),
        unfinished: Total::default(),
        allow_origins: Arc::default(),
        drive_page: false,
        warned: Arc::default(),
    };
    (shared, queue)
}

async fn told(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1_000).await.expect("short");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_hangs_is_told_after_four_seconds_though_it_answers_nothing() {
    let health = Health::new(None);
    let (shared, queue) = shared(&health);
    health.beat();
    sleep(Duration::from_millis(3_900)).await;
    let (status, body) = told(readyz(State(shared.clone())).await).await;
    assert_eq!((status, &body["status"]), (200, &json!("ready")));
    let since = Instant::now();
    let (status, body) = told(healthz(State(shared.clone())).await).await;
    assert_eq!(
        (status, body),
        (200, json!({ "status": "ok", "hub": null }))
    );
    assert!(since.elapsed() < Duration::from_secs(2));
    sleep(Duration::from_secs(4)).await;
    let since = Instant::now();
    let (status, body) = told(healthz(State(shared.clone())).await).await;
    assert_eq!((status, &body["status"]), (503, &json!("stale")));
    assert!(
        body["cause"]
            .as_str()
            .is_some_and(|cause| cause.contains("8 s"))
    );
    assert_eq!(since.elapsed(), Duration::ZERO, "nobody was asked");
    let (status, _) = told(readyz(State(shared)).await).await;
    assert_eq!(status, 503);
    drop(queue);
}

#[tokio::test]
async fn a_hub_that_was_always_alone_wants_no_clients_and_says_why() {
    let health = Health::new(None);
    let (shared, _queue) = shared(&health);
    health.beat();
    health.seek_others();
    let (status, body) = told(readyz(State(shared.clone())).await).await;
    assert_eq!((status, &body["status"]), (503, &json!("alone")));
    let cause = body["cause"].as_str();
    assert!(cause.is_some_and(|cause| cause.contains("--redis")));
    health.found_others();
    let (status, _) = told(readyz(State(shared)).await).await;
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_loop_without_anything_to_do_shows_that_it_lives() {
    let health = Health::new(None);
    let (shared, queue) = shared(&health);
    let (status, body) = told(readyz(State(shared.clone())).await).await;
    assert_eq!((status, &body["status"]), (503, &json!("starting")));
    let hub = Hub::new(HubConfig::default(), [1; 32]);
    tokio::spawn(driver::drive(hub, Outlets::new(None), queue, health));
    sleep(Duration::from_secs(60)).await;
    let (status, body) = told(healthz(State(shared.clone())).await).await;
    assert_eq!((status, &body["hub"]["clients"]), (200, &json!(0)));
    let (status, _) = told(readyz(State(shared)).await).await;
    assert_eq!(status, 200);
}
