//! Which agents link across which networks: NATs and firewalls of a test's own, made of nftables,
//! and what it takes to link through them. `cargo xtask nat` makes the tables of docs/nat.md of it.

mod cell;
mod end;
mod internet;
mod lab;
mod place;
mod site;
mod table;

pub use cell::{Cell, Path, Servers};
pub use end::Runtime;
pub use internet::{HUB_URL, Internet, SERVERS_HUB_URL};
pub use lab::Lab;
pub use place::{Nat, Pair, Place};
pub use site::Side;
pub use table::{DIAGNOSED, Matrix, diagnoses};

use internet::HUB_PAGE;
