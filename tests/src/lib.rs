//! Test support: initiators written on `iscsi-proto` and the target's engine, in memory, in one thread, on a simulated
//! clock, with stores that misbehave on demand. Every random number comes from a seed.
//!
//! - [`pair`]: the target's side, its control plane and loops, and how bytes and time advance
//! - [`wire`]: a TCP connection in memory
//! - [`setup`]: parameters and units of the target
//! - [`initiator`]: one connection of an initiator, from login to logout
//! - [`sim_store`]: a store that delays, reorders, fails or hangs operations
//! - [`bad_store`]: a store that violates the contract of stores
//! - [`lossy_store`]: a store that reports writes as durable that are not
//! - [`servers`]: storage servers, for remote stores
//! - [`trace`]: PDUs formatted as lines; [`log_lines`]: the log of a thread
//! - [`clock`], [`random`]: simulated time and seeded numbers
//!
//! For measurements: [`bare`], the engine without sockets, and [`load`], a load generator on real sockets. [`control`]
//! is a client of the control socket.

pub mod bad_store;
pub mod bare;
pub mod clock;
pub mod control;
pub mod initiator;
pub mod load;
pub mod log_lines;
pub mod lossy_store;
pub mod pair;
pub mod random;
pub mod servers;
pub mod setup;
pub mod sim_store;
pub mod trace;
pub mod wire;
