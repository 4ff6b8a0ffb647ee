//! The tables of docs/nat.md.

use super::{Nat, Pair, Place, Runtime, Servers};
use crate::browser::Browser;

/// One table: two kinds of agents, and the pairs of places that they are measured in.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// What the agents of each side run in.
    pub runtimes: [Runtime; 2],
    /// Its rows.
    pub pairs: Vec<Pair>,
}

const OPEN: Place = Place::Open;
const CONE: Place = Place::Behind(Nat::FullCone);
const ADDRESS: Place = Place::Behind(Nat::AddressRestricted);
const PORT: Place = Place::Behind(Nat::PortRestricted);
const SYMMETRIC: Place = Place::Behind(Nat::Symmetric);

/// All pairs of places that are measured.
const PAIRS: [Pair; 25] = [
    Pair::Apart([OPEN, OPEN]),
    Pair::Apart([OPEN, SYMMETRIC]),
    Pair::Apart([CONE, CONE]),
    Pair::Apart([CONE, ADDRESS]),
    Pair::Apart([CONE, PORT]),
    Pair::Apart([CONE, SYMMETRIC]),
    Pair::Apart([ADDRESS, ADDRESS]),
    Pair::Apart([ADDRESS, PORT]),
    Pair::Apart([ADDRESS, SYMMETRIC]),
    Pair::Apart([PORT, PORT]),
    Pair::Apart([PORT, SYMMETRIC]),
    Pair::Apart([SYMMETRIC, SYMMETRIC]),
    Pair::Apart([Place::Cgnat, Place::Cgnat]),
    Pair::Apart([Place::Cgnat, PORT]),
    Pair::Together,
    Pair::Hairpin,
    Pair::Apart([Place::NoUdp, OPEN]),
    Pair::Apart([Place::NoUdp, Place::NoUdp]),
    Pair::Apart([Place::Only443, OPEN]),
    Pair::Apart([Place::Only443, Place::Only443]),
    Pair::Apart([Place::V6Only, Place::V6Only]),
    Pair::Apart([Place::V6Only, PORT]),
    Pair::Apart([Place::BrokenV6, OPEN]),
    Pair::Apart([Place::DeadInterface, OPEN]),
    Pair::Apart([Place::DeadInterface, PORT]),
];

/// Those that are measured with the tab on the other side too: the two differ in what they send to
/// first, and each has its own way to a TURN server and to its addresses.
const REVERSED: [Pair; 7] = [
    Pair::Apart([OPEN, SYMMETRIC]),
    Pair::Apart([ADDRESS, SYMMETRIC]),
    Pair::Apart([PORT, SYMMETRIC]),
    Pair::Apart([Place::NoUdp, OPEN]),
    Pair::Apart([Place::Only443, OPEN]),
    Pair::Apart([Place::V6Only, PORT]),
    Pair::Apart([Place::DeadInterface, PORT]),
];

/// What Firefox is measured in: a row or more for each kind of server.
const OF_FIREFOX: [Pair; 4] = [
    Pair::Apart([PORT, PORT]),
    Pair::Apart([SYMMETRIC, SYMMETRIC]),
    Pair::Apart([Place::NoUdp, OPEN]),
    Pair::Apart([Place::Only443, OPEN]),
];

impl Matrix {
    /// All tables, in their order.
    pub fn all() -> Vec<Self> {
        let (native, chromium, firefox) = (
            Runtime::Native,
            Runtime::Tab(Browser::Chrome),
            Runtime::Tab(Browser::Firefox),
        );
        let reversed = REVERSED.map(Pair::reversed);
        let of = |runtimes, pairs: &[Pair]| Self {
            runtimes,
            pairs: pairs.to_vec(),
        };
        vec![
            of([native, native], &PAIRS),
            of([native, chromium], &[&PAIRS[..], &reversed].concat()),
            of([chromium, chromium], &PAIRS),
            of([firefox, native], &OF_FIREFOX),
            of([firefox, chromium], &OF_FIREFOX),
        ]
    }

    /// The table with these rows, of which each has a cell for each of [`Servers::ALL`].
    pub fn table(&self, rows: &[(Pair, Vec<String>)]) -> String {
        let servers = Servers::ALL.map(Servers::name).join(" | ");
        let rule = "---|".repeat(2 + Servers::ALL.len());
        let [one, other] = self.runtimes.map(Runtime::name);
        let mut text = format!("| one, {one} | the other, {other} | {servers} |\n|{rule}\n");
        for (pair, cells) in rows {
            let [one, other] = pair.names();
            text += &format!("| {one} | {other} | {} |\n", cells.join(" | "));
        }
        text
    }
}

/// The table of what the doctor says of each place.
pub fn diagnoses(said: &[(Pair, String)]) -> String {
    let mut text = "| place | `mesh doctor` says |\n|---|---|\n".to_owned();
    for (pair, said) in said {
        text += &format!("| {} | {said} |\n", pair.names()[0]);
    }
    text
}

/// Pairs of whose first side the doctor is asked.
pub const DIAGNOSED: [Pair; 12] = [
    Pair::Apart([OPEN, OPEN]),
    Pair::Apart([CONE, OPEN]),
    Pair::Apart([ADDRESS, OPEN]),
    Pair::Apart([PORT, OPEN]),
    Pair::Apart([SYMMETRIC, OPEN]),
    Pair::Apart([Place::Cgnat, OPEN]),
    Pair::Hairpin,
    Pair::Apart([Place::NoUdp, OPEN]),
    Pair::Apart([Place::Only443, OPEN]),
    Pair::Apart([Place::V6Only, OPEN]),
    Pair::Apart([Place::BrokenV6, OPEN]),
    Pair::Apart([Place::DeadInterface, OPEN]),
];
