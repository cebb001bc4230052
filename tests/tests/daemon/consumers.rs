//! How other projects parse the output of `show`: each parser finds its values in the output of our daemon.

use crate::client::Client;
use crate::harness::{Brand, DISK, Daemon, target_name};

const LEN: u64 = 64 << 20;

/// Two targets, the first with a session, managed by tgt's tgtadm, which those projects call.
fn daemon() -> (Daemon, Client) {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Tgt, &[]);
    daemon.disk(1, LEN);
    daemon.disk(12, LEN);
    daemon.unit(12, 10, LEN, &[]);
    let client = Client::login_by(&daemon, "iqn.2026-01.org.example:node", 1, DISK);
    (daemon, client)
}

fn show(daemon: &Daemon, words: &[&str]) -> String {
    daemon.adm(&[&["--op", "show", "--mode"], words].concat())
}

/// Cinder: the second word of the first line with the name, without its last character.
#[test]
fn tid_is_parsed_by_target_name() {
    let (daemon, _client) = daemon();
    let text = show(&daemon, &["target"]);
    for tid in [1, 12] {
        let line = text.lines().find(|line| line.contains(&target_name(tid))).unwrap();
        let word = line.split_whitespace().nth(1).unwrap();
        assert_eq!(word[..word.len() - 1].parse(), Ok(tid));
        // A Kubernetes operator: `Target`, one blank, digits, a colon, blanks, the name.
        let (number, name) = line.strip_prefix("Target ").unwrap().split_once(':').unwrap();
        assert_eq!((number.parse(), name.trim_start()), (Ok(tid), target_name(tid).as_str()));
        // A cluster resource agent, with `grep -E`.
        assert!(text.lines().any(|line| line == format!("Target {tid}: {}", target_name(tid))));
    }
}

/// Cinder: all lines of a target up to the next target, and a line that ends with the LUN.
#[test]
fn units_are_parsed_from_the_lines_of_a_target() {
    let (daemon, _client) = daemon();
    let text = show(&daemon, &["target"]);
    let of = |tid: u32| {
        let begin = format!("Target {tid}:");
        let lines = text.lines().skip_while(move |line| !line.starts_with(&begin));
        lines.enumerate().take_while(|(at, line)| *at == 0 || !line.contains("Target ")).map(|(_, line)| line)
    };
    let has = |tid, lun: u32| of(tid).any(|line| line.ends_with(&format!("    LUN: {lun}")));
    assert!(has(1, 1) && !has(1, 10) && has(12, 1) && has(12, 10));
    // `awk '/Backing store path/ {print $4}'`; the first is the controller's.
    let paths = |tid| {
        let lines = of(tid).filter(|line| line.contains("Backing store path"));
        lines.map(|line| line.split_whitespace().nth(3).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let image = |name: &str| daemon.path(name).to_str().unwrap().to_owned();
    assert_eq!(paths(1), ["None".to_owned(), image("1-1.img")]);
    assert_eq!(paths(12), ["None".to_owned(), image("12-1.img"), image("12-10.img")]);
    // Used LUNs: `LUN: ` and digits at the end of the line.
    let luns: Vec<u32> = of(12).filter_map(|line| line.trim().strip_prefix("LUN: ")?.parse().ok()).collect();
    assert_eq!(luns, [0, 1, 10]);
}

/// Longhorn: trimmed lines that start with `Session: ` and `Connection: `, each with one `: `. Others parse the same from
/// the output for targets, by `I_T nexus: `.
#[test]
fn sessions_and_connections_are_parsed_and_closed() {
    let (daemon, mut client) = daemon();
    let pairs = |text: &str, session: &str| {
        let (mut sid, mut pairs) = (String::new(), Vec::new());
        for line in text.lines().map(str::trim) {
            match line.split_once(": ") {
                Some((key, value)) if key == session => sid = value.to_owned(),
                Some(("Connection", cid)) => pairs.push((sid.clone(), cid.to_owned())),
                _ => {}
            }
        }
        pairs
    };
    let connections = pairs(&show(&daemon, &["conn", "--tid", "1"]), "Session");
    assert_eq!(connections.len(), 1);
    assert_eq!(pairs(&show(&daemon, &["target"]), "I_T nexus"), connections);
    assert_eq!(pairs(&show(&daemon, &["conn", "--tid", "12"]), "Session"), []);
    let (sid, cid) = &connections[0];
    daemon.adm(&["--op", "delete", "--mode", "conn", "--tid", "1", "--sid", sid, "--cid", cid]);
    assert!(client.read(0, 1).is_err());
}

/// Liveness: ` rdwr` in the output for the system. Free tids: those not in the output. Errors: a part of the message.
#[test]
fn liveness_free_tids_and_errors_are_parsed() {
    let (daemon, _client) = daemon();
    assert!(show(&daemon, &["sys"]).contains(" rdwr"));
    let text = show(&daemon, &["target"]);
    let taken: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Target ")?.split(':').next()?.parse().ok())
        .collect();
    assert_eq!((1..).find(|tid| !taken.contains(tid)), Some(2));
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 4] = [
        (&["--op", "new", "--mode", "target", "--tid", "1", "-T", "iqn.a:b"],   "already exists"),
        (&["--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL"],      "rule already exists"),
        (&["--op", "delete", "--mode", "target", "--tid", "7"],                 "can't find the target"),
        (&["--op", "delete", "--mode", "logicalunit", "--tid", "1", "--lun", "9"], "can't find the logical unit"),
    ];
    for (words, part) in cases {
        let output = daemon.try_adm(words);
        assert_eq!(output.status.code(), Some(22));
        assert!(String::from_utf8_lossy(&output.stderr).contains(part), "{words:?}: {output:?}");
    }
}
