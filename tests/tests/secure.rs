//! `wss:`: natives and a tab behind a TLS proxy, and servers that are not to be trusted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_native::{Agent, JoinOptions};
use mesh_tests::agents::{AgentProcess, Native};
use mesh_tests::browser::{Browser, Tab, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::run_mesh;
use mesh_tests::tls::{TlsProxy, Validity};
use mesh_tests::wait::SOON;

const ROOM: &str = "secure";

/// What cannot heal is told sooner than joining gives up.
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn agents_and_tabs_meet_behind_a_tls_proxy() -> Result<()> {
    let hub = HubProcess::start().await?;
    let proxy = TlsProxy::start(hub.port(), Validity::Good).await?;
    let url = proxy.url("wss");
    let file = proxy.ca_file();
    let file = file.to_str().context("the path is text")?;
    let process = AgentProcess::join(&url, ROOM, "process", &["--ca", file]).await?;
    let native = Native::join(JoinOptions {
        ca: Some(proxy.ca().to_vec()),
        ..JoinOptions::new(&url, ROOM, "native")
    });
    let native = native.await?;
    let plain = Native::join(JoinOptions::new(&hub.url(), ROOM, "plain")).await?;
    let mut members: Vec<&dyn Member> = vec![&process, &native, &plain];
    let tab = if are_wanted("a tab behind a TLS proxy") {
        hub.require_page().await?;
        let page = proxy.page(&format!("room={ROOM}&name=tab"));
        Some(Tab::open(Browser::Chrome, &page).await?)
    } else {
        None
    };
    members.extend(tab.as_ref().map(|tab| tab as &dyn Member));
    until_complete(&members, SOON).await?;
    for asking in &members {
        for asked in members.iter().filter(|asked| asked.id() != asking.id()) {
            let reply = asking.request(asked.id(), "over TLS").await?;
            ensure!(reply == "over TLS", "{} says {reply}", asked.name());
        }
    }
    match tab {
        Some(tab) => tab.close().await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_to_be_trusted_is_named_with_the_cause() -> Result<()> {
    let hub = HubProcess::start().await?;
    for (validity, trusted, code, words) in [
        (Validity::Good, false, "distrusted", "--ca FILE"),
        (
            Validity::Expired,
            true,
            "distrusted",
            "clock of this machine",
        ),
        (Validity::OtherName, true, "distrusted", "another name"),
    ] {
        let proxy = TlsProxy::start(hub.port(), validity).await?;
        let ca = trusted.then(|| proxy.ca().to_vec());
        fails_at_once(&proxy.url("wss"), ca, code, words).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_scheme_is_named_with_the_right_one() -> Result<()> {
    let hub = HubProcess::start().await?;
    let proxy = TlsProxy::start(hub.port(), Validity::Good).await?;
    let plain = hub.url().replace("ws:", "wss:");
    fails_at_once(&plain, None, "not-a-hub", "write ws:").await?;
    fails_at_once(&proxy.url("ws"), None, "not-a-hub", "400 Bad Request").await?;
    let ca = Some(proxy.ca().to_vec());
    fails_at_once(&hub.url(), ca, "ca", "without TLS").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_cannot_be_read_ends_the_command_with_its_path() -> Result<()> {
    let url = "wss://localhost:1/signal";
    let arguments = [
        "agent",
        "--room",
        ROOM,
        "--signaling",
        url,
        "--ca",
        "/nowhere",
    ];
    let ended = run_mesh(&arguments, SOON).await?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure!(ended.stderr.contains("/nowhere"), "{ended:?}");
    Ok(())
}

async fn fails_at_once(url: &str, ca: Option<Vec<u8>>, code: &str, words: &str) -> Result<()> {
    let started = Instant::now();
    let joined = Agent::join(JoinOptions {
        ca,
        ..JoinOptions::new(url, ROOM, "anna")
    });
    let error = joined.await.err().context("it joins")?;
    ensure!(error.code() == code, "{url}: {error:?}");
    ensure!(error.to_string().contains(words), "{url}: {error}");
    ensure!(
        started.elapsed() < AT_ONCE,
        "{url}: {:?}",
        started.elapsed()
    );
    Ok(())
}
