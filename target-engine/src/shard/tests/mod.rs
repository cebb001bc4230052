//! A shard driven by hand: PDUs in, PDUs out, over a store that does as it is told.

mod bench;
mod closing;
mod commands;
mod hostile;
mod management;
mod preempt;
mod stats;

use bench::*;
