//! Connections beyond the limits, and those that ask for nothing.

use super::*;

/// What the other end did with the connection.
async fn end_of(stream: &mut TcpStream) -> std::io::Result<usize> {
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    ended.expect("closed in time")
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_why_and_the_next_is_served_when_one_has_ended() {
    let server = start(HubOptions {
        connections_max: 2,
        ..HubOptions::default()
    });
    let member = Client::join(server, "a").await;
    let other = Client::join(server, "a").await;
    let refused = get(server, "/healthz").await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("2 connections"), "{refused:?}");
    drop(other);
    until("there is room again", async || {
        get(server, "/healthz").await.status == 200
    })
    .await;
    drop(member);
}

#[tokio::test]
async fn a_websocket_counts_until_it_is_closed() {
    let server = start(HubOptions {
        connections_max: 1,
        ..HubOptions::default()
    });
    let mut client = Client::join(server, "a").await;
    assert_eq!(get(server, "/healthz").await.status, 503);
    client.say(&json!({ "type": "leave" })).await;
    until("its place is free", async || {
        get(server, "/healthz").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed_and_a_member_stays() {
    let server = start(HubOptions::default());
    let mut silent = TcpStream::connect(server).await.expect("connects");
    let mut halting = TcpStream::connect(server).await.expect("connects");
    let half = b"GET /healthz HTTP/1.1\r\nHost: loc";
    halting.write_all(half).await.expect("writes");
    let member = Client::join(server, "a").await;
    let (silent, halting) = tokio::join!(end_of(&mut silent), end_of(&mut halting));
    assert_eq!(silent.expect("closed, not reset"), 0);
    halting.expect("closed, not reset");
    let health: Value = serde_json::from_slice(&get(server, "/healthz").await.body).expect("JSON");
    assert_eq!(health["hub"]["members"], 1, "{health}");
    drop(member);
}
