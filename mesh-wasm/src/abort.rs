//! AbortSignals: what is waited for is given up, with the reason that the signal has.

use futures::channel::oneshot;
use futures::future::{Either, select};
use std::pin::pin;
use wasm_bindgen::prelude::{Closure, JsCast, JsValue};
use web_sys::AbortSignal;

/// The event of a signal that is aborted.
const ABORT: &str = "abort";

/// An AbortSignal, of whatever window.
#[derive(Debug)]
pub(crate) struct Abort {
    signal: AbortSignal,
}

/// A listener on a signal, taken off when dropped: one signal may see many calls.
struct Listener<'a> {
    signal: &'a AbortSignal,
    callback: Closure<dyn FnMut()>,
}

impl Abort {
    /// The signal, if the value looks like one: those of another window are no instances of ours.
    pub(crate) fn of(value: &JsValue) -> Option<Self> {
        let field = |name: &str| js_sys::Reflect::get(value, &name.into()).ok();
        let looks_like_one = value.is_object()
            && field("aborted")?.as_bool().is_some()
            && field("addEventListener")?.is_function()
            && field("removeEventListener")?.is_function();
        looks_like_one.then(|| Self {
            signal: value.clone().unchecked_into(),
        })
    }

    async fn aborted(&self) -> JsValue {
        if !self.signal.aborted() {
            let (tell, told) = oneshot::channel();
            let _listener = Listener::on(&self.signal, tell);
            let _ = told.await; // The sender lives in the listener.
        }
        self.signal.reason()
    }
}

impl<'a> Listener<'a> {
    fn on(signal: &'a AbortSignal, tell: oneshot::Sender<()>) -> Self {
        let callback = Closure::once(move || {
            let _ = tell.send(()); // Given up meanwhile.
        });
        let listening =
            signal.add_event_listener_with_callback(ABORT, callback.as_ref().unchecked_ref());
        debug_assert!(listening.is_ok(), "signals take listeners");
        Self { signal, callback }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let callback = self.callback.as_ref().unchecked_ref();
        let _ = self
            .signal
            .remove_event_listener_with_callback(ABORT, callback); // Throws for no listener.
    }
}

/// Does some work, unless the signal is or gets aborted: then the work is dropped.
///
/// # Errors
/// The reason of the signal, or what the work fails with.
pub(crate) async fn unless_aborted<T>(
    signal: Option<&Abort>,
    work: impl Future<Output = Result<T, JsValue>>,
) -> Result<T, JsValue> {
    let Some(signal) = signal else {
        return work.await;
    };
    // The signal is looked at first: what was aborted before is not even begun.
    match select(pin!(signal.aborted()), pin!(work)).await {
        Either::Left((reason, _)) => Err(reason),
        Either::Right((result, _)) => result,
    }
}
