//! A track that a neighbour sends to this tab.

use std::cell::RefCell;
use std::rc::Rc;

use wasm_bindgen::prelude::{Closure, JsCast, JsValue};
use web_sys::{MediaStream, MediaStreamTrack};

/// It, as connections know it: one stream, and in it the browser's track of the newest connection
/// that has brought anything.
pub(super) struct Remote {
    stream: MediaStream,
    source: Rc<RefCell<Source>>,
    next: RefCell<Option<Next>>,
}

/// Where its pictures or its sound come from.
struct Source {
    link: u64,
    track: MediaStreamTrack,
}

/// The track of a newer connection, over which nothing has come yet.
struct Next {
    link: u64,
    track: MediaStreamTrack,
    _on_unmute: Closure<dyn FnMut()>,
}

impl Drop for Next {
    fn drop(&mut self) {
        self.track.set_onunmute(None);
    }
}

impl Remote {
    pub(super) fn new(link: u64, track: MediaStreamTrack) -> Result<Self, JsValue> {
        let stream = MediaStream::new()?;
        stream.add_track(&track);
        Ok(Self {
            stream,
            source: Rc::new(RefCell::new(Source { link, track })),
            next: RefCell::default(),
        })
    }

    /// The stream, and the track that is in it.
    pub(super) fn shown(&self) -> (MediaStream, MediaStreamTrack) {
        let track = &self.source.borrow().track;
        (Clone::clone(&self.stream), Clone::clone(track))
    }

    /// The newest connection has the track too. It takes the place of the one before when it brings
    /// something, or when that has ended: `oldest` is the first that there is.
    pub(super) fn follow(&self, link: u64, track: MediaStreamTrack, oldest: u64) {
        let used = self.source.borrow().link;
        if used >= link {
            return;
        }
        if used < oldest || !track.muted() {
            self.next.take();
            swap(&self.stream, &self.source, Source { link, track });
            return;
        }
        if self
            .next
            .borrow()
            .as_ref()
            .is_some_and(|next| next.link == link)
        {
            return;
        }
        let (stream, source) = (Clone::clone(&self.stream), Rc::clone(&self.source));
        let after = Clone::clone(&track);
        let on_unmute = Closure::<dyn FnMut()>::new(move || {
            let track = Clone::clone(&after);
            if source.borrow().link < link {
                swap(&stream, &source, Source { link, track });
            }
        });
        track.set_onunmute(Some(on_unmute.as_ref().unchecked_ref()));
        let _on_unmute = on_unmute;
        self.next.replace(Some(Next {
            link,
            track,
            _on_unmute,
        }));
    }

    pub(super) fn end(&self) {
        self.next.take();
        for track in self.stream.get_tracks() {
            self.stream.remove_track(track.unchecked_ref());
        }
    }
}

/// Has a stream show what comes from another source.
fn swap(stream: &MediaStream, source: &RefCell<Source>, after: Source) {
    stream.add_track(&after.track);
    let before = source.replace(after);
    stream.remove_track(&before.track);
}
