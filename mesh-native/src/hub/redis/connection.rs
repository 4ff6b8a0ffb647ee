//! One connection to Redis, from its start to the first error: after that another begins.
//!
//! It is two: one waits for changes, the other carries all else, and signals of other hubs come as
//! pushes on it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use mesh_core::signaling::directory::{DirectoryFact, HubId, Order, Snapshot};
use redis::aio::{MultiplexedConnection, SendError};
use redis::streams::{StreamId, StreamReadOptions, StreamReadReply};
use redis::{
    AsyncCommands, AsyncConnectionConfig, ConnectionAddr, ErrorKind, PushInfo, PushKind,
    RedisError, Script, ServerErrorKind, from_redis_value, pipe,
};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::{Queue, RedisUrl, text};
use crate::hub::driver::Fact;
use crate::random_seed;

/// How long Redis may take to answer: it is as good as away when it takes longer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long Redis waits for a change before it says that there is none.
const BLOCK: Duration = Duration::from_secs(1);

/// Time between two signs of life.
const PULSE: Duration = Duration::from_secs(1);

/// How long a sign of life counts: two may be late.
const PULSE_COUNTS: Duration = Duration::from_secs(3);

/// Changes that are read at once.
const CHANGES: usize = 512;

/// Changes that Redis keeps, about: all members of the largest room come and go, once. A hub that
/// has missed more reads everything.
const CHANGES_KEPT: usize = 40_000;

/// Texts for other hubs that are sent at once.
const TEXTS_AT_ONCE: usize = 256;

/// Texts of other hubs that may wait for the hub's loop; beyond, they are lost, as on a network.
const INBOX: usize = 512;

/// Where in the stream a hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    epoch: String,
    offset: u64,
    /// That of the change at the offset.
    token: String,
}

/// What a hub has read.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The epoch that it read last.
    epoch: Option<String>,
    /// Where it goes on; `None` if it has to read everything.
    cursor: Option<Cursor>,
    /// Redis has lost something that was read of it.
    went_back: bool,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum Ended {
    #[error("{0}")]
    Redis(RedisError),
    #[error(
        "it is a replica, which takes no changes: --redis is to name its master, or the Sentinels \
         that know it"
    )]
    Replica,
    #[error("no Sentinel names a master that answers: {0}")]
    NoMaster(String),
    #[error("the Sentinels name another master")]
    OtherMaster,
    #[error("it answers otherwise than expected: {0}")]
    Parsing(#[from] redis::ParsingError),
    #[error("the connection closed")]
    Closed,
    #[error("it has not what this hub has read of it; all is read anew")]
    OtherPast,
    #[error("more has changed than it keeps; all is read anew")]
    Missed,
    #[error("the hub has ended")]
    HubGone,
}

impl From<RedisError> for Ended {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::Replica,
            _ => Self::Redis(error),
        }
    }
}

/// A connection of a hub.
pub(super) struct Connection<'a> {
    url: &'a RedisUrl,
    /// The server that it leads to.
    address: ConnectionAddr,
    hub: HubId,
    facts: &'a mpsc::Sender<Fact>,
    /// Numbers the batches of this hub, all its life.
    batches: &'a mut u64,
    reading: MultiplexedConnection,
    talking: MultiplexedConnection,
    inbox: mpsc::Receiver<Push>,
    publish: Script,
    pulse: Script,
}

enum Push {
    Text(String),
    Closed,
}

/// What `pulse.lua` says.
struct Pulse {
    at: Cursor,
    alive: BTreeSet<HubId>,
}

