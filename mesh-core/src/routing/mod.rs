//! Where a message goes next: link-state records in, shortest paths out.
//!
//! Every agent announces its open links in a signed record; everybody holds the newest record of
//! each author ([`Database`]) and computes shortest paths over the links that both ends announce
//! ([`Routes`]), as OSPF does ([RFC 2328], section 16.1, the two-way check). So a dead agent needs
//! no timer to disappear: when its neighbours stop announcing their links to it, no path leads
//! there. [`ReplayWindow`] tells a message that was seen from one that was not.
//!
//! [RFC 2328]: https://www.rfc-editor.org/rfc/rfc2328

mod cost;
mod database;
#[cfg(test)]
mod golden;
mod graph;
mod replay;
mod routes;
mod search;
mod tree;

pub use cost::{Metric, ParseMetricError};
pub(crate) use database::Database;
#[cfg(any(test, feature = "sim"))]
pub(crate) use database::Known;
pub(crate) use graph::LinkGraph;
pub(crate) use replay::{ReplayWindow, Seen};
pub(crate) use routes::{RoutePolicy, Routes};
pub(crate) use tree::children;
