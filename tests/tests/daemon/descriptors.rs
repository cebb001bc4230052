//! A daemon without free file descriptors.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit};

use crate::client::Client;
use crate::harness::{CONTROL_PORT, DISK, Daemon, wait_until};
use crate::load::LOADED_DISK_LEN;

/// Sets the descriptor limit of the daemon to 3, or to the maximum.
fn limit_descriptors(daemon: &Daemon, few: bool) {
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let current = if few { Some(3) } else { maximum };
    rustix::process::prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Whether its first thread does not run for 100 ms.
fn is_idle(daemon: &Daemon) -> bool {
    let ran = || {
        let threads = daemon.threads();
        threads.iter().find(|thread| thread.number == daemon.pid()).unwrap().ran
    };
    let before = ran();
    std::thread::sleep(Duration::from_millis(100));
    ran() == before
}

#[test]
fn daemon_without_descriptors_idles_and_accepts_waiting_clients_later() {
    let daemon = Daemon::start();
    daemon.disk(1, LOADED_DISK_LEN);
    let mut good = Client::login(&daemon, 1, DISK);
    limit_descriptors(&daemon, true);
    let initiators = [(); 8].map(|()| TcpStream::connect(daemon.portal).unwrap());
    let managers =
        [(); 8].map(|()| UnixStream::connect(daemon.path(&format!("control.{CONTROL_PORT}"))).unwrap());
    for listener in ["portal: ", "management socket: "] {
        wait_until("the shortage is logged", || {
            daemon.log().contains(&format!("{listener}Too many open files"))
        });
    }
    wait_until("the first thread is idle", || is_idle(&daemon));
    good.write(0, &[7; 512]).unwrap();
    assert_eq!(good.read(0, 1).unwrap(), [7; 512]);
    limit_descriptors(&daemon, false);
    drop((initiators, managers));
    Client::login(&daemon, 1, DISK).read(0, 1).unwrap();
    daemon.adm(&["--mode", "target", "--op", "show"]);
}
