//! Streams: all that one agent sends to one other, in order, once, and no faster than it arrives.
//!
//! Datagrams apart, each message has a number in the stream of its author to its target. The author
//! keeps a copy ([`Outbox`]) until the target has told that it has arrived, or its deadline has
//! passed; of what a forwarder had no room for, or lost, another copy leaves. How much may be under
//! way is a [`window`] that grows while all arrives and shrinks where it does not. The target hands
//! messages to the application in the order of their numbers ([`Inbox`]): what comes early waits
//! for what is missing, and the author is told what that is.
//!
//! Flow is end to end and not link by link on purpose: links that wait for each other in a circle
//! would never move again, and one slow target would hold up all that share a link with it.
//! Little that is sent now and then costs nothing more than its number: the author asks for news
//! only when half of the window is under way.

mod inbox;
mod lateness;
mod news;
mod outbox;
mod repeats;
mod round_trip;
#[cfg(test)]
mod tests;
mod window;

pub(super) use inbox::{Arrival, Inbox, STREAM_BYTES_MAX};
pub(super) use news::News;
pub(super) use outbox::{Asks, Ended, Outbox, Patience};
pub(super) use repeats::Repeat;

/// Numbers from the oldest message under way to the newest, at most: the target may have to hold as
/// many while one is missing, and the queue of one link holds as many.
pub(super) const SPAN_MAX: u64 = 1_024;
