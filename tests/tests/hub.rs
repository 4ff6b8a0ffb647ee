//! The hub as a process: what clients of all kinds do to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use futures::{SinkExt, StreamExt};
use mesh_native::core::signaling::PROTOCOL_VERSION;
use mesh_native::core::wire::Admit;
use mesh_native::core::{Identity, PeerId};
use mesh_native::random_seed;
use mesh_tests::browser::{Browser, Tab, are_wanted};
use mesh_tests::hub::{HubProcess, get};
use mesh_tests::process::{MeshProcess, free_port, run_mesh};
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

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
    let joining = try_join_all((0..MEMBERS).map(|n| Member::join(&hub, n % 10)));
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

/// Members that read nothing, and those that have much to say to them.
const DEAF: usize = 20;
const TALKERS: usize = 4;

/// Signals of 31 kB that each talker has for each of them.
const SIGNALS: usize = 4;

/// What the system keeps of what a member has not read: little, so that the hub has to.
const DEAF_BYTES: u32 = 4_096;

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn members_that_read_nothing_cost_little_memory_and_are_closed() -> Result<()> {
    let hub = HubProcess::start().await?;
    let deaf = try_join_all((0..DEAF).map(|_| Member::deaf(&hub))).await?;
    let mut talkers = try_join_all((0..TALKERS).map(|_| Member::join(&hub, 0))).await?;
    let (memory, files) = (hub.process().memory()?, hub.process().open_files()?);
    let mut peak = memory;
    let started = Instant::now();
    // They leave, and others come who have as much to say, until there is nobody to say it to.
    until("those that read nothing are closed", SOON * 2, async || {
        for talker in &mut talkers {
            for other in &deaf {
                talker.signal(other.identity.peer(), SIGNALS).await?;
            }
        }
        peak = peak.max(hub.process().memory()?);
        talkers = try_join_all((0..TALKERS).map(|_| Member::join(&hub, 0))).await?;
        let health = hub.health().await?;
        ensure!(health["hub"]["members"] == TALKERS, "{health}");
        Ok(())
    })
    .await?;
    let closed = started.elapsed();
    until("their sockets are", SOON, async || {
        let now = hub.process().open_files()?;
        ensure!(now <= files - DEAF, "{now} open files of {files}");
        Ok(())
    })
    .await?;
    let grown = (peak - memory) / (1024 * 1024);
    report(&format!(
        "{DEAF} members that read nothing: closed after {closed:.1?}, memory grew by {grown} MiB"
    ));
    ensure!(grown < 128, "{grown} MiB more");
    drop(deaf);
    Ok(())
}

/// A member of a room that speaks the protocol by hand.
struct Member {
    identity: Identity,
    room: String,
    socket: WebSocketStream<TcpStream>,
    welcome: Value,
}

impl Member {
    /// Joins one of some rooms.
    async fn join(hub: &HubProcess, room: usize) -> Result<Self> {
        Self::join_at(hub.port(), room).await
    }

