//! The traffic of a soak: agents send to each other in turn, at a steady rate.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mesh_native::core::Delivery;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::world::World;

/// Characters of a payload beside its number.
const PADDING: usize = 100;

/// Has every agent send to every other in turn, a third of each delivery, so many messages a second
/// in all. Does not end.
pub async fn talk(world: &World, rate: u32) {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    // After a pause of this process the mesh is not flooded.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let padding = "x".repeat(PADDING);
    for turn in 0_usize.. {
        ticks.tick().await;
        if !world.talks.load(Ordering::Relaxed) {
            continue;
        }
        let agents = world.all();
        let (count, round) = (agents.len(), turn / agents.len());
        let from = turn % count;
        let to = (from + 1 + round % (count - 1)) % count;
        // Two agents have another delivery each time that it is their turn.
        let cycle = round / (count - 1);
        let delivery = [
            Delivery::Datagram,
            Delivery::Reliable,
            Delivery::Acknowledged,
        ][(from + to + cycle) % 3];
        let (author, target) = (&agents[from], &agents[to]);
        let mut ledger = world.ledger.open();
        if ledger.is_dead(author.life) || ledger.is_dead(target.life) {
            continue;
        }
        let number = ledger.sends(author.life, target.life, delivery);
        let told = author.tell(&json!({
            "type": "send",
            "to": target.id,
            "payload": format!("{number} {padding}"),
            "delivery": delivery,
            "ref": number,
        }));
        if !told {
            ledger.takes_back();
        }
    }
}
