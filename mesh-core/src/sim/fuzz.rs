//! What fuzzers do with bytes; the targets in `fuzz/` only call these, and their corpora are
//! replayed as tests.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{Operation, Rough, Scenario, World, WorldConfig};
use crate::config::HubConfig;
use crate::id::ClientId;
use crate::io::Channel;
use crate::signaling::{Hub, HubInput};
use crate::time::Instant;
use crate::wire::{Frame, FrameWriter};

/// Operations of one run at most: longer runs find no more, only later.
const OPERATIONS_MAX: usize = 48;

/// A frame decodes or not; one that does says the same when it is encoded again.
///
/// # Panics
/// If it does not.
pub fn frame(bytes: &[u8]) {
    let Ok(frame) = Frame::decode(bytes) else {
        return;
    };
    let mut writer = FrameWriter::default();
    for record in &frame.records {
        writer.push(&FrameWriter::encode(record));
    }
    let again = Frame::decode(&writer.finish()).expect("what was encoded decodes");
    assert_eq!(again.records, frame.records);
}

/// Texts of a client, one a line, end with an answer or the connection, never the hub.
pub fn signaling(bytes: &[u8]) {
    let mut hub = Hub::new(HubConfig::default(), [1; 32]);
    let (client, now) = (ClientId(1), Instant::default());
    hub.handle_input(HubInput::ClientConnected(client), now);
    for line in String::from_utf8_lossy(bytes).lines() {
        hub.handle_input(HubInput::TextReceived(client, line.to_owned()), now);
    }
    hub.handle_timeout(now + Duration::from_secs(60));
    while hub.poll_output().is_some() {}
}

/// Frames of a neighbour, each a length and as many bytes, leave an agent with its mesh.
///
/// # Panics
/// If they do not.
pub fn neighbour(bytes: &[u8]) {
    let mut world = World::new(WorldConfig::new(1));
    world.start_agents(2);
    assert!(world.run_until(Duration::from_secs(20), World::is_converged));
    let mut rest = bytes;
    while let Some((&length, after)) = rest.split_first() {
        let (frame, after) = after.split_at(usize::from(length).min(after.len()));
        let mut frame = frame.to_vec();
        if let Some(version) = frame.first_mut() {
            *version = 1;
        }
        let channel = Channel::ALL[usize::from(length) % Channel::ALL.len()];
        world.send_raw(0, 1, channel, frame.into());
        rest = after;
    }
    assert!(world.run_until(Duration::from_secs(90), World::is_converged));
}

/// Four bytes an operation: whatever happens, the world heals.
///
/// # Panics
/// If it does not.
pub fn operations(bytes: &[u8]) {
    run(bytes, None);
}

/// The same in a rough world: the first four bytes say how rough.
///
/// # Panics
/// If it does not heal.
pub fn rough_operations(bytes: &[u8]) {
    let (how, bytes) = bytes.split_at(bytes.len().min(4));
    let seed = how
        .iter()
        .fold(0, |seed, &byte| seed << 8 | u64::from(byte));
    let rough = Rough::draw(&mut ChaCha8Rng::seed_from_u64(seed));
    run(bytes, Some(rough));
}

fn run(bytes: &[u8], rough: Option<Rough>) {
    let (four, _) = bytes.as_chunks::<4>();
    let operations = four.iter().take(OPERATIONS_MAX).copied();
    let operations = operations.map(Operation::from_bytes).collect();
    let scenario = Scenario {
        operations,
        agents: 5,
        config: WorldConfig {
            k: Some(2),
            rough,
            ..WorldConfig::new(1)
        },
    };
    scenario.run();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuzzing has found worth keeping, and what its bugs were found with.
    #[test]
    fn corpora_are_replayed() {
        type Target = fn(&[u8]);
        let targets: [(&str, Target); 5] = [
            ("frame", frame),
            ("signaling", signaling),
            ("neighbour", neighbour),
            ("operations", operations),
            ("rough_operations", rough_operations),
        ];
        for (name, target) in targets {
            let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(&folder).expect("every target has a corpus");
            let mut replayed = 0;
            for file in files {
                let path = file.expect("the folder can be read").path();
                target(&std::fs::read(&path).expect("the file can be read"));
                replayed += 1;
            }
            assert!(replayed > 0, "{folder} is empty");
        }
    }
}
