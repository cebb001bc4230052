//! The in-memory bench: initiators written on `iscsi-proto` and the target's own engine, in one thread, on a
//! simulated clock, with stores that misbehave on demand. Nothing here is random but by a seed.
//!
//! - [`pair`]: the target's side, its connections, and how bytes and time move
//! - [`setup`]: what the target is like
//! - [`initiator`]: one connection of an initiator, from login to logout
//! - [`sim_store`]: a store that may be late, out of order, failing or dead
//! - [`bad_store`]: a store that breaks the contract of stores
//! - [`liar`]: a store that lies about durability
//! - [`trace`]: PDUs as lines; [`log_lines`]: what the log says
//! - [`clock`], [`random`]: what the world is made of
//!
//! Apart from it, for measurements: [`bare`], bytes straight into the engine, and [`load`], a load generator on
//! real sockets; and [`control`], a client of the control socket.

pub mod bad_store;
pub mod bare;
pub mod clock;
pub mod control;
pub mod initiator;
pub mod liar;
pub mod load;
pub mod log_lines;
pub mod loops;
pub mod pair;
pub mod random;
pub mod setup;
pub mod sim_store;
pub mod trace;
