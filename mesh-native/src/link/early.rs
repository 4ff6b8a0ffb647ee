//! What comes too early is held back until the library takes it.
//!
//! The library drops what it cannot use yet, and a peer sends again only after half a second (ICE)
//! or a whole one (DTLS), if the network was as quick as the hub. So each socket of a link keeps:
//!
//! - **connectivity checks** until the peer's description is applied: before, the library has no
//!   password of the peer and answers nothing;
//! - **DTLS** until ICE has selected a pair: a peer that nominates sends its first flight at once.
//!
//! Answers to our own requests, and all else, pass at once. Nothing is held once a link is open.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::candidate::CANDIDATES_MAX;

/// Datagrams a socket holds. Checks come from each candidate of the peer, and the last of each
/// counts; the first flights of DTLS take a few more.
const HELD_MAX: usize = CANDIDATES_MAX;

/// Bytes a socket holds: a first flight of DTLS has 3 KB with a post-quantum key share, and is sent
/// again.
const HELD_BYTES_MAX: usize = 16 * 1024;

/// How long a datagram is held. After this the peer has sent it again, by the timers of DTLS and
/// ICE.
const HELD_FOR: Duration = Duration::from_secs(3);

/// How far a link is, as far as the library takes more from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// The peer's description is not applied yet.
    New,
    /// ICE looks for a path.
    Described,
    /// ICE has selected a pair.
    Reached,
    /// The DTLS handshake is complete.
    Secured,
    /// The data channels are open.
    Open,
}

/// How far one link is, and what its sockets hold.
#[derive(Debug)]
pub(super) struct Gate {
    stage: AtomicU8,
    sockets: Mutex<Vec<Arc<Early>>>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            stage: AtomicU8::new(Stage::New as u8),
            sockets: Mutex::new(Vec::new()),
        }
    }

    /// What one more socket of the link holds.
    pub(super) fn add_socket(&self) -> Arc<Early> {
        let early = Arc::new(Early::default());
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.push(Arc::clone(&early));
        early
    }

    pub(super) fn is(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// The link has got so far: sockets hand over what they held until then.
    pub(super) fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        for early in &*sockets {
            early.advanced(stage);
        }
    }
}

/// What one socket holds.
#[derive(Debug, Default)]
pub(super) struct Early(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    datagrams: VecDeque<Datagram>,
    bytes: usize,
    /// The reader that waits, while something is held.
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Datagram {
    kind: Kind,
    from: SocketAddr,
    at: Instant,
    bytes: Vec<u8>,
}

/// What a datagram waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The peer's description.
    Check,
    /// A selected pair.
    Dtls,
}

impl Kind {
    /// The stage from which on the library takes it.
    fn taken_from(self) -> Stage {
        match self {
            Self::Check => Stage::Described,
            Self::Dtls => Stage::Reached,
        }
    }
}

impl Early {
    /// The next held datagram that the library takes by now, copied to the start of `buffer`. If
    /// there are only others, `reader` is woken when that may have changed.
    pub(super) fn poll(
        &self,
        gate: &Gate,
        reader: &Waker,
        buffer: &mut [u8],
    ) -> Poll<(usize, SocketAddr)> {
        let mut held = self.lock();
        held.forget_late();
        let is_due = |datagram: &Datagram| gate.is(datagram.kind.taken_from());
        if let Some(at) = held.datagrams.iter().position(is_due)
            && let Some(due) = held.remove(at)
        {
            let len = due.bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&due.bytes[..len]);
            return Poll::Ready((len, due.from));
        }
        held.reader = (!held.datagrams.is_empty()).then(|| reader.clone());
        Poll::Pending
    }

    /// Looks at a datagram received. Whether it is held back: then it is not to be handed over.
    pub(super) fn hold(&self, gate: &Gate, from: SocketAddr, bytes: &[u8]) -> bool {
        let Some(kind) = kind(bytes).filter(|kind| !gate.is(kind.taken_from())) else {
            return false;
        };
        self.lock().push(Datagram {
            kind,
            from,
            at: Instant::now(),
            bytes: bytes.to_vec(),
        });
        true
    }

    fn advanced(&self, stage: Stage) {
        let mut held = self.lock();
        if stage == Stage::Open {
            *held = Held::default();
            return;
        }
        let reader = held.reader.take();
        drop(held);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn push(&mut self, datagram: Datagram) {
        if datagram.kind == Kind::Check {
            // The last counts: it is the one the peer waits longest for an answer to.
            let is_same = |held: &Datagram| (held.kind, held.from) == (Kind::Check, datagram.from);
            if let Some(at) = self.datagrams.iter().position(is_same) {
                self.remove(at);
            }
        }
        let bytes = self.bytes + datagram.bytes.len();
        if self.datagrams.len() < HELD_MAX && bytes <= HELD_BYTES_MAX {
            self.bytes = bytes;
            self.datagrams.push_back(datagram);
        } else {
            tracing::debug!(from = %datagram.from, "early datagram dropped: too many");
        }
    }

    fn remove(&mut self, at: usize) -> Option<Datagram> {
        let datagram = self.datagrams.remove(at)?;
        self.bytes -= datagram.bytes.len();
        Some(datagram)
    }

    /// Drops what the peer has sent again meanwhile.
    fn forget_late(&mut self) {
        self.datagrams
            .retain(|datagram| datagram.at.elapsed() < HELD_FOR);
        self.bytes = self.datagrams.iter().map(|held| held.bytes.len()).sum();
    }
}

