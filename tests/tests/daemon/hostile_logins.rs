//! Peers that have proven nothing keep no initiator and no operator out, whatever they hold open.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Resource, Rlimit};
use target_engine::limits::{CONTROL_CONNECTIONS_MAX, LOGINS_MAX, LOGINS_PER_ADDRESS_MAX};

use crate::client::{Client, LOCALHOST, next_name};
use crate::harness::{CONTROL_PORT, DISK, Daemon, target_name};

/// Logins of the victim while the attack is renewed.
const LOGINS: usize = 16;
/// Connections that the attack opens anew before each of them.
const RENEWED: usize = 64;

fn log_in(daemon: &Daemon) -> Client {
    let client = Client::try_login(daemon.portal, LOCALHOST, &next_name(), &target_name(1), DISK);
    client.unwrap_or_else(|end| panic!("refused: {end:?}"))
}

/// Connections that say nothing.
fn silent(daemon: &Daemon, count: usize, from: impl Fn(usize) -> Ipv4Addr) -> Vec<Client> {
    (0..count).map(|at| Client::connect(daemon.portal, from(at), DISK).map_err(drop).unwrap()).collect()
}

fn start() -> Daemon {
    let daemon = Daemon::start();
    daemon.disk(1, 1 << 20);
    daemon
}

#[test]
fn silent_connections_of_other_addresses_keep_no_login_out() {
    let daemon = start();
    let attackers = |at: usize| [127, 0, 1, 1 + (at % 4) as u8].into();
    let mut held = silent(&daemon, LOGINS_MAX + RENEWED, attackers);
    for _ in 0..LOGINS {
        held.extend(silent(&daemon, RENEWED, attackers));
        log_in(&daemon).read(0, 1).unwrap();
    }
}

#[test]
fn silent_connections_of_its_own_address_keep_no_login_out() {
    let daemon = start();
    let mut held = silent(&daemon, LOGINS_PER_ADDRESS_MAX + RENEWED, |_| LOCALHOST);
    for _ in 0..LOGINS {
        held.extend(silent(&daemon, RENEWED, |_| LOCALHOST));
        log_in(&daemon).read(0, 1).unwrap();
    }
}

#[test]
fn silent_connections_without_a_free_descriptor_keep_no_login_and_no_manager_out() {
    let daemon = start();
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let current = Some(daemon.descriptors() as u64 + 32);
    rustix::process::prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let mut held = Vec::new();
    for _ in 0..LOGINS {
        held.extend(silent(&daemon, RENEWED, |_| LOCALHOST));
        log_in(&daemon).read(0, 1).unwrap();
        daemon.adm(&["--mode", "target", "--op", "show"]);
    }
}

#[test]
fn silent_managers_keep_no_manager_out() {
    let daemon = start();
    let connect = || UnixStream::connect(daemon.path(&format!("control.{CONTROL_PORT}"))).unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.extend((0..CONTROL_CONNECTIONS_MAX).map(|_| connect()));
        daemon.adm(&["--mode", "target", "--op", "show"]);
    }
}
