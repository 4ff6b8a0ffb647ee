//! `mesh doctor` with real servers: what works is told, and each fault is named with its remedy.

use anyhow::{Result, ensure};
use mesh_tests::doctor::Diagnosis;
use mesh_tests::hosts::{self, Host, Network};
use mesh_tests::http_proxy::HttpProxy;
use mesh_tests::hub::HubProcess;
use mesh_tests::process::{MeshProcess, free_port};
use mesh_tests::proxy::{HostileHub, Swap};
use mesh_tests::tls::{TlsProxy, Validity};
use mesh_tests::turn::{PASSWORD, TurnServer, USER};

const TURN: &str = "203.0.113.1";
const BESIDE: &str = "203.0.113.9";
const HUB: &str = "ws://203.0.113.9:9600/signal";

/// A host that reaches one with hub, TURN server and HTTP proxy.
struct Net {
    _network: Network,
    middle: Host,
    anna: Host,
    _turn: TurnServer,
    _hub: MeshProcess,
}

impl Net {
    /// `password` is what the hub hands out.
    async fn new(password: &str) -> Result<Self> {
        let network = Network::new().await?;
        let addresses = ["203.0.113.1/24", "203.0.113.9/24"];
        let middle = network.host("middle", "eth0", &addresses).await?;
        let mut anna = network.host("anna", "eth0", &["203.0.113.2/24"]).await?;
        let beside = ["listening-ip=203.0.113.9"];
        let turn = TurnServer::start_on(&middle, TURN, &beside).await?;
        anna.set_variable("SSL_CERT_FILE", &turn.ca_file());
        let mut arguments = vec![
            "signal".to_owned(),
            "--listen".into(),
            format!("{BESIDE}:9600"),
        ];
        for url in [
            "turn:203.0.113.1:3478",
            "turn:203.0.113.1:3478?transport=tcp",
        ] {
            arguments.extend(["--ice-server".into(), format!("{url},{USER},{password}")]);
        }
        let secure = format!("turns:203.0.113.1:443,{USER},{password}");
        arguments.extend(["--ice-server".into(), secure]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let hub = MeshProcess::start_on(&middle, &arguments)?;
        middle.until_listening("tcp", 9600).await?;
        Ok(Self {
            _network: network,
            middle,
            anna,
            _turn: turn,
            _hub: hub,
        })
    }

    async fn diagnosis(&self) -> Result<Diagnosis> {
        Diagnosis::of(Some(&self.anna), &["--signaling", HUB]).await
    }
}

const TURNS: [&str; 3] = ["turn-udp", "turn-tcp", "turn-tls"];

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_each_step_is_told_with_its_time() -> Result<()> {
    if !hosts::can_be_made("a host where all is well").await {
        return Ok(());
    }
    let net = Net::new(PASSWORD).await?;
    let found = net.diagnosis().await?;
    let steps = [
        "hub-dns",
        "hub-tcp",
        "hub-websocket",
        "hub-admission",
        "stun",
    ];
    for check in steps.iter().chain(&TURNS) {
        found.require_ok(check)?;
        ensure!(
            found.all(check).all(|finding| finding["tookMs"].is_f64()),
            "{check}"
        );
    }
    for check in ["interfaces", "clock", "nat"] {
        found.require_ok(check)?;
    }
    let nat = &found.report["nat"];
    ensure!(nat["translates"] == false, "{nat}");
    ensure!(nat["mapping"] == "endpoint-independent", "{nat}");
    ensure!(nat["filtering"] == "endpoint-independent", "{nat}");
    ensure!(found.code == Some(0), "{:#}", found.report);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_a_turn_server_is_named_over_udp_tcp_and_tls() -> Result<()> {
    if !hosts::can_be_made("a TURN server with another password").await {
        return Ok(());
    }
    let net = Net::new("wrong").await?;
    let found = net.diagnosis().await?;
    for check in TURNS {
        found.require_wrong(check, "username and credential", "that the hub hands out")?;
    }
    found.require_ok("stun")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_that_drops_udp_is_named_and_what_works_through_it_too() -> Result<()> {
    if !hosts::can_be_made("a host without UDP").await {
        return Ok(());
    }
    let net = Net::new(PASSWORD).await?;
    net.anna.drop_outgoing(&["meta l4proto udp"]).await?;
    let found = net.diagnosis().await?;
    found.require_wrong("stun", "no answer from 203.0.113.1:3478", "let UDP out")?;
    found.require_wrong("turn-udp", "nothing can be sent", "let this machine out")?;
    found.require_ok("turn-tcp")?;
    found.require_ok("turn-tls")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_server_with_a_strange_certificate_is_named() -> Result<()> {
    if !hosts::can_be_made("a TURN server with a strange certificate").await {
        return Ok(());
    }
    let mut net = Net::new(PASSWORD).await?;
    let other = TurnServer::start_on(&net.anna, "203.0.113.2", &[]).await?;
    net.anna.set_variable("SSL_CERT_FILE", &other.ca_file());
    let found = net.diagnosis().await?;
    found.require_wrong("turn-tls", "issuer is not trusted", "this machine trusts")?;
    found.require_ok("turn-tcp")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_named() -> Result<()> {
    if !hosts::can_be_made("a proxy that refuses").await {
        return Ok(());
    }
    let mut net = Net::new(PASSWORD).await?;
    let proxy = HttpProxy::start_on(&net.middle, BESIDE, Some(443)).await?;
    net.anna.set_variable("HTTPS_PROXY", &proxy.url());
    let found = net.diagnosis().await?;
    let refusal = "does not connect to 203.0.113.9:9600: it answers 403";
    found.require_wrong("proxy", refusal, "set the proxy right")?;
    let wrong = proxy.url().replace("pass", "wrong");
    net.anna.set_variable("HTTPS_PROXY", &wrong);
    let found = net.diagnosis().await?;
    found.require_wrong(
        "proxy",
        "does not take the user and password",
        "address and user",
    )?;
    net.anna.set_variable("HTTPS_PROXY", "http://203.0.113.9:1");
    let found = net.diagnosis().await?;
    found.require_wrong(
        "proxy",
        "203.0.113.9:1 (HTTPS_PROXY) cannot be reached",
        "variable",
    )?;
    net.anna
        .set_variable("HTTPS_PROXY", "socks5://203.0.113.9:1");
    let found = net.diagnosis().await?;
    found.require_wrong("proxy", "only http: works", "correct the variable")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_down_or_none_is_named() -> Result<()> {
    let down = format!("ws://127.0.0.1:{}/signal", free_port()?);
    let found = Diagnosis::of(None, &["--signaling", &down]).await?;
    found.require_wrong("hub-tcp", "refused", "start the hub there (mesh signal)")?;
    let found = Diagnosis::of(None, &["--signaling", "ws://nowhere.invalid/signal"]).await?;
    found.require_wrong("hub-dns", "nowhere.invalid has no address", "the DNS")?;
    let found = Diagnosis::of(None, &["--signaling", "http://localhost"]).await?;
    found.require_wrong("hub-address", "http", "write it as ws://")?;
    let hub = HubProcess::start().await?;
    let elsewhere = hub.url().replace("/signal", "/elsewhere");
    let found = Diagnosis::of(None, &["--signaling", &elsewhere]).await?;
    found.require_wrong("hub-websocket", "answered 404", "a hub is at ws://host")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_named() -> Result<()> {
    let hub = HubProcess::start().await?;
    let proxy = TlsProxy::start(hub.port(), Validity::OtherName).await?;
    let (url, ca) = (proxy.url("wss"), proxy.ca_file());
    let arguments = ["--signaling", &url, "--ca", &ca.display().to_string()];
    let found = Diagnosis::of(None, &arguments).await?;
    found.require_wrong("hub-tls", "another name", "correct the name")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_named() -> Result<()> {
    let hub = HubProcess::start().await?;
    let late = HostileHub::start(&hub.url(), Swap::Time).await?;
    let found = Diagnosis::of(None, &["--signaling", &late.url()]).await?;
    found.require_wrong("clock", "s behind the hub's", "set the clock (NTP does it)")?;
    let found = Diagnosis::of(None, &["--signaling", &hub.url()]).await?;
    found.require_ok("clock")?;
    ensure!(found.code == Some(0), "{:#}", found.report);
    Ok(())
}
