//! What applications send, and how hard the mesh tries to deliver it.

use std::borrow::Cow;
use std::time::Duration;

use data_encoding::BASE64;
use serde::de::Error as _;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;

use crate::config::PAYLOAD_BYTES_MAX;

/// Arrays and objects inside each other that a JSON payload may have, at most: the limit of
/// serde_json, so that no delivered payload needs a deep stack to be parsed.
pub const JSON_DEPTH_MAX: usize = 128;

/// The content of a message: as JavaScript has it, a string, bytes, or any JSON value.
///
/// In JSON text is a string, bytes are `{"base64": "…"}`, and any other value is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// UTF-8 text.
    Text(String),
    /// A JSON value, as text that [`check_json`] accepts.
    Json(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Payload {
    /// Size in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether it travels in parts, where it may.
    pub fn is_large(&self) -> bool {
        self.len() > PAYLOAD_BYTES_MAX
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// Why a text is no JSON payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is not JSON ([RFC 8259](https://www.rfc-editor.org/rfc/rfc8259)).
    #[error("the payload is marked as JSON and is none")]
    Invalid,
    /// Its arrays and objects are nested too deep.
    #[error("the payload is nested more than {JSON_DEPTH_MAX} deep")]
    TooDeep,
}

/// Checks that a text is one JSON value, nested at most [`JSON_DEPTH_MAX`] deep.
///
/// # Errors
/// [`JsonError`] says which of the two it is not.
pub fn check_json(text: &str) -> Result<(), JsonError> {
    if depth(text) > JSON_DEPTH_MAX {
        return Err(JsonError::TooDeep);
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(JsonError::Invalid),
    }
}

/// How deep brackets and braces outside of strings are nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// How hard the mesh tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// Sent once, unordered, never repeated: for what is stale when it is late.
    Datagram,
    /// Hop by hop: each hop keeps the message until the next has it, and a failure notice comes
    /// back from wherever it got stuck. Lost without notice only if a forwarder crashes holding it.
    /// "Failed" means that the message is not known to have arrived: a link may die after the
    /// message has passed it and before the acknowledgement has come back.
    #[default]
    Reliable,
    /// End to end: repeated over whatever path there is until the target's receipt comes back or
    /// the deadline passes, delivered once.
    Acknowledged,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    /// How hard the mesh tries.
    pub delivery: Delivery,
    /// How long it tries; the configured time if none is given.
    pub deadline: Option<Duration>,
    /// Whether the target gets it after all ordered messages that were sent to it before; it waits
    /// for one that is late, a few seconds at most. A datagram is never ordered.
    pub ordered: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        Delivery::default().into()
    }
}

/// Ordered, with the usual deadline.
impl From<Delivery> for SendOptions {
    fn from(delivery: Delivery) -> Self {
        Self {
            delivery,
            deadline: None,
            ordered: true,
        }
    }
}

/// The wire form. The order of the variants is the wire format.
#[derive(Serialize, Deserialize)]
enum Encoded<'a> {
    Text(Cow<'a, str>),
    Json(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return match self {
                Self::Text(text) => Encoded::Text(text.into()),
                Self::Json(json) => Encoded::Json(json.into()),
                Self::Bytes(bytes) => Encoded::Bytes(bytes.into()),
            }
            .serialize(serializer);
        }
        match self {
            Self::Text(text) => text.serialize(serializer),
            // What a peer calls JSON may be none: then it is shown as the text that it is.
            Self::Json(json) => serde_json::from_str::<Value>(json)
                .unwrap_or_else(|_| Value::String(json.clone()))
                .serialize(serializer),
            Self::Bytes(bytes) => serializer.collect_map([("base64", BASE64.encode(bytes))]),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Ok(match Encoded::deserialize(deserializer)? {
                Encoded::Text(text) => Self::Text(text.into_owned()),
                Encoded::Json(json) => Self::Json(json.into_owned()),
                Encoded::Bytes(bytes) => Self::Bytes(bytes.into_owned()),
            });
        }
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(map) if map.len() == 1 && map.contains_key("base64") => {
                let text = map["base64"]
                    .as_str()
                    .ok_or_else(|| D::Error::custom("\"base64\" must be a string"))?;
                let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
                Ok(Self::Bytes(bytes))
            }
            other => Ok(Self::Json(other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_shows_what_javascript_would() {
        for (payload, json) in [
            (Payload::Text("hi".into()), r#""hi""#),
            (Payload::Json(r#"{"a":[1]}"#.into()), r#"{"a":[1]}"#),
            (Payload::Bytes(vec![1, 2]), r#"{"base64":"AQI="}"#),
        ] {
            assert_eq!(serde_json::to_string(&payload).expect("encodes"), json);
            assert_eq!(
                serde_json::from_str::<Payload>(json).expect("decodes"),
                payload
            );
        }
        let wrong = Payload::Json("{".into());
        assert_eq!(serde_json::to_string(&wrong).expect("encodes"), r#""{""#);
        for bad in [r#"{"base64":"!"}"#, r#"{"base64":5}"#, r#"{"base64":null}"#] {
            assert!(serde_json::from_str::<Payload>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_checked_for_form_and_depth() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for valid in [
            "null",
            "1795835072076000000",
            r#""[[[ \" [[[""#,
            r#"{"a":[1,{"b":"}"}]}"#,
            &nested(JSON_DEPTH_MAX),
        ] {
            assert_eq!(check_json(valid), Ok(()), "{valid}");
        }
        for bad in ["", "{bad", "[1,]", "nul", "1 2", "\u{feff}1", "NaN"] {
            assert_eq!(check_json(bad), Err(JsonError::Invalid), "{bad}");
        }
        for depth in [JSON_DEPTH_MAX + 1, 15_000] {
            assert_eq!(check_json(&nested(depth)), Err(JsonError::TooDeep));
        }
        assert_eq!(check_json(&"[".repeat(15_000)), Err(JsonError::TooDeep));
    }
}
