//! Storage servers for tests of remote stores, on loopback.

pub mod ceph;
pub mod gluster;
pub mod nbd;
mod process;
pub mod scripted_nbd;
