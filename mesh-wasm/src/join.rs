//! Joining: the options, and the wait until the hub has decided.

use std::rc::Rc;

use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{pin_mut, select_biased};
use js_sys::Reflect;
use mesh_core::{Adaptive, Config, Event, Identity, Metric};
use wasm_bindgen::JsValue;

use crate::abort::{Abort, unless_aborted};
use crate::arguments::Options;
use crate::clock::{Clock, sleep};
use crate::driver::Driver;
use crate::error::{self, error};
use crate::events::EventStream;
use crate::hub_url::{self, Seen};

/// How long joining may take before the last failure is reported.
const JOIN_TIMEOUT_MS: f64 = 5_000.0;

const OPTIONS: [&str; 10] = [
    "signaling",
    "room",
    "name",
    "k",
    "sparse",
    "metric",
    "adaptive",
    "identity",
    "timeoutMs",
    "signal",
];

/// What `join` was asked for.
pub(crate) struct JoinOptions {
    config: Config,
    identity: Identity,
    signaling: Vec<String>,
    timeout_ms: f64,
    signal: Option<Abort>,
}

/// An agent that is in its room.
pub(crate) struct Joined {
    pub(crate) driver: Rc<Driver>,
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) room: String,
    /// The events from the very first.
    pub(crate) events: EventStream,
}

/// Closes the agent if joining fails or is given up: none stays in the room that nobody holds.
struct Joining(Option<Rc<Driver>>);

impl Drop for Joining {
    fn drop(&mut self) {
        if let Some(driver) = self.0.take() {
            driver.close();
        }
    }
}

impl JoinOptions {
    /// Reads the options.
    ///
    /// # Errors
    /// Which option is wrong, and how.
    pub(crate) fn read(value: &JsValue) -> Result<Self, JsValue> {
        let options = Options::of("join", value, &OPTIONS)?;
        let signaling = options.required_texts("signaling")?;
        let room = options.required_text("room")?;
        let name = options.required_text("name")?;
        let k = options.whole_number("k")?;
        let mut config = Config::new(&room, &name)
            .and_then(|config| config.with_k(k))
            .and_then(|config| config.with_hubs(&signaling))
            .map_err(|cause| error::config_error(&cause))?;
        signaling.iter().try_for_each(|url| hub_url::check(url))?;
        let metrics = [
            ("hops", Metric::Hops),
            ("latency", Metric::Latency),
            ("bandwidth", Metric::Bandwidth),
        ];
        config.metric = options.choice("metric", &metrics)?.unwrap_or_default();
        config.sparse = options.flag("sparse")?;
        config.adaptive = options.flag("adaptive")?.then(Adaptive::default);
        let secret = match options.bytes("identity")? {
            Some(secret) => secret,
            None => random()?,
        };
        let timeout = options.duration("timeoutMs")?;
        Ok(Self {
            config,
            identity: Identity::from_secret(secret),
            signaling,
            timeout_ms: timeout.map_or(JOIN_TIMEOUT_MS, |timeout| timeout.as_secs_f64() * 1e3),
            signal: options.signal()?,
        })
    }

    /// Joins. Given up by the signal, nothing of the agent is left.
    ///
    /// # Errors
    /// Why the agent is not in the room, or the signal's reason.
    pub(crate) async fn join(mut self) -> Result<Joined, JsValue> {
        let signal = self.signal.take();
        unless_aborted(signal.as_ref(), self.join_unless_refused()).await
    }

    async fn join_unless_refused(self) -> Result<Joined, JsValue> {
        if !Reflect::has(&js_sys::global(), &"RTCPeerConnection".into())? {
            let message = "this browser, or this context of it, has no WebRTC";
            return Err(error("unsupported", message));
        }
        let (room, name) = (self.config.room.clone(), self.config.name.clone());
        let (clock, seed) = (Clock::start(), random()?);
        let (now, unix_now) = (clock.now(), Clock::unix_now());
        let mesh = mesh_core::Mesh::new(self.config, self.identity.clone(), seed, now, unix_now);
        // Two readers, so that the one handed out still has what is read here.
        let (waiting, subscriber) = EventStream::new();
        let (events, handed_out) = EventStream::new();
        let driver = Driver::start(mesh, clock, self.signaling.clone(), subscriber);
        driver.subscribe(handed_out);
        let mut joining = Joining(Some(Rc::clone(&driver)));
        admitted(&driver, waiting, &self.signaling, self.timeout_ms).await?;
        joining.0 = None;
        Ok(Joined {
            driver,
            identity: self.identity,
            name,
            room,
            events,
        })
    }
}

