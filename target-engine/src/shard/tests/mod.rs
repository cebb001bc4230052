//! A shard driven by hand: PDUs in, PDUs out, over a scripted store.

mod bench;
mod closing;
mod commands;
mod hostile;
mod management;
mod preempt;
mod stats;

use bench::*;
