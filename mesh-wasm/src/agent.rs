//! The handle of an agent in a web page. Mirrors the native `Agent` name for name.
//!
//! Its TypeScript is in `types.d.ts`, by hand. Each method takes whatever JavaScript hands over and
//! checks it; what fails is a promise that rejects, never an exception.

mod pairs;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use js_sys::{Promise, Reflect};
use mesh_core::agent::{Line, Ticket, TransferStep};
use mesh_core::{
    Delivery, Identity, Instant, MeshError, MessageId, Payload, PeerId, SendError, SendOptions,
};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use crate::abort::{Abort, unless_aborted};
use crate::arguments::{self, Options};
use crate::driver::Driver;
use crate::error;
use crate::events::{EventStream, to_js};
use crate::join::{JoinOptions, Joined};
use crate::payload::{self, Carried};
use crate::sender::MediaSender;

#[wasm_bindgen(module = "/js/handle.js")]
extern "C" {
    /// Has `free` and `using` close the agent, and leave the handle as it is.
    #[wasm_bindgen(js_name = closeInsteadOfFree)]
    fn close_instead_of_free(mesh: &JsValue);
}

/// One agent of a mesh: this tab.
///
/// An open agent is held by its driver, not by whoever has the handle: it lives until it is closed,
/// whatever the garbage collector finds unreachable.
#[wasm_bindgen(skip_typescript)]
pub struct Mesh {
    driver: Rc<Driver>,
    id: PeerId,
    name: String,
    room: String,
    identity: Identity,
    /// The events from the very first, for who asks for events first.
    first: RefCell<Option<EventStream>>,
}