/// What is known of a hub that has not let this agent in.
struct Silence<'a> {
    url: &'a str,
    /// The last failure, if it was tried.
    last: Option<String>,
    seen: Seen,
    /// What was seen shows that trying again is of no use.
    hopeless: bool,
}

impl Silence<'_> {
    fn error(&self) -> JsValue {
        let Self { url, seen, .. } = self;
        let last = self.last.as_deref().unwrap_or("no answer");
        if let Seen::OriginRefused(words) = seen {
            let message = format!("the hub at {url} refuses pages from here: {words}");
            return error("origin-refused", &message);
        }
        if seen.is_final() {
            let seen = seen.told().unwrap_or_default();
            return error("not-a-hub", &format!("there is no hub at {url}: {seen}"));
        }
        let message = match seen.told() {
            Some(seen) => format!("no hub answers at {url}: {seen} ({last})"),
            None => format!(
                "the signaling server at {url} cannot be reached: {last}. Is `mesh up` running \
                 there?"
            ),
        };
        error("signaling-unreachable", &message)
    }
}

/// Why none of these hubs has let this agent in.
fn silence_error(hubs: &[Silence<'_>]) -> JsValue {
    let mut errors: Vec<_> = hubs.iter().map(Silence::error).collect();
    if let [_] = errors[..] {
        return errors.remove(0);
    }
    let code = |error: &JsValue| {
        let code = Reflect::get(error, &"code".into()).ok();
        code.and_then(|code| code.as_string()).unwrap_or_default()
    };
    let causes: Vec<_> = errors.iter().map(error::describe).collect();
    let causes = causes.join("; ");
    let message = format!(
        "none of the {} hubs lets this agent in: {causes}",
        hubs.len()
    );
    // What is wrong with all of them has a code of its own.
    let first = errors.first().map(code).unwrap_or_default();
    match errors.iter().all(|error| code(error) == first) {
        true => error(&first, &message),
        false => error("signaling-unreachable", &message),
    }
}

/// Waits until a signaling server has decided; or until the time is up and each was tried, or all
/// have shown that trying again is of no use.
async fn admitted(
    driver: &Driver,
    events: EventStream,
    urls: &[String],
    timeout_ms: f64,
) -> Result<(), JsValue> {
    let silence = |url| Silence {
        url,
        last: None,
        seen: Seen::Nothing,
        hopeless: false,
    };
    let mut hubs: Vec<_> = urls.iter().map(|url| silence(url)).collect();
    let timeout = sleep(timeout_ms).fuse();
    pin_mut!(timeout);
    let mut late = false;
    let mut probes = FuturesUnordered::<LocalBoxFuture<'_, (usize, Seen)>>::new();
    loop {
        if is_over(&hubs, late) {
            return Err(silence_error(&hubs));
        }
        let next = events.next_event().fuse();
        pin_mut!(next);
        let event = select_biased! {
            event = next => event,
            (hub, seen) = probes.select_next_some() => {
                hubs[hub].hopeless = seen.is_final();
                hubs[hub].seen = seen;
                continue;
            }
            () = timeout => {
                late = true;
                continue;
            }
        };
        match event {
            Some(Event::Joined { .. }) => return Ok(()),
            Some(Event::Refused { code, message }) => {
                let message =
                    format!("the signaling server refuses this agent ({code}): {message}");
                return Err(error("refused", &message));
            }
            Some(Event::SignalingLost { hub, reason, .. }) => {
                hubs[hub].last = Some(reason);
                if !driver.has_signaled(hub) {
                    let url = urls[hub].clone();
                    let probe = async move { (hub, hub_url::probe(url).await) };
                    probes.push(probe.boxed_local());
                }
            }
            Some(Event::Rejected { via: None, .. }) => {
                if let Some(hub) = driver.dialled() {
                    hubs[hub].seen = Seen::OtherTalk;
                }
            }
            Some(_) => {}
            None => return Err(error::closed()),
        }
    }
}

/// Whether trying on is of no use, or not wanted any more.
fn is_over(hubs: &[Silence<'_>], late: bool) -> bool {
    let tried = hubs.len() == 1 || hubs.iter().all(|hub| hub.last.is_some());
    (late && tried) || hubs.iter().all(|hub| hub.hopeless)
}

/// 32 bytes from the system's randomness.
fn random() -> Result<[u8; 32], JsValue> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|cause| error("unsupported", &format!("no randomness: {cause}")))?;
    Ok(bytes)
}
