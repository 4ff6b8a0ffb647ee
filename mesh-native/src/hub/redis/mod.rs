//! The directory that hubs share, in Redis: a hash of members, a hash of divisions, one stream of
//! their changes, and a sorted set of the hubs that live.
//!
//! Lua scripts change hash and stream at once. Each change names the token of the one before, so a
//! hub that reads on knows whether it has missed any, or reads what another server made of a past
//! that it does not share: then it reads everything anew. Each connection leads to the master that
//! Sentinels name, if the URL names Sentinels. All of this runs in tasks of its own. The
//! hub's loop hands over what it wants without waiting, and a Redis that does not answer costs the
//! connection, nothing else.

mod address;
mod connection;
mod sentinel;
mod text;

pub use address::{ParseRedisUrlError, RedisUrl};

use std::sync::Arc;
use std::time::Duration;

use mesh_core::signaling::directory::{DirectoryFact, DirectoryOrder, HubId, Order};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use self::connection::{Connection, Ended, Position};
use super::driver::Fact;
use super::health::Health;

/// Texts for other hubs that may wait, of 64 KiB at most; beyond, their senders are told `busy`.
const TEXTS: usize = 512;

/// The wait before the second try to reach Redis again, the first is made at once; doubles with
/// each.
const RETRY_MIN: Duration = Duration::from_millis(250);

/// The longest wait between tries: newcomers wait for it once Redis is back.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What the hub hands to the tasks.
#[derive(Debug)]
pub(super) struct Directory {
    /// The last orders: the hub gives no others before it has heard of them, or of a new
    /// connection, for which these are over.
    orders: watch::Sender<Arc<[Order]>>,
    texts: mpsc::Sender<(HubId, String)>,
}

/// What the tasks take.
#[derive(Debug)]
pub(super) struct Queue {
    orders: watch::Receiver<Arc<[Order]>>,
    texts: mpsc::Receiver<(HubId, String)>,
}

/// Both ends.
pub(super) fn queue() -> (Directory, Queue) {
    let (orders, orders_to_do) = watch::channel(Arc::default());
    let (texts, texts_to_send) = mpsc::channel(TEXTS);
    let queue = Queue {
        orders: orders_to_do,
        texts: texts_to_send,
    };
    (Directory { orders, texts }, queue)
}

impl Directory {
    /// Takes an order of the hub. Returns what to tell the hub of it at once.
    pub(super) fn take(&self, order: DirectoryOrder) -> Option<DirectoryFact> {
        match order {
            DirectoryOrder::Publish(orders) => {
                self.orders.send_replace(orders.into());
                None
            }
            DirectoryOrder::Tell { hub, text } => {
                let refused = self.texts.try_send((hub, text)).err()?;
                let (_, text) = refused.into_inner();
                Some(DirectoryFact::Untold(text))
            }
        }
    }
}

/// Keeps a hub connected until it has gone.
pub(super) async fn share(
    url: RedisUrl,
    hub: HubId,
    facts: mpsc::Sender<Fact>,
    health: Health,
    mut queue: Queue,
) {
    let mut position = Position::default();
    let mut retry = Duration::ZERO;
    let mut told_away = false;
    let mut batches = 0;
    while !facts.is_closed() {
        let error = match Connection::open(&url, hub, &facts, &mut batches).await {
            Ok(mut connection) => match connection.begin(&mut position, &mut queue).await {
                Ok(()) => {
                    let address = connection.address();
                    tracing::info!("rooms are shared with other hubs by Redis at {address}");
                    told_away = false;
                    health.found_others();
                    let began = Instant::now();
                    let error = connection.serve(&mut position, &mut queue).await;
                    if began.elapsed() > RETRY_MAX {
                        retry = Duration::ZERO;
                    }
                    let _ = facts.send(DirectoryFact::Lost.into()).await;
                    error
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        // What was not sent by now would come too late for a signal.
        while let Ok((_, text)) = queue.texts.try_recv() {
            let _ = facts.send(DirectoryFact::Untold(text).into()).await;
        }
        match error {
            Ended::OtherPast | Ended::Missed | Ended::OtherMaster => {
                tracing::info!("Redis at {url}: {error}");
            }
            error if !std::mem::replace(&mut told_away, true) => tracing::warn!(
                "Redis at {url} is out of reach: {error}; members stay, but those of different \
                 hubs hear nothing new of each other until it is back"
            ),
            error => tracing::debug!("Redis at {url} is out of reach: {error}"),
        }
        sleep(retry).await;
        retry = (retry * 2).clamp(RETRY_MIN, RETRY_MAX);
    }
}

impl From<DirectoryFact> for Fact {
    fn from(fact: DirectoryFact) -> Self {
        Self::Directory(fact)
    }
}
