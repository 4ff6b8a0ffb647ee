//! The WebSocket to the signaling server: texts in, texts out; when to dial is the core's business.

use mesh_core::agent::{SocketEnd, SocketFact};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::{Closure, JsValue};
use web_sys::{CloseEvent, MessageEvent, WebSocket};

use crate::error::describe;

/// Texts buffered in the WebSocket, in bytes, beyond which it is too slow to be of use.
const BUFFERED_BYTES_MAX: u32 = 4 << 20;

/// One connection, open or opening. Dropping it closes it, and ends its facts.
#[derive(Debug)]
pub(crate) struct Signaling {
    socket: WebSocket,
    _on_open: Closure<dyn FnMut()>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
}

impl Signaling {
    /// Dials.
    ///
    /// # Errors
    /// The cause, if the URL is none of a WebSocket or the page may not open one.
    pub(crate) fn open(
        url: &str,
        tell: impl Fn(SocketFact) + Clone + 'static,
    ) -> Result<Self, String> {
        let socket = WebSocket::new(url).map_err(|thrown| describe(&thrown))?;
        let told = tell.clone();
        let on_open = Closure::new(move || told(SocketFact::Opened));
        let told = tell.clone();
        let on_message = Closure::new(move |event: MessageEvent| {
            // Bytes are not in the protocol: the core takes the empty text for what it is.
            let text = event.data().as_string().unwrap_or_default();
            told(SocketFact::Received(text));
        });
        let on_close = Closure::new(move |event: CloseEvent| {
            let end = match event.code() {
                // Browsers do not tell pages why.
                1006 => SocketEnd::Told("the connection failed or was cut".to_owned()),
                _ => SocketEnd::by_server(&event.reason()),
            };
            tell(SocketFact::Closed(end));
        });
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Ok(Self {
            socket,
            _on_open: on_open,
            _on_message: on_message,
            _on_close: on_close,
        })
    }

    /// Sends a text. Returns false if the connection is too slow or gone, and should be dropped.
    pub(crate) fn send(&self, text: &str) -> bool {
        self.socket.buffered_amount() <= BUFFERED_BYTES_MAX
            && self.socket.send_with_str(text).is_ok()
    }
}

impl Drop for Signaling {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        let _: Result<(), JsValue> = self.socket.close(); // Fails only for bad arguments.
    }
}
