//! Storage servers for tests of remote stores, on loopback.

pub mod ceph;
pub mod gluster;
mod process;
