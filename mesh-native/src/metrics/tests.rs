//! Agents and a hub of this process, and what is told of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::{Agent, JoinOptions};

const PATIENCE: Duration = Duration::from_secs(20);

/// The value of a series.
fn value(text: &str, series: &str) -> f64 {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {series} in {text}"));
    value.parse().expect("a number")
}

async fn until(metrics: &Metrics, what: &str, holds: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = metrics.render(Format::Text).await;
        if holds(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "not {what}: {text}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_do_not_fall_when_agents_end_and_gauges_do() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = HubServer::bind(any, mesh_core::HubConfig::default()).expect("a port");
    let url = format!("ws://{}/signal", server.local_addr().expect("an address"));
    let metrics = Metrics::default();
    let empty = metrics.render(Format::Text).await;
    assert!(!empty.contains("mesh_agents") && !empty.contains("mesh_hub"));
    metrics.watch_hub(&server);
    tokio::spawn(server.serve(std::future::pending()));
    let mut agents = Vec::new();
    for name in ["a", "b", "c"] {
        let options = JoinOptions {
            metrics: Some(metrics.clone()),
            ..JoinOptions::new(&url, "metrics", name)
        };
        agents.push(Agent::join(options).await.expect("joins"));
    }
    let settled = "mesh_agents{state=\"settled\"}";
    let formed = until(&metrics, "formed", |text| value(text, settled) == 3.0).await;
    assert_eq!(value(&formed, "mesh_hub_members"), 3.0);
    let opened = "mesh_link_attempts_total{outcome=\"opened\"}";
    let setups = "mesh_link_setup_seconds_count";
    assert!(value(&formed, opened) >= 6.0);
    assert_eq!(value(&formed, opened), value(&formed, setups));
    for agent in agents.drain(..) {
        agent.close().await;
    }
    let ended = until(&metrics, "ended", |text| {
        let watched = lock(&metrics.0.agents).present.len();
        watched == 0 && value(text, settled) == 0.0 && value(text, "mesh_hub_members") == 0.0
    });
    let ended = ended.await;
    for counter in [opened, "mesh_route_changes_total", "mesh_link_states_total"] {
        assert!(
            value(&ended, counter) >= value(&formed, counter),
            "{counter}"
        );
    }
    assert_eq!(value(&ended, "mesh_links{state=\"open\"}"), 0.0);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_remedy() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let first = MetricsServer::bind(any).expect("a port");
    let error = MetricsServer::bind(first.local_addr()).expect_err("it is taken");
    let text = error.to_string();
    assert!(text.contains(&first.local_addr().to_string()) && text.contains("--metrics"));
}

/// A hub whose loop has ended must not keep Prometheus waiting, nor look well.
#[tokio::test]
async fn a_hub_that_does_not_answer_is_told_as_such() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = HubServer::bind(any, mesh_core::HubConfig::default()).expect("a port");
    let metrics = Metrics::default();
    metrics.watch_hub(&server);
    drop(server);
    let text = metrics.render(Format::Text).await;
    assert_eq!(value(&text, "mesh_hub_responsive"), 0.0);
    assert!(!text.contains("mesh_hub_members"), "{text}");
}
