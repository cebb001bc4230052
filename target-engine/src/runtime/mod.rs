//! The threads, sockets and clocks around the engine.

pub mod mailbox;
pub mod poller;
