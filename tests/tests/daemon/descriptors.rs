//! A daemon that has no descriptor left for those who come.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit};

use crate::client::Client;
use crate::harness::{CONTROL_PORT, DISK, Daemon, wait_until};
use crate::load::LOADED_DISK_LEN;

/// The daemon may have hardly any descriptors, or as many as we.
fn allow(daemon: &Daemon, few: bool) {
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let current = if few { Some(3) } else { maximum };
    rustix::process::prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Its first thread does nothing for a moment.
fn rests(daemon: &Daemon) -> bool {
    let ran = || {
        let threads = daemon.threads();
        threads.iter().find(|thread| thread.number == daemon.pid()).unwrap().ran
    };
    let before = ran();
    std::thread::sleep(Duration::from_millis(100));
    ran() == before
}

#[test]
fn a_daemon_without_descriptors_rests_and_serves_those_who_wait_when_it_has_some() {
    let daemon = Daemon::start();
    daemon.disk(1, LOADED_DISK_LEN);
    let mut good = Client::login(&daemon, 1, DISK);
    allow(&daemon, true);
    let initiators = [(); 8].map(|()| TcpStream::connect(daemon.portal).unwrap());
    let managers =
        [(); 8].map(|()| UnixStream::connect(daemon.path(&format!("control.{CONTROL_PORT}"))).unwrap());
    for who in ["portal: ", "management socket: "] {
        wait_until("it says what is missing", || daemon.log().contains(&format!("{who}Too many open files")));
    }
    wait_until("it rests", || rests(&daemon));
    good.write(0, &[7; 512]).unwrap();
    assert_eq!(good.read(0, 1).unwrap(), [7; 512]);
    allow(&daemon, false);
    drop((initiators, managers));
    Client::login(&daemon, 1, DISK).read(0, 1).unwrap();
    daemon.adm(&["--mode", "target", "--op", "show"]);
}