impl<'a> Connection<'a> {
    pub(super) async fn open(
        url: &'a RedisUrl,
        hub: HubId,
        facts: &'a mpsc::Sender<Fact>,
        batches: &'a mut u64,
    ) -> Result<Self, Ended> {
        let client = url.client().await?; // Both connections lead to the same server.
        let (pushes, inbox) = mpsc::channel(INBOX);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let patient = config
            .clone()
            .set_response_timeout(Some(BLOCK + ANSWER_TIMEOUT));
        let config = config.set_push_sender(move |push| {
            pushed(&pushes, push);
            Ok::<(), SendError>(())
        });
        let mut talking = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let reading = client
            .get_multiplexed_async_connection_with_config(&patient)
            .await?;
        // Before this hub says that it lives, so that nothing is sent to it in vain.
        talking.subscribe(url.key(&format!("hub:{hub}"))).await?;
        Ok(Self {
            url,
            address: client.get_connection_info().addr().clone(),
            hub,
            facts,
            batches,
            reading,
            talking,
            inbox,
            publish: Script::new(include_str!("publish.lua")),
            pulse: Script::new(include_str!("pulse.lua")),
        })
    }

    /// The server that it leads to.
    pub(super) fn address(&self) -> &ConnectionAddr {
        &self.address
    }

    /// Goes on where the hub was, or reads everything, and tells the hub.
    pub(super) async fn begin(
        &mut self,
        position: &mut Position,
        queue: &mut Queue,
    ) -> Result<(), Ended> {
        queue.orders.mark_unchanged(); // They were for a connection that is over.
        let pulse = pulse(&self.pulse, self.url, self.hub, &mut self.talking).await?;
        let unsound = position.cursor.take_if(|at| !at.is_past_of(&pulse.at));
        position.went_back |= unsound.is_some();
        let fact = if position.cursor.is_some() {
            DirectoryFact::Resumed
        } else {
            let (at, mut snapshot) = self.read_all().await?;
            let before = position.epoch.replace(at.epoch.clone());
            let emptied = before.is_some_and(|epoch| epoch != at.epoch);
            snapshot.went_back = std::mem::take(&mut position.went_back) || emptied;
            position.cursor = Some(at);
            DirectoryFact::Read(snapshot)
        };
        tell(self.facts, fact).await
    }

    async fn read_all(&mut self) -> Result<(Cursor, Snapshot), Ended> {
        type Hash = Vec<(String, String)>;
        type Meta = (Option<String>, Option<u64>, Option<String>);
        let (meta, members, divisions): (Meta, Hash, Hash) = pipe()
            .atomic()
            .hmget(self.url.key("meta"), &["epoch", "top", "token"])
            .hgetall(self.url.key("members"))
            .hgetall(self.url.key("divisions"))
            .query_async(&mut self.reading)
            .await?;
        let (epoch, top, token) = meta;
        let at = Cursor {
            epoch: epoch.ok_or(Ended::OtherPast)?, // Lost just now, after the pulse.
            offset: top.unwrap_or_default(),
            token: token.unwrap_or_default(),
        };
        let members = members.iter().filter_map(|(member, entry)| {
            let (room, peer) = text::read_member(member)?;
            Some((room, peer, text::read_entry(entry)?))
        });
        let divisions = divisions.into_iter();
        let divisions =
            divisions.filter_map(|(room, shards)| Some((room, text::read_shards(&shards)?)));
        let snapshot = Snapshot {
            entries: members.collect(),
            divisions: divisions.collect(),
            went_back: false,
        };
        Ok((at, snapshot))
    }

    /// Carries orders, changes and signals until something fails, which it returns.
    pub(super) async fn serve(&mut self, position: &mut Position, queue: &mut Queue) -> Ended {
        let Some(at) = position.cursor.take() else {
            return Ended::OtherPast;
        };
        let at = Mutex::new(at);
        let Self {
            url,
            address,
            hub,
            facts,
            batches,
            reading,
            talking,
            inbox,
            publish: publishing,
            pulse: pulsing,
        } = self;
        let talk = Talk {
            url,
            hub: *hub,
            facts,
            at: &at,
            publish: publishing,
            pulse: pulsing,
        };
        let ended = tokio::select! {
            Err(ended) = read_changes(url, facts, reading, &at) => ended,
            Err(ended) = talk.go_on(talking, batches, queue) => ended,
            Err(ended) = hear(facts, inbox) => ended,
            () = url.moves_from(address) => Ended::OtherMaster,
        };
        match ended {
            Ended::OtherPast => position.went_back = true,
            Ended::Missed => {}
            _ => {
                let at = at.into_inner();
                position.cursor = Some(at.unwrap_or_else(PoisonError::into_inner));
            }
        }
        ended
    }
}

