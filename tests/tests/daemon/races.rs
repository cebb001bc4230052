//! Several management tools at the same time, on our daemon and tgt's: each has the same effect as alone.

use std::fs;
use std::process::Output;
use std::thread;

use crate::harness::{Brand, CONTROL_PORT, Daemon};

const PROCESSES: usize = 8;
const TARGETS: usize = 40;

fn daemons() -> [Daemon; 2] {
    [Brand::Tgt, Brand::Ours].map(|brand| Daemon::start_as(brand, Brand::Ours, &[]))
}

fn name(number: usize) -> String {
    format!("iqn.2001-04.com.example:disk{number}")
}

/// Writes a configuration of `targets` targets, each with two disks, which share one account.
fn configure(daemon: &Daemon, targets: usize) {
    let mut conf = "default-driver iscsi\n".to_owned();
    for number in 1..=targets {
        conf += &format!("<target {}>\n", name(number));
        for disk in ["a", "b"] {
            let path = daemon.path(&format!("{number}{disk}.img"));
            fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
            conf += &format!("backing-store {}\n", path.display());
        }
        conf += "incominguser alice secretpass12\ninitiator-address 192.0.2.1\n</target>\n";
    }
    fs::write(daemon.path("targets.conf"), conf).unwrap();
}

fn run(daemon: &Daemon, tool: &str, words: &[&str]) -> Output {
    daemon.command(Brand::Ours.program(tool)).args(["-C", CONTROL_PORT]).args(words).output().unwrap()
}

fn admin(daemon: &Daemon, words: &[&str]) -> Output {
    let conf = daemon.path("targets.conf");
    run(daemon, "tgt-admin", &[words, &["-c", conf.to_str().unwrap()]].concat())
}

/// Calls `work` with the numbers of [`PROCESSES`] threads, in all of them at once.
fn at_once(work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            scope.spawn({
                let work = &work;
                move || work(process)
            });
        }
    });
}

#[track_caller]
fn assert_done(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// Asserts that the daemon has every target of the file completely, and once.
#[track_caller]
fn assert_all_there(daemon: &Daemon, targets: usize) {
    let plan = admin(daemon, &["--plan"]);
    let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
    assert_eq!(plan.status.code(), Some(0), "{plan:?}\n{shown}");
    assert_eq!(shown.lines().filter(|line| line.starts_with("Target ")).count(), targets, "{shown}");
    assert_eq!(shown.matches(".img").count(), 2 * targets, "{shown}");
}

#[test]
fn parallel_updates_of_different_targets_create_all() {
    for daemon in daemons() {
        configure(&daemon, TARGETS);
        at_once(|process| {
            for number in (1..=TARGETS).skip(process).step_by(PROCESSES) {
                assert_done(&admin(&daemon, &["--update", &name(number)]));
            }
        });
        assert_all_there(&daemon, TARGETS);
    }
}

#[test]
fn parallel_updates_of_one_target_create_it_once() {
    for daemon in daemons() {
        configure(&daemon, 3);
        for number in 1..=3 {
            at_once(|_| assert_done(&admin(&daemon, &["--update", &name(number)])));
        }
        assert_all_there(&daemon, 3);
    }
}

#[test]
fn parallel_executes_of_one_file_create_each_target_once() {
    for daemon in daemons() {
        configure(&daemon, 5);
        at_once(|_| assert_done(&admin(&daemon, &["-e"])));
        assert_all_there(&daemon, 5);
    }
}

#[test]
fn parallel_deletes_and_updates_delete_each_target_once() {
    for daemon in daemons() {
        for action in ["--delete", "--update"] {
            for _ in 0..3 {
                configure(&daemon, TARGETS);
                assert_done(&admin(&daemon, &["-e"]));
                fs::write(daemon.path("targets.conf"), "default-driver iscsi\n").unwrap();
                at_once(|process| {
                    let action = if process % 2 == 0 { "--delete" } else { action };
                    assert_done(&admin(&daemon, &[action, "ALL"]));
                });
                assert_all_there(&daemon, 0);
            }
        }
    }
}

#[test]
fn parallel_tgt_setup_luns_create_all_targets() {
    for daemon in daemons() {
        let disk = daemon.path("disk.img");
        fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
        at_once(|process| {
            for number in (1..=TARGETS).skip(process).step_by(PROCESSES) {
                let words = ["-n", &name(number), "-d", disk.to_str().unwrap()];
                assert_done(&run(&daemon, "tgt-setup-lun", &words));
            }
        });
        let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
        for number in 1..=TARGETS {
            assert!(
                shown.lines().any(|line| line.ends_with(&format!(": {}", name(number)))),
                "{number}: {shown}"
            );
        }
        assert_eq!(shown.matches("disk.img").count(), TARGETS, "{shown}");
    }
}

#[test]
fn controller_tid_of_another_target_is_a_failure() {
    for daemon in daemons() {
        let conf = format!("default-driver iscsi\n<target {}>\ncontroller_tid 3\n</target>\n", name(1));
        fs::write(daemon.path("targets.conf"), conf).unwrap();
        for words in [&["--update", &name(1)][..], &["-e"]] {
            daemon.target(3);
            let output = admin(&daemon, words);
            assert_eq!(output.status.code(), Some(22), "{output:?}");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("this target already exists"), "{stderr}");
            assert!(stderr.contains(&format!("targets.conf:2: target {}", name(1))), "{stderr}");
            let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
            assert!(!shown.contains(&name(1)), "{shown}");
            admin(&daemon, &["--delete", "ALL"]);
        }
    }
}
