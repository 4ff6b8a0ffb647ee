//! What operators see: metrics, the real Prometheus over them, alerts, the dashboard.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use mesh_tests::agents::AgentProcess;
use mesh_tests::exposition::{Exposition, Family};
use mesh_tests::hub::get;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::npm::{root, scratch};
use mesh_tests::process::{MeshProcess, free_port, run_mesh};
use mesh_tests::prometheus::{
    Alertmanager, Prometheus, alerts, deployed, hurried_rules, read_deployed, tool,
};
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Agents of a scraped mesh, in a process each.
const AGENTS: usize = 6;

/// How long a neighbour may be silent until it counts as dead, alerts included.
const NOTICED: Duration = Duration::from_secs(60);

/// A command that serves metrics, and where.
struct Watched {
    process: MeshProcess,
    metrics: u16,
    hub: u16,
}

/// Starts `mesh signal` or `mesh up` with metrics.
async fn start(arguments: &[&str]) -> Result<Watched> {
    let (hub, metrics) = (free_port()?, free_port()?);
    let listen = format!("127.0.0.1:{hub}");
    let told = format!("127.0.0.1:{metrics}");
    let addresses = ["--listen", &listen, "--metrics", &told];
    let process = MeshProcess::start(&[arguments, &addresses].concat())?;
    until("it serves", SOON, async || get(hub, "/healthz").await).await?;
    Ok(Watched {
        process,
        metrics,
        hub,
    })
}

/// A hub and agents around it, all with metrics.
struct Mesh {
    hub: Watched,
    agents: Vec<AgentProcess>,
    ports: Vec<u16>,
}

impl Mesh {
    async fn start(count: usize) -> Result<Self> {
        let hub = start(&["signal"]).await?;
        let url = format!("ws://127.0.0.1:{}/signal", hub.hub);
        let ports = (0..count).map(|_| free_port());
        let ports = ports.collect::<Result<Vec<_>>>()?;
        let joining = ports.iter().enumerate().map(|(n, port)| {
            let (url, name) = (url.clone(), format!("agent-{n}"));
            let told = format!("127.0.0.1:{port}");
            async move { AgentProcess::join(&url, "watched", &name, &["--metrics", &told]).await }
        });
        let agents = try_join_all(joining).await?;
        let mesh = Self { hub, agents, ports };
        until_complete(&mesh.members(), SOON).await?;
        Ok(mesh)
    }

    fn members(&self) -> Vec<&dyn Member> {
        self.agents.iter().map(|it| it as &dyn Member).collect()
    }

    /// Messages of every kind, from every agent to the next.
    async fn talk(&self) -> Result<()> {
        for (agent, next) in self.agents.iter().zip(self.agents.iter().cycle().skip(1)) {
            let to = next.id();
            for command in [
                json!({"type": "send", "to": to, "payload": "x"}),
                json!({"type": "send", "to": to, "payload": "x", "delivery": "acknowledged"}),
                json!({"type": "request", "to": to, "payload": "x"}),
                json!({"type": "broadcast", "topic": "news", "payload": "x"}),
            ] {
                let result = agent.command(command).await?;
                ensure!(result["type"] == "result", "{result}");
            }
        }
        Ok(())
    }

