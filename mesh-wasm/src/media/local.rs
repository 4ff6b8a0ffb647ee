//! A track that this tab sends to a neighbour.

use std::cell::{Cell, RefCell};

use js_sys::{Array, Function, Reflect};
use mesh_core::TrackKind;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{MediaStream, MediaStreamTrack, RtcRtpSender};

/// It, as connections know it. Its stream, of this track alone, gives it its name: browsers say it
/// in each connection's description.
pub(crate) struct Local {
    pub(crate) kind: TrackKind,
    pub(crate) stream: MediaStream,
    track: RefCell<MediaStreamTrack>,
    is_muted: Cell<bool>,
    has_ended: Cell<bool>,
    /// Its senders, by connection.
    senders: RefCell<Vec<(u64, RtcRtpSender)>>,
}

impl Local {
    pub(super) fn new(track: MediaStreamTrack) -> Result<Self, JsValue> {
        let stream = MediaStream::new_with_tracks(&Array::of1(&track))?;
        Ok(Self {
            kind: kind_of(&track),
            stream,
            track: RefCell::new(track),
            is_muted: Cell::new(false),
            has_ended: Cell::new(false),
            senders: RefCell::default(),
        })
    }

    pub(crate) fn id(&self) -> String {
        self.stream.id()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// What is sent now.
    pub(crate) fn sent(&self) -> Option<MediaStreamTrack> {
        (!self.is_muted.get()).then(|| Clone::clone(&*self.track.borrow()))
    }

    /// It has a sender of a connection, which begins to send it.
    pub(crate) async fn enter(&self, link: u64, sender: RtcRtpSender) -> Result<(), JsValue> {
        self.senders.borrow_mut().push((link, sender.clone()));
        set_streams(&sender, Some(&self.stream))?;
        JsFuture::from(sender.replace_track(self.sent().as_ref())).await?;
        Ok(())
    }

    /// A connection has ended.
    pub(super) fn leave(&self, link: u64) {
        self.senders
            .borrow_mut()
            .retain(|(other, _)| *other != link);
    }

    pub(super) fn end(&self) {
        self.has_ended.set(true);
        self.senders.take();
    }

    /// Sends nothing from now on, or again.
    pub(crate) async fn mute(&self, is_muted: bool) -> Result<(), JsValue> {
        self.is_muted.set(is_muted);
        self.send().await
    }

    /// Sends another track of the same kind from now on.
    pub(crate) async fn replace(&self, track: MediaStreamTrack) -> Result<(), JsValue> {
        self.track.replace(track);
        self.send().await
    }

    async fn send(&self) -> Result<(), JsValue> {
        let senders = self.senders.borrow().clone();
        for (_, sender) in senders {
            JsFuture::from(sender.replace_track(self.sent().as_ref())).await?;
        }
        Ok(())
    }
}

/// What a track carries.
pub(crate) fn kind_of(track: &MediaStreamTrack) -> TrackKind {
    match track.kind() == TrackKind::Audio.name() {
        true => TrackKind::Audio,
        false => TrackKind::Video,
    }
}

/// Has the next description say that a sender's section carries a stream, or nothing.
pub(crate) fn set_streams(
    sender: &RtcRtpSender,
    stream: Option<&MediaStream>,
) -> Result<(), JsValue> {
    // web-sys does not have it.
    let set: Function = Reflect::get(sender, &"setStreams".into())?.dyn_into()?;
    match stream {
        Some(stream) => set.call1(sender, stream)?,
        None => set.call0(sender)?,
    };
    Ok(())
}
