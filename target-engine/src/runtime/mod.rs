//! The threads, sockets and clocks around the engine.

pub mod letters;
mod loop_letters;
pub mod mailbox;
pub mod poller;
pub mod stream;
pub mod target_loop;
