//! Payloads between JavaScript and the mesh: what cannot arrive as it is is refused, with its path.

use js_sys::{Promise, Reflect, Uint8Array};
use mesh_core::{JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX, Payload};
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::arguments::quoted;
use crate::error::{describe, error};

#[cfg(test)]
mod tests;

#[wasm_bindgen(module = "/js/payload.js")]
extern "C" {
    #[wasm_bindgen(js_name = encodePayload, catch)]
    fn encode_payload(
        value: &JsValue,
        depth_max: usize,
        bytes_max: usize,
    ) -> Result<JsValue, JsValue>;

    /// What an object is: "Object", "Array", "Date", …
    #[wasm_bindgen(js_name = tagOf, catch)]
    pub(crate) fn tag_of(value: &JsValue) -> Result<String, JsValue>;
}

/// A payload as it was when it was handed over, but for a Blob, which has to be read first.
#[derive(Debug)]
pub(crate) enum Taken {
    Ready(Payload),
    Blob(Promise),
}

impl Taken {
    /// The payload itself.
    pub(crate) async fn ready(self) -> Result<Payload, JsValue> {
        match self {
            Self::Ready(payload) => Ok(payload),
            Self::Blob(read) => {
                let parts = JsFuture::from(read).await;
                of_parts(&parts.map_err(|thrown| refused(&thrown))?)
            }
        }
    }
}

/// What a payload is handed over for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// A broadcast or a datagram, which is one frame.
    Whole,
    /// A message to one member, which may travel in parts.
    InParts,
}

/// Bounds the bytes of a message in parts that a tab sends: the module's memory holds it twice, and
/// browsers never take memory back from a module. Targets take 16 MiB if not told otherwise.
const IN_PARTS_BYTES_MAX: usize = 64 << 20;

impl Carried {
    const fn bytes_max(self) -> usize {
        match self {
            Self::Whole => PAYLOAD_BYTES_MAX,
            Self::InParts => IN_PARTS_BYTES_MAX,
        }
    }
}

/// Takes what the application hands over: later changes to it do not matter.
///
/// # Errors
/// What cannot be sent, where it is and why.
pub(crate) fn take(value: &JsValue, carried: Carried) -> Result<Taken, JsValue> {
    let parts = encode_payload(value, JSON_DEPTH_MAX, carried.bytes_max());
    let parts = parts.map_err(|thrown| refused(&thrown))?;
    match parts.dyn_into::<Promise>() {
        Ok(read) => Ok(Taken::Blob(read)),
        Err(parts) => of_parts(&parts).map(Taken::Ready),
    }
}

fn of_parts(parts: &JsValue) -> Result<Payload, JsValue> {
    let part = |name: &str| Reflect::get(parts, &name.into());
    if let Some(text) = part("text")?.as_string() {
        return Ok(Payload::Text(text));
    }
    if let Some(json) = part("json")?.as_string() {
        return Ok(Payload::Json(json));
    }
    Ok(Payload::Bytes(Uint8Array::new(&part("bytes")?).to_vec()))
}

fn refused(thrown: &JsValue) -> JsValue {
    let code = Reflect::get(thrown, &"code".into());
    match code.ok().and_then(|code| code.as_string()).as_deref() {
        Some("too-large") => error("too-large", &describe(thrown)),
        _ => error("payload", &describe(thrown)),
    }
}

/// What the application gets: numbers are those of `JSON.parse`, whatever their size.
///
/// # Errors
/// Why it cannot be shown, for people.
pub(crate) fn show(payload: &Payload) -> Result<JsValue, String> {
    match payload {
        Payload::Text(text) => Ok(text.into()),
        Payload::Bytes(bytes) => Ok(Uint8Array::from(bytes.as_slice()).into()),
        Payload::Json(json) => js_sys::JSON::parse(json).map_err(|thrown| {
            let cause = describe(&thrown);
            format!("its payload is no JSON that this browser reads: {cause}")
        }),
    }
}

/// Texts longer than this are no names, topics, ids or addresses, in UTF-16 code units. Longer
/// ones are not copied: some hundreds of megabytes would not fit.
const TEXT_UNITS_MAX: u32 = 4_096;

/// A string, if it is one. A longer one than any that means something is cut, and refused as that.
pub(crate) fn text_of(value: &JsValue) -> Option<String> {
    let text: &js_sys::JsString = value.dyn_ref()?;
    let shown = text.length() <= TEXT_UNITS_MAX;
    Some(match shown {
        true => String::from(text),
        false => String::from(text.substring(0, TEXT_UNITS_MAX + 1)),
    })
}

/// Whether a string is Unicode text; all else is. What is too long to mean anything is refused as
/// that, and not looked through.
pub(crate) fn is_unicode(value: &JsValue) -> bool {
    let text: Option<&js_sys::JsString> = value.dyn_ref();
    text.is_none_or(|text| text.length() > TEXT_UNITS_MAX || text.is_valid_utf16())
}

/// What a value is, for people.
pub(crate) fn kind_of(value: &JsValue) -> String {
    if value.is_null() || value.is_undefined() {
        return if value.is_null() { "null" } else { "undefined" }.to_owned();
    }
    if let Some(number) = value.as_f64() {
        return format!("the number {number}");
    }
    if value.is_object() {
        return match tag_of(value).as_deref() {
            Ok("Object") => "an object".to_owned(),
            Ok("Array") => "an array".to_owned(),
            Ok(tag) => format!("an object of the kind {}", quoted(tag)),
            Err(_) => "an object that cannot be read".to_owned(),
        };
    }
    let kind = String::from(value.js_typeof().unchecked_into::<js_sys::JsString>());
    format!("a {kind}")
}
