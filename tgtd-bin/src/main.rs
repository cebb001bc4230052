//! `tgtd`: the target daemon.
fn main() {}