impl Cursor {
    /// Whether what was read up to here is what another has read too, as far as both can tell: the
    /// first change after it shows whether it is.
    fn is_past_of(&self, other: &Self) -> bool {
        let same = self.offset == other.offset && self.token == other.token;
        self.epoch == other.epoch && (same || self.offset < other.offset)
    }
}

async fn pulse(
    script: &Script,
    url: &RedisUrl,
    hub: HubId,
    connection: &mut MultiplexedConnection,
) -> Result<Pulse, Ended> {
    let (epoch, offset, token, alive): (String, u64, String, Vec<String>) = script
        .key(url.key("meta"))
        .key(url.key("hubs"))
        .arg(HEXLOWER.encode(&random_seed()[..16]))
        .arg(hub.to_string())
        .arg(u64::try_from(PULSE_COUNTS.as_millis()).unwrap_or(u64::MAX))
        .invoke_async(connection)
        .await?;
    let alive = alive.iter().filter_map(|hub| hub.parse().ok());
    Ok(Pulse {
        at: Cursor {
            epoch,
            offset,
            token,
        },
        alive: alive.collect(),
    })
}

/// Reads changes, one after the other, and tells the hub.
async fn read_changes(
    url: &RedisUrl,
    facts: &mpsc::Sender<Fact>,
    connection: &mut MultiplexedConnection,
    at: &Mutex<Cursor>,
) -> Result<Infallible, Ended> {
    let block = usize::try_from(BLOCK.as_millis()).unwrap_or(usize::MAX);
    let options = StreamReadOptions::default().block(block).count(CHANGES);
    let key = url.key("changes");
    loop {
        let offset = lock(at).offset;
        let from = format!("{offset}-0");
        let reply: Option<StreamReadReply> =
            connection.xread_options(&[&key], &[from], &options).await?;
        let keys = reply.into_iter().flat_map(|reply| reply.keys);
        for change in keys.flat_map(|key| key.ids) {
            let next = lock(at).next(&change)?;
            match text::read_change(&change) {
                Some(change) => tell(facts, DirectoryFact::Changed(change)).await?,
                None => tracing::debug!(id = change.id, "a change of a later version"),
            }
            *lock(at) = next;
        }
    }
}

impl Cursor {
    /// Where a change leads that must be the next.
    fn next(&self, change: &StreamId) -> Result<Self, Ended> {
        let field = |name| change.get::<String>(name).ok_or(Ended::OtherPast);
        let offset = change.id.split('-').next();
        let offset = offset.and_then(|offset| offset.parse().ok());
        if offset != Some(self.offset + 1) {
            return Err(Ended::Missed);
        }
        if field("after")? != self.token {
            return Err(Ended::OtherPast);
        }
        Ok(Self {
            epoch: self.epoch.clone(),
            offset: self.offset + 1,
            token: field("token")?,
        })
    }
}

/// What is said to Redis, and answered at once.
struct Talk<'a> {
    url: &'a RedisUrl,
    hub: HubId,
    facts: &'a mpsc::Sender<Fact>,
    at: &'a Mutex<Cursor>,
    publish: &'a Script,
    pulse: &'a Script,
}

