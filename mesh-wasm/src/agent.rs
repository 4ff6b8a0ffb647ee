//! The handle of an agent in a web page. Mirrors the native `Agent` name for name.

use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};
use mesh_core::{
    Adaptive, Config, Delivery, Event, Identity, Instant, MessageId, Metric, PeerId, SendError,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::clock::{Clock, set_timeout};
use crate::driver::Driver;
use crate::error;
use crate::events::{EventStream, payload_from_js, payload_to_js, to_js};

/// How long joining may take before the last failure is reported.
const JOIN_TIMEOUT_MS: f64 = 5_000.0;

/// One agent of a mesh: this tab, or a worker of it.
#[wasm_bindgen]
pub struct Mesh {
    driver: Rc<Driver>,
    id: PeerId,
    name: String,
    room: String,
    identity: Identity,
    /// The events from the very first, for who asks for events first.
    first: Option<EventStream>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JoinOptions {
    signaling: String,
    room: String,
    name: String,
    k: Option<usize>,
    #[serde(default)]
    sparse: bool,
    #[serde(default)]
    metric: Metric,
    #[serde(default)]
    adaptive: bool,
    timeout_ms: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SendOptions {
    delivery: Delivery,
    deadline_ms: Option<f64>,
}

#[wasm_bindgen]
impl Mesh {
    /// Joins a room. Resolves when the signaling server has admitted this agent; links open from
    /// then on by themselves. Rejects with a `MeshError`.
    #[wasm_bindgen(unchecked_return_type = "Mesh")]
    pub async fn join(
        #[wasm_bindgen(unchecked_param_type = "JoinOptions")] options: JsValue,
    ) -> Result<Self, JsValue> {
        let identity = identity_of(&options)?;
        let options: JoinOptions = parse("join", options)?;
        if !js_sys::Reflect::has(&js_sys::global(), &"RTCPeerConnection".into())? {
            let message = "this browser, or this context of it, has no WebRTC";
            return Err(error::error("unsupported", message));
        }
        let mut config = Config::new(&options.room, &options.name)
            .and_then(|config| config.with_k(options.k))
            .map_err(|cause| error::config_error(&cause))?;
        config.metric = options.metric;
        config.sparse = options.sparse;
        config.adaptive = options.adaptive.then(Adaptive::default);
        let clock = Clock::start();
        let (id, seed) = (identity.peer(), random()?);
        let now = clock.now();
        let mesh = mesh_core::Mesh::new(config, identity.clone(), seed, now, Clock::unix_now());
        // Two readers, so that the one handed out still has what is read here.
        let (waiting, subscriber) = EventStream::new();
        let (first, handed_out) = EventStream::new();
        let driver = Driver::start(mesh, clock, options.signaling.clone(), subscriber);
        driver.subscribe(handed_out);
        let joined = Self {
            driver,
            id,
            name: options.name,
            room: options.room,
            identity,
            first: Some(first),
        };
        let timeout_ms = options.timeout_ms.unwrap_or(JOIN_TIMEOUT_MS);
        admitted(waiting, &options.signaling, timeout_ms).await?; // Dropped, it leaves.
        Ok(joined)
    }

    /// This agent's identity: its Ed25519 public key, 64 hexadecimal digits.
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// This agent's label.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The room that it joined.
    #[wasm_bindgen(getter)]
    pub fn room(&self) -> String {
        self.room.clone()
    }

    /// The 32 secret bytes of the identity, to join as the same agent again. Whoever has them is
    /// this agent.
    #[wasm_bindgen(js_name = exportIdentity)]
    pub fn export_identity(&self) -> Vec<u8> {
        self.identity.secret().to_vec()
    }

    /// The events of this agent. The first call gets those since joining, later ones those from
    /// now on.
    #[wasm_bindgen(unchecked_return_type = "AsyncIterableIterator<MeshEvent>")]
    pub fn events(&mut self) -> JsValue {
        let stream = self.first.take().unwrap_or_else(|| {
            let (stream, subscriber) = EventStream::new();
            self.driver.subscribe(subscriber);
            stream
        });
        stream.into_iterable()
    }

    /// Sends a message to one member, waiting while the queue to the next hop is full. Resolves
    /// with the message's id as soon as it is on its way.
    #[wasm_bindgen(unchecked_return_type = "Promise<MessageId>")]
    pub fn send(
        &self,
        #[wasm_bindgen(unchecked_param_type = "PeerId")] peer: &str,
        #[wasm_bindgen(unchecked_param_type = "Payload")] payload: &JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "SendOptions")] options: JsValue,
    ) -> js_sys::Promise {
        let driver = Rc::clone(&self.driver);
        let arguments = send_arguments(peer, payload, options);
        wasm_bindgen_futures::future_to_promise(async move {
            let (to, payload, options) = arguments?;
            let deadline = deadline(options.deadline_ms)?;
            let id = when_writable(&driver, |mesh, now| {
                mesh.send(to, payload.clone(), options.delivery, deadline, now)
            })
            .await?;
            Ok(id.to_string().into())
        })
    }

    /// Sends a message to every member of the room, under a topic (may be empty).
    #[wasm_bindgen(unchecked_return_type = "Promise<MessageId>")]
    pub fn broadcast(
        &self,
        topic: String,
        #[wasm_bindgen(unchecked_param_type = "Payload")] payload: &JsValue,
    ) -> js_sys::Promise {
        let driver = Rc::clone(&self.driver);
        let payload = payload_from_js(payload);
        wasm_bindgen_futures::future_to_promise(async move {
            let payload = payload?;
            let broadcast =
                |mesh: &mut mesh_core::Mesh, now| mesh.broadcast(&topic, payload.clone(), now);
            let id = when_writable(&driver, broadcast).await?;
            Ok(id.to_string().into())
        })
    }

    /// Receives broadcasts of these topics alone from now on; all of them if none are given, as at
    /// first. Others are passed on as before: everybody carries every broadcast of a room.
    pub fn subscribe(&self, topics: Option<Vec<String>>) {
        let topics = topics.map(|topics| topics.into_iter().collect());
        self.driver.call(|mesh, _| mesh.subscribe(topics));
    }

    /// Sends a request; resolves with its reply.
    #[wasm_bindgen(unchecked_return_type = "Promise<Payload>")]
    pub fn request(
        &self,
        #[wasm_bindgen(unchecked_param_type = "PeerId")] peer: &str,
        #[wasm_bindgen(unchecked_param_type = "Payload")] payload: &JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "RequestOptions")] options: JsValue,
    ) -> js_sys::Promise {
        let driver = Rc::clone(&self.driver);
        let arguments = send_arguments(peer, payload, options);
        wasm_bindgen_futures::future_to_promise(async move {
            let (to, payload, options) = arguments?;
            let deadline = deadline(options.deadline_ms)?;
            let id = when_writable(&driver, |mesh, now| {
                mesh.request(to, payload.clone(), deadline, now)
            })
            .await?;
            let (reply, answer) = oneshot::channel();
            driver.await_reply(id, reply);
            let reply = answer.await.map_err(|_| error::closed())?;
            Ok(payload_to_js(&reply.map_err(error::no_reply)?))
        })
    }

    /// Answers a request: a `message` event with `wantsReply`.
    pub fn reply(
        &self,
        #[wasm_bindgen(unchecked_param_type = "MessageId")] request: &str,
        #[wasm_bindgen(unchecked_param_type = "Payload")] payload: &JsValue,
    ) -> Result<(), JsValue> {
        let id: MessageId = request
            .parse()
            .map_err(|cause| error::error("message-id", &format!("{cause}")))?;
        let payload = payload_from_js(payload)?;
        self.driver
            .call(|mesh, now| mesh.reply(id, payload, now))
            .map_err(error::send_error)
    }

    /// Every other member of the room; of a divided one, of this agent's shard.
    #[wasm_bindgen(unchecked_return_type = "Peer[]")]
    pub fn peers(&self) -> Result<JsValue, JsValue> {
        to_js(&self.driver.call(|mesh, _| mesh.peers()))
    }

    /// The routing table.
    #[wasm_bindgen(unchecked_return_type = "Route[]")]
    pub fn routes(&self) -> Result<JsValue, JsValue> {
        to_js(&self.driver.call(|mesh, _| mesh.routes()))
    }

    /// Sends nothing through these members from now on, as far as this agent chooses the path;
    /// forwarders choose theirs. To them it still sends.
    pub fn avoid(&self, members: Vec<String>) -> Result<(), JsValue> {
        let members = members
            .iter()
            .map(|member| parse_peer(member))
            .collect::<Result<_, _>>()?;
        self.driver.call(|mesh, now| mesh.avoid(members, now));
        Ok(())
    }

    /// The mesh as this agent knows it.
    #[wasm_bindgen(unchecked_return_type = "Topology")]
    pub fn topology(&self) -> Result<JsValue, JsValue> {
        to_js(&self.driver.call(|mesh, _| mesh.topology()))
    }

    /// Counters.
    #[wasm_bindgen(unchecked_return_type = "Stats")]
    pub fn stats(&self) -> Result<JsValue, JsValue> {
        to_js(&self.driver.call(|mesh, _| mesh.stats()))
    }

    /// Leaves the mesh and closes every link. Closing twice does no harm.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn close(&self) -> js_sys::Promise {
        self.driver.close();
        js_sys::Promise::resolve(&JsValue::UNDEFINED)
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.driver.close();
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh")
            .field("id", &self.id)
            .field("room", &self.room)
            .finish()
    }
}

/// Waits until the signaling server has decided, or the time is up.
async fn admitted(events: EventStream, url: &str, timeout_ms: f64) -> Result<(), JsValue> {
    let timeout = js_sys::Promise::new(&mut |resolve, _reject| {
        set_timeout(&resolve, timeout_ms);
    });
    let mut timeout = JsFuture::from(timeout);
    let mut last = "no answer".to_owned();
    loop {
        let event = Box::pin(events.next_event());
        let event = match select(event, timeout).await {
            Either::Left((event, unfinished)) => {
                timeout = unfinished;
                event
            }
            Either::Right(_) => {
                let message = format!(
                    "the signaling server at {url} cannot be reached: {last}. Is `mesh up` \
                     running there?"
                );
                return Err(error::error("signaling-unreachable", &message));
            }
        };
        match event {
            Some(Event::Joined { .. }) => return Ok(()),
            Some(Event::Refused { code, message }) => {
                let message =
                    format!("the signaling server refuses this agent ({code}): {message}");
                return Err(error::error("refused", &message));
            }
            Some(Event::SignalingLost { reason, .. }) => last = reason,
            Some(_) => {}
            None => return Err(error::closed()),
        }
    }
}

/// Calls until the mesh has room.
async fn when_writable<T>(
    driver: &Rc<Driver>,
    call: impl Fn(&mut mesh_core::Mesh, Instant) -> Result<T, SendError>,
) -> Result<T, JsValue> {
    loop {
        if driver.is_closed() {
            return Err(error::closed());
        }
        match driver.call(&call) {
            Err(SendError::Backpressure | SendError::TooManyPending(_)) => {
                driver.writable().await.map_err(|_| error::closed())?;
            }
            result => return result.map_err(error::send_error),
        }
    }
}

fn send_arguments(
    peer: &str,
    payload: &JsValue,
    options: JsValue,
) -> Result<(PeerId, mesh_core::Payload, SendOptions), JsValue> {
    let to = parse_peer(peer)?;
    let options = if options.is_undefined() || options.is_null() {
        SendOptions::default()
    } else {
        parse("send", options)?
    };
    Ok((to, payload_from_js(payload)?, options))
}

fn deadline(ms: Option<f64>) -> Result<Option<Duration>, JsValue> {
    let invalid = |_| error::error("deadline", "deadlineMs must be a positive number");
    ms.map(|ms| Duration::try_from_secs_f64(ms / 1e3))
        .transpose()
        .map_err(invalid)
}

fn parse<T: DeserializeOwned>(what: &str, options: JsValue) -> Result<T, JsValue> {
    serde_wasm_bindgen::from_value(options)
        .map_err(|cause| error::error("options", &format!("the options of {what}: {cause}")))
}

/// The identity among the options, or a new one.
fn identity_of(options: &JsValue) -> Result<Identity, JsValue> {
    let value = match options.is_object() {
        true => js_sys::Reflect::get(options, &"identity".into())?,
        false => JsValue::UNDEFINED,
    };
    if value.is_undefined() || value.is_null() {
        return Ok(Identity::from_secret(random()?));
    }
    let bytes = js_sys::Uint8Array::new(&value).to_vec();
    let secret = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| error::error("options", "identity must be a Uint8Array of 32 bytes"))?;
    Ok(Identity::from_secret(secret))
}

fn random() -> Result<[u8; 32], JsValue> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|cause| error::error("unsupported", &format!("no randomness: {cause}")))?;
    Ok(bytes)
}

fn parse_peer(text: &str) -> Result<PeerId, JsValue> {
    text.parse()
        .map_err(|cause| error::error("peer-id", &format!("{cause}")))
}
