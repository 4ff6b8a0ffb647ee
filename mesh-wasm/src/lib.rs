//! The agent mesh for web pages: `mesh-core` on the browser's own WebRTC, as an npm package.
//!
//! ```js
//! import init, { Mesh } from "./pkg/mesh_wasm.js";
//!
//! await init();
//! const mesh = await Mesh.join({
//!   signaling: "ws://localhost:9600/signal",
//!   room: "demo",
//!   name: "tab-1",
//! });
//! await mesh.broadcast("greetings", "hello");
//! for await (const event of mesh.events()) console.log(event);
//! ```
//!
//! All decisions are `mesh-core`'s; this crate carries them out. Its files mirror those of
//! `mesh-native`: `agent` is the handle that JavaScript gets, `driver` the loop around the core's
//! state machine, `link` one peer connection, `signaling` the WebSocket, `clock` the time. All else
//! is the JavaScript side of the interface: `arguments` and `payload` check what comes in, `join`
//! and `hub_url` say why a room is not reached, `abort` gives up, `events`, `log` and `types` go
//! out.

#![warn(missing_docs)]

mod abort;
mod agent;
mod arguments;
mod clock;
mod driver;
mod error;
mod events;
mod hub_url;
mod join;
mod link;
mod log;
mod media;
mod network;
mod payload;
mod sender;
mod signaling;
mod types;

pub use agent::Mesh;
pub use events::EventStream;
pub use sender::MediaSender;

use wasm_bindgen::prelude::wasm_bindgen;

/// Runs when the package is loaded: a bug then shows as a stack trace in the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}
