//! Native agents whose network lets little out: links through a TURN server over TCP and TLS, and
//! all of it through an HTTP proxy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hosts::{self, Host, Network};
use mesh_tests::http_proxy::HttpProxy;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::MeshProcess;
use mesh_tests::report;
use mesh_tests::turn::{TurnServer, with_user};
use mesh_tests::wait::SOON;

const ROOM: &str = "relayed";

/// The middle, where hub, TURN server and proxy are, and two hosts that reach nothing else.
struct Net {
    _network: Network,
    middle: Host,
    anna: Host,
    ben: Host,
}

/// Addresses of the middle: the hub's and the TURN server's, in both families.
const HUB: &str = "203.0.113.9";
const TURN: &str = "203.0.113.1";
const TURN_V6: &str = "2001:db8::1";

/// Only UDP is dropped.
const UDP_BLOCKED: &[&str] = &["meta l4proto udp"];

/// All but HTTPS is dropped.
const ONLY_443: &[&str] = &["oif != lo tcp dport != 443", "oif != lo meta l4proto udp"];

impl Net {
    /// With addresses of IPv4, IPv6 or both.
    async fn new(v4: bool, v6: bool) -> Result<Self> {
        let network = Network::new().await?;
        let addresses = |numbers: &[u8]| -> Vec<String> {
            let fourth = numbers
                .iter()
                .filter(|_| v4)
                .map(|n| format!("203.0.113.{n}/24"));
            let sixth = numbers
                .iter()
                .filter(|_| v6)
                .map(|n| format!("2001:db8::{n}/64"));
            fourth.chain(sixth).collect()
        };
        let host = async |name: &str, numbers: &[u8]| {
            let addresses = addresses(numbers);
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            network.host(name, "eth0", &addresses).await
        };
        let middle = host("middle", &[1, 9]).await?;
        let anna = host("anna", &[2]).await?;
        let ben = host("ben", &[3]).await?;
        network.isolate(["anna", "ben"], true).await?;
        Ok(Self {
            _network: network,
            middle,
            anna,
            ben,
        })
    }

    async fn firewall(&self, rules: &[&str]) -> Result<()> {
        self.anna.drop_outgoing(rules).await?;
        self.ben.drop_outgoing(rules).await
    }

    fn set_variable(&mut self, name: &str, value: &str) {
        self.anna.set_variable(name, value);
        self.ben.set_variable(name, value);
    }

    /// A hub that hands out this server.
    async fn hub(&self, listen: &str, url: &str) -> Result<MeshProcess> {
        let server = with_user(url);
        let arguments = ["signal", "--listen", listen, "--ice-server", &server];
        let hub = MeshProcess::start_on(&self.middle, &arguments)?;
        let port = listen.rsplit(':').next().and_then(|port| port.parse().ok());
        self.middle
            .until_listening("tcp", port.context("a port")?)
            .await?;
        Ok(hub)
    }