    /// Waits until each agent has told of what [`Mesh::talk`] sent.
    async fn until_counted(&self) -> Result<()> {
        until("messages are counted", SOON, async || {
            for &port in &self.ports {
                let told = Exposition::of(port).await?;
                for (series, least) in [
                    ("mesh_messages_sent_total{kind=\"direct\"}", 3.0),
                    ("mesh_messages_sent_total{kind=\"broadcast\"}", 1.0),
                    ("mesh_messages_delivered_total", 3.0 + AGENTS as f64 - 1.0),
                    ("mesh_message_latency_seconds_count", 3.0),
                    (
                        "mesh_message_round_trip_seconds_count{kind=\"acknowledged\"}",
                        1.0,
                    ),
                    (
                        "mesh_message_round_trip_seconds_count{kind=\"request\"}",
                        1.0,
                    ),
                    ("mesh_signature_seconds_count{operation=\"sign\"}", 3.0),
                    ("mesh_signature_seconds_count{operation=\"verify\"}", 3.0),
                    ("mesh_link_round_trip_seconds_count", 1.0),
                ] {
                    let value = told.value(series)?;
                    ensure!(value >= least, "{series} is {value} at {port}");
                }
            }
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_agents_and_up_tell_what_promtool_has_nothing_against() -> Result<()> {
    let mesh = Mesh::start(AGENTS).await?;
    mesh.talk().await?;
    mesh.until_counted().await?;
    let up = start(&["up", "--agents", "3"]).await?;
    settled(up.metrics, 3.0).await?;
    for port in [mesh.hub.metrics, mesh.ports[0], up.metrics] {
        let told = Exposition::of(port).await?;
        let said = tool("promtool", &["check", "metrics"], Some(&told.text)).await?;
        ensure!(said.is_empty(), "{said}");
        for agent in &mesh.agents {
            let secrets = [agent.id().to_string(), agent.id().short().to_string()];
            let named = secrets.iter().find(|id| told.text.contains(*id));
            ensure!(
                named.is_none() && !told.text.contains("agent-"),
                "{named:?}"
            );
        }
    }
    let hub = Exposition::of(mesh.hub.metrics).await?;
    ensure!(hub.value("mesh_hub_members")? == AGENTS as f64);
    ensure!(!hub.text.contains("mesh_agents"), "a hub has no agents");
    let agent = Exposition::of(mesh.ports[0]).await?;
    ensure!(!agent.text.contains("mesh_hub"), "an agent has no hub");
    for told in [hub, agent] {
        ensure!(told.value("process_resident_memory_bytes")? > 1e6);
        ensure!(told.value("process_cpu_seconds_total")? >= 0.0);
    }
    // The system counts in steps of 10 ms, which a hub of few agents may not have used yet.
    until("mesh up to have taken processor time", SOON, async || {
        let cpu = Exposition::of(up.metrics).await?;
        ensure!(cpu.value("process_cpu_seconds_total")? > 0.0);
        Ok(())
    })
    .await
}

/// However many agents a process has.
#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_series_does_not_grow_with_the_agents() -> Result<()> {
    let mut all = Vec::new();
    for agents in ["2", "7"] {
        let up = start(&["up", "--agents", agents]).await?;
        let told = settled(up.metrics, agents.parse()?).await?;
        all.push(told.series.into_keys().collect::<BTreeSet<_>>());
        up.process.interrupt().await?;
    }
    let few: Vec<_> = all[0].symmetric_difference(&all[1]).collect();
    ensure!(few.is_empty(), "{few:?}");
    Ok(())
}

async fn settled(port: u16, agents: f64) -> Result<Exposition> {
    until("the mesh is settled", SOON, async || {
        let told = Exposition::of(port).await?;
        let settled = told.value("mesh_agents{state=\"settled\"}")?;
        ensure!(settled == agents, "{settled} agents are");
        Ok(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_where_asked_and_nowhere_else() -> Result<()> {
    let hub = start(&["signal"]).await?;
    let (status, at_hub) = get(hub.hub, "/metrics").await?;
    ensure!(status == 404 && !at_hub.contains("# HELP"), "{at_hub}");
    for (path, expected) in [("/", 200), ("/signal", 404), ("/metrics/", 404)] {
        let (status, body) = get(hub.metrics, path).await?;
        ensure!(
            status == expected && body.contains("/metrics"),
            "{path}: {body}"
        );
    }
    let taken = format!("127.0.0.1:{}", hub.metrics);
    let url = format!("ws://127.0.0.1:{}/signal", hub.hub);
    for command in [
        vec!["signal", "--listen", "127.0.0.1:0"],
        vec!["up", "--listen", "127.0.0.1:0"],
        vec!["agent", "--signaling", &url, "--room", "taken"],
    ] {
        let arguments = [&command[..], &["--metrics", &taken]].concat();
        let ended = run_mesh(&arguments, SOON).await?;
        let expected = format!(
            "cannot serve metrics at {taken}; another address can be given with --metrics: "
        );
        let told = ended.stderr.contains(&expected);
        ensure!(ended.code == Some(1) && told, "{arguments:?}: {ended:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_lists_every_metric_as_it_is_told() -> Result<()> {
    let up = start(&["up", "--agents", "2"]).await?;
    let told = settled(up.metrics, 2.0).await?;
    let mut table =
        "| Metric | Type | Unit | Labels | Meaning |\n|---|---|---|---|---|\n".to_owned();
    told.families.iter().for_each(|it| table += &row(it));
    let document = std::fs::read_to_string(root().join("docs/monitoring.md"))?;
    ensure!(
        document.contains(&table),
        "the table in docs/monitoring.md is to be:\n{table}"
    );
    Ok(())
}

fn row(family: &Family) -> String {
    let Family {
        name,
        kind,
        help,
        labels,
    } = family;
    let base = name.strip_suffix("_total").unwrap_or(name);
    let units = ["seconds", "bytes", "ratio"];
    let unit = units.into_iter().find(|unit| base.ends_with(unit));
    let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
    let (unit, labels) = (unit.unwrap_or_default(), labels.join(", "));
    format!("| `{name}` | {kind} | {unit} | {labels} | {help} |\n")
}

#[tokio::test]
async fn rules_and_configurations_are_what_their_programs_take() -> Result<()> {
    tool(
        "promtool",
        &["check", "config", "prometheus/prometheus.yml"],
        None,
    )
    .await?;
    let rules = ["check", "rules", "--lint-fatal", "prometheus/rules.yml"];
    tool("promtool", &rules, None).await?;
    tool(
        "promtool",
        &["test", "rules", "prometheus/rules_test.yml"],
        None,
    )
    .await?;
    let alertmanager = "alertmanager/alertmanager.yml";
    tool("amtool", &["check-config", alertmanager], None).await?;
    for (severity, receiver) in [("critical", "pagerduty"), ("warning", "operators")] {
        let file = format!("--config.file={alertmanager}");
        let verify = format!("--verify.receivers={receiver}");
        let severity = format!("severity={severity}");
        let arguments = ["config", "routes", "test", &file, &verify, &severity];
        tool("amtool", &arguments, None).await?;
    }
    Ok(())
}

/// The real Alertmanager with the file that operators take, but for where PagerDuty is, and how
/// long it waits for more of the same.
#[tokio::test(flavor = "multi_thread")]
async fn pagerduty_is_told_of_what_is_critical_and_of_nothing_else() -> Result<()> {
    let key = scratch("pagerduty")?.join("key");
    std::fs::write(&key, "the-key")?;
    let called = TcpListener::bind("127.0.0.1:0").await?;
    let pagerduty = format!(
        "url: http://{}/\n        severity: critical",
        called.local_addr()?
    );
    let mut file = read_deployed("alertmanager/alertmanager.yml")?;
    for (deployed, here) in [
        ("/etc/alertmanager/pagerduty.key", key.display().to_string()),
        ("group_wait: 10s", "group_wait: 0s".to_owned()),
        ("severity: critical", pagerduty),
    ] {
        ensure!(file.matches(deployed).count() == 1, "where is {deployed}?");
        file = file.replace(deployed, &here);
    }
    let alertmanager = Alertmanager::start("alertmanager", &file).await?;
    let down = ["MeshHubDown", "job=mesh-hub", "severity=critical"];
    // What does not call comes first: if it did, it would be what is heard.
    let slow = ["MeshLatencyHigh", "job=mesh-agent", "severity=warning"];
    alertmanager.alert(&slow, "summary=slow").await?;
    alertmanager
        .alert(&down, "summary=A hub does not answer")
        .await?;
    let call = timeout(SOON, heard(&called)).await??;
    ensure!(call["routing_key"] == "the-key", "{call}");
    ensure!(call["event_action"] == "trigger", "{call}");
    let payload = &call["payload"];
    ensure!(payload["summary"] == "A hub does not answer", "{call}");
    ensure!(payload["severity"] == "critical", "{call}");
    // Nor does what follows from it; what follows from nothing does.
    let inhibited = ["MeshMembersLost", "job=mesh-hub", "severity=critical"];
    alertmanager.alert(&inhibited, "summary=gone").await?;
    let lost = ["MeshLinksLost", "job=mesh-agent", "severity=critical"];
    alertmanager.alert(&lost, "summary=lost").await?;
    let call = timeout(SOON, heard(&called)).await??;
    ensure!(call["payload"]["summary"] == "lost", "{call}");
    Ok(())
}

/// The body of the next request, which is answered as PagerDuty does.
async fn heard(server: &TcpListener) -> Result<Value> {
    let (mut stream, _) = server.accept().await?;
    let mut request = Vec::new();
    loop {
        let read = stream.read_buf(&mut request).await?;
        ensure!(read > 0, "it ends early");
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(body) = body.and_then(|body| serde_json::from_str(body).ok()) {
            let answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\
                          Connection: close\r\n\r\n{}";
            stream.write_all(answer.as_bytes()).await?;
            return Ok(body);
        }
    }
}

#[test]
fn every_alert_is_tested_and_documented_and_has_its_words() -> Result<()> {
    let rules = read_deployed("prometheus/rules.yml")?;
    let tests = read_deployed("prometheus/rules_test.yml")?;
    let document = std::fs::read_to_string(root().join("docs/monitoring.md"))?;
    let alerts = alerts(&deployed("prometheus/rules.yml"))?;
    ensure!(alerts.len() >= 15, "{alerts:?}");
    for alert in &alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n          - ");
        let rests = format!("alertname: {alert}\n        exp_alerts: []");
        ensure!(tests.contains(&fires), "no test shows {alert} firing");
        ensure!(tests.contains(&rests), "no test shows {alert} at rest");
        ensure!(
            document.contains(&format!("| `{alert}` |")),
            "{alert} is in no table"
        );
    }
    for (word, count) in [
        ("severity: ", alerts.len()),
        ("summary: ", alerts.len()),
        ("description: ", alerts.len()),
        ("runbook: docs/troubleshooting.md#", alerts.len()),
    ] {
        let found = rules.matches(word).count();
        ensure!(found == count, "{found} of {count} alerts have {word:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_sees_links_cut_and_healed_and_the_dashboard_has_data() -> Result<()> {
    let mesh = Mesh::start(AGENTS).await?;
    let jobs = [
        ("mesh-hub", vec![mesh.hub.metrics]),
        ("mesh-agent", mesh.ports.clone()),
    ];
    // Long enough that the dead are noticed within, short enough that they are soon forgotten.
    let rules = hurried_rules("2s", "20s")?;
    let prometheus = Prometheus::start("prometheus", &jobs, &rules).await?;
    until("every target is scraped", SOON, async || {
        let up = prometheus.query("up == 1").await?;
        ensure!(up.len() == AGENTS + 1, "{up:?}");
        Ok(())
    })
    .await?;
    until("no alert fires", SOON, async || at_rest(&prometheus).await).await?;

    let (stopped, _) = mesh.agents.split_at(2);
    try_join_all(stopped.iter().map(|agent| agent.signal("STOP"))).await?;
    until("the cut links are told", NOTICED, async || {
        for alert in ["MeshAgentDown", "MeshLinksLost"] {
            let fired =
                format!("max_over_time(ALERTS{{alertname={alert:?},alertstate=\"firing\"}}[1m])");
            let fired = prometheus.query(&fired).await?;
            ensure!(!fired.is_empty(), "{alert} has not fired");
        }
        Ok(())
    })
    .await?;
    try_join_all(stopped.iter().map(|agent| agent.signal("CONT"))).await?;
    until_complete(&mesh.members(), NOTICED).await?;
    until("no alert fires any more", NOTICED, async || {
        at_rest(&prometheus).await
    })
    .await?;
    // Links have opened while Prometheus looked: of all that it shows something has happened.
    no_dashboard_query_is_empty(&mesh, &prometheus).await
}

async fn at_rest(prometheus: &Prometheus) -> Result<()> {
    let firing = prometheus.firing().await?;
    ensure!(firing.is_empty(), "{firing:?} fire");
    Ok(())
}

/// Each query of the dashboard, while messages of each kind are sent, once it has had time.
async fn no_dashboard_query_is_empty(mesh: &Mesh, prometheus: &Prometheus) -> Result<()> {
    let dashboard: Value = serde_json::from_str(&read_deployed("grafana/mesh.json")?)?;
    let queries = queries_of(&dashboard)?;
    ensure!(queries.len() > 50, "{queries:?}");
    until("every query returns data", NOTICED, async || {
        mesh.talk().await?;
        for query in &queries {
            let samples = prometheus.query(query).await?;
            let numbers = samples.iter().filter(|sample| !sample.value.is_nan());
            ensure!(numbers.count() > 0, "{query} returns {samples:?}");
        }
        Ok(())
    })
    .await
}

/// The queries of panels and of variables, with everything chosen.
fn queries_of(dashboard: &Value) -> Result<Vec<String>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().context("a panel has no title")?;
        let targets = list(&panel["targets"]);
        ensure!(
            panel["type"] == "row" || !targets.is_empty(),
            "{title} is empty"
        );
        for target in targets {
            queries.push(target["expr"].as_str().context("no query")?.to_owned());
        }
    }
    for variable in list(&dashboard["templating"]["list"]) {
        let Some(query) = variable["query"]["query"].as_str() else {
            continue; // The data source.
        };
        let Some(labels) = query.strip_prefix("label_values(") else {
            bail!("{query} is no query of labels");
        };
        let (metric, _) = labels.rsplit_once(',').context("no label")?;
        queries.push(metric.to_owned());
    }
    let chosen = queries.iter().map(|query| {
        let query = query.replace("$__rate_interval", "3m");
        query.replace("$job", ".+").replace("$instance", ".+")
    });
    let chosen: Vec<_> = chosen.collect();
    let left = chosen.iter().find(|query| query.contains('$'));
    ensure!(left.is_none(), "{left:?} has a variable that nobody sets");
    Ok(chosen)
}
