//! The time, as the core wants it, and the one timer of the driver.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::channel::oneshot;
use mesh_core::{Instant, UnixTime};
use wasm_bindgen::prelude::{Closure, JsCast, JsValue, wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    // The same in windows and workers, unlike web-sys' methods of either.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    #[wasm_bindgen(js_name = setTimeout)]
    pub(crate) fn set_timeout(callback: &js_sys::Function, delay_ms: f64) -> JsValue;

    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(id: &JsValue);
}

/// The longest wait that `setTimeout` takes; longer ones fire at once.
const DELAY_MS_MAX: f64 = 2_000_000_000.0;

/// Counts from the moment that it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start_ms: f64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            start_ms: performance_now(),
        }
    }

    pub(crate) fn now(self) -> Instant {
        let elapsed_ms = (performance_now() - self.start_ms).max(0.0);
        Instant::from_micros((elapsed_ms * 1e3) as u64)
    }

    pub(crate) fn unix_now() -> UnixTime {
        UnixTime::from_micros((js_sys::Date::now() * 1e3) as u64)
    }
}

/// A wait of its own, given up when dropped.
#[derive(Debug)]
pub(crate) struct Sleep {
    over: oneshot::Receiver<()>,
    _wake: Closure<dyn FnMut()>,
    id: JsValue,
}

/// Completes after a time.
pub(crate) fn sleep(delay_ms: f64) -> Sleep {
    let (tell, over) = oneshot::channel();
    let wake = Closure::once(move || {
        let _ = tell.send(()); // Given up meanwhile.
    });
    let id = set_timeout(wake.as_ref().unchecked_ref(), delay_ms.min(DELAY_MS_MAX));
    Sleep {
        over,
        _wake: wake,
        id,
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.over.poll_unpin(context).map(|_| ())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        clear_timeout(&self.id);
    }
}

/// One timeout at a time. Arming it later than it is armed already does nothing: it then fires too
/// early, which is harmless, and no timeout is made for each message.
#[derive(Debug)]
pub(crate) struct Timer {
    callback: Closure<dyn FnMut()>,
    armed: Rc<Cell<Option<Instant>>>,
    id: JsValue,
}

impl Timer {
    pub(crate) fn new(mut fired: impl FnMut() + 'static) -> Self {
        let armed = Rc::new(Cell::new(None));
        let disarm = Rc::clone(&armed);
        let callback = Closure::new(move || {
            disarm.set(None);
            fired();
        });
        Self {
            callback,
            armed,
            id: JsValue::UNDEFINED,
        }
    }

    pub(crate) fn arm(&mut self, at: Instant, now: Instant) {
        if self.armed.get().is_some_and(|armed| armed <= at) {
            return;
        }
        clear_timeout(&self.id);
        // Rounded up: a timeout that fires before its time only has to be armed again.
        let delay_ms = (at.since(now).as_secs_f64() * 1e3).ceil().min(DELAY_MS_MAX);
        self.armed.set(Some(at));
        self.id = set_timeout(self.callback.as_ref().unchecked_ref(), delay_ms);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        clear_timeout(&self.id);
    }
}
