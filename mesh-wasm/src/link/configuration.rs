//! What a browser gathers candidates with.

use js_sys::Array;
use mesh_core::{IceConfig, IceTransportPolicy};
use wasm_bindgen::JsValue;
use web_sys::{RtcConfiguration, RtcIceServer, RtcIceTransportPolicy};

/// It, as the browser takes it.
pub(super) fn configuration(ice: &IceConfig) -> RtcConfiguration {
    let servers = Array::new();
    for server in &ice.servers {
        let entry = RtcIceServer::new();
        let urls: Array = server
            .urls
            .iter()
            .map(|url| JsValue::from_str(url))
            .collect();
        entry.set_urls(&urls);
        if let Some(username) = &server.username {
            entry.set_username(username);
        }
        if let Some(credential) = &server.credential {
            entry.set_credential(credential);
        }
        servers.push(&entry);
    }
    let configuration = RtcConfiguration::new();
    configuration.set_ice_servers(&servers);
    configuration.set_ice_transport_policy(match ice.policy {
        IceTransportPolicy::All => RtcIceTransportPolicy::All,
        IceTransportPolicy::Relay => RtcIceTransportPolicy::Relay,
    });
    configuration
}
