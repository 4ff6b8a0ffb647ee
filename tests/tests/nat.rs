//! Agents behind NATs and firewalls, in short: `cargo xtask nat` measures all of them.

use anyhow::{Context, Result, ensure};
use mesh_tests::doctor::Diagnosis;
use mesh_tests::hosts;
use mesh_tests::nat::{Cell, HUB_URL, Internet, Path, Place, Servers, Side, measure};
use mesh_tests::report;

/// What becomes of a pair.
async fn requires(places: [Place; 2], servers: Servers, expected: Option<Path>) -> Result<()> {
    let [one, other] = places.map(Place::name);
    let cell = measure(places, servers).await?;
    report(&format!("{one}, {other}, {}: {cell}", servers.name()));
    let path = match cell {
        Cell::Linked(path, _) => Some(path),
        Cell::Apart => None,
    };
    ensure!(
        path == expected,
        "{one}, {other}, {}: {cell}",
        servers.name()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_behind_two_nats_that_keep_their_mapping_link_by_stun_alone() -> Result<()> {
    if !hosts::can_be_made("agents behind two NATs").await {
        return Ok(());
    }
    requires([Place::PortRestricted; 2], Servers::Stun, Some(Path::Nat)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_behind_two_symmetric_nats_link_through_turn() -> Result<()> {
    if !hosts::can_be_made("agents behind two symmetric NATs").await {
        return Ok(());
    }
    requires([Place::Symmetric; 2], Servers::TurnUdp, Some(Path::Relay)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_behind_firewalls_that_let_https_alone_through_link_by_turn_over_tls() -> Result<()>
{
    if !hosts::can_be_made("agents behind two firewalls").await {
        return Ok(());
    }
    requires([Place::Only443; 2], Servers::TurnTls, Some(Path::Relay)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_each_nat() -> Result<()> {
    if !hosts::can_be_made("mesh doctor behind NATs").await {
        return Ok(());
    }
    for places in [
        [Place::FullCone, Place::AddressRestricted],
        [Place::PortRestricted, Place::Symmetric],
    ] {
        let internet = Internet::new().await?;
        let sides = Side::pair(&internet, places).await?;
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
