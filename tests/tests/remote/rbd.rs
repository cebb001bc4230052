//! `rbd` over a Ceph cluster. One test runs all steps, because the cluster takes longer to start than they take.

use std::path::Path;
use std::sync::Arc;

use backstores::contract::{self, Subject};
use backstores::registry::{OpenError, OpenOptions, Registry};
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::store::Backstore;
use tgt_tests::servers::ceph::Ceph;

use super::{Written, flush, pattern, running_commands, until_taken};
use crate::client::{Client, End, next_name};
use crate::harness::{Daemon, succeed, target_name, wait_until};

/// LUN of the image, and of a unit in memory beside it.
const IMAGE: u16 = 1;
const MEMORY: u16 = 2;
const MIB: usize = 1 << 20;

#[test]
fn images_of_a_ceph_cluster_are_served() {
    let mut ceph = Ceph::start();
    for image in ["first", "second", "disk", "grows", "fenced"] {
        ceph.rbd(&["create", "--size", "16M", image]);
    }
    keeps_the_contract(&ceph);
    snapshots_are_read_only(&ceph);
    refusals_name_what_is_missing(&ceph);
    let daemon = daemon(&ceph);
    qemu_reads_what_initiators_wrote(&ceph, &daemon);
    growth_of_an_image_is_reported(&ceph, &daemon);
    stopped_osd_delays_only_its_units(&ceph, &daemon);
    no_write_is_lost_when_the_osd_is_killed(&mut ceph, &daemon);
    client_that_the_cluster_refuses_is_served_again_after_offline_and_online(&ceph, &daemon);
    daemon_ends_while_the_osd_is_stopped(&ceph, daemon);
}

fn open(ceph: &Ceph, name: &str, bsopts: &str) -> Result<Arc<dyn Backstore>, OpenError> {
    let bsopts = format!("conf={};{bsopts}", ceph.conf());
    Registry::builtin().open("rbd", &OpenOptions { path: name.into(), bsopts, ..OpenOptions::default() })
}

fn keeps_the_contract(ceph: &Ceph) {
    // The registry has the connection, which all stores share.
    let registry = Arc::new(Registry::builtin());
    let conf = format!("conf={}", ceph.conf());
    let open = move |name: &'static str| {
        let (registry, bsopts) = (registry.clone(), conf.clone());
        move || {
            let bsopts = bsopts.clone();
            registry
                .open("rbd", &OpenOptions { path: name.into(), bsopts, ..OpenOptions::default() })
                .unwrap()
        }
    };
    // Keeps the connection, which is slow to make and to end.
    let _other = open("rbd/second")();
    contract::check(&Subject::new(open("first")).beside(open("rbd/second")));
}

fn snapshots_are_read_only(ceph: &Ceph) {
    ceph.rbd(&["snap", "create", "first@monday"]);
    let store = open(ceph, "rbd/first@monday", "").unwrap();
    assert!(store.capabilities().read_only);
    contract::check(&Subject::new(move || store.clone()));
}

fn refusals_name_what_is_missing(ceph: &Ceph) {
    for (name, bsopts, expected) in [
        ("none", "", "none: no image 'none' in the pool 'rbd'"),
        ("nopool/disk", "", "nopool/disk: no pool 'nopool'"),
        ("first@tuesday", "", "first@tuesday: no such image or snapshot"),
        ("disk", "id=nobody", "cannot connect to the cluster as client.nobody"),
        ("disk", "cephx_key=nonsense", "cannot connect to the cluster as client.admin"),
    ] {
        let text = open(ceph, name, bsopts).err().expect("it is refused").to_string();
        assert!(text.contains(expected) && !text.contains("nonsense"), "{text}");
    }
    let key = ceph.ceph(&["auth", "get-key", "client.admin"]);
    let file = ceph.path("key");
    std::fs::write(&file, &key).unwrap();
    let from_file = format!("keyfile={}", file.display());
    for bsopts in [from_file, format!("cephx_key={key}"), "cache=off;timeout=60".to_owned()] {
        open(ceph, "disk", &bsopts).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A daemon with target 1: [`IMAGE`], an image, and [`MEMORY`].
fn daemon(ceph: &Ceph) -> Daemon {
    let daemon = Daemon::start();
    daemon.target(1);
    add_image(ceph, &daemon, IMAGE, "disk");
    daemon.unit_on(1, MEMORY, Path::new("x"), &["--bstype", "memory", "--bsopts", "size=64M"]);
    daemon
}

fn add_image(ceph: &Ceph, daemon: &Daemon, lun: u16, image: &str) {
    let bsopts = format!("conf={};id=admin", ceph.conf());
    daemon.unit_on(1, lun, Path::new(image), &["--bstype", "rbd", "--bsopts", &bsopts]);
}

fn qemu_reads_what_initiators_wrote(ceph: &Ceph, daemon: &Daemon) {
    let expected = daemon.path("expected");
    std::fs::write(&expected, pattern(1, 16 * MIB)).unwrap();
    let file = expected.to_str().unwrap();
    let url = daemon.url_of(&target_name(1), IMAGE);
    succeed("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", file, &url]);
    // The other way round: what qemu's driver wrote is read by an initiator.
    let direct = ceph.qemu_name("disk");
    succeed("qemu-img", ["compare", "-f", "raw", "-F", "raw", file, &direct]);
    let write = "write -P 0xa5 1M 2M";
    succeed("qemu-io", ["-f", "raw", "-c", write, "-c", "flush", &direct]);
    let mut client = Client::login(daemon, 1, IMAGE);
    assert_eq!(client.read(2048, 128).unwrap(), [0xa5; 65536]);
    assert_eq!(client.read(0, 8).unwrap(), pattern(1, 4096));
}

fn growth_of_an_image_is_reported(ceph: &Ceph, daemon: &Daemon) {
    add_image(ceph, daemon, 3, "grows");
    let mut client = Client::login(daemon, 1, 3);
    client.read(0, 1).unwrap();
    ceph.rbd(&["resize", "--no-progress", "--size", "24M", "grows"]);
    wait_until("CAPACITY DATA HAS CHANGED is reported", || match client.command_once(&[0; 6], 0, &[]) {
        Err(End::Status(_, Some(sense))) => {
            assert_eq!(sense.key, SenseKey::UnitAttention, "{sense:?}");
            sense.code == AdditionalSense::CAPACITY_DATA_HAS_CHANGED
        }
        other => other.map(|_| false).unwrap(),
    });
    let capacity = client.command(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, &[]).unwrap();
    assert_eq!(capacity[..4], (24 * 2048 - 1_u32).to_be_bytes());
    client.write(24 * 2048 - 8, &[7; 4096]).unwrap();
    drop(client);
    daemon.adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "3"]);
}

