//! What applications send, and how hard the mesh tries to deliver it.

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The content of a message: as JavaScript has it, a string, bytes, or any JSON value.
///
/// In JSON text is a string, bytes are `{"base64": "…"}`, and any other value is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// UTF-8 text.
    Text(String),
    /// A JSON value, as text: the mesh carries it and does not look inside.
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

/// How hard the mesh tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// Sent once, unordered, never repeated: for what is stale when it is late.
    Datagram,
    /// Hop by hop: each hop keeps the message until the next has it, and a failure notice comes
    /// back from wherever it got stuck. Lost without notice only if a forwarder crashes holding it.
    #[default]
    Reliable,
    /// End to end: repeated over whatever path there is until the target's receipt comes back or
    /// the deadline passes, delivered once.
    Acknowledged,
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
                let text = map["base64"].as_str().unwrap_or_default();
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
        assert!(serde_json::from_str::<Payload>(r#"{"base64":"!"}"#).is_err());
    }
}
