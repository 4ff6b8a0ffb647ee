//! The clear header of a message: all that forwarders may know of it. They decode no content, which
//! one day only the target can read.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::statement::{Content, Message, MessageHeader};
use crate::payload::Delivery;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// For the application, sent so.
    Data(Delivery),
    /// [`Content::Replies`].
    Replies,
    /// [`Content::Receipt`].
    Receipt,
    /// [`Content::Undelivered`].
    Undelivered,
    /// [`Content::Signal`].
    Signal,
    /// [`Content::Progress`].
    Progress,
    /// [`Content::Chunk`].
    Chunk,
    /// [`Content::Stop`].
    Stop,
    /// [`Content::LinkQuery`].
    LinkQuery,
    /// [`Content::LinkReport`].
    LinkReport,
    /// [`Content::Skip`].
    Skip,
}

impl Kind {
    /// Whether it keeps the mesh together, and so takes precedence over all that does not.
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Signal | Self::Undelivered)
    }
}

/// The head of a message, as it stands before the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearHeader {
    /// The author, the time, and how far it may go.
    pub message: MessageHeader,
    /// What it is.
    pub kind: Kind,
    /// How many messages travel under the signature; 1 if it is not for the application.
    pub count: u8,
}

impl ClearHeader {
    fn of(message: &Message) -> Self {
        let count = match &message.content {
            Content::Data(data) => u8::try_from(data.items.len()).unwrap_or(u8::MAX),
            _ => 1,
        };
        Self {
            message: message.header,
            kind: message.content.kind(),
            count,
        }
    }
}

impl Content {
    fn kind(&self) -> Kind {
        match self {
            Self::Data(data) => Kind::Data(data.delivery),
            Self::Replies(_) => Kind::Replies,
            Self::Receipt { .. } => Kind::Receipt,
            Self::Undelivered { .. } => Kind::Undelivered,
            Self::Signal { .. } => Kind::Signal,
            Self::Progress(_) => Kind::Progress,
            Self::Chunk(_) => Kind::Chunk,
            Self::Stop(_) => Kind::Stop,
            Self::LinkQuery { .. } => Kind::LinkQuery,
            Self::LinkReport { .. } => Kind::LinkReport,
            Self::Skip { .. } => Kind::Skip,
        }
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Message", 2)?;
        fields.serialize_field("header", &ClearHeader::of(self))?;
        fields.serialize_field("content", &self.content)?;
        fields.end()
    }
}

/// A message as it is on the wire.
#[derive(Deserialize)]
#[serde(rename = "Message")]
struct Encoded {
    header: ClearHeader,
    content: Content,
}

impl<'de> Deserialize<'de> for Message {
    /// Refuses a message whose clear header says something else than its content: forwarders and
    /// the target would take it for two different ones.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Encoded {
            header,
            mut content,
        } = Encoded::deserialize(deserializer)?;
        if let (Content::Data(data), Kind::Data(delivery)) = (&mut content, header.kind) {
            data.delivery = delivery;
        }
        let message = Self {
            header: header.message,
            content,
        };
        if ClearHeader::of(&message) != header {
            return Err(de::Error::custom("the clear header is not the content's"));
        }
        Ok(message)
    }
}
