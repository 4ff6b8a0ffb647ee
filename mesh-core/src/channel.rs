//! The data channels of a link.

/// The three data channels of a link, negotiated by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Keepalive, link state, signals, notices. Reliable and ordered.
    Control = 0,
    /// Messages. Reliable and ordered.
    Data = 1,
    /// Datagrams. Unordered, never retransmitted.
    Stream = 2,
}

impl Channel {
    /// All channels, by id.
    pub const ALL: [Self; 3] = [Self::Control, Self::Data, Self::Stream];

    /// The negotiated data-channel id.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The channel with this id.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The data-channel label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
            Self::Stream => "stream",
        }
    }
}
