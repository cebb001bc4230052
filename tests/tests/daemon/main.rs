//! The real daemon on loopback, and judges that are not ours: libiscsi's tools, qemu's, a stock tgtadm and tgtd.
//!
//! Every test has daemons of its own and says what it needs: a tool that is missing fails it and is named with
//! its Debian package (`tests/run` installs them all).

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod admin;
mod audit;
mod bad_stores;
mod chap;
mod client;
mod closing;
mod consumers;
mod descriptors;
mod documents;
mod hanging;
mod harness;

mod hostile;
mod identity;
mod json;
mod judges;
mod libiscsi;
mod load;
mod logging;
mod news;
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
mod switch;
mod tape;
mod targets_conf;
mod threads;
mod transcript;
