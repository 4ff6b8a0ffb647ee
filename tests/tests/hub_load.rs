//! What many members cost a hub, and what a flood does to it: `mesh hub-test` in short.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::process::run_mesh;
use mesh_tests::report;
use serde_json::Value;

/// Only a failure takes so long, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a member may cost the hub, in KB of memory: twice of what is aimed at, for debug builds and
/// allocators that keep what few members do not fill.
const KB_A_MEMBER_MAX: f64 = 40.0;

/// What a flood of 2,000 may have the hub take, in MB: what may wait for all clients and what they
/// may have begun to say, with as much again for what is being freed and made.
const FLOODED_MB_MAX: f64 = 400.0;

async fn hub_test(arguments: &[&str]) -> Result<Value> {
    let arguments = [&["hub-test", "--json"], arguments].concat();
    let ended = run_mesh(&arguments, PATIENCE).await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).with_context(|| format!("{ended:?}"))
}

fn number(report: &Value, pointer: &str) -> Result<f64> {
    let number = report.pointer(pointer).and_then(Value::as_f64);
    number.with_context(|| format!("no number at {pointer} of {report}"))
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_members_join_at_200_a_second_and_cost_the_hub_little() -> Result<()> {
    let told = hub_test(&["--members", "1000", "--rate", "200", "--hold", "5s"]).await?;
    ensure!(told["admitted"] == 1_000, "{told}");
    let before = number(&told, "/memoryBefore/hubMb")?;
    let after = number(&told, "/idle/hub/memoryMb")?;
    let kb = after - before; // MB of a thousand are KB of one.
    let rate = number(&told, "/joinsASecond")?;
    let latency = number(&told, "/joinTimes/p99Ms")?;
    report(&format!(
        "1,000 members joined at {rate:.0} a second, within {latency:.0} ms (p99); each costs the \
         hub {kb:.1} KB"
    ));
    ensure!(kb <= KB_A_MEMBER_MAX, "{kb} KB a member");
    // Those that come late come at their time: all but the last wait for nobody.
    ensure!(rate > 150.0, "{rate} joins a second");
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn members_stay_in_a_flood_and_the_hub_takes_no_more_memory_than_its_bound() -> Result<()> {
    let told = hub_test(&["--members", "200", "--flood", "2000", "--hold", "20s"]).await?;
    ensure!(told["admitted"] == 200, "{told}");
    ensure!(told["failures"] == serde_json::json!({}), "{told}");
    let peak = number(&told, "/flooded/hub/peakMb")?;
    let ping = number(&told, "/flooded/pings/p99Ms")?;
    report(&format!(
        "a flood of 2,000: the hub takes {peak:.0} MB at most, and answers a member's ping within \
         {ping:.0} ms (p99)"
    ));
    ensure!(peak <= FLOODED_MB_MAX, "{peak} MB");
    ensure!(number(&told, "/flooded/pings/count")? > 0.0, "{told}");
    Ok(())
}

#[tokio::test]
async fn more_members_than_files_are_refused_with_the_remedy() -> Result<()> {
    let ended = run_mesh(&["hub-test", "--members", "1000000"], PATIENCE).await?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure!(ended.stderr.contains("ulimit -n"), "{ended:?}");
    Ok(())
}
