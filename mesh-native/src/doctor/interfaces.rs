//! The addresses of this machine, and which of them links are made from.

use std::net::IpAddr;

use super::{Check, Report};
use crate::addresses;

/// Addresses that are left out and named.
const NAMED_MAX: usize = 8;

pub(super) fn examine(report: &mut Report) {
    let usable = addresses::usable(false);
    if usable.is_empty() {
        report.wrong(
            Check::Interfaces,
            "",
            "this machine has no address that another could link to, only its loopback",
            "connect it to a network; agents of this machine link among themselves",
        );
        return;
    }
    let listed = |addresses: &[IpAddr]| {
        let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        texts.join(", ")
    };
    report.ok(
        Check::Interfaces,
        "",
        &format!("links are made from {}", listed(&usable)),
        None,
    );
    let present = addresses::present().unwrap_or_default();
    let is_left_out = |ip: &IpAddr| !usable.contains(ip) && !ip.is_loopback();
    let left_out: Vec<IpAddr> = present
        .into_iter()
        .filter(is_left_out)
        .take(NAMED_MAX)
        .collect();
    if !left_out.is_empty() {
        let found = format!("not used: {}", listed(&left_out));
        let remedy = "that is as it should be for containers, tunnels and link-local addresses; \
                      mesh agent --address IP links from one of them";
        report.note(Check::Interfaces, "", &found, Some(remedy));
    }
}