    async fn join_at(port: u16, room: usize) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        Self::join_by(stream, port, room).await
    }

    /// Joins the first room, to read nothing after that.
    async fn deaf(hub: &HubProcess) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(DEAF_BYTES)?;
        let address = SocketAddr::from(([127, 0, 0, 1], hub.port()));
        Self::join_by(socket.connect(address).await?, hub.port(), 0).await
    }

    async fn join_by(stream: TcpStream, port: u16, room: usize) -> Result<Self> {
        let url = format!("ws://127.0.0.1:{port}/signal");
        let (socket, _) = client_async(url, stream).await?;
        let mut member = Self {
            identity: Identity::from_secret(random_seed()),
            room: format!("room-{room}"),
            socket,
            welcome: Value::Null,
        };
        let name = "member".to_owned();
        let hello = json!({
            "type": "hello", "version": PROTOCOL_VERSION,
            "room": member.room, "peer": member.identity.peer(), "name": name,
        });
        member.say(&hello).await?;
        let challenge = member.hear("challenge").await?;
        let nonce = challenge["nonce"].as_str().context("a nonce")?.to_owned();
        let proof = member.identity.sign(&member.room, &Admit { nonce, name });
        member
            .say(&json!({ "type": "prove", "proof": proof }))
            .await?;
        member.welcome = member.hear("welcome").await?;
        Ok(member)
    }

    /// Sends a member the longest signals that the hub takes.
    async fn signal(&mut self, to: PeerId, count: usize) -> Result<()> {
        let (nonce, name) = ("n".repeat(22_000), "member".to_owned());
        let message = self.identity.sign(&self.room, &Admit { nonce, name });
        let signal = json!({ "type": "signal", "to": to, "message": message }).to_string();
        for _ in 0..count {
            self.socket.send(Message::text(signal.clone())).await?;
        }
        Ok(())
    }

    async fn say(&mut self, message: &Value) -> Result<()> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }

    async fn hear(&mut self, kind: &str) -> Result<Value> {
        loop {
            let message = self.socket.next().await.context("closed")??;
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
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_interrupted_while_its_mesh_forms_ends_at_once() -> Result<()> {
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let mut up = MeshProcess::start(&["up", "--agents", "60", "--listen", &listen])?;
    until("the first has joined", SOON, async || {
        let (_, health) = get(port, "/healthz").await?;
        let health: Value = serde_json::from_str(&health)?;
        ensure!(health["hub"]["members"].as_u64() > Some(0), "{health}");
        Ok(())
    })
    .await?;
    up.interrupt().await?;
    let ended = up.wait(Duration::from_secs(10)).await?;
    ensure!(ended.code() == Some(0), "{ended}");
    let formed = up.stderr.all(|line| line.contains("the mesh is up"));
    ensure!(formed.is_empty(), "it was interrupted too late: {formed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_listens_on_each_address_that_it_is_given() -> Result<()> {
    let (v4, v6) = (free_port()?, free_port()?);
    let addresses = [format!("127.0.0.1:{v4}"), format!("[::1]:{v6}")];
    let listen = [
        "signal",
        "--listen",
        &addresses[0],
        "--listen",
        &addresses[1],
    ];
    let hub = MeshProcess::start(&listen)?;
    for address in &addresses {
        let url = format!("signaling at ws://{address}/signal");
        let told = hub
            .stderr
            .first("where it is", SOON, |line| line.contains(&url));
        told.await?;
        until("it takes connections", SOON, async || {
            Ok(TcpStream::connect(address).await?)
        })
        .await?;
    }
    Ok(())
}

/// Passwords of TURN servers are told to members, and to nobody who lists processes.
#[tokio::test(flavor = "multi_thread")]
async fn ice_servers_come_from_a_file_and_odd_ones_are_refused_at_the_start() -> Result<()> {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("mesh-ice-servers-{}.json", std::process::id()));
    let turn = json!([{ "urls": ["turn:t.example.org"], "username": "u", "credential": "a,b" }]);
    std::fs::write(&file, turn.to_string())?;
    let path = file.to_str().context("a path of letters")?;
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let hub = MeshProcess::start(&["signal", "--listen", &listen, "--ice-servers", path])?;
    until("the hub serves", SOON, async || get(port, "/healthz").await).await?;
    let welcome = Member::join_at(port, 0).await?.welcome;
    ensure!(welcome["iceServers"] == turn, "{welcome}");
    drop(hub);
    std::fs::remove_file(&file)?;
    let odd = "stun:s.example.org:3478?transport=udp";
    for command in ["signal", "up"] {
        let ended = run_mesh(&[command, "--listen", &listen, "--ice-server", odd], SOON).await?;
        ensure!(ended.code == Some(2), "{command}: {ended:?}");
        ensure!(ended.stderr.contains(odd), "{command}: {ended:?}");
        let ended = run_mesh(&[command, "--listen", &listen, "--ice-servers", path], SOON).await?;
        ensure!(ended.code == Some(1), "{command}: {ended:?}");
        ensure!(ended.stderr.contains(path), "{command}: {ended:?}");
    }
    Ok(())
}

/// What a browser transferred for the page: bytes, of all files and of the wasm, and whether this
/// was a reload. Each answer counts 300 bytes for its head (Resource Timing, `transferSize`).
const TRANSFERRED: &str = "const all = [...performance.getEntriesByType('navigation'), \
    ...performance.getEntriesByType('resource')]; \
    const sum = (key) => all.reduce((sum, entry) => sum + entry[key], 0); \
    const wasm = all.find((entry) => entry.name.endsWith('.wasm')); \
    return { files: all.length, bytes: sum('transferSize'), plain: sum('decodedBodySize'), \
        wasm: wasm?.transferSize, reload: all[0].type === 'reload' && !!window.mesh }";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_loaded_compressed_and_again_only_if_it_changed() -> Result<()> {
    if !are_wanted("the bytes of a page load, in Chrome") {
        return Ok(());
    }
    let hub = HubProcess::start().await?;
    hub.require_page().await?;
    let tab = Tab::open(Browser::Chrome, &hub.page("room=load&name=tab")).await?;
    let first = tab.evaluate(TRANSFERRED, &[]).await?;
    tab.evaluate("location.reload()", &[]).await?;
    let again = until("the page has joined again", SOON, async || {
        let again = tab.evaluate(TRANSFERRED, &[]).await?;
        ensure!(again["reload"] == true, "{again}");
        Ok(again)
    });
    let again = again.await?;
    report(&format!("first load: {first}"));
    report(&format!("second load: {again}"));
    let bytes = |load: &Value, what: &str| load[what].as_u64().context("a number");
    ensure!(
        bytes(&first, "bytes")? * 3 < bytes(&first, "plain")?,
        "first: {first}"
    );
    ensure!(
        bytes(&again, "bytes")? <= 300 * bytes(&again, "files")?,
        "again: {again}"
    );
    ensure!(again["files"] == first["files"], "{first}, {again}");
    tab.close().await
}
