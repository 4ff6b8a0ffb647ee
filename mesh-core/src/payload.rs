//! What applications send, and how hard the mesh tries to deliver it.

use serde::{Deserialize, Serialize};

/// The content of a message: as JavaScript has it, a string, bytes, or any JSON value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Payload {
    /// UTF-8 text.
    Text(String),
    /// A JSON value, as text: the mesh carries it and does not look inside.
    Json(String),
    /// Bytes.
    Bytes(#[serde(with = "payload_bytes")] Vec<u8>),
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

/// Bytes on the wire, base64 in JSON.
mod payload_bytes {
    use data_encoding::BASE64;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&BASE64.encode(bytes))
        } else {
            serializer.serialize_bytes(bytes)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
        } else {
            bytes::Bytes::deserialize(deserializer).map(Into::into)
        }
    }
}
