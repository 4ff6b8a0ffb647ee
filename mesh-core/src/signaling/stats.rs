//! What a hub counts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::directory::DirectoryState;
use super::protocol::ErrorCode;

/// What the hub has done, and how much there is of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubStats {
    /// WebSockets open now.
    pub clients: usize,
    /// Admitted members now.
    pub members: usize,
    /// Rooms now.
    pub rooms: usize,
    /// Admissions so far.
    pub admitted: u64,
    /// Signals passed on so far.
    pub signals: u64,
    /// Of them those that their targets were too slow for.
    pub signals_dropped: u64,
    /// Errors sent so far, by code.
    pub errors: BTreeMap<ErrorCode, u64>,
    /// How it stands with the directory that it shares with other hubs.
    pub directory: DirectoryState,
    /// How often that was lost.
    pub directory_lost: u64,
    /// How often it was read as a whole, at the start too.
    pub directory_read: u64,
    /// How often it was there again with the changes since, and no need to read it as a whole.
    pub directory_resumed: u64,
    /// Members of which it does not say yet what it should.
    pub directory_behind: usize,
}