/// What a datagram has to wait for, if it is of a kind that can come early.
fn kind(bytes: &[u8]) -> Option<Kind> {
    match bytes.first()? {
        20..=63 => Some(Kind::Dtls),
        _ if stun_type(bytes) == Some(BINDING_REQUEST) => Some(Kind::Check),
        // Through a relay come no checks before the description: permissions follow from it.
        _ => matches!(relayed(bytes)?.first(), Some(20..=63)).then_some(Kind::Dtls),
    }
}

/// STUN's message types and attributes (RFC 8489, 8445 and 8656).
pub(super) const BINDING_REQUEST: u16 = 0x0001;
pub(super) const BINDING_SUCCESS: u16 = 0x0101;
const DATA_INDICATION: u16 = 0x0017;
const DATA: u16 = 0x0013;
const STUN_HEADER_BYTES: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

pub(super) fn stun_type(bytes: &[u8]) -> Option<u16> {
    let is_stun = bytes.len() >= STUN_HEADER_BYTES && bytes[4..8] == STUN_COOKIE;
    is_stun.then(|| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The value of an attribute of a STUN message.
fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(STUN_HEADER_BYTES..)?;
    loop {
        let (header, after) = rest.split_at_checked(4)?;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let value = after.get(..len)?;
        if u16::from_be_bytes([header[0], header[1]]) == wanted {
            return Some(value);
        }
        rest = after.get(len.next_multiple_of(4)..)?;
    }
}

/// Whether a TURN server has passed a datagram on.
pub(super) fn is_relayed(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(0x40..=0x4f) => true,
        _ => stun_type(bytes) == Some(DATA_INDICATION),
    }
}

