//! A link over a long path carries what its delay allows, not what windows made for loopback do.
#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_tests::paths::{Ends, Path, System, measure};
use mesh_tests::{hosts, report};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_100_ms_carries_more_than_a_window_of_loopback_allows() -> Result<()> {
    if !hosts::can_be_made("a link over a long path").await {
        return Ok(());
    }
    let path = Path {
        delay: Duration::from_millis(50),
        rate: 100e6,
        ..Path::default()
    };
    let flood = Duration::from_secs(6);
    let figures = measure(System::Ours, path, flood, &Ends::built()?).await?;
    let median = figures.round_trips[figures.round_trips.len() / 2];
    let throughput = figures.throughput;
    report(&format!(
        "{median:.0} ms there and back, {throughput:.2} MB/s"
    ));
    ensure!(
        (100.0..300.0).contains(&median),
        "{median} ms there and back"
    );
    // 64 KiB under way at a time would be 0.64.
    ensure!(throughput > 0.8, "{throughput} MB/s");
    Ok(())
}
