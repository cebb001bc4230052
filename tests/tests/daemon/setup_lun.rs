//! `tgt-setup-lun`, ours beside the stock script, on our daemon and a stock one.

use std::process::{Command, Output, Stdio};

use crate::harness::{Brand, CONTROL_PORT, DEADLINE, Daemon};

/// Command lines in their order; `@` is a file that is there.
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

/// Everything that the tool says and leaves.
fn transcript(daemon: &Daemon, tool: Brand) -> String {
    std::fs::write(daemon.path("disk.img"), vec![0; 1 << 20]).unwrap();
    let file = daemon.path("disk.img");
    let mut all = String::new();
    for line in LINES {
        let line = line.replace('@', file.to_str().unwrap());
        let output = setup_lun(daemon, tool, &line);
        let said = String::from_utf8(output.stdout).unwrap();
        all.push_str(&format!("$ {line}\n{said}= {:?}\n", output.status.code()));
        if line.contains("disk2") {
            // The next ones fill the gap.
            daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "1"]);
        }
    }
    let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
    all.extend(shown.lines().filter(|line| !line.contains("SCSI ")).map(|line| format!("{line}\n")));
    all.replace(daemon.path("").to_str().unwrap(), "/directory/")
}

fn setup_lun(daemon: &Daemon, tool: Brand, line: &str) -> Output {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &DEADLINE.as_secs().to_string()]).arg(tool.program("tgt-setup-lun"));
    command.args(["-C", CONTROL_PORT]).args(line.split(' ')).stdin(Stdio::null());
    // The stock script looks for tgtadm.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TGT_IPC_SOCKET", daemon.path("control"));
    command.output().expect("timeout (coreutils) runs")
}

#[test]
fn it_says_and_leaves_on_any_daemon_what_the_stock_script_does() {
    let script = transcript(&Daemon::start_as(Brand::Stock, Brand::Ours, &[]), Brand::Stock);
    for brand in [Brand::Stock, Brand::Ours] {
        let options: &[&str] = if brand == Brand::Ours { &["--compat-defaults"] } else { &[] };
        let ours = transcript(&Daemon::start_as(brand, Brand::Ours, options), Brand::Ours);
        for (ours, script) in ours.lines().zip(script.lines()) {
            assert_eq!(ours, script, "on a daemon that is {brand:?}");
        }
        assert_eq!(ours.len(), script.len());
    }
}
