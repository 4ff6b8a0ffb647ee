//! Events as JavaScript gets them: an async iterator, bounded for readers that are too slow.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use futures::channel::oneshot;
use js_sys::{Object, Promise, Reflect};
use mesh_core::{Event, Payload, Received};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use crate::error::{describe, error};
use crate::payload;

#[cfg(test)]
mod tests;

/// Events that a slow reader may have waiting; what comes on top is counted and reported.
const EVENTS: usize = 4_096;

/// Calls of `next` that may wait at once: more are a loop that does not await.
const WAITING_MAX: usize = 4_096;

#[wasm_bindgen(module = "/js/handle.js")]
extern "C" {
    /// wasm-bindgen cannot name a method by a symbol.
    #[wasm_bindgen(js_name = asyncIterable)]
    fn async_iterable(stream: EventStream) -> JsValue;
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    missed: u64,
    /// No more events come.
    ended: bool,
    /// Who waits for events, first come first served; none waits while there are events.
    readers: VecDeque<oneshot::Sender<Event>>,
}

/// The driver's end of an [`EventStream`].
#[derive(Debug)]
pub(crate) struct Subscriber(Weak<RefCell<Queue>>);

/// The events of an agent: `for await (const event of mesh.events())`.
#[wasm_bindgen(skip_typescript)]
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
        let (tell, told) = oneshot::channel();
        let mut queue = self.queue.borrow_mut();
        // Of a queue that has ended the sender is dropped here: then there is no event.
        if !queue.ended || !queue.events.is_empty() || queue.missed > 0 {
            queue.readers.push_back(tell);
            queue.serve();
        }
        drop(queue);
        // A reader that waits holds the queue: the handle of the stream may be garbage meanwhile.
        let queue = Rc::clone(&self.queue);
        async move {
            let event = told.await.ok();
            drop(queue);
            event
        }
    }
}

impl Queue {
    /// Hands events to those who wait.
    fn serve(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let Some(event) = self.hand_out(event) else {
                continue;
            };
            self.events.push_front(event);
            return;
        }
        if self.missed > 0 {
            let missed = std::mem::take(&mut self.missed);
            if self.hand_out(Event::Lagged { missed }).is_some() {
                self.missed = missed;
            }
        }
        if self.ended {
            self.readers.clear();
        }
    }

    /// Gives an event to the first who still waits, or back.
    fn hand_out(&mut self, mut event: Event) -> Option<Event> {
        while let Some(reader) = self.readers.pop_front() {
            match reader.send(event) {
                Ok(()) => return None,
                Err(unread) => event = unread,
            }
        }
        Some(event)
    }
}

#[wasm_bindgen]
impl EventStream {
    /// The next event, as async iterators give it.
    pub fn next(&self) -> Promise {
        if self.queue.borrow().readers.len() >= WAITING_MAX {
            let message = format!("{WAITING_MAX} calls of next() wait already: await them");
            return Promise::reject(&error("too-many-pending", &message));
        }
        let event = self.next_event();
        future_to_promise(async move { iterator_result(event.await) })
    }

    /// Ends the iteration: no more events gather for it, and whoever waits is told.
    #[wasm_bindgen(js_name = "return")]
    pub fn end(&self) -> Promise {
        let mut queue = self.queue.borrow_mut();
        queue.ended = true;
        queue.events.clear();
        queue.missed = 0;
        queue.readers.clear();
        match iterator_result(None) {
            Ok(result) => Promise::resolve(&result),
            Err(thrown) => Promise::reject(&thrown),
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
        queue.serve();
        true
    }

    /// No more events come.
    pub(crate) fn end(self) {
        if let Some(queue) = self.0.upgrade() {
            let mut queue = queue.borrow_mut();
            queue.ended = true;
            queue.serve();
        }
    }
}

fn iterator_result(event: Option<Event>) -> Result<JsValue, JsValue> {
    let result = Object::new();
    Reflect::set(&result, &"done".into(), &event.is_none().into())?;
    if let Some(event) = event {
        Reflect::set(&result, &"value".into(), &show(event)?)?;
    }
    Ok(result.into())
}

/// An event as JavaScript gets it. One that cannot be shown is told of in its place: it ends
/// nothing.
fn show(event: Event) -> Result<JsValue, JsValue> {
    let about = about(&event);
    event_to_js(event).or_else(|cause| {
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

fn event_to_js(mut event: Event) -> Result<JsValue, String> {
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
    Ok(object)
}

/// Plain objects, arrays, numbers and strings, as `JSON.parse` would make them.
pub(crate) fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&Serializer::json_compatible())?)
}
