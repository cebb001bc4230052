//! The threads, sockets and clocks around the engine.

pub mod control_loop;
mod guarded;
mod loop_messages;
pub mod mailbox;
pub mod message;
pub mod open_store;
pub mod openers;
pub mod poller;
mod served;
pub mod server;
pub mod spin;
pub mod stream;
pub mod target_loop;
