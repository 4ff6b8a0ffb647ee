//! `cargo xtask soak` in short: each fault is done to a mesh of real processes, which heals, and
//! each message is accounted for.

use anyhow::{Result, ensure};
use mesh_tests::hosts;
use mesh_tests::report;
use mesh_tests::soak::faults::{Fault, measured};
use mesh_tests::soak::tables::Readings;
use mesh_tests::soak::world::World;
use mesh_tests::soak::{Dice, chaos, traffic};

const AGENTS: usize = 8;
const K: usize = 4;

/// Messages a second.
const RATE: u32 = 60;

/// The faults that heal within a second or two. `cargo xtask soak` has the others, and loss.
const TIMED: [Fault; 4] = [Fault::Killed, Fault::Moved, Fault::Hub, Fault::Rotated];

/// How soon all messages arrive and all links are there again, on a machine that runs other tests
/// too. `cargo xtask soak faults` measures this on an idle one.
const HEALED_S: f64 = 20.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_heals_from_each_fault_and_accounts_for_each_message() -> Result<()> {
    if !hosts::can_be_made("faults to a mesh of real processes").await {
        return Ok(());
    }
    let world = World::form(AGENTS, K).await?;
    let mut dice = Dice(21);
    let suffering = async {
        let mut readings = Readings::default();
        for fault in TIMED {
            for (measure, healing) in measured(&world, &mut dice, fault).await? {
                readings.enter(measure, healing);
            }
        }
        Ok::<_, anyhow::Error>((readings, chaos::settle(&world).await?))
    };
    let (readings, accounts) = tokio::select! {
        suffered = suffering => suffered?,
        () = traffic::talk(&world, RATE) => anyhow::bail!("the traffic has ended"),
    };
    for (name, messages, links) in readings.worst() {
        report(&format!(
            "{name}: messages {messages:.2} s, links {links:.2} s"
        ));
        let worst = messages.max(links);
        ensure!(worst < HEALED_S, "{name}: it heals after {worst} s");
    }
    report(&accounts.table());
    accounts.balance()
}
