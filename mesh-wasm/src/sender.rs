//! The handle of a track that this tab sends.

use std::rc::Rc;

use js_sys::Promise;
use mesh_core::{MeshError, PeerId, TrackError};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use crate::arguments;
use crate::driver::Driver;
use crate::error;
use crate::media::{Local, kind_of};

/// A track that this tab sends to one neighbour, until it is ended or the link closes. It goes on
/// while nothing refers to this.
#[wasm_bindgen(skip_typescript)]
pub struct MediaSender {
    driver: Rc<Driver>,
    peer: PeerId,
    local: Rc<Local>,
}

impl MediaSender {
    pub(crate) fn new(driver: Rc<Driver>, peer: PeerId, local: Rc<Local>) -> Self {
        Self {
            driver,
            peer,
            local,
        }
    }

    /// Does something with the track, if it goes on.
    fn promise<W>(&self, work: impl FnOnce(Rc<Local>) -> W + 'static) -> Promise
    where
        W: Future<Output = Result<(), JsValue>>,
    {
        let local = Rc::clone(&self.local);
        future_to_promise(async move {
            if local.has_ended() {
                return Err(error::mesh_error(MeshError::Track(TrackError::Ended)));
            }
            work(local).await?;
            Ok(JsValue::UNDEFINED)
        })
    }
}

#[wasm_bindgen]
impl MediaSender {
    /// The track's name, the same at the other end.
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.local.id()
    }

    /// The neighbour that it is sent to.
    #[wasm_bindgen(getter)]
    pub fn peer(&self) -> String {
        self.peer.to_string()
    }

    /// `audio` or `video`.
    #[wasm_bindgen(getter)]
    pub fn kind(&self) -> String {
        self.local.kind.name().to_owned()
    }

    /// Sends another track of the same kind from now on. The other end sees the same track.
    pub fn replace(&self, track: &JsValue) -> Promise {
        let kind = self.local.kind;
        let track = arguments::track("replace", track).and_then(|track| {
            if kind_of(&track) == kind {
                return Ok(track);
            }
            let (is, found) = (kind.name(), track.kind());
            let message = format!(
                "replace: the track is {found}, the one that is sent is {is}: send another track"
            );
            Err(error::error("track", &message))
        });
        self.promise(async move |local| local.replace(track?).await)
    }

    /// Sends nothing from now on, or again. What else uses the browser's track goes on.
    pub fn mute(&self, is_muted: &JsValue) -> Promise {
        let is_muted = is_muted.is_undefined() || is_muted.is_truthy();
        self.promise(async move |local| local.mute(is_muted).await)
    }

    /// Ends the track. Ending it twice does no harm.
    pub fn end(&self) -> Promise {
        self.driver.end_track(self.peer, &self.local);
        Promise::resolve(&JsValue::UNDEFINED)
    }
}

impl std::fmt::Debug for MediaSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaSender")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
