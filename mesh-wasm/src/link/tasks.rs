//! What waits for the browser, given up with the link: promises of a closed connection may never
//! settle, and whoever awaits them keeps the connection for ever.

use std::cell::RefCell;
use std::rc::Rc;

use futures::future::{AbortHandle, abortable};
use wasm_bindgen_futures::spawn_local;

/// The tasks of a link. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Tasks(Rc<RefCell<Vec<AbortHandle>>>);

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let (task, handle) = abortable(task);
        self.0.borrow_mut().push(handle);
        spawn_local(async move {
            let _ = task.await; // Given up, if the link is dropped first.
        });
    }

    /// Gives up what waits.
    pub(super) fn abort(&self) {
        for task in self.0.take() {
            task.abort();
        }
    }
}
