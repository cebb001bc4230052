//! One target on one loop: nexuses, unit ports, running commands. No sockets, no threads, no clock.
//!
//! - [`shard`]: sessions, connections and units; what happens to them
//! - [`session`], [`tasks`], [`buffers`], [`settings`]: what they consist of
//! - [`stats`]: what is counted
//! - `receive`, `command`, `direction`, `ask`, `transfer`, `bulk`, `data_in`, `finish`: the way of a command
//! - `ending`: commands that end before their data has come
//! - `health`: what the log says of failing stores, and what becomes of the units of an engine that panicked
//! - `closing`: how units and the target end
//! - [`task_management`], `deferred`: how commands are ended early; `quarantine`: what is done about those that do not
//!   end

mod ask;
pub mod buffers;
mod bulk;
mod closing;
mod command;
mod data_in;
mod deferred;
mod direction;
mod ending;
mod finish;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod quarantine;
mod receive;
pub mod session;
pub mod settings;
pub mod shard;
pub mod stats;
pub mod task_management;
pub mod tasks;
#[cfg(test)]
mod tests;
mod transfer;
