//! Events as JavaScript gets them: an async iterator, bounded for readers that are too slow.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use mesh_core::{Event, Payload};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};

/// Events that a slow reader may have waiting; what comes on top is counted and reported.
const EVENTS: usize = 4_096;

#[wasm_bindgen(inline_js = "
export function asyncIterable(stream) {
    stream[Symbol.asyncIterator] = function () { return this; };
    return stream;
}")]
extern "C" {
    /// wasm-bindgen cannot name a method by a symbol.
    #[wasm_bindgen(js_name = asyncIterable)]
    fn async_iterable(stream: EventStream) -> JsValue;
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    missed: u64,
    ended: bool,
    waker: Option<Waker>,
}

/// The driver's end of an [`EventStream`].
#[derive(Debug)]
pub(crate) struct Subscriber(Weak<RefCell<Queue>>);

/// The events of an agent: `for await (const event of mesh.events())`.
#[wasm_bindgen]
#[derive(Debug)]
pub struct EventStream {
    queue: Rc<RefCell<Queue>>,
}

impl EventStream {
    pub(crate) fn new() -> (Self, Subscriber) {
        let queue = Rc::new(RefCell::new(Queue::default()));
        let subscriber = Subscriber(Rc::downgrade(&queue));
        (Self { queue }, subscriber)
    }

    pub(crate) fn into_iterable(self) -> JsValue {
        async_iterable(self)
    }

    /// The next event; none after the agent was closed.
    pub(crate) fn next_event(&self) -> impl Future<Output = Option<Event>> + use<> {
        let queue = Rc::clone(&self.queue);
        std::future::poll_fn(move |context| {
            let mut queue = queue.borrow_mut();
            if let Some(event) = queue.events.pop_front() {
                return Poll::Ready(Some(event));
            }
            if queue.missed > 0 {
                let missed = std::mem::take(&mut queue.missed);
                return Poll::Ready(Some(Event::Lagged { missed }));
            }
            if queue.ended {
                return Poll::Ready(None);
            }
            queue.waker = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

#[wasm_bindgen]
impl EventStream {
    /// The next event, as async iterators give it.
    #[wasm_bindgen(unchecked_return_type = "Promise<IteratorResult<MeshEvent>>")]
    pub fn next(&self) -> js_sys::Promise {
        let event = self.next_event();
        wasm_bindgen_futures::future_to_promise(async move {
            let event = event.await;
            iterator_result(event.as_ref())
        })
    }

    /// Ends the iteration: no more events gather for it.
    #[wasm_bindgen(
        js_name = "return",
        unchecked_return_type = "Promise<IteratorResult<MeshEvent>>"
    )]
    pub fn end(&self) -> js_sys::Promise {
        let mut queue = self.queue.borrow_mut();
        queue.ended = true;
        queue.events.clear();
        match iterator_result(None) {
            Ok(result) => js_sys::Promise::resolve(&result),
            Err(thrown) => js_sys::Promise::reject(&thrown),
        }
    }
}

impl Subscriber {
    /// Hands an event on. Returns false when the reader is gone.
    pub(crate) fn tell(&self, event: &Event) -> bool {
        let Some(queue) = self.0.upgrade() else {
            return false;
        };
        let mut queue = queue.borrow_mut();
        if queue.ended {
            return false;
        }
        if queue.events.len() < EVENTS && queue.missed == 0 {
            queue.events.push_back(event.clone());
        } else {
            queue.missed += 1;
        }
        queue.ended = matches!(event, Event::Left);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        true
    }
}

fn iterator_result(event: Option<&Event>) -> Result<JsValue, JsValue> {
    let result = js_sys::Object::new();
    js_sys::Reflect::set(&result, &"done".into(), &event.is_none().into())?;
    if let Some(event) = event {
        js_sys::Reflect::set(&result, &"value".into(), &event_to_js(event)?)?;
    }
    Ok(result.into())
}

fn event_to_js(event: &Event) -> Result<JsValue, JsValue> {
    let object = to_js(event)?;
    if let Event::Message(mesh_core::Received { payload, .. }) | Event::Replied { payload, .. } =
        event
    {
        js_sys::Reflect::set(&object, &"payload".into(), &payload_to_js(payload))?;
    }
    Ok(object)
}

/// Plain objects, arrays, numbers and strings, as `JSON.parse` would make them.
pub(crate) fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&Serializer::json_compatible())?)
}

pub(crate) fn payload_to_js(payload: &Payload) -> JsValue {
    match payload {
        Payload::Text(text) => text.into(),
        Payload::Bytes(bytes) => js_sys::Uint8Array::from(bytes.as_slice()).into(),
        // What a peer calls JSON may be none: then it is shown as the text that it is.
        Payload::Json(json) => js_sys::JSON::parse(json).unwrap_or_else(|_| json.into()),
    }
}

/// A string, bytes, or whatever JSON can say.
pub(crate) fn payload_from_js(value: &JsValue) -> Result<Payload, JsValue> {
    if let Some(text) = value.as_string() {
        return Ok(Payload::Text(text));
    }
    if let Some(bytes) = value.dyn_ref::<js_sys::Uint8Array>() {
        return Ok(Payload::Bytes(bytes.to_vec()));
    }
    if value.is_instance_of::<js_sys::ArrayBuffer>() {
        return Ok(Payload::Bytes(js_sys::Uint8Array::new(value).to_vec()));
    }
    let json = js_sys::JSON::stringify(value)
        .ok()
        .and_then(|json| json.as_string());
    json.map(Payload::Json).ok_or_else(|| {
        let message = "a payload is a string, a Uint8Array, or a value that JSON can represent";
        crate::error::error("payload", message)
    })
}
