//! Events as JavaScript gets them: an async iterator, bounded for readers that are too slow.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use js_sys::{Object, Promise, Reflect};
use mesh_core::agent::Reader;
use mesh_core::{Event, EventQueue, Payload, Received};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use crate::error::{describe, error};
use crate::media::Media;
use crate::payload;

#[cfg(test)]
mod tests;

/// Calls of `next` that may wait at once: more are a loop that does not await. Each event wakes all
/// of them.
const WAITING_MAX: usize = 1_024;

#[wasm_bindgen(module = "/js/handle.js")]
extern "C" {
    /// wasm-bindgen cannot name a method by a symbol.
    #[wasm_bindgen(js_name = asyncIterable)]
    fn async_iterable(stream: EventStream) -> JsValue;
}

/// What waits for one reader, and how many calls of `next` wait for it.
#[derive(Debug, Default)]
struct Queue {
    events: RefCell<EventQueue>,
    waiting: Cell<usize>,
}

/// The agent's end of an [`EventStream`].
#[derive(Debug)]
pub(crate) struct Subscriber(Weak<Queue>);

/// The events of an agent: `for await (const event of mesh.events())`.
#[wasm_bindgen(skip_typescript)]
#[derive(Debug)]
pub struct EventStream {
    queue: Rc<Queue>,
    media: Media,
}

impl EventStream {
    pub(crate) fn new(media: Media) -> (Self, Subscriber) {
        let queue = Rc::new(Queue::default());
        let subscriber = Subscriber(Rc::downgrade(&queue));
        (Self { queue, media }, subscriber)
    }

    pub(crate) fn into_iterable(self) -> JsValue {
        async_iterable(self)
    }

    /// The next event; none after the agent was closed. Those who wait are served in the order in
    /// which they began to. They hold the queue: the stream itself may be garbage meanwhile.
    pub(crate) fn next_event(&self) -> impl Future<Output = Option<Event>> + use<> {
        let queue = Rc::clone(&self.queue);
        std::future::poll_fn(move |context| queue.events.borrow_mut().poll_next(context))
    }
}

#[wasm_bindgen]
impl EventStream {
    /// The next event, as async iterators give it.
    pub fn next(&self) -> Promise {
        let queue = Rc::clone(&self.queue);
        if queue.waiting.get() == WAITING_MAX {
            let message = format!("{WAITING_MAX} calls of next() wait already: await them");
            return Promise::reject(&error("too-many-pending", &message));
        }
        queue.waiting.update(|waiting| waiting + 1);
        let event = self.next_event();
        let media = self.media.clone();
        future_to_promise(async move {
            let event = event.await;
            queue.waiting.update(|waiting| waiting - 1);
            iterator_result(event, &media)
        })
    }

    /// Ends the iteration: no more events gather for it, and those who wait are told.
    #[wasm_bindgen(js_name = "return")]
    pub fn end(&self) -> Promise {
        self.queue.events.borrow_mut().abandon();
        match iterator_result(None, &self.media) {
            Ok(result) => Promise::resolve(&result),
            Err(thrown) => Promise::reject(&thrown),
        }
    }
}

impl Reader for Subscriber {
    fn with<T>(&self, call: impl FnOnce(&mut EventQueue) -> T) -> Option<T> {
        let queue = self.0.upgrade()?;
        let mut events = queue.events.borrow_mut();
        Some(call(&mut events))
    }
}

fn iterator_result(event: Option<Event>, media: &Media) -> Result<JsValue, JsValue> {
    let result = Object::new();
    Reflect::set(&result, &"done".into(), &event.is_none().into())?;
    if let Some(event) = event {
        Reflect::set(&result, &"value".into(), &show(event, media)?)?;
    }
    Ok(result.into())
}

/// An event as JavaScript gets it. One that cannot be shown is told of in its place: it ends
/// nothing.
fn show(event: Event, media: &Media) -> Result<JsValue, JsValue> {
    let about = about(&event);
    event_to_js(event, media).or_else(|cause| {
        let warning = Object::new();
        for (key, value) in [
            ("type", "warning"),
            ("code", "event"),
            ("message", &format!("{about} cannot be shown: {cause}")),
        ] {
            Reflect::set(&warning, &key.into(), &value.into())?;
        }
        Ok(warning.into())
    })
}

/// Which event it is, for people.
fn about(event: &Event) -> String {
    match event {
        Event::Message(Received { id, name, .. }) => format!("the message {id} of {name:?}"),
        Event::Replied { id, .. } => format!("the reply to {id}"),
        _ => "an event".to_owned(),
    }
}

fn event_to_js(mut event: Event, media: &Media) -> Result<JsValue, String> {
    // The payload is shown apart: serde would end at numbers that JSON.parse reads.
    let payload = match &mut event {
        Event::Message(Received { payload, .. }) | Event::Replied { payload, .. } => {
            Some(std::mem::replace(payload, Payload::Bytes(Vec::new())))
        }
        _ => None,
    };
    let failed = |thrown: JsValue| describe(&thrown);
    let object = to_js(&event).map_err(failed)?;
    if let Some(payload) = payload {
        let payload = payload::show(&payload)?;
        Reflect::set(&object, &"payload".into(), &payload).map_err(failed)?;
    }
    if let Event::Track { peer, id, .. } = &event {
        let (stream, track) = match media.stream(*peer, id) {
            Some((stream, track)) => (stream.into(), track.into()),
            None => (JsValue::NULL, JsValue::NULL), // It has ended since.
        };
        for (key, value) in [("stream", stream), ("track", track)] {
            Reflect::set(&object, &key.into(), &value).map_err(failed)?;
        }
    }
    Ok(object)
}

/// Plain objects, arrays, numbers and strings, as `JSON.parse` would make them.
pub(crate) fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&Serializer::json_compatible())?)
}
