//! What waits to be sent to one client: bounded in texts and in bytes, and of what other clients
//! cause in each of them, so that no other client can fill the queue and have the client thrown
//! out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_core::signaling::directory::Session;
use tokio::sync::Notify;

/// Texts that may wait for one client.
const TEXTS: usize = 1_024;

/// Bytes that may wait for one client: ten welcomes to the largest room.
pub(super) const BYTES: usize = 1024 * 1024;

/// Of both, the part in quarters that signals may take up: the rest is for what the hub says.
const RELAYED_QUARTERS: usize = 3;

/// Texts of one sender that may wait for one client: three attempts to link, each an offer and its
/// candidates.
const TEXTS_OF_ONE: usize = 48;

/// Bytes of one sender that may wait for one client: as many texts of the usual length, and more
/// than two of the longest.
const BYTES_OF_ONE: usize = 96 * 1024;

/// Bytes that may wait for all clients: a tenth of a small server's memory.
const BYTES_OF_ALL: usize = 256 * 1024 * 1024;

/// When all clients together have too many, a client with fewer than these is none of the causes.
const BYTES_OF_NO_CAUSE: usize = 16 * 1024;

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Item {
    Text(String),
    Ping,
}

/// Bytes that wait for all clients of a server.
pub(super) type Total = Arc<AtomicUsize>;

/// The end that the hub fills. When it is dropped the WebSocket is closed, after what was queued.
#[derive(Debug)]
pub(super) struct Sender(Arc<Load>);

/// The end that the WebSocket empties.
#[derive(Debug)]
pub(super) struct Receiver(Arc<Load>);

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The client does not take what it is sent, or is gone.
    Client,
    /// Signals, or those of this sender, have their part already.
    Signals,
}

/// A channel would hold some kilobytes for each client that has nothing to be sent; this holds what
/// waits, and nothing when nothing does.
#[derive(Debug)]
struct Load {
    counts: Mutex<Counts>,
    /// The receiver is to look again.
    changed: Notify,
    total: Total,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: VecDeque<(Item, Option<Session>)>,
    /// Bytes that wait or are being sent.
    bytes: usize,
    relayed: Share,
    by_sender: BTreeMap<Session, Share>,
    /// The client is too slow: what waits is not sent any more.
    given_up: bool,
    /// The hub will send no more.
    ended: bool,
    /// The WebSocket will take no more.
    gone: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    texts: usize,
    bytes: usize,
}

/// A queue for one client of a server.
pub(super) fn queue(total: &Total) -> (Sender, Receiver) {
    let load = Arc::new(Load {
        counts: Mutex::default(),
        changed: Notify::new(),
        total: Arc::clone(total),
    });
    (Sender(Arc::clone(&load)), Receiver(load))
}

impl Sender {
    /// Queues what the hub says.
    pub(super) fn send(&self, item: Item) -> Result<(), Full> {
        let bytes = item.bytes();
        let counts = self.0.counts();
        let after = counts.bytes + bytes;
        let all = self.0.total.load(Ordering::Relaxed) + bytes;
        // One text alone may be longer: a listing.
        let too_many = after > BYTES && counts.bytes > 0;
        if too_many || (all > BYTES_OF_ALL && after > BYTES_OF_NO_CAUSE) {
            return Err(Full::Client);
        }
        self.push(counts, item, None)
    }

    /// Queues a signal of another client, here or at another hub.
    pub(super) fn relay(&self, from: Session, text: String) -> Result<(), Full> {
        let bytes = text.len();
        let counts = self.0.counts();
        let all = self.0.total.load(Ordering::Relaxed) + bytes;
        let of_one = counts.by_sender.get(&from).copied().unwrap_or_default();
        if counts.relayed.texts >= TEXTS / 4 * RELAYED_QUARTERS
            || counts.relayed.bytes + bytes > BYTES / 4 * RELAYED_QUARTERS
            || of_one.texts >= TEXTS_OF_ONE
            || of_one.bytes + bytes > BYTES_OF_ONE
            || all > BYTES_OF_ALL
        {
            return Err(Full::Signals);
        }
        self.push(counts, Item::Text(text), Some(from))
    }

    /// Has the WebSocket closed at once, whatever waits.
    pub(super) fn give_up(&self) {
        self.0.counts().given_up = true;
    }

    fn push(
        &self,
        mut counts: MutexGuard<'_, Counts>,
        item: Item,
        from: Option<Session>,
    ) -> Result<(), Full> {
        if counts.gone || counts.waiting.len() >= TEXTS {
            return Err(Full::Client);
        }
        let bytes = item.bytes();
        counts.add(bytes, from);
        counts.waiting.push_back((item, from));
        drop(counts);
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.counts().ended = true;
        self.0.changed.notify_one();
    }
}

impl Receiver {
    /// The next item, when there is one, and what it counts until it is sent. `None` when the hub
    /// closes the WebSocket.
    pub(super) async fn next(&mut self) -> Option<(Item, Receipt)> {
        loop {
            if let Some(next) = self.try_next() {
                return Some(next);
            }
            if self.0.counts().ended {
                return None;
            }
            self.0.changed.notified().await;
        }
    }

    /// The next item, if there is one.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "one at a time takes items")]
    pub(super) fn try_next(&mut self) -> Option<(Item, Receipt)> {
        let mut counts = self.0.counts();
        let (item, from) = counts.waiting.pop_front()?;
        if counts.waiting.is_empty() {
            counts.waiting = VecDeque::new(); // It may have been long.
        }
        let load = Arc::clone(&self.0);
        let bytes = item.bytes();
        Some((item, Receipt { load, bytes, from }))
    }

