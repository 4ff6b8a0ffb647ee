//! Which agents link across which networks: NATs and firewalls of a test's own, made of nftables,
//! and what it takes to link through them. `cargo xtask nat` makes the table of docs/nat.md of it.

mod cell;
mod internet;
mod place;
mod table;

pub use cell::{Cell, Path, Servers, measure};
pub use internet::{HUB_URL, Internet, SERVERS_HUB_URL};
pub use place::{Place, Side};
pub use table::{PAIRS, is_expected, row, tables};
