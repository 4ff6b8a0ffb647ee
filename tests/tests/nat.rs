//! Agents behind NATs and firewalls, in short: `cargo xtask nat` measures all of them.

use anyhow::{Context, Result, ensure};
use mesh_tests::browser::{Browser, are_wanted};
use mesh_tests::doctor::Diagnosis;
use mesh_tests::nat::{HUB_URL, Internet, Lab, Nat, Pair, Path, Place, Runtime, Servers, Side};
use mesh_tests::{hosts, report};

const NATIVE: Runtime = Runtime::Native;
const CHROMIUM: Runtime = Runtime::Tab(Browser::Chrome);

const ADDRESS_RESTRICTED: Place = Place::Behind(Nat::AddressRestricted);
const PORT_RESTRICTED: Place = Place::Behind(Nat::PortRestricted);
const SYMMETRIC: Place = Place::Behind(Nat::Symmetric);

/// A pair links in this way, with each of these servers.
async fn requires(
    places: [Place; 2],
    runtimes: [Runtime; 2],
    cells: &[(Servers, Path)],
) -> Result<()> {
    let pair = Pair::Apart(places);
    let what = format!("{runtimes:?} at {places:?}");
    let are_tabs = runtimes.iter().any(|runtime| *runtime != NATIVE);
    if are_tabs && !are_wanted(&what) || !hosts::can_be_made(&what).await {
        return Ok(());
    }
    let lab = Lab::new(pair, runtimes).await?;
    for &(servers, path) in cells {
        let cell = lab.measure(servers).await?;
        let what = format!("{what}, {}: {cell}", servers.name());
        report(&what);
        ensure!(cell.path() == Some(path), "{what}");
    }
    lab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_behind_two_nats_that_keep_their_mapping_link_by_stun_alone() -> Result<()> {
    let cells = [(Servers::Stun, Path::Nat)];
    requires([PORT_RESTRICTED; 2], [NATIVE; 2], &cells).await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_behind_two_symmetric_nats_link_through_turn() -> Result<()> {
    let cells = [(Servers::TurnUdp, Path::Relay)];
    requires([SYMMETRIC; 2], [NATIVE; 2], &cells).await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_behind_firewalls_that_let_https_alone_through_link_by_turn_over_tls() -> Result<()>
{
    let cells = [(Servers::TurnTls, Path::Relay)];
    requires([Place::Only443; 2], [NATIVE; 2], &cells).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_and_an_agent_behind_nats_link_by_stun_and_else_through_turn() -> Result<()> {
    let cells = [(Servers::Stun, Path::Nat)];
    requires([PORT_RESTRICTED; 2], [NATIVE, CHROMIUM], &cells).await?;
    let cells = [(Servers::TurnUdp, Path::Relay)];
    requires([SYMMETRIC; 2], [NATIVE, CHROMIUM], &cells).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_behind_a_firewall_that_lets_https_alone_through_links_by_turn_tls() -> Result<()> {
    let cells = [(Servers::TurnTls, Path::Relay)];
    requires([Place::Only443, Place::Open], [CHROMIUM, NATIVE], &cells).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_each_nat() -> Result<()> {
    if !hosts::can_be_made("mesh doctor behind NATs").await {
        return Ok(());
    }
    for places in [
        [Place::Behind(Nat::FullCone), ADDRESS_RESTRICTED],
        [PORT_RESTRICTED, SYMMETRIC],
    ] {
        let internet = Internet::new().await?;
        let sides = Side::pair(&internet, Pair::Apart(places)).await?;
        let _hub = internet.hub(&Servers::TurnUdp.urls()).await?;
        for (place, side) in places.iter().zip(&sides) {
            let found = Diagnosis::of(Some(&side.host), &["--signaling", HUB_URL]).await?;
            let name = place.diagnosis().context("it has a NAT")?;
            let mut said = found
                .all("nat")
                .filter_map(|finding| finding["found"].as_str());
            ensure!(
                said.any(|said| said.starts_with(name)),
                "{place:?}: {:#}",
                found.report
            );
        }
    }
    Ok(())
}