#[wasm_bindgen]
impl Mesh {
    /// Joins a room. Resolves when the signaling server has admitted this agent; links open from
    /// then on by themselves. Rejects with a `MeshError`, or with the reason of the `signal`.
    pub async fn join(options: JsValue) -> Result<JsValue, JsValue> {
        let joined = JoinOptions::read(&options)?.join().await?;
        let driver = Rc::clone(&joined.driver);
        let handle = JsValue::from(Self::from(joined));
        close_instead_of_free(&handle);
        driver.keep(handle.clone());
        Ok(handle)
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

    /// The 32 secret bytes of the identity, to join as the same agent again.
    #[wasm_bindgen(js_name = exportIdentity)]
    pub fn export_identity(&self) -> Vec<u8> {
        self.identity.secret().to_vec()
    }

    /// The events of this agent. The first call gets those since joining, later ones those from
    /// now on; of a closed agent there are none.
    pub fn events(&self) -> JsValue {
        let first = self.first.take().filter(|_| !self.driver.is_closed());
        let stream = first.unwrap_or_else(|| {
            let (stream, subscriber) = EventStream::new(self.driver.media());
            self.driver.with(|agent| agent.subscribe(subscriber));
            stream
        });
        stream.into_iterable()
    }

    /// Waits until what is sent leaves at once: until the first link is open, or not at all in an
    /// empty room. What is sent before waits by itself, up to its deadline.
    pub fn ready(&self) -> Promise {
        let driver = Rc::clone(&self.driver);
        future_to_promise(async move {
            when_writable(&driver, Line::Ready, |mesh, _| mesh.ready()).await?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Sends a message to one member. Resolves with the message's id when it is on its way.
    pub fn send(&self, peer: &JsValue, payload: &JsValue, options: &JsValue) -> Promise {
        let call = Call::read("send", peer, payload, options, &SEND_OPTIONS);
        let driver = Rc::clone(&self.driver);
        promise(call, async move |call| {
            let payload = call.payload.ready().await?;
            let tell = call.on_progress.as_ref();
            let id = send(&driver, (call.to, &payload), call.options, tell).await?;
            Ok(id.to_string().into())
        })
    }

    /// Sends a message to every member of the room, under a topic (may be empty).
    pub fn broadcast(&self, topic: &JsValue, payload: &JsValue) -> Promise {
        let driver = Rc::clone(&self.driver);
        let arguments = arguments::topic("broadcast", topic)
            .and_then(|topic| Ok((topic, payload::take(payload, Carried::Whole)?)));
        future_to_promise(async move {
            let (topic, payload) = arguments?;
            let payload = payload.ready().await?;
            let id = when_writable(&driver, Line::Room, |mesh, now| {
                mesh.broadcast(&topic, payload.clone(), now)
            })
            .await?;
            Ok(id.to_string().into())
        })
    }

    /// Receives broadcasts of these topics alone from now on; all of them if none are given.
    pub fn subscribe(&self, topics: &JsValue) -> Promise {
        settled(arguments::topics(topics).and_then(|topics| {
            let subscribed = self
                .driver
                .call(|agent, _| agent.call(|mesh| mesh.subscribe(topics)));
            match subscribed {
                Ok(result) => result.map_err(|cause| error::mesh_error(cause.into())),
                Err(closed) => Err(error::mesh_error(closed)),
            }
        }))
    }

    /// Sends a request; resolves with its reply.
    pub fn request(&self, peer: &JsValue, payload: &JsValue, options: &JsValue) -> Promise {
        let call = Call::read("request", peer, payload, options, &REQUEST_OPTIONS);
        let driver = Rc::clone(&self.driver);
        promise(call, async move |call| {
            let payload = call.payload.ready().await?;
            let line = Line::of(call.to, &payload, Delivery::Acknowledged);
            let mut waiting = Waiting::of(&driver, line);
            let sent = poll_fn(|context| {
                waiting.driver.call(|agent, now| {
                    let what = (call.to, &payload);
                    agent.poll_request(
                        &mut waiting.ticket,
                        context,
                        what,
                        call.options.deadline,
                        now,
                    )
                })
            });
            let reply = Reply {
                request: sent.await.map_err(error::mesh_error)?,
                driver: &driver,
            };
            let tell = call.on_progress.as_ref();
            let told = outcome(tell, |context| {
                driver.with(|agent| agent.poll_reply(reply.request, context))
            });
            let told = told.await.map_err(error::mesh_error)?;
            payload::show(&told).map_err(|cause| error::error("no-reply", &cause))
        })
    }

    /// Answers a request: a `message` event with `wantsReply`, or its id.
    pub fn reply(&self, request: &JsValue, payload: &JsValue) -> Promise {
        let driver = Rc::clone(&self.driver);
        let arguments = arguments::message("reply", request)
            .and_then(|request| Ok((request, payload::take(payload, Carried::InParts)?)));
        future_to_promise(async move {
            let (request, payload) = arguments?;
            let payload = payload.ready().await?;
            when_writable(&driver, Line::Replies(request.author), |mesh, now| {
                mesh.reply(request, payload.clone(), now)
            })
            .await?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Sends a track of audio or video to a neighbour: a member that an open link leads to.
    /// Resolves with its `MediaSender`.
    #[wasm_bindgen(js_name = sendTrack)]
    pub fn send_track(&self, peer: &JsValue, track: &JsValue) -> Promise {
        let sent = arguments::peer("sendTrack", peer).and_then(|peer| {
            let track = arguments::track("sendTrack", track)?;
            let local = self.driver.send_track(peer, track)?;
            Ok(MediaSender::new(Rc::clone(&self.driver), peer, local))
        });
        match sent {
            Ok(sender) => Promise::resolve(&JsValue::from(sender)),
            Err(error) => Promise::reject(&error),
        }
    }

    /// Every other member of the room; of a divided one, of this agent's shard.
    pub fn peers(&self) -> Result<JsValue, JsValue> {
        to_js(&self.driver.read(mesh_core::Mesh::peers))
    }

    /// The routing table.
    pub fn routes(&self) -> Result<JsValue, JsValue> {
        to_js(&self.driver.read(mesh_core::Mesh::routes))
    }

    /// Sends nothing through these members from now on, as far as this agent chooses the path;
    /// forwarders choose theirs. To them it still sends.
    pub fn avoid(&self, members: &JsValue) -> Promise {
        settled(arguments::peers("avoid", members).and_then(|members| {
            let avoid = |mesh: &mut mesh_core::Mesh, now| mesh.avoid(members, now);
            let avoided = self
                .driver
                .call(|agent, now| agent.call(|mesh| avoid(mesh, now)));
            avoided.map_err(error::mesh_error)
        }))
    }

    /// Gives every link fresh keys now.
    #[wasm_bindgen(js_name = rotateKeys)]
    pub fn rotate_keys(&self) -> Promise {
        let rotate = |mesh: &mut mesh_core::Mesh, now| mesh.rotate_keys(now);
        let rotated = self
            .driver
            .call(|agent, now| agent.call(|mesh| rotate(mesh, now)));
        settled(rotated.map_err(error::mesh_error))
    }

    /// The mesh as this agent knows it.
    pub fn topology(&self) -> Result<JsValue, JsValue> {
        to_js(&self.driver.read(mesh_core::Mesh::topology))
    }

    /// Counters, and what the agent waits for.
    pub fn stats(&self) -> Result<JsValue, JsValue> {
        let now = self.driver.now();
        let stats = to_js(&self.driver.read(mesh_core::Mesh::stats))?;
        let next = to_js(&self.driver.read(|mesh| mesh.next_timeout(now)))?;
        Reflect::set(&stats, &"nextTimeout".into(), &next)?;
        Ok(stats)
    }

    /// Leaves the mesh and closes every link. Closing twice does no harm.
    pub fn close(&self) -> Promise {
        self.driver.close();
        self.first.take();
        Promise::resolve(&JsValue::UNDEFINED)
    }
}

impl From<Joined> for Mesh {
    fn from(joined: Joined) -> Self {
        Self {
            driver: joined.driver,
            id: joined.identity.peer(),
            name: joined.name,
            room: joined.room,
            identity: joined.identity,
            first: RefCell::new(Some(joined.events)),
        }
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

const SEND_OPTIONS: [&str; 5] = ["delivery", "deadlineMs", "ordered", "onProgress", "signal"];
const REQUEST_OPTIONS: [&str; 3] = ["deadlineMs", "onProgress", "signal"];

/// What `send` and `request` were given.
struct Call {
    to: PeerId,
    payload: payload::Taken,
    options: SendOptions,
    on_progress: Option<js_sys::Function>,
    signal: Option<Abort>,
}

impl Call {
    fn read(
        method: &'static str,
        peer: &JsValue,
        payload: &JsValue,
        options: &JsValue,
        known: &[&str],
    ) -> Result<Self, JsValue> {
        let to = arguments::peer(method, peer)?;
        let options = Options::of(method, options, known)?;
        let deliveries = [
            ("datagram", Delivery::Datagram),
            ("reliable", Delivery::Reliable),
            ("acknowledged", Delivery::Acknowledged),
        ];
        let delivery = options.choice("delivery", &deliveries)?.unwrap_or_default();
        let carried = match delivery {
            Delivery::Datagram => Carried::Whole,
            Delivery::Reliable | Delivery::Acknowledged => Carried::InParts,
        };
        Ok(Self {
            to,
            options: SendOptions {
                delivery,
                deadline: options.duration("deadlineMs")?,
                ordered: options.flag("ordered")?.unwrap_or(true),
            },
            on_progress: options.function("onProgress")?,
            signal: options.signal()?,
            payload: payload::take(payload, carried)?,
        })
    }
}

/// Does the work of a call, unless its arguments are wrong or its signal is aborted.
fn promise<W>(call: Result<Call, JsValue>, work: impl FnOnce(Call) -> W + 'static) -> Promise
where
    W: Future<Output = Result<JsValue, JsValue>>,
{
    future_to_promise(async move {
        let mut call = call?;
        let signal = call.signal.take();
        unless_aborted(signal.as_ref(), work(call)).await
    })
}

/// A promise of what is decided already.
fn settled(result: Result<(), JsValue>) -> Promise {
    match result {
        Ok(()) => Promise::resolve(&JsValue::UNDEFINED),
        Err(error) => Promise::reject(&error),
    }
}

/// Sends a message, and waits until all of a large one has arrived.
async fn send(
    driver: &Rc<Driver>,
    what: (PeerId, &Payload),
    options: SendOptions,
    tell: Option<&js_sys::Function>,
) -> Result<MessageId, JsValue> {
    let sent = {
        let mut waiting = Waiting::of(driver, Line::of(what.0, what.1, options.delivery));
        let sending = poll_fn(|context| {
            waiting.driver.call(|agent, now| {
                agent.poll_send(&mut waiting.ticket, context, what, options, now)
            })
        });
        sending.await
    };
    let (id, is_large) = sent.map_err(error::mesh_error)?;
    if !is_large {
        return Ok(id);
    }
    let mut sending = Sending {
        driver,
        id,
        is_under_way: true,
    };
    let arrived = outcome(tell, |context| {
        driver.with(|agent| agent.poll_transfer(id, context))
    });
    let arrived = arrived.await;
    sending.is_under_way = false;
    arrived.map(|()| id).map_err(error::mesh_error)
}

/// Waits for the outcome of a large message or a request, and tells how far it has come meanwhile.
async fn outcome<T>(
    tell: Option<&js_sys::Function>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<TransferStep<T>>,
) -> Result<T, MeshError> {
    loop {
        match poll_fn(&mut poll).await {
            TransferStep::Progress { bytes, bytes_total } => {
                if let Some(tell) = tell {
                    // What the page's function throws is the page's.
                    let (bytes, all) = (bytes as f64, bytes_total as f64);
                    let _ = tell.call2(&JsValue::UNDEFINED, &bytes.into(), &all.into());
                }
            }
            TransferStep::Done(outcome) => return outcome,
        }
    }
}

/// A large message that is under way. Dropping it gives it up.
struct Sending<'a> {
    driver: &'a Rc<Driver>,
    id: MessageId,
    is_under_way: bool,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if self.is_under_way {
            self.driver.call(|agent, now| agent.cancel(self.id, now));
        }
    }
}

/// A call that may wait for room. Dropping it gives it up.
struct Waiting<'a> {
    driver: &'a Rc<Driver>,
    ticket: Ticket,
}

impl<'a> Waiting<'a> {
    fn of(driver: &'a Rc<Driver>, line: Line) -> Self {
        let ticket = Ticket::new(line);
        Self { driver, ticket }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.ticket.has_waited() {
            self.driver.with(|agent| agent.give_up(&self.ticket));
        }
    }
}

/// A request that was sent. Dropping it gives up its reply.
struct Reply<'a> {
    driver: &'a Rc<Driver>,
    request: MessageId,
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        self.driver.with(|agent| agent.forget_reply(self.request));
    }
}

/// Calls until the mesh has room.
async fn when_writable<T>(
    driver: &Rc<Driver>,
    line: Line,
    call: impl Fn(&mut mesh_core::Mesh, Instant) -> Result<T, SendError>,
) -> Result<T, JsValue> {
    let mut waiting = Waiting::of(driver, line);
    let called = poll_fn(|context| {
        waiting.driver.call(|agent, now| {
            agent.poll_call(&mut waiting.ticket, context, |mesh| call(mesh, now))
        })
    });
    called.await.map_err(error::mesh_error)
}
