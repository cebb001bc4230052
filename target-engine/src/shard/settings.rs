//! What a loop must know of a target's parameters.

use std::time::Duration;

/// The parameters that hold for sessions that run. Those that are negotiated come with each session's login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetSettings {
    /// The target's number, for messages.
    pub tid: u32,
    /// The iSCSI name.
    pub name: String,
    /// Commands a session may have outstanding (stock's MaxQueueCmd), 1 to 512.
    pub max_queue_cmd: u32,
    /// Ping an idle connection after this; zero: never.
    pub nop_interval: Duration,
    /// Close it after so many unanswered pings.
    pub nop_count: u32,
    /// Offline: commands get BUSY.
    pub online: bool,
}
