//! Members that are away for a while, and come back by themselves. `cargo xtask soak away` has
//! minutes of it, and every way.

use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_tests::away::{Absence, Room};
use mesh_tests::browser::{Browser, are_wanted};
use mesh_tests::report;

/// Longer than a link may be silent before it is lost (2.5 s).
const AWAY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_was_hidden_frozen_or_asleep_is_the_same_agent_afterwards() -> Result<()> {
    if !are_wanted("tabs that are away") {
        return Ok(());
    }
    let room = Room::form().await?;
    for (browser, absence) in [
        (Browser::Chrome, Absence::Hidden),
        (Browser::Firefox, Absence::Hidden),
        (Browser::Chrome, Absence::Frozen),
        (Browser::Chrome, Absence::Asleep),
    ] {
        let back = room.tab(browser, absence, AWAY).await?;
        report(&format!("{browser:?}, {absence:?}: {back:?}"));
        ensure!(
            back.same,
            "{browser:?}, {absence:?}: another agent came back"
        );
        let (answered, asked) = back.answered;
        // A hidden tab is a member like others.
        ensure!(absence != Absence::Hidden || answered == asked, "{back:?}");
        ensure!(absence == Absence::Hidden || answered < asked, "{back:?}");
    }
    Ok(())
}
