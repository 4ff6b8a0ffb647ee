//! Consent checks sent again while a path is silent.
//!
//! Then the library's clock stands still ([`super::clock`]), and nothing leaves by itself. The last
//! consent check is sent again as it is, as a STUN request may be ([RFC 8489], section 6.2.1): each
//! end finds out that the path works again by hearing the other's check, or the answer to its own.
//!
//! [RFC 8489]: https://www.rfc-editor.org/rfc/rfc8489

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often the check is sent again: how soon it is noticed that a path works again.
pub(super) const CHECK_AGAIN: Duration = Duration::from_secs(2);

/// The largest check that is kept, in bytes. Those of the library have about 120, and 4 or 36 more
/// on the way to a TURN server.
const CHECK_BYTES_MAX: usize = 512;

/// The last consent check of one connection.
#[derive(Debug)]
pub(super) struct LastCheck<S>(Mutex<Option<Check<S>>>);

#[derive(Debug)]
struct Check<S> {
    socket: Weak<S>,
    to: SocketAddr,
    bytes: Vec<u8>,
    sent_at: Instant,
}

impl<S> Default for LastCheck<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> LastCheck<S> {
    /// Keeps a datagram that leaves from a socket, if it is a consent check.
    pub(super) fn note(&self, socket: &Weak<S>, to: SocketAddr, datagram: &[u8]) {
        if !is_check(datagram) || datagram.len() > CHECK_BYTES_MAX {
            return;
        }
        let mut kept = self.lock();
        let mut bytes = kept.take().map_or_else(Vec::new, |check| check.bytes);
        bytes.clear();
        bytes.extend_from_slice(datagram);
        *kept = Some(Check {
            socket: Weak::clone(socket),
            to,
            bytes,
            sent_at: Instant::now(),
        });
    }

    /// The check, if it is to be sent again now, and from where to where.
    pub(super) fn due(&self) -> Option<(Arc<S>, SocketAddr, Vec<u8>)> {
        let mut kept = self.lock();
        let check = kept.as_mut()?;
        if check.sent_at.elapsed() < CHECK_AGAIN {
            return None;
        }
        check.sent_at = Instant::now();
        Some((check.socket.upgrade()?, check.to, check.bytes.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Check<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The types of a check, which is a binding request, and of its answer (RFC 8489, section 5).
pub(super) const CHECK: [u8; 2] = [0, 1];
pub(super) const ANSWER: [u8; 2] = [1, 1];

/// A datagram without the header that it has on the way to and from a TURN server.
pub(super) fn stun_of(datagram: &[u8]) -> &[u8] {
    /// The header of TURN's ChannelData, in bytes.
    const CHANNEL_HEADER: usize = 4;
    match datagram {
        [0x40..=0x4f, ..] => datagram.get(CHANNEL_HEADER..).unwrap_or_default(),
        _ => datagram,
    }
}

/// Whether a datagram is a connectivity check, as it is or on the way to a TURN server. Questions
/// to STUN servers are binding requests too, but have no user name.
pub(super) fn is_check(datagram: &[u8]) -> bool {
    /// USERNAME, which the library puts first (RFC 8489, section 14).
    const USERNAME: [u8; 2] = [0, 6];
    /// The header of STUN, in bytes.
    const HEADER: usize = 20;
    let stun = stun_of(datagram);
    stun.starts_with(&CHECK)
        && stun
            .get(HEADER..)
            .is_some_and(|rest| rest.starts_with(&USERNAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_check_is_sent_again_but_nothing_else() {
        let stun = |kind: [u8; 2], attribute: [u8; 2]| {
            let head = [0, 40, 0x21, 0x12, 0xa4, 0x42];
            [&kind[..], &head, &[7; 12], &attribute, &[0; 6]].concat()
        };
        let (check, question) = (stun([0, 1], [0, 6]), stun([0, 1], [0x80, 0x22]));
        let relayed = [&[0x40, 1, 0, 40], &check[..]].concat();
        assert!(is_check(&check) && is_check(&relayed));
        for other in [&question, &stun([1, 1], [0, 6]), &vec![23; 80], &vec![0x40]] {
            assert!(!is_check(other), "{other:?}");
        }

        let socket = Arc::new(());
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let last = LastCheck::default();
        assert!(last.due().is_none(), "there was none");
        last.note(&Arc::downgrade(&socket), to, &check);
        last.note(&Arc::downgrade(&socket), to, &question);
        assert!(last.due().is_none(), "it has just been sent");
        let long_ago = Instant::now().checked_sub(CHECK_AGAIN);
        last.lock().as_mut().expect("kept").sent_at = long_ago.expect("uptime exceeds seconds");
        let (_, address, bytes) = last.due().expect("due");
        assert_eq!((address, bytes), (to, check));
        assert!(last.due().is_none(), "not at once again");
    }
}
