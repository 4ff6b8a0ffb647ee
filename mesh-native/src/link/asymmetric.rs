//! Paths whose answers come from elsewhere are checked no more.
//!
//! A peer on this machine, with a socket for all its addresses, answers a check that one address of
//! ours sends to another of its own from the first. Such a pair is useless, and ICE has it fail
//! (RFC 8445, section 7.2.5.2.1), but the library discards the answer and goes on checking it every
//! 20 ms. Each of these checks has libdatachannel put off its nomination, for two seconds.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use super::candidate::CANDIDATES_MAX;
use super::early::{BINDING_REQUEST, BINDING_SUCCESS, stun_type};

/// Checks of a socket whose answers are awaited: one to each candidate that a peer may have. The
/// answers that matter come from this machine, long before a second round of checks.
const CHECKS_NOTED: usize = CANDIDATES_MAX;

/// The bytes of a STUN message that tell a transaction.
const TRANSACTION: std::ops::Range<usize> = 8..20;

/// What one socket knows of the paths from it.
#[derive(Debug, Default)]
pub(super) struct Asymmetric(Mutex<Paths>);

#[derive(Debug, Default)]
struct Paths {
    checks: VecDeque<([u8; 12], SocketAddr)>,
    /// Where answers do not come from.
    useless: Vec<SocketAddr>,
}

impl Asymmetric {
    /// Looks at a datagram to be sent: false if it is a check of a useless path.
    pub(super) fn is_worth_sending(&self, to: SocketAddr, bytes: &[u8]) -> bool {
        if stun_type(bytes) != Some(BINDING_REQUEST) {
            return true;
        }
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.useless.contains(&to) {
            return false;
        }
        if let Some(transaction) = transaction(bytes) {
            paths.checks.truncate(CHECKS_NOTED - 1);
            paths.checks.push_front((transaction, to));
        }
        true
    }

    /// Looks at a datagram received.
    pub(super) fn note(&self, from: SocketAddr, bytes: &[u8]) {
        if stun_type(bytes) != Some(BINDING_SUCCESS) {
            return;
        }
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = transaction(bytes)
            .and_then(|answered| paths.checks.iter().find(|(noted, _)| *noted == answered));
        if let Some(&(_, to)) = answered
            && to != from
            && !paths.useless.contains(&to)
            && paths.useless.len() < CANDIDATES_MAX
        {
            tracing::debug!(%to, %from, "path given up: its answers come from elsewhere");
            paths.useless.push(to);
        }
    }
}

fn transaction(bytes: &[u8]) -> Option<[u8; 12]> {
    bytes.get(TRANSACTION)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stun(head: [u8; 2], transaction: u8) -> Vec<u8> {
        [
            &head[..],
            &[0, 0, 0x21, 0x12, 0xa4, 0x42],
            &[transaction; 12],
        ]
        .concat()
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_path_is_given_up_when_its_answer_comes_from_elsewhere() {
        let paths = Asymmetric::default();
        let check =
            |port, transaction| paths.is_worth_sending(at(port), &stun([0, 1], transaction));
        let answered = |port, transaction| paths.note(at(port), &stun([1, 1], transaction));
        assert!(check(1, 1) && check(2, 2) && check(3, 3));
        answered(1, 1);
        answered(3, 2);
        answered(4, 9); // Of no check of ours.
        assert!(!check(2, 4), "answered from elsewhere");
        assert!(
            check(1, 5) && check(3, 6) && check(4, 7),
            "the others are not"
        );
        assert!(
            paths.is_worth_sending(at(2), &stun([1, 1], 8)),
            "an answer of ours"
        );
        assert!(paths.is_worth_sending(at(2), &[22; 100]), "no check at all");
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let paths = Asymmetric::default();
        for port in 0..200_u8 {
            paths.is_worth_sending(at(port.into()), &stun([0, 1], port));
            paths.note(at(1_000), &stun([1, 1], port));
        }
        let paths = paths.0.lock().expect("not poisoned");
        assert_eq!(paths.useless.len(), CANDIDATES_MAX);
        assert_eq!(paths.checks.len(), CHECKS_NOTED);
    }
}