impl Talk<'_> {
    async fn go_on(
        &self,
        connection: &mut MultiplexedConnection,
        batches: &mut u64,
        queue: &mut Queue,
    ) -> Result<Infallible, Ended> {
        let mut pulse_due = interval(PULSE);
        pulse_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = pulse_due.tick() => self.show_life(connection).await?,
                changed = queue.orders.changed() => {
                    changed.map_err(|_| Ended::HubGone)?;
                    let orders = Arc::clone(&queue.orders.borrow_and_update());
                    *batches += 1;
                    self.carry_out(&orders, *batches, connection).await?;
                    tell(self.facts, DirectoryFact::Published).await?;
                }
                text = queue.texts.recv() => {
                    let mut texts = vec![text.ok_or(Ended::HubGone)?];
                    while texts.len() < TEXTS_AT_ONCE && let Ok(text) = queue.texts.try_recv() {
                        texts.push(text);
                    }
                    self.send(texts, connection).await?;
                }
            }
        }
    }

    async fn show_life(&self, connection: &mut MultiplexedConnection) -> Result<(), Ended> {
        let before = lock(self.at).clone();
        let pulse = pulse(self.pulse, self.url, self.hub, connection).await?;
        if !before.is_past_of(&pulse.at) {
            return Err(Ended::OtherPast);
        }
        tell(self.facts, DirectoryFact::Pulse(pulse.alive)).await
    }

    async fn carry_out(
        &self,
        orders: &[Order],
        batch: u64,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Ended> {
        let mut script = self.publish.prepare_invoke();
        for key in ["meta", "changes", "members", "divisions", "hubs"] {
            script.key(self.url.key(key));
        }
        script
            .arg(&lock(self.at).epoch)
            .arg(format!("{}-{batch}", self.hub));
        script.arg(CHANGES_KEPT);
        for order in orders {
            script.arg(&text::order(order)[..]);
        }
        let published: Result<(), _> = script.invoke_async(connection).await;
        published.map_err(|error| match error.code() {
            Some("EPOCH") => Ended::OtherPast,
            _ => error.into(),
        })
    }

    /// Sends texts to other hubs; those that no hub got come back.
    async fn send(
        &self,
        texts: Vec<(HubId, String)>,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Ended> {
        let mut publish = pipe();
        for (hub, text) in &texts {
            publish.publish(self.url.key(&format!("hub:{hub}")), text);
        }
        let sent: Result<Vec<u64>, _> = publish.query_async(connection).await;
        let receivers = sent.as_ref().map_or(&[][..], Vec::as_slice);
        let heard = |index: usize| receivers.get(index).is_some_and(|count| *count > 0);
        for (index, (_, text)) in texts.into_iter().enumerate() {
            if !heard(index) {
                tell(self.facts, DirectoryFact::Untold(text)).await?;
            }
        }
        sent?;
        Ok(())
    }
}

/// Tells the hub what other hubs send.
async fn hear(
    facts: &mpsc::Sender<Fact>,
    inbox: &mut mpsc::Receiver<Push>,
) -> Result<Infallible, Ended> {
    loop {
        match inbox.recv().await {
            Some(Push::Text(text)) => tell(facts, DirectoryFact::Told(text)).await?,
            Some(Push::Closed) | None => return Err(Ended::Closed),
        }
    }
}

/// Takes what Redis pushes, without waiting.
fn pushed(inbox: &mpsc::Sender<Push>, mut push: PushInfo) {
    let push = match push.kind {
        PushKind::Message => match push.data.pop().map(from_redis_value::<String>) {
            Some(Ok(text)) => Push::Text(text),
            _ => return,
        },
        PushKind::Disconnection => Push::Closed,
        _ => return,
    };
    if inbox.try_send(push).is_err() {
        tracing::debug!("a text of another hub is lost: too many wait");
    }
}

async fn tell(facts: &mpsc::Sender<Fact>, fact: DirectoryFact) -> Result<(), Ended> {
    facts.send(fact.into()).await.map_err(|_| Ended::HubGone)
}

fn lock(at: &Mutex<Cursor>) -> std::sync::MutexGuard<'_, Cursor> {
    at.lock().unwrap_or_else(PoisonError::into_inner)
}
