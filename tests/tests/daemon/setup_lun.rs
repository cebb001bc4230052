//! `tgt-setup-lun`: ours behaves as tgt's script, on our daemon and on tgt's.

use std::process::Output;

use crate::harness::{Brand, CONTROL_PORT, Daemon};

/// Command lines in order; `@` stands for an existing file.
const LINES: &[&str] = &[
    "-n disk1 -d @",
    "-n iqn.2026-01.org.example:disk2 -d @ 10.0.0.1 192.168.0.0/24",
    "-ndisk3 -d@ -b aio",
    "-n disk4 -d @ -t iscsi -B 4096 ALL",
    "-n disk1 -d @",
    "-n missing -d /no/such/file -b rdwr",
    "-n under_score -d @",
    "-n null -d nothing -b null",
];

/// Output of the tool, and the configuration afterwards.
fn transcript(daemon: &Daemon, tool: Brand) -> String {
    std::fs::write(daemon.path("disk.img"), vec![0; 1 << 20]).unwrap();
    let file = daemon.path("disk.img");
    let mut all = String::new();
    for line in LINES {
        let line = line.replace('@', file.to_str().unwrap());
        let output = setup_lun(daemon, tool, &line);
        let stdout = String::from_utf8(output.stdout).unwrap();
        all.push_str(&format!("$ {line}\n{stdout}= {:?}\n", output.status.code()));
        if line.contains("disk2") {
            // The next targets get the free tid.
            daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "1"]);
        }
    }
    let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
    all.extend(shown.lines().filter(|line| !line.contains("SCSI ")).map(|line| format!("{line}\n")));
    all.replace(daemon.path("").to_str().unwrap(), "/directory/")
}

fn setup_lun(daemon: &Daemon, tool: Brand, line: &str) -> Output {
    let mut command = daemon.command(tool.program("tgt-setup-lun"));
    // tgt's script searches tgtadm in PATH.
    command.args(["-C", CONTROL_PORT]).args(line.split(' ')).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.output().expect("cannot run timeout (coreutils)")
}

#[test]
fn tgt_setup_lun_behaves_as_tgts_script_on_both_daemons() {
    let script = transcript(&Daemon::start_as(Brand::Tgt, Brand::Ours, &[]), Brand::Tgt);
    for brand in [Brand::Tgt, Brand::Ours] {
        let options: &[&str] = if brand == Brand::Ours { &["--compat-defaults"] } else { &[] };
        let ours = transcript(&Daemon::start_as(brand, Brand::Ours, options), Brand::Ours);
        for (ours, script) in ours.lines().zip(script.lines()) {
            assert_eq!(ours, script, "daemon: {brand:?}");
        }
        assert_eq!(ours.len(), script.len());
    }
}
