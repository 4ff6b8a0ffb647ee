//! The table of docs/nat.md.

use super::{Cell, Place, Servers};

/// The pairs of places that are measured.
pub const PAIRS: [[Place; 2]; 24] = {
    use Place::*;
    [
        [Open, Open],
        [Open, Symmetric],
        [FullCone, FullCone],
        [FullCone, AddressRestricted],
        [FullCone, PortRestricted],
        [FullCone, Symmetric],
        [AddressRestricted, AddressRestricted],
        [AddressRestricted, PortRestricted],
        [AddressRestricted, Symmetric],
        [PortRestricted, PortRestricted],
        [PortRestricted, Symmetric],
        [Symmetric, Symmetric],
        [Cgnat, Cgnat],
        [Cgnat, PortRestricted],
        [Hairpin, Hairpin],
        [NoUdp, Open],
        [NoUdp, NoUdp],
        [Only443, Open],
        [Only443, Only443],
        [V6Only, V6Only],
        [V6Only, PortRestricted],
        [BrokenV6, Open],
        [DeadInterface, Open],
        [DeadInterface, PortRestricted],
    ]
};

/// The row of a pair, with its cells in the order of [`Servers::ALL`].
pub fn row(places: [Place; 2], cells: &[String]) -> String {
    let [one, other] = places.map(Place::name);
    format!("| {one} | {other} | {} |\n", cells.join(" | "))
}

/// The whole of it, and what the doctor has said of each place.
pub fn tables(rows: &[String], diagnoses: &[(Place, String)]) -> String {
    let servers = Servers::ALL.map(Servers::name).join(" | ");
    let rule = "---|".repeat(2 + Servers::ALL.len());
    let mut text = format!("| one agent | the other | {servers} |\n|{rule}\n");
    text.extend(rows.iter().map(String::as_str));
    text += "\n| place | `mesh doctor` says |\n|---|---|\n";
    for (place, said) in diagnoses {
        text += &format!("| {} | {said} |\n", place.name());
    }
    text
}

/// Whether a pair is linked as it should be: with a TURN server that it can reach all are.
pub fn is_expected(places: [Place; 2], servers: Servers, cell: Cell) -> bool {
    let blocked = |transport: Servers| {
        places.iter().any(|place| match place {
            Place::NoUdp => transport == Servers::TurnUdp,
            Place::Only443 => matches!(transport, Servers::TurnUdp | Servers::TurnTcp),
            _ => false,
        })
    };
    match servers {
        Servers::None | Servers::Stun => true,
        _ => blocked(servers) || cell != Cell::Apart,
    }
}
