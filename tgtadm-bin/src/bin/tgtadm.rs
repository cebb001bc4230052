//! `tgtadm`: one request to a running daemon.
fn main() {}
