//! The hub as a process: what clients of all kinds do to it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use futures::{SinkExt, StreamExt};
use mesh_native::core::Identity;
use mesh_native::core::wire::Admit;
use mesh_native::random_seed;
use mesh_tests::hub::HubProcess;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// The files that a shell usually allows a process to open, until it asks for more.
const USUAL_FILES: &str = "-S -n 1024";

/// So few files that connections use them up.
const FEW_FILES: &str = "-n 40";

/// Connections that ask for nothing: more than the usual limit.
const IDLE: usize = 1_050;

/// Honest members: with the hub's own files more than the usual limit too.
const MEMBERS: usize = 1_010;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_members_join_beside_a_thousand_idle_connections() -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let hub = HubProcess::start_limited(USUAL_FILES).await?;
    let idle = idle_connections(&hub, IDLE).await?;
    let started = Instant::now();
    let joining = try_join_all((0..MEMBERS).map(|n| member(&hub, n % 10)));
    let members = timeout(SOON, joining).await.context("members join")??;
    let joined = started.elapsed();
    let health = hub.health().await?;
    ensure!(health["hub"]["members"] == MEMBERS, "{health}");
    closed(idle).await?;
    report(&format!(
        "{MEMBERS} members joined beside {IDLE} idle connections in {:.2} s; the idle ones were \
         closed after {:.1} s",
        joined.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ));
    until(
        "all members are still there",
        Duration::from_secs(1),
        async || {
            let health = hub.health().await?;
            ensure!(health["hub"]["members"] == MEMBERS, "{health}");
            Ok(())
        },
    )
    .await?;
    drop(members);
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_files_waits_for_some_and_goes_on() -> Result<()> {
    let hub = HubProcess::start_limited(FEW_FILES).await?;
    let idle = idle_connections(&hub, 80).await?;
    let told = hub.process().stderr.first("a warning", SOON, |line| {
        line.contains("no connection can be accepted")
    });
    told.await?;
    let before = hub.process().cpu_seconds()?;
    let started = Instant::now();
    until("the hub answers again", SOON, async || hub.health().await).await?;
    let (used, took) = (hub.process().cpu_seconds()? - before, started.elapsed());
    report(&format!(
        "{used:.2} s of processor time in {took:.1?} without files"
    ));
    ensure!(used < 0.5, "it spins: {used} s");
    drop(idle);
    Ok(())
}

/// Connections of which every other one has begun a request.
async fn idle_connections(hub: &HubProcess, count: usize) -> Result<Vec<TcpStream>> {
    let idle = try_join_all((0..count).map(async |n| {
        let mut stream = TcpStream::connect(("127.0.0.1", hub.port())).await?;
        if n % 2 == 1 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x").await?;
        }
        anyhow::Ok(stream)
    }));
    idle.await.context("idle connections")
}

/// Waits until the hub has closed them.
async fn closed(idle: Vec<TcpStream>) -> Result<()> {
    let ends = try_join_all(
        idle.into_iter()
            .map(async |mut stream| stream.read_to_end(&mut Vec::new()).await),
    );
    timeout(SOON, ends)
        .await
        .context("idle ones are closed")??;
    Ok(())
}

/// Joins one of some rooms by hand.
async fn member(
    hub: &HubProcess,
    room: usize,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
    let (mut socket, _) = connect_async(hub.url()).await?;
    let identity = Identity::from_secret(random_seed());
    let (room, name) = (format!("room-{room}"), "member".to_owned());
    let hello = json!({
        "type": "hello", "version": 1, "room": room, "peer": identity.peer(), "name": name,
    });
    socket.send(Message::text(hello.to_string())).await?;
    let challenge = hear(&mut socket, "challenge").await?;
    let nonce = challenge["nonce"].as_str().context("a nonce")?.to_owned();
    let proof = identity.sign(&room, &Admit { nonce, name });
    let prove = json!({ "type": "prove", "proof": proof });
    socket.send(Message::text(prove.to_string())).await?;
    hear(&mut socket, "welcome").await?;
    Ok(socket)
}

async fn hear(
    socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>,
    kind: &str,
) -> Result<Value> {
    loop {
        let message = socket.next().await.context("closed")??;
        let Message::Text(text) = message else {
            continue;
        };
        let value: Value = serde_json::from_str(&text)?;
        ensure!(value["type"] != "error", "{value}");
        if value["type"] == kind {
            return Ok(value);
        }
    }
}