    /// Two agents, once they are linked.
    async fn linked(&self, hub: &str) -> Result<(AgentProcess, AgentProcess)> {
        let url = format!("ws://{hub}/signal");
        let (anna, ben) = tokio::try_join!(
            AgentProcess::join_on(&self.anna, &url, ROOM, "anna", &[]),
            AgentProcess::join_on(&self.ben, &url, ROOM, "ben", &[])
        )?;
        let joined = Instant::now();
        if let Err(error) = until_complete(&[&anna, &ben], SOON).await {
            return Err(error.context(format!("anna logs {:#?}", anna.logged().await)));
        }
        report(&format!("linked after {:?}", joined.elapsed()));
        let reply = anna.request(ben.id(), "over the relay").await?;
        ensure!(reply == "over the relay", "the reply is {reply}");
        Ok((anna, ben))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_whose_network_lets_no_udp_out_link_over_tcp() -> Result<()> {
    if !hosts::can_be_made("agents without UDP").await {
        return Ok(());
    }
    let net = Net::new(true, false).await?;
    let turn = TurnServer::start_on(&net.middle, TURN, &[]).await?;
    net.firewall(UDP_BLOCKED).await?;
    let hub = format!("{HUB}:9600");
    let _hub = net
        .hub(&hub, &format!("turn:{TURN}:3478?transport=tcp"))
        .await?;
    let agents = net.linked(&hub).await.with_context(|| turn.log())?;
    // A stalled acknowledgement would take a tick of the stack, a second, and there are hundreds.
    let large = "large ".repeat(40_000);
    let asked = Instant::now();
    let reply = agents.0.request(agents.1.id(), &large).await?;
    report(&format!("240 KB there and back in {:?}", asked.elapsed()));
    ensure!(
        reply == large.as_str(),
        "{} bytes came back",
        reply.to_string().len()
    );
    ensure!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_whose_network_lets_only_https_out_link_over_tls() -> Result<()> {
    if !hosts::can_be_made("agents that reach port 443 alone").await {
        return Ok(());
    }
    let mut net = Net::new(true, false).await?;
    let turn = TurnServer::start_on(&net.middle, TURN, &[]).await?;
    net.set_variable("SSL_CERT_FILE", &turn.ca_file());
    net.firewall(ONLY_443).await?;
    let hub = format!("{HUB}:443");
    let _hub = net
        .hub(&hub, &format!("turns:{TURN}:443?transport=tcp"))
        .await?;
    net.linked(&hub).await.with_context(|| turn.log())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_server_that_is_not_to_be_trusted_is_named_once_with_the_cause() -> Result<()> {
    if !hosts::can_be_made("a TURN server with a certificate of nobody's").await {
        return Ok(());
    }
    let net = Net::new(true, false).await?;
    let _turn = TurnServer::start_on(&net.middle, TURN, &[]).await?;
    let hub = format!("{HUB}:9600");
    let _hub = net.hub(&hub, &format!("turns:{TURN}:443")).await?;
    let url = format!("ws://{hub}/signal");
    let (anna, ben) = tokio::try_join!(
        AgentProcess::join_on(&net.anna, &url, ROOM, "anna", &[]),
        AgentProcess::join_on(&net.ben, &url, ROOM, "ben", &[])
    )?;
    tokio::select! {
        failed = anna.line("a link fails", |line| line["type"] == "linkFailed") => failed?,
        failed = ben.line("a link fails", |line| line["type"] == "linkFailed") => failed?,
    };
    let logged = anna.logged().await;
    let named = logged
        .iter()
        .filter(|line| line.contains("TURN server 203.0.113.1:443 over TLS"));
    let named: Vec<_> = named.collect();
    ensure!(named.len() == 1, "{logged:#?}");
    ensure!(named[0].contains("--ca FILE"), "{named:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_server_may_be_an_ipv6_address_over_udp_tcp_and_tls() -> Result<()> {
    if !hosts::can_be_made("agents with IPv6 alone").await {
        return Ok(());
    }
    let mut net = Net::new(false, true).await?;
    // The stack asks for no family, which is a demand for IPv4 unless the server is told otherwise.
    let family = ["allocation-default-address-family=keep"];
    let turn = TurnServer::start_on(&net.middle, TURN_V6, &family).await?;
    net.set_variable("SSL_CERT_FILE", &turn.ca_file());
    let hub = "[2001:db8::9]:9600";
    for url in [
        "turn:[2001:db8::1]:3478",
        "turn:[2001:db8::1]:3478?transport=tcp",
        "turns:[2001:db8::1]:443",
    ] {
        let _hub = net.hub(hub, url).await?;
        let linked = net.linked(hub).await;
        linked.with_context(|| format!("{url}: {}", turn.log()))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_and_turn_server_are_reached_through_the_proxy_of_the_environment() -> Result<()> {
    if !hosts::can_be_made("agents behind a proxy").await {
        return Ok(());
    }
    let mut net = Net::new(true, false).await?;
    let turn = TurnServer::start_on(&net.middle, TURN, &[]).await?;
    let proxy = HttpProxy::start_on(&net.middle, HUB, None).await?;
    net.firewall(&["oif != lo tcp dport != 3128", "oif != lo meta l4proto udp"])
        .await?;
    net.set_variable("HTTPS_PROXY", &proxy.url());
    net.set_variable("SSL_CERT_FILE", &turn.ca_file());
    let hub = format!("{HUB}:9600");
    let _hub = net.hub(&hub, &format!("turns:{TURN}:443")).await?;
    net.linked(&hub).await.with_context(|| turn.log())?;
    let wrong = proxy.url().replace("pass", "wrong");
    net.set_variable("HTTPS_PROXY", &wrong);
    let url = format!("ws://{hub}/signal");
    let error = AgentProcess::join_on(&net.anna, &url, ROOM, "carl", &[]).await;
    let error = format!("{:#}", error.err().context("it joins")?);
    ensure!(error.contains("does not take the user"), "{error}");
    Ok(())
}

/// What a link takes to come back, by the words.
const BACK: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_link_over_tcp_comes_back_when_its_turn_server_starts_again() -> Result<()> {
    if !hosts::can_be_made("a TURN server that starts again").await {
        return Ok(());
    }
    let net = Net::new(true, false).await?;
    let mut turn = TurnServer::start_on(&net.middle, TURN, &[]).await?;
    net.firewall(UDP_BLOCKED).await?;
    let hub = format!("{HUB}:9600");
    let _hub = net
        .hub(&hub, &format!("turn:{TURN}:3478?transport=tcp"))
        .await?;
    let (anna, ben) = net.linked(&hub).await?;
    turn.kill().await?;
    for agent in [&anna, &ben] {
        agent
            .line("the link ends", |line| line["type"] == "linkClosed")
            .await?;
    }
    turn.restart(Some(&net.middle)).await?;
    let started = Instant::now();
    until_complete(&[&anna, &ben], SOON)
        .await
        .with_context(|| turn.log())?;
    let took = started.elapsed();
    report(&format!(
        "linked again {took:?} after the TURN server's start"
    ));
    ensure!(took < BACK, "it takes {took:?}");
    Ok(())
}
