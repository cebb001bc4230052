//! The tables of `--op stat` of our daemon and tgt's after the same commands.

use crate::client::{Client, End};
use crate::harness::{Brand, DISK, Daemon, wait_until};

const LEN: u64 = 64 << 20;
/// Columns of `txdata_octets` in a line.
const SENT: std::ops::Range<usize> = 21..35;

/// A session that has run commands of several kinds.
fn used(daemon: &Daemon) -> Client {
    daemon.disk(1, LEN);
    daemon.unit(1, 3, LEN, &[]);
    daemon.target(2);
    let mut client = Client::login(daemon, 1, DISK);
    client.command(&[0; 6], 0, &[]).unwrap();
    client.write(0, &[5; 4096]).unwrap();
    client.write(8, &[6; 65536]).unwrap();
    client.read(0, 256).unwrap();
    client.command(&[0x12, 0, 0, 0, 36, 0], 36, &[]).unwrap();
    client.command(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).unwrap();
    assert!(matches!(client.read(u32::MAX, 8), Err(End::Status(..))), "the block does not exist");
    client
}

/// A table without the sent bytes, which differ between the daemons, and the sent bytes.
fn table(daemon: &Daemon, words: &[&str]) -> (String, Vec<u64>) {
    let text = daemon.adm(&[&["--op", "stat"], words].concat());
    let (mut lines, mut sent) = (Vec::new(), Vec::new());
    let mut of_connections = false;
    for line in text.lines() {
        let mut line = line.to_owned();
        if of_connections {
            sent.push(line[SENT].trim().parse().unwrap());
            line.replace_range(SENT, "");
        }
        of_connections |= line.starts_with("sid cid");
        lines.push(line);
    }
    (lines.join("\n"), sent)
}

#[test]
fn counters_equal_those_of_tgts_daemon() {
    let [tgt, ours] = [Brand::Tgt, Brand::Ours].map(|brand| Daemon::start_as(brand, Brand::Tgt, &[]));
    let clients = [&tgt, &ours].map(used);
    for words in [
        &["--mode", "sys"][..],
        &["--mode", "target", "--tid", "1"],
        &["--mode", "target", "--tid", "2"],
        &["--mode", "logicalunit", "--tid", "1", "--lun", "1"],
        &["--mode", "logicalunit", "--tid", "1", "--lun", "3"],
        &["--mode", "session", "--sid", "1"],
        &["--mode", "session", "--tid", "1", "--sid", "1"],
        &["--mode", "conn", "--sid", "1", "--cid", "0"],
        &["--mode", "conn", "--tid", "1", "--sid", "1", "--cid", "0"],
    ] {
        let [(expected, of_tgt), (actual, of_ours)] = [&tgt, &ours].map(|daemon| table(daemon, words));
        assert_eq!(actual, expected, "{words:?}");
        for (sent, client) in [of_tgt, of_ours].iter().zip(&clients) {
            assert!(sent.iter().all(|sent| *sent == client.received), "{words:?}: sent {sent:?}");
        }
    }
}

#[test]
fn ended_session_has_no_counters() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    drop(Client::login(&daemon, 1, DISK));
    wait_until("no session remains", || table(&daemon, &["--mode", "sys"]).0.lines().count() == 1);
    let after = daemon.try_adm(&["--op", "stat", "--mode", "session", "--sid", "1"]);
    assert_eq!(after.status.code(), Some(22), "{after:?}");
}