    /// Whether what waits is not to be sent any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.0.counts().given_up
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.counts().gone = true;
        while self.try_next().is_some() {} // It counts no more.
    }
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ping => 0,
        }
    }
}

/// What an item counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Receipt {
    load: Arc<Load>,
    bytes: usize,
    from: Option<Session>,
}

impl Load {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn add(&mut self, bytes: usize, from: Option<Session>) {
        self.bytes += bytes;
        if let Some(from) = from {
            self.relayed.add(bytes);
            self.by_sender.entry(from).or_default().add(bytes);
        }
    }

    fn remove(&mut self, bytes: usize, from: Option<Session>) {
        self.bytes -= bytes;
        let Some(from) = from else { return };
        self.relayed.remove(bytes);
        if let Some(of_one) = self.by_sender.get_mut(&from) {
            of_one.remove(bytes);
            if of_one.texts == 0 {
                self.by_sender.remove(&from);
            }
        }
        if self.by_sender.is_empty() {
            self.by_sender = BTreeMap::new(); // An empty one keeps a node.
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let Self { load, bytes, from } = self;
        load.total.fetch_sub(*bytes, Ordering::Relaxed);
        load.counts().remove(*bytes, *from);
    }
}

impl Share {
    fn add(&mut self, bytes: usize) {
        self.texts += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: usize) {
        self.texts -= 1;
        self.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::ClientId;
    use mesh_core::signaling::directory::HubId;

    use super::*;

    fn text(bytes: usize) -> Item {
        Item::Text("x".repeat(bytes))
    }

    fn relay(sender: &Sender, from: u64, bytes: usize) -> Result<(), Full> {
        let client = ClientId(from);
        let hub = HubId::default();
        sender.relay(Session { hub, client }, "x".repeat(bytes))
    }

    #[test]
    fn a_queue_is_bounded_in_bytes_and_one_long_text_fits_all_the_same() {
        let total = Total::default();
        let (sender, mut receiver) = queue(&total);
        sender.send(text(2 * BYTES)).expect("a listing");
        assert_eq!(sender.send(text(1)), Err(Full::Client));
        drop(receiver.try_next().expect("the listing"));
        for _ in 0..4 {
            sender.send(text(BYTES / 4)).expect("room again");
        }
        assert_eq!(sender.send(text(1)), Err(Full::Client));
        assert_eq!(total.load(Ordering::Relaxed), BYTES);
        drop((sender, receiver));
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_queue_that_was_long_holds_no_memory_when_it_is_empty() {
        let (sender, mut receiver) = queue(&Total::default());
        for from in 0..100 {
            relay(&sender, from, 1).expect("room");
        }
        while receiver.try_next().is_some() {}
        assert_eq!(sender.0.counts().waiting.capacity(), 0);
    }

    #[tokio::test]
    async fn what_waits_is_taken_before_the_end_of_the_queue_is_told() {
        let total = Total::default();
        let (sender, mut receiver) = queue(&total);
        sender.send(text(1)).expect("room");
        drop(sender);
        assert!(receiver.next().await.is_some());
        assert!(receiver.next().await.is_none());
        let (sender, receiver) = queue(&total);
        sender.send(text(1)).expect("room");
        drop(receiver);
        assert_eq!(sender.send(text(1)), Err(Full::Client));
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_queue_is_bounded_in_texts() {
        let (sender, _receiver) = queue(&Total::default());
        for _ in 0..TEXTS {
            sender.send(Item::Ping).expect("room");
        }
        assert_eq!(sender.send(Item::Ping), Err(Full::Client));
    }

    #[test]
    fn one_sender_has_its_part_of_the_queue_and_another_its_own() {
        let (sender, mut receiver) = queue(&Total::default());
        for _ in 0..TEXTS_OF_ONE {
            relay(&sender, 1, 1).expect("room");
        }
        assert_eq!(relay(&sender, 1, 1), Err(Full::Signals));
        relay(&sender, 2, BYTES_OF_ONE).expect("another sender");
        assert_eq!(relay(&sender, 2, 1), Err(Full::Signals));
        drop(receiver.try_next().expect("a signal"));
        relay(&sender, 1, 1).expect("room again");
    }

    #[test]
    fn signals_of_many_leave_room_for_what_the_hub_says() {
        let (sender, receiver) = queue(&Total::default());
        let mut from = 0;
        while relay(&sender, from, BYTES_OF_ONE / 2).is_ok() {
            from += 1;
        }
        assert_eq!(relay(&sender, from, BYTES_OF_ONE / 2), Err(Full::Signals));
        sender.send(text(BYTES / 4)).expect("the hub's part");
        drop(receiver);
        assert!(sender.0.counts().by_sender.is_empty());
    }

    #[test]
    fn all_queues_together_are_bounded_and_who_has_little_waiting_is_spared() {
        let total = Total::default();
        let full: Vec<_> = (0..BYTES_OF_ALL / BYTES)
            .map(|_| {
                let (sender, receiver) = queue(&total);
                sender.send(text(BYTES)).expect("room");
                (sender, receiver)
            })
            .collect();
        let (sender, _receiver) = queue(&total);
        sender.send(text(BYTES_OF_NO_CAUSE)).expect("spared");
        assert_eq!(sender.send(text(1)), Err(Full::Client));
        assert_eq!(relay(&sender, 1, 1), Err(Full::Signals));
        drop(full);
        sender.send(text(1)).expect("room again");
    }
}
