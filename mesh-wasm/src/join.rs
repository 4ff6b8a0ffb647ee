//! Joining: the options, and the wait until the hub has decided.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{pin_mut, select_biased};
use js_sys::Reflect;
use mesh_core::agent::{
    AdmissionError, AdmissionStep, AgentOptions, AgentState, Finding, JOIN_TIMEOUT,
};
use mesh_core::{Config, IceTransportPolicy, Identity, Metric};
use wasm_bindgen::JsValue;

use crate::abort::{Abort, unless_aborted};
use crate::arguments::Options;
use crate::clock::{Clock, sleep};
use crate::driver::Driver;
use crate::error::{self, error};
use crate::events::EventStream;
use crate::media::Media;
use crate::{hub_url, log};

const OPTIONS: [&str; 16] = [
    "signaling",
    "room",
    "name",
    "k",
    "sparse",
    "metric",
    "adaptive",
    "rotateEveryMs",
    "iceTransportPolicy",
    "turnFallbackMs",
    "messagesPerSecond",
    "messagesBurst",
    "identity",
    "timeoutMs",
    "signal",
    "log",
];

/// What `join` was asked for.
pub(crate) struct JoinOptions {
    config: Config,
    identity: Identity,
    signaling: Vec<String>,
    timeout: Duration,
    signal: Option<Abort>,
    log: Option<bool>,
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
        let metrics = [
            ("hops", Metric::Hops),
            ("latency", Metric::Latency),
            ("bandwidth", Metric::Bandwidth),
        ];
        let mut base = Config::new(&room, &name).map_err(|cause| error::config_error(&cause))?;
        let limit = |name| {
            let number = options.whole_number(name)?;
            Ok::<_, JsValue>(number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
        };
        base.messages_per_second = limit("messagesPerSecond")?.unwrap_or(base.messages_per_second);
        base.messages_burst = limit("messagesBurst")?.unwrap_or(base.messages_burst);
        let chosen = AgentOptions {
            room: &room,
            name: &name,
            hubs: &signaling,
            k,
            sparse: options.flag("sparse")?.unwrap_or_default(),
            metric: options.choice("metric", &metrics)?.unwrap_or_default(),
            adaptive: options.flag("adaptive")?.unwrap_or_default(),
            rotate_interval: options.duration("rotateEveryMs")?,
            ice_transport_policy: options
                .choice("iceTransportPolicy", &IceTransportPolicy::WORDS)?,
            turn_fallback_timeout: options.duration("turnFallbackMs")?,
            base: Some(&base),
        };
        let config = chosen
            .config()
            .map_err(|cause| error::config_error(&cause))?;
        let checked = signaling.iter().try_for_each(|url| hub_url::check(url));
        checked.map_err(|cause| error(cause.code(), &cause.to_string()))?;
        let secret = match options.bytes("identity")? {
            Some(secret) => secret,
            None => random()?,
        };
        Ok(Self {
            config,
            identity: Identity::from_secret(secret),
            signaling,
            timeout: options.duration("timeoutMs")?.unwrap_or(JOIN_TIMEOUT),
            signal: options.signal()?,
            log: options.choice("log", &log::WORDS)?,
        })
    }

    /// Joins. Given up by the signal, nothing of the agent is left.
    ///
    /// # Errors
    /// Why the agent is not in the room, or the signal's reason.
    pub(crate) async fn join(mut self) -> Result<Joined, JsValue> {
        if let Some(tells) = self.log {
            log::set(tells);
        }
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
        let media = Media::default();
        let (events, reader) = EventStream::new(media.clone());
        let driver = Driver::start(mesh, clock, self.signaling.clone(), reader, media);
        let mut joining = Joining(Some(Rc::clone(&driver)));
        let admitted = admitted(&driver, &self.signaling, self.timeout).await;
        admitted.map_err(|cause| error::not_admitted(&cause))?;
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

/// Waits until a signaling server has admitted the agent, or none does.
async fn admitted(
    driver: &Driver,
    urls: &[String],
    timeout: Duration,
) -> Result<(), AdmissionError> {
    let late = sleep(timeout.as_secs_f64() * 1e3).fuse();
    pin_mut!(late);
    let mut looks = FuturesUnordered::<LocalBoxFuture<'_, (usize, Finding)>>::new();
    loop {
        let step = poll_fn(|context| driver.with(|agent| agent.poll_admission(context))).fuse();
        pin_mut!(step);
        select_biased! {
            step = step => match step {
                AdmissionStep::Look(hub) => {
                    let look = async move { (hub, hub_url::probe(&urls[hub]).await) };
                    looks.push(look.boxed_local());
                }
                AdmissionStep::Decided(outcome) => return outcome,
            },
            (hub, finding) = looks.select_next_some() => {
                driver.with(|agent| agent.found(hub, finding));
            }
            () = late => driver.with(AgentState::join_is_late),
        }
    }
}

/// 32 bytes from the system's randomness.
fn random() -> Result<[u8; 32], JsValue> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|cause| error("unsupported", &format!("no randomness: {cause}")))?;
    Ok(bytes)
}
