//! What the browser says of the network: that it is there again, or another one.

use wasm_bindgen::prelude::{Closure, JsCast, JsValue};
use web_sys::EventTarget;

/// Events of the page after which links may be dead and addresses others. A page shown out of the
/// back/forward cache was frozen for as long as it was not shown.
const EVENTS: [&str; 3] = ["online", "offline", "pageshow"];

/// Listens until dropped.
#[derive(Debug)]
pub(crate) struct Network {
    page: EventTarget,
    callback: Closure<dyn FnMut(JsValue)>,
}

impl Network {
    /// Tells of each change.
    pub(crate) fn watch(changed: impl Fn() + 'static) -> Self {
        let page: EventTarget = js_sys::global().unchecked_into();
        let callback = Closure::new(move |event: JsValue| {
            let field = |name: &str| js_sys::Reflect::get(&event, &name.into()).ok();
            // The first showing of a page is no change.
            let persisted = field("persisted").and_then(|persisted| persisted.as_bool());
            if persisted != Some(false) {
                changed();
            }
        });
        for event in EVENTS {
            let listening =
                page.add_event_listener_with_callback(event, callback.as_ref().unchecked_ref());
            debug_assert!(listening.is_ok(), "the global object takes listeners");
        }
        Self { page, callback }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let callback = self.callback.as_ref().unchecked_ref();
        for event in EVENTS {
            // Throws for no listener.
            let _ = self
                .page
                .remove_event_listener_with_callback(event, callback);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

    use super::*;

    wasm_bindgen_test_configure!(run_in_browser);

    #[wasm_bindgen_test]
    fn the_network_changes_with_online_offline_and_a_page_shown_again() {
        let changes = Rc::new(Cell::new(0));
        let counted = Rc::clone(&changes);
        let network = Network::watch(move || counted.set(counted.get() + 1));
        let fire = |event: &str| {
            js_sys::eval(&format!("dispatchEvent(new {event})")).expect("it is dispatched");
            changes.get()
        };
        assert_eq!(fire("Event('online')"), 1);
        assert_eq!(fire("Event('offline')"), 2);
        assert_eq!(
            fire("PageTransitionEvent('pageshow', { persisted: true })"),
            3
        );
        assert_eq!(
            fire("PageTransitionEvent('pageshow', { persisted: false })"),
            3
        );
        drop(network);
        assert_eq!(fire("Event('online')"), 3);
    }
}
