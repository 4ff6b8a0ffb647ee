//! The way that a peer connection takes, as the browser's statistics tell it.

use js_sys::{Array, Function, Reflect};
use mesh_core::{CandidateType, LinkPath};
use wasm_bindgen::prelude::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::RtcPeerConnection;

/// The way of a connection; none while there is none, or where the browser does not tell.
pub(super) async fn path(connection: &RtcPeerConnection) -> Option<LinkPath> {
    let report = JsFuture::from(connection.get_stats()).await.ok()?;
    let all = entries(&report)?;
    let of_kind = |kind: &'static str| {
        let is_kind = move |entry: &JsValue| text(entry, "type").as_deref() == Some(kind);
        all.iter().filter(move |entry| is_kind(entry))
    };
    // Firefox has no transports, and names the pair itself.
    let by_transport = of_kind("transport").find_map(|of| text(of, "selectedCandidatePairId"));
    let chosen = |pair: &&JsValue| match &by_transport {
        Some(id) => text(pair, "id").as_ref() == Some(id),
        None => flag(pair, "selected") || flag(pair, "nominated") && is_in_use(pair),
    };
    let pair = of_kind("candidate-pair").find(chosen)?;
    let candidate = |key: &str| {
        let id = text(pair, key)?;
        let entry = all
            .iter()
            .find(|entry| text(entry, "id").as_ref() == Some(&id))?;
        CandidateType::named(&text(entry, "candidateType")?)
    };
    let local = candidate("localCandidateId")?;
    Some(LinkPath::new(local, candidate("remoteCandidateId")?))
}

fn is_in_use(pair: &JsValue) -> bool {
    text(pair, "state").as_deref() == Some("succeeded")
}

/// The values of a report, which is a map.
fn entries(report: &JsValue) -> Option<Vec<JsValue>> {
    let values = Reflect::get(report, &"values".into()).ok()?;
    let values = values.dyn_ref::<Function>()?.call0(report).ok()?;
    Some(Array::from(&values).to_vec())
}

fn text(entry: &JsValue, key: &str) -> Option<String> {
    Reflect::get(entry, &key.into()).ok()?.as_string()
}

fn flag(entry: &JsValue, key: &str) -> bool {
    Reflect::get(entry, &key.into()).is_ok_and(|value| value.is_truthy())
}
