//! Statistics: which counters, in which order.

use iscsi_proto::ids::{Cid, Tsih};
use iscsi_proto::params::ConnectionParams;
use scsi_core::lun::Lun;

use super::targets::log_in;
use super::*;
use crate::direction::Direction;
use crate::model::sessions::Connection;
use crate::stats::{ConnectionStats, SessionStats};

const UNITS: &str =
    "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs\n";
const CONNECTIONS: &str = "sid cid rxdata_octets txdata_octets dataout_pdus datain_pdus cmd_pdus rsp_pdus\n";

/// Two targets with controllers, the first with a disk, two sessions there and one at the second.
fn bench() -> Bench {
    let mut bench = Bench::with_unit();
    bench.ask(target_new(2, "iqn.x:two"));
    for number in [1, 1, 2] {
        log_in(&mut bench, number);
    }
    let disk = Lun::new(1).unwrap();
    for tsih in [1, 2] {
        let stats = stats(&bench, tsih);
        [Lun::ZERO, disk].iter().for_each(|lun| stats.begin(*lun));
    }
    let first = stats(&bench, 1);
    let counters = first.unit(disk).unwrap();
    counters.submitted(Direction::Read, 4096);
    counters.submitted(Direction::Write, 512);
    counters.done(Direction::Write, 512);
    counters.failed();
    stats(&bench, 2).unit(Lun::ZERO).unwrap().failed();
    let session = bench.control.sessions.get_mut(Tsih(1), None).unwrap();
    let connection = ConnectionStats::after_login(244, 92);
    connection.command();
    session.connections[0].stats = Arc::new(connection);
    bench
}

fn stats(bench: &Bench, tsih: u16) -> Arc<SessionStats> {
    Arc::clone(&bench.control.sessions.get(Tsih(tsih)).unwrap().stats)
}

#[track_caller]
fn assert_rows(bench: &mut Bench, request: Request, rows: &[&str]) {
    assert_eq!(bench.ask(request), Some(Ok(UNITS.to_owned() + &rows.concat())));
}

const CONTROLLER_1: &str =
    "  1   0   1            0      0            0      0            0      0            0      0    0\n";
const CONTROLLER_2: &str =
    "  1   0   2            0      0            0      0            0      0            0      0    1\n";
const DISK_1: &str =
    "  1   1   1         4096      1            0      0          512      1          512      1    1\n";
const DISK_2: &str =
    "  1   1   2            0      0            0      0            0      0            0      0    0\n";
const OTHER: &str =
    "  2   0   3            0      0            0      0            0      0            0      0    0\n";

#[test]
fn stat_of_all_targets() {
    let mut bench = bench();
    let rows = [CONTROLLER_1, CONTROLLER_2, DISK_1, DISK_2, OTHER];
    assert_rows(&mut bench, Request::SystemStat, &rows);
    assert_rows(&mut bench, Request::TargetStat(None), &rows);
    bench.control.sessions.get_mut(Tsih(2), None).unwrap().pending = true;
    assert_rows(&mut bench, Request::SystemStat, &[CONTROLLER_1, DISK_1, OTHER]);
    assert_rows(&mut Bench::with_unit(), Request::SystemStat, &[]);
}

#[test]
fn stat_of_a_target() {
    let mut bench = bench();
    let rows = [CONTROLLER_1, CONTROLLER_2, DISK_1, DISK_2];
    assert_rows(&mut bench, Request::TargetStat(Some(tid(1))), &rows);
    assert_rows(&mut bench, Request::TargetStat(Some(tid(2))), &[OTHER]);
    assert_eq!(bench.ask(Request::TargetStat(Some(tid(3)))), Some(Err(TgtadmError::NoTarget.into())));
}

#[test]
fn stat_of_a_unit() {
    let mut bench = bench();
    let unit = |number, lun, sid| Request::UnitStat { tid: tid(number), lun, sid };
    assert_rows(&mut bench, unit(1, 1, 0), &[DISK_1, DISK_2]);
    assert_rows(&mut bench, unit(1, 1, 1), &[DISK_1]);
    assert_rows(&mut bench, unit(1, 1, 3), &[]);
    assert_eq!(bench.ask(unit(1, 1, 9)), Some(Err(TgtadmError::NoSession.into())));
    assert_eq!(bench.ask(unit(1, 2, 0)), Some(Err(TgtadmError::NoLun.into())));
    assert_eq!(bench.ask(unit(3, 1, 0)), Some(Err(TgtadmError::NoTarget.into())));
}

/// Its units come the highest first, and then its connections.
#[test]
fn stat_of_a_session() {
    let mut bench = bench();
    let further = Connection {
        cid: Cid(7),
        peer: "127.0.0.1".parse().unwrap(),
        params: ConnectionParams::default(),
        stats: Arc::default(),
    };
    bench.control.sessions.join(Tsih(1), further);
    bench.control.sessions.joined(Tsih(1), Cid(7));
    let connections = "  1   0           244            92            0           0        1        0
  1   7             0             0            0           0        0        0
";
    let expected = [UNITS, DISK_1, CONTROLLER_1, "\n", CONNECTIONS, connections].concat();
    assert_eq!(bench.ask(Request::SessionStat { sid: 1 }), Some(Ok(expected)));
    assert_eq!(bench.ask(Request::SessionStat { sid: 4 }), Some(Err(TgtadmError::NoSession.into())));
}

#[test]
fn stat_of_a_connection() {
    let mut bench = bench();
    let row = "  1   0           244            92            0           0        1        0\n";
    let connection = |sid, cid| Request::ConnectionStat { sid, cid };
    assert_eq!(bench.ask(connection(1, 0)), Some(Ok(CONNECTIONS.to_owned() + row)));
    assert_eq!(bench.ask(connection(1, 1)), Some(Err(TgtadmError::NoConnection.into())));
    assert_eq!(bench.ask(connection(4, 0)), Some(Err(TgtadmError::NoSession.into())));
}
