//! The parameters of a target that its loops need.

use std::time::Duration;

/// Parameters that apply to running sessions. Negotiated parameters are those of each session's login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetSettings {
    /// The target's number, for messages.
    pub tid: u32,
    /// The iSCSI name.
    pub name: String,
    /// Commands a session may have outstanding (tgt's MaxQueueCmd), 1 to 512.
    pub max_queue_cmd: u32,
    /// Ping a silent initiator after this time; zero: never.
    pub nop_interval: Duration,
    /// Close its connection after so many unanswered pings.
    pub nop_count: u32,
    /// If false, the target is offline: commands get BUSY.
    pub online: bool,
}
