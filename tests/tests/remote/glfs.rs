//! `glfs` over GlusterFS servers. One test runs all steps, because the servers take longer to start than they take.

use std::path::Path;
use std::sync::Arc;

use backstores::contract::{self, Subject};
use backstores::registry::{OpenOptions, Registry};
use scsi_core::sense::{Sense, SenseKey};
use scsi_core::store::Backstore;
use tgt_tests::servers::gluster::Gluster;

use super::{Written, flush, pattern, running_commands, until_taken};
use crate::client::{Client, End, next_name};
use crate::harness::{Daemon, succeed, target_name, wait_until};

/// LUN of the file, and of a unit in memory beside it.
const FILE: u16 = 1;
const MEMORY: u16 = 2;
const MIB: usize = 1 << 20;

#[test]
fn files_on_a_glusterfs_volume_are_served() {
    let servers = Gluster::start();
    for file in ["first", "second", "disk"] {
        servers.file(file, 16 * MIB as u64);
    }
    keeps_the_contract(&servers);
    refusals_name_what_is_missing(&servers);
    let daemon = daemon(&servers);
    qemu_reads_what_initiators_wrote(&servers, &daemon);
    stopped_brick_delays_only_its_units(&servers, &daemon);
    no_write_is_lost_when_the_brick_is_killed(&servers, &daemon);
}

fn keeps_the_contract(servers: &Gluster) {
    // The registry has the volume, which all stores share.
    let registry = Arc::new(Registry::builtin());
    let open = |file: &str, flags: &str| {
        let (registry, name) = (registry.clone(), servers.name(file));
        let bsoflags = flags.parse().unwrap();
        move || {
            let options = OpenOptions { path: name.as_str().into(), bsoflags, ..OpenOptions::default() };
            registry.open("glfs", &options).unwrap_or_else(|error| panic!("{error}"))
        }
    };
    // Keeps the volume, which is slow to make and to end.
    let _other = open("second", "")();
    contract::check(&Subject::new(open("first", "")).beside(open("second", "")));
    let store = open("first", "sync:direct")();
    assert!(!store.capabilities().volatile_cache);
    let options =
        OpenOptions { path: servers.name("first").into(), read_only: true, ..OpenOptions::default() };
    let store: Arc<dyn Backstore> = registry.open("glfs", &options).unwrap();
    contract::check(&Subject::new(move || store.clone()));
}

fn refusals_name_what_is_missing(servers: &Gluster) {
    let registry = Registry::builtin();
    for (name, expected) in [
        (servers.name("none"), "file 'none': No such file"),
        (servers.name("/"), "file '/': Is a directory"),
        (servers.name("first").replace("vol0", "vol1"), "volume 'vol1' at 127.100"),
    ] {
        let options = OpenOptions { path: name.into(), ..OpenOptions::default() };
        let text = registry.open("glfs", &options).err().expect("it is refused").to_string();
        assert!(text.contains(expected), "{text}");
    }
}

/// A daemon with target 1: [`FILE`], a file of the volume, and [`MEMORY`].
fn daemon(servers: &Gluster) -> Daemon {
    let daemon = Daemon::start();
    daemon.target(1);
    daemon.unit_on(1, FILE, Path::new(&servers.name("disk")), &["--bstype", "glfs"]);
    daemon.unit_on(1, MEMORY, Path::new("x"), &["--bstype", "memory", "--bsopts", "size=64M"]);
    daemon
}

fn qemu_reads_what_initiators_wrote(servers: &Gluster, daemon: &Daemon) {
    let expected = daemon.path("expected");
    std::fs::write(&expected, pattern(1, 16 * MIB)).unwrap();
    let file = expected.to_str().unwrap();
    let url = daemon.url_of(&target_name(1), FILE);
    succeed("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", file, &url]);
    let direct = servers.qemu_name("disk");
    succeed("qemu-img", ["compare", "-f", "raw", "-F", "raw", file, &direct]);
    succeed("qemu-io", ["-f", "raw", "-c", "write -P 0xa5 1M 2M", "-c", "flush", &direct]);
    let mut client = Client::login(daemon, 1, FILE);
    assert_eq!(client.read(2048, 128).unwrap(), [0xa5; 65536]);
    assert_eq!(client.read(0, 8).unwrap(), pattern(1, 4096));
}

fn stopped_brick_delays_only_its_units(servers: &Gluster, daemon: &Daemon) {
    let name = next_name();
    let mut other = Client::login(daemon, 1, MEMORY);
    let mut client = Client::login_by(daemon, &name, 1, FILE);
    client.read(0, 8).unwrap();
    servers.pause_brick(true);
    let socket = client.socket();
    let writer = std::thread::spawn(move || client.write(64, &[9; 65536]));
    wait_until("the write hangs", || running_commands(daemon) > 0);
    for round in 0..20 {
        other.write(0, &[round; 4096]).unwrap();
        assert_eq!(other.read(0, 8).unwrap(), [round; 4096]);
        assert!(daemon.adm(&["--mode", "target", "--op", "show"]).contains(&name));
    }
    let mut second = Client::login(daemon, 1, FILE);
    second.reset_unit().expect("LOGICAL UNIT RESET is answered");
    servers.pause_brick(false);
    wait_until("the file answers", || second.read(0, 8).is_ok());
    // The reset has aborted the write without an answer, or the write has ended before.
    let _ = socket.shutdown(std::net::Shutdown::Both);
    match writer.join().unwrap() {
        Ok(()) | Err(End::Closed(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
}

fn no_write_is_lost_when_the_brick_is_killed(servers: &Gluster, daemon: &Daemon) {
    // The first flush after a lost connection fails once.
    let flush_or_forgotten = |client: &mut Client| match until_taken(|| flush(client)) {
        Ok(()) | Err(End::Status(_, Some(Sense { key: SenseKey::HardwareError, .. }))) => {}
        Err(other) => panic!("{other:?}"),
    };
    let written = Written::while_killing(daemon, FILE, flush_or_forgotten, || {
        for _ in 0..2 {
            std::thread::sleep(std::time::Duration::from_millis(500));
            servers.kill_brick();
            assert!(daemon.adm(&["--mode", "target", "--op", "show"]).contains("disk"));
            servers.restart_brick();
        }
        wait_until("the file answers", || Client::login(daemon, 1, FILE).read(0, 1).is_ok());
    });
    written.check(&std::fs::read(servers.path("brick/disk")).unwrap());
}
