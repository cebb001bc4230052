//! The real daemon on loopback, tested with libiscsi's tools, QEMU's, and tgt's tgtadm and tgtd.
//!
//! Every test has its own daemons. A missing tool fails the test, with the name of its Debian package (`tests/run`
//! installs all).

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod account_names;
mod admin;
mod attentions;
mod audit;
mod bad_stores;
mod chap;
mod client;
mod closing;
mod confinement;
mod connections;
mod consumers;
mod core_dumps;
mod descriptors;
mod documents;
mod hanging;
mod harness;
mod hostile;
mod hostile_logins;
mod identity;
mod initiators;
mod json;
mod libiscsi;
mod load;
mod logging;
mod package;
mod races;
mod redirect;
mod refused_logins;
mod removal;
mod scale;
mod secrets;
mod service;
mod setup_lun;
mod shared_loops;
mod statistics;
mod stuck_sockets;
mod switch;
mod tape;
mod targets_conf;
mod threads;
mod transcript;
mod truncated;
mod unit_kinds;
