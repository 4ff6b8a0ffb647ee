//! Clients that read slowly or never, and clients that only answer pings.

use mesh_core::Signed;

use super::*;

/// Less than the longest text that the hub takes, in base64.
const LONG: usize = 22_000;

/// A signed body of so many bytes. The hub passes it on unread.
fn signal(client: &Client, bytes: usize) -> Signed {
    let (nonce, name) = ("n".repeat(bytes), "client".to_owned());
    client.identity.sign("a", &Admit { nonce, name })
}

fn to(target: &Client, message: &Signed) -> Value {
    json!({ "type": "signal", "to": target.peer(), "message": message })
}

#[tokio::test]
async fn one_member_cannot_have_another_thrown_out_by_its_signals() {
    let server = start(HubOptions::default());
    // It reads nothing until it has been sent a lot.
    let mut target = Client::join_narrow(server, "a").await;
    let mut flooder = Client::join(server, "a").await;
    let mut other = Client::join(server, "a").await;
    let long = to(&target, &signal(&flooder, LONG));
    for _ in 0..200 {
        flooder.say(&long).await;
    }
    let refused = flooder.hear("error").await;
    assert_eq!(refused["code"], "busy", "{refused}");
    other.say(&to(&target, &signal(&other, 10))).await;
    let last = loop {
        let heard = target.hear("signal").await;
        if heard["from"] == other.peer().to_string() {
            break heard;
        }
    };
    assert_eq!(last["message"]["author"], other.peer().to_string());
    target.say(&json!({ "type": "ping" })).await;
    target.hear("pong").await;
    flooder.say(&json!({ "type": "ping" })).await;
    flooder.hear("pong").await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_in_time() {
    let server = start(HubOptions::default());
    let deaf = Client::join_narrow(server, "a").await;
    let sender = Client::join(server, "a").await;
    let long = to(&deaf, &signal(&sender, LONG));
    let (mut sink, mut stream) = sender.socket.split();
    // Enough to fill the buffers of the system, though the hub refuses some of them as `busy`, and
    // fewer than its limit of texts. Its errors are read meanwhile.
    let mut left = 800;
    let reading = async { while let Some(Ok(_)) = stream.next().await {} };
    let sending = until("the one that does not read is gone", async || {
        for _ in 0..left.min(10) {
            left -= 1;
            let sent = sink.send(Message::text(long.to_string())).await;
            sent.expect("sends");
        }
        let health: Value =
            serde_json::from_slice(&get(server, "/healthz").await.body).expect("JSON");
        health["hub"]["clients"] == 1
    });
    tokio::select! {
        () = sending => {}
        () = reading => panic!("the sender was closed"),
    }
    drop(deaf);
}

#[tokio::test]
async fn a_member_that_only_answers_pings_stays_and_one_that_does_not_goes() {
    let silence_max = Duration::from_secs(3);
    let server = start(HubConfig {
        silence_max,
        ping_after: Duration::from_secs(1),
        ..HubConfig::default()
    });
    // A hidden tab: its socket answers pings while its timers sleep. The library answers whenever
    // it reads.
    let mut hidden = Client::join(server, "a").await;
    let deaf = Client::join(server, "a").await;
    let started = Instant::now();
    let left = hidden.hear_until("members", |told| told["left"] == json!([deaf.peer()]));
    left.await;
    assert!(started.elapsed() >= silence_max);
    // For as long again nothing is said to it or by it.
    let heard = timeout(2 * silence_max, hidden.socket.next()).await;
    let is_ping = |heard: &Option<_>| matches!(heard, Some(Ok(Message::Ping(_))));
    assert!(heard.as_ref().is_ok_and(is_ping), "{heard:?}");
    let quiet = timeout(2 * silence_max, async {
        while let Some(Ok(Message::Ping(_))) = hidden.socket.next().await {}
    });
    assert!(quiet.await.is_err(), "it was closed, or told something");
    hidden.say(&json!({ "type": "ping" })).await;
    hidden.hear("pong").await;
}
