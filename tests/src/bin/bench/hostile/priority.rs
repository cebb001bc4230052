//! The priority of a thread, and how long it has waited for a processor.
#![expect(unsafe_code, reason = "rustix and nix have no sched_setscheduler")]

use std::fs;
use std::time::Duration;

use nix::libc;

/// Has the calling thread run only while no other thread of its processor is ready. A lower niceness would not do: a thread
/// that wakes up waits for the end of the running thread's time slice, whatever their nicenesses.
pub(super) fn be_idle() {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` is valid for the call; 0 is the calling thread.
    let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param) } != 0;
    if failed {
        eprintln!("  SCHED_IDLE is not permitted: the attackers slow the victim down");
    }
}

/// How long the calling thread has been ready to run without a processor.
pub(super) fn delay() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
