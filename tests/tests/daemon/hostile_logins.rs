//! Peers that have proven nothing keep no initiator and no operator out, whatever they hold open.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

use iscsi_proto::login::Stage;
use rustix::process::{Pid, Resource, Rlimit};
use target_engine::limits::{CONTROL_CONNECTIONS_MAX, DISCOVERIES_MAX, LOGINS_MAX, LOGINS_PER_ADDRESS_MAX};

use crate::client::{Client, LOCALHOST, next_name};
use crate::harness::{Brand, CONTROL_PORT, DISK, Daemon, target_name};
use crate::scale::target;
use crate::stuck_sockets::send_targets;

/// Logins of the victim while the attack is renewed.
const LOGINS: usize = 16;
/// Further connections that the attack opens before each of them.
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

/// Targets of the daemon that discovery floods ask.
const TARGETS: u32 = 1000;
/// Requests that a discovery session sends at once.
const REQUESTS: usize = 24;
/// Most bytes that the sessions may add to the daemon's memory: 64 KiB each.
const MEMORY_MAX: u64 = 64 * 1024 * DISCOVERIES_MAX as u64;

/// A discovery session that takes long segments, and has sent [`REQUESTS`] requests for all targets.
fn flooding(daemon: &Daemon, from: Ipv4Addr) -> Client {
    let mut client = Client::connect(daemon.portal, from, DISK).map_err(drop).unwrap();
    let names = format!("InitiatorName={}\0SessionType=Discovery\0", next_name());
    let mut text = names + "MaxRecvDataSegmentLength=262144\0";
    while client
        .ask(Stage::OperationalNegotiation, Some(Stage::FullFeature), std::mem::take(&mut text).as_bytes())
        .unwrap()
        .0
        .is_none()
    {}
    client.send_bytes(&send_targets().repeat(REQUESTS));
    client
}

/// Bytes of the daemon that are in memory.
fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn discovery_sessions_that_do_not_read_keep_no_login_out_and_take_little_memory() {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &["--loops", "1"]);
    daemon.disk(1, 1 << 20);
    (2..=TARGETS).for_each(|tid| target(&daemon, tid));
    let before = resident(&daemon);
    let mut held = Vec::new();
    for round in 0..LOGINS {
        let from = |at: usize| Ipv4Addr::from([127, 0, 1, 1 + (at % 4) as u8]);
        held.extend((0..DISCOVERIES_MAX / LOGINS).map(|at| flooding(&daemon, from(at))));
        log_in(&daemon).read(0, 1).unwrap();
        let added = resident(&daemon).saturating_sub(before);
        assert!(added < MEMORY_MAX, "{added} bytes in round {round}");
    }
    daemon.adm(&["--mode", "target", "--op", "show", "--tid", "1"]);
    // Beyond the bound, those that have been silent for longest yield.
    held.push(flooding(&daemon, LOCALHOST));
}
