//! The threads, sockets and clocks around the engine.

pub mod control_loop;
mod guarded;
mod heap;
pub mod mailbox;
pub mod message;
pub mod open_store;
pub mod openers;
pub mod poller;
pub mod server;
mod socket;
pub mod spin;
pub mod target_loop;