/// What a TURN server has passed on from the peer, by channel or by indication.
fn relayed(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.first()? {
        0x40..=0x4f => bytes.get(4..),
        _ if stun_type(bytes) == Some(DATA_INDICATION) => attribute(bytes, DATA),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    /// Counts how often a reader is woken.
    #[derive(Default)]
    struct Reader(AtomicUsize);

    impl Wake for Reader {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One socket of a link.
    struct Socket {
        gate: Gate,
        early: Arc<Early>,
        reader: Arc<Reader>,
    }

    impl Socket {
        fn new() -> Self {
            let gate = Gate::new();
            let early = gate.add_socket();
            let reader = Arc::default();
            Self {
                gate,
                early,
                reader,
            }
        }

        fn holds(&self, port: u16, bytes: &[u8]) -> bool {
            self.early.hold(&self.gate, from(port), bytes)
        }

        /// What is handed over by now.
        fn taken(&self) -> Vec<(u16, Vec<u8>)> {
            let waker = Waker::from(Arc::clone(&self.reader));
            let mut buffer = [0; 2_000];
            let mut taken = Vec::new();
            while let Poll::Ready((len, from)) = self.early.poll(&self.gate, &waker, &mut buffer) {
                taken.push((from.port(), buffer[..len].to_vec()));
            }
            taken
        }

        fn woken(&self) -> usize {
            self.reader.0.load(Ordering::Relaxed)
        }

        fn held(&self) -> (usize, usize) {
            let held = self.early.lock();
            (held.datagrams.len(), held.bytes)
        }
    }

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// A STUN message with one attribute; its transaction is told by one byte.
    fn stun(message_type: u16, transaction: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = message_type.to_be_bytes().to_vec();
        bytes.extend((value.len().next_multiple_of(4) as u16 + 4).to_be_bytes());
        bytes.extend(STUN_COOKIE);
        bytes.extend([transaction; 12]);
        bytes.extend(attribute.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn check(transaction: u8) -> Vec<u8> {
        stun(BINDING_REQUEST, transaction, 0x0006, b"ours:theirs")
    }

    fn record(number: u8) -> Vec<u8> {
        vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, number]
    }

    #[test]
    fn checks_wait_for_the_description_and_dtls_for_a_path_in_their_order() {
        let socket = Socket::new();
        assert!(socket.holds(1, &record(1)) && socket.holds(1, &check(1)));
        assert!(socket.holds(2, &check(2)) && socket.holds(1, &record(2)));
        assert_eq!(socket.taken(), [], "the library takes none of these yet");
        assert_eq!(socket.woken(), 0);

        socket.gate.advance(Stage::Described);
        assert_eq!(socket.woken(), 1, "there is more to read");
        assert_eq!(socket.taken(), [(1, check(1)), (2, check(2))]);
        assert!(!socket.holds(1, &check(3)), "taken from now on");
        assert!(socket.holds(1, &record(3)));

        socket.gate.advance(Stage::Reached);
        assert_eq!(socket.woken(), 2);
        let records = [1, 2, 3].map(|number| (1, record(number)));
        assert_eq!(socket.taken(), records);
        assert!(!socket.holds(1, &record(4)));
        assert_eq!(socket.held(), (0, 0));
    }

    #[test]
    fn of_the_checks_from_one_address_the_last_is_held() {
        let socket = Socket::new();
        assert!(socket.holds(1, &check(1)) && socket.holds(2, &check(2)));
        assert!(socket.holds(1, &check(3)));
        socket.gate.advance(Stage::Described);
        assert_eq!(socket.taken(), [(2, check(2)), (1, check(3))]);
    }

    #[test]
    fn what_is_held_is_bounded_in_number_bytes_and_time() {
        let socket = Socket::new();
        for port in 0..2 * HELD_MAX as u16 {
            assert!(socket.holds(port, &check(0)));
        }
        assert_eq!(socket.held().0, HELD_MAX);

        let socket = Socket::new();
        let large = [vec![22], vec![0; 1_200]].concat();
        for _ in 0..HELD_MAX {
            assert!(socket.holds(1, &large));
        }
        let (number, bytes) = socket.held();
        assert_eq!(number, HELD_BYTES_MAX / large.len());
        assert_eq!(bytes, number * large.len());

        let long_ago = Instant::now().checked_sub(HELD_FOR);
        for datagram in socket.early.lock().datagrams.iter_mut().skip(1) {
            datagram.at = long_ago.expect("uptime exceeds a few seconds");
        }
        socket.gate.advance(Stage::Reached);
        assert_eq!(socket.taken(), [(1, large)], "the peer sent them again");
        assert_eq!(socket.held(), (0, 0));
    }

    #[test]
    fn nothing_is_held_once_open() {
        let socket = Socket::new();
        assert!(socket.holds(1, &check(1)) && socket.holds(1, &record(1)));
        socket.gate.advance(Stage::Open);
        assert_eq!(socket.held(), (0, 0));
        assert!(!socket.holds(1, &check(2)) && !socket.holds(1, &record(2)));
        socket.gate.advance(Stage::Described);
        assert!(!socket.holds(1, &record(3)), "there is no way back");
    }

    #[test]
    fn answers_of_servers_pass_at_once() {
        let socket = Socket::new();
        let binding_success = stun(BINDING_SUCCESS, 1, 0x0020, &[0; 8]);
        let allocate_success = stun(0x0103, 1, 0x0016, &[0; 8]);
        let allocate_error = stun(0x0113, 1, 0x0009, &[0, 0, 4, 1]);
        let relayed_check = stun(DATA_INDICATION, 1, DATA, &check(1));
        for bytes in [
            binding_success,
            allocate_success,
            allocate_error,
            relayed_check,
        ] {
            assert!(!socket.holds(1, &bytes), "{bytes:?}");
        }
        // Neither is anything else made of bytes that mean nothing, or too few.
        for bytes in [
            &[][..],
            &[0],
            &[0, 1],
            &[0x40],
            &[0x40, 0, 0, 1],
            &[255; 30],
        ] {
            assert!(!socket.holds(1, bytes), "{bytes:?}");
        }
        let cut = stun(DATA_INDICATION, 1, DATA, &record(1));
        for len in 0..cut.len() {
            socket.holds(1, &cut[..len]);
        }
    }

    #[test]
    fn dtls_through_a_relay_waits_too() {
        let socket = Socket::new();
        let indication = stun(DATA_INDICATION, 1, DATA, &record(1));
        let in_channel = [vec![0x40, 1, 0, 11], record(2)].concat();
        assert!(socket.holds(1, &indication) && socket.holds(1, &in_channel));
        socket.gate.advance(Stage::Described);
        assert_eq!(socket.taken(), []);
        socket.gate.advance(Stage::Reached);
        assert_eq!(socket.taken(), [(1, indication), (1, in_channel)]);
    }
}
