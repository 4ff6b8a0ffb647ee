//! `cargo xtask soak`: a mesh of real processes on hosts of its own, under traffic, to which faults
//! are done: how soon it heals, what becomes of each message, and what hours do to its processes.
//!
//! Every message and every outcome stands in a [`ledger::Ledger`], so that none is lost unseen.

pub mod accounts;
pub mod agent;
pub mod chaos;
pub mod closed;
pub mod faults;
pub mod ledger;
pub mod observe;
pub mod process;
pub mod steady;
pub mod tables;
pub mod traffic;
pub mod world;

/// Pseudo-random numbers, so that a run can be repeated from its seed (`SplitMix64`, by Sebastiano
/// Vigna).
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = usize::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or(0);
        bits % end.max(1)
    }
}