fn stopped_osd_delays_only_its_units(ceph: &Ceph, daemon: &Daemon) {
    let name = next_name();
    let mut other = Client::login(daemon, 1, MEMORY);
    let mut client = Client::login_by(daemon, &name, 1, IMAGE);
    client.read(0, 8).unwrap();
    ceph.pause_osd(true);
    let socket = client.socket();
    let writer = std::thread::spawn(move || client.write(64, &[9; 65536]));
    wait_until("the write hangs", || running_commands(daemon) > 0);
    for round in 0..20 {
        other.write(0, &[round; 4096]).unwrap();
        assert_eq!(other.read(0, 8).unwrap(), [round; 4096]);
        assert!(daemon.adm(&["--mode", "target", "--op", "show"]).contains(&name));
        drop(Client::login(daemon, 1, MEMORY));
    }
    // An image cannot be opened now, which ends at its deadline.
    let bsopts = format!("conf={};open-timeout=1", ceph.conf());
    let words = ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "4", "-b", "second"];
    let late = daemon.try_adm(&[&words[..], &["--bstype", "rbd", "--bsopts", &bsopts]].concat());
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(!late.status.success() && said.contains("did not answer within 1 seconds"), "{late:?}");
    assert!(!writer.is_finished());
    let mut second = Client::login(daemon, 1, IMAGE);
    second.reset_unit().expect("LOGICAL UNIT RESET is answered");
    ceph.pause_osd(false);
    wait_until("the image answers", || second.read(0, 8).is_ok());
    // The reset has aborted the write without an answer, or the write has ended before.
    let _ = socket.shutdown(std::net::Shutdown::Both);
    match writer.join().unwrap() {
        Ok(()) | Err(End::Closed(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
}

fn no_write_is_lost_when_the_osd_is_killed(ceph: &mut Ceph, daemon: &Daemon) {
    let flush = |client: &mut Client| until_taken(|| flush(client)).unwrap();
    let written = Written::while_killing(daemon, IMAGE, flush, || {
        for _ in 0..2 {
            std::thread::sleep(std::time::Duration::from_millis(500));
            ceph.kill_osd();
            assert!(daemon.adm(&["--mode", "target", "--op", "show"]).contains("disk"));
            ceph.restart_osd();
        }
        wait_until("the image answers", || Client::login(daemon, 1, IMAGE).read(0, 1).is_ok());
    });
    let file = daemon.path("qemu");
    let direct = ceph.qemu_name("disk");
    let to = file.to_str().unwrap();
    succeed("qemu-img", ["convert", "-f", "raw", "-O", "raw", &direct, to]);
    written.check(&std::fs::read(&file).unwrap());
}

fn client_that_the_cluster_refuses_is_served_again_after_offline_and_online(ceph: &Ceph, daemon: &Daemon) {
    let mut client = Client::login(daemon, 1, IMAGE);
    client.write(0, &[1; 4096]).unwrap();
    let status = ceph.rbd(&["status", "disk"]);
    let address =
        status.split_whitespace().find_map(|word| word.strip_prefix("watcher=")).expect("a watcher");
    ceph.ceph(&["osd", "blocklist", "add", address]);
    wait_until("the cluster refuses the client", || {
        client.write(0, &[2; 4096]).and_then(|()| flush(&mut client)).is_err()
    });
    let Err(End::Status(_, Some(Sense { key, code, .. }))) = client.write(0, &[3; 4096]) else {
        panic!("a write succeeded");
    };
    assert_eq!((key, code), (SenseKey::NotReady, AdditionalSense::MANUAL_INTERVENTION_REQUIRED));
    for online in ["online=0", "online=1"] {
        daemon.set_unit(1, IMAGE, online);
    }
    client.write(0, &[4; 4096]).unwrap();
    flush(&mut client).unwrap();
}

fn daemon_ends_while_the_osd_is_stopped(ceph: &Ceph, mut daemon: Daemon) {
    let mut client = Client::login(&daemon, 1, IMAGE);
    client.read(0, 1).unwrap();
    ceph.pause_osd(true);
    let reader = std::thread::spawn(move || client.read(2048, 8));
    wait_until("the read hangs", || running_commands(&daemon) > 0);
    daemon.signal(rustix::process::Signal::TERM);
    let status = daemon.ended();
    assert!(status.code().is_some(), "{status:?}");
    assert!(reader.join().unwrap().is_err());
}
