//! What waits to be sent to one client: bounded in texts and in bytes, and of what other clients
//! cause in each of them, so that no other client can fill the queue and have the client thrown
//! out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_core::signaling::directory::Session;
use tokio::sync::mpsc;

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
pub(super) struct Sender {
    entries: mpsc::Sender<(Item, Receipt)>,
    load: Arc<Load>,
}

/// The end that the WebSocket empties.
#[derive(Debug)]
pub(super) struct Receiver {
    entries: mpsc::Receiver<(Item, Receipt)>,
    load: Arc<Load>,
}

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The client does not take what it is sent, or is gone.
    Client,
    /// Signals, or those of this sender, have their part already.
    Signals,
}

#[derive(Debug)]
struct Load {
    counts: Mutex<Counts>,
    total: Total,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: usize,
    relayed: Share,
    by_sender: BTreeMap<Session, Share>,
    /// The client is too slow: what waits is not sent any more.
    given_up: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    texts: usize,
    bytes: usize,
}

/// A queue for one client of a server.
pub(super) fn queue(total: &Total) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(TEXTS);
    let load = Arc::new(Load {
        counts: Mutex::default(),
        total: Arc::clone(total),
    });
    let sender = Sender {
        entries: sender,
        load: Arc::clone(&load),
    };
    let receiver = Receiver {
        entries: receiver,
        load,
    };
    (sender, receiver)
}

impl Sender {
    /// Queues what the hub says.
    pub(super) fn send(&self, item: Item) -> Result<(), Full> {
        let bytes = item.bytes();
        let mut counts = self.load.counts();
        let after = counts.bytes + bytes;
        let all = self.load.total.load(Ordering::Relaxed) + bytes;
        // One text alone may be longer: a listing.
        let too_many = after > BYTES && counts.bytes > 0;
        if too_many || (all > BYTES_OF_ALL && after > BYTES_OF_NO_CAUSE) {
            return Err(Full::Client);
        }
        let receipt = self.load.count(&mut counts, bytes, None);
        drop(counts);
        self.push(item, receipt)
    }

    /// Queues a signal of another client, here or at another hub.
    pub(super) fn relay(&self, from: Session, text: String) -> Result<(), Full> {
        let bytes = text.len();
        let mut counts = self.load.counts();
        let all = self.load.total.load(Ordering::Relaxed) + bytes;
        let of_one = counts.by_sender.get(&from).copied().unwrap_or_default();
        if counts.relayed.texts >= TEXTS / 4 * RELAYED_QUARTERS
            || counts.relayed.bytes + bytes > BYTES / 4 * RELAYED_QUARTERS
            || of_one.texts >= TEXTS_OF_ONE
            || of_one.bytes + bytes > BYTES_OF_ONE
            || all > BYTES_OF_ALL
        {
            return Err(Full::Signals);
        }
        let receipt = self.load.count(&mut counts, bytes, Some(from));
        drop(counts);
        self.push(Item::Text(text), receipt)
    }

    /// Has the WebSocket closed at once, whatever waits.
    pub(super) fn give_up(&self) {
        self.load.counts().given_up = true;
    }

    fn push(&self, item: Item, receipt: Receipt) -> Result<(), Full> {
        let pushed = self.entries.try_send((item, receipt));
        pushed.map_err(|_| Full::Client)
    }
}

impl Receiver {
    /// The next item, when there is one, and what it counts until it is sent. `None` when the hub
    /// closes the WebSocket.
    pub(super) async fn next(&mut self) -> Option<(Item, Receipt)> {
        self.entries.recv().await
    }

    /// The next item, if there is one.
    pub(super) fn try_next(&mut self) -> Option<(Item, Receipt)> {
        self.entries.try_recv().ok()
    }

    /// Whether what waits is not to be sent any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.load.counts().given_up
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

    fn count(
        self: &Arc<Self>,
        counts: &mut Counts,
        bytes: usize,
        from: Option<Session>,
    ) -> Receipt {
        counts.bytes += bytes;
        if let Some(from) = from {
            counts.relayed.add(bytes);
            counts.by_sender.entry(from).or_default().add(bytes);
        }
        self.total.fetch_add(bytes, Ordering::Relaxed);
        let load = Arc::clone(self);
        Receipt { load, bytes, from }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let Self { load, bytes, from } = self;
        load.total.fetch_sub(*bytes, Ordering::Relaxed);
        let mut counts = load.counts();
        counts.bytes -= *bytes;
        let Some(from) = from else { return };
        counts.relayed.remove(*bytes);
        if let Some(of_one) = counts.by_sender.get_mut(from) {
            of_one.remove(*bytes);
            if of_one.texts == 0 {
                counts.by_sender.remove(from);
            }
        }
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
        assert!(sender.load.counts().by_sender.is_empty());
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
