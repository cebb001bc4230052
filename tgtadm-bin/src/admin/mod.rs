//! `tgt-admin`: makes a running daemon what a configuration file says.

pub mod config;
