//! The tables of counters, in the texts of tgt.

use std::fmt::Write;
use std::net::IpAddr;

use scsi_core::lun::Lun;

use crate::model::Tid;
use crate::model::sessions::{Connection, Session};
use crate::model::target::Target;
use crate::stats::{ConnectionCounts, UnitCounts};

/// One row of the table of units: a unit as one session sees it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UnitRow {
    /// The target's number.
    pub tid: u32,
    /// The unit's number.
    pub lun: u16,
    /// The session's number.
    pub sid: u16,
    /// What the session read and wrote.
    pub counts: UnitCounts,
}

/// The counters of the store of a unit; only the JSON form has them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoreRow {
    /// The target's number.
    pub tid: u32,
    /// The unit's number.
    pub lun: u16,
    /// How often the store has become unreachable.
    pub losses: u64,
}

/// One row of the table of connections.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionRow {
    /// The session's number.
    pub sid: u16,
    /// The connection's number.
    pub cid: u16,
    /// Its traffic.
    pub counts: ConnectionCounts,
}

/// Logins that were refused since the daemon started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoginCounts {
    /// Another account than the session's, or an account that is bound to other initiator names (0x0202).
    pub refused_accounts: u64,
    /// The daemon has no further connections (0x0302, 0x0206).
    pub refused_in_all: u64,
    /// The target has too many connections (0x0302, 0x0206).
    pub refused_per_target: u64,
    /// The address has too many connections (0x0302, 0x0206).
    pub refused_per_address: u64,
    /// The initiator name has too many connections (0x0302, 0x0206).
    pub refused_per_initiator: u64,
    /// A wrong CHAP name or secret (0x0201).
    pub failed_proofs: u64,
    /// Those of the addresses with the latest ones, by address.
    pub failed_proofs_by_address: Vec<(IpAddr, u64)>,
}

/// A unit's counters in one of its target's sessions, as they are now.
#[must_use]
pub fn unit(tid: Tid, lun: Lun, session: &Session) -> UnitRow {
    let counts = session.stats.unit(lun).map(|unit| unit.counts()).unwrap_or_default();
    UnitRow { tid: tid.number(), lun: lun.number(), sid: session.tsih.0, counts }
}

/// The counters of the stores of a target's units, as they are now.
pub fn stores(target: &Target) -> impl Iterator<Item = StoreRow> + '_ {
    let with_stores = target.units.iter().filter(|(_, entry)| entry.unit.store().is_some());
    with_stores.map(|(lun, entry)| {
        let losses = entry.unit.reports().reach().losses;
        StoreRow { tid: target.tid.number(), lun: lun.number(), losses }
    })
}

/// A connection's counters, as they are now.
#[must_use]
pub fn connection(session: &Session, connection: &Connection) -> ConnectionRow {
    ConnectionRow { sid: session.tsih.0, cid: connection.cid.0, counts: connection.stats.counts() }
}

/// Writes the table of units: its head, and a line for each row.
#[must_use]
pub fn units(rows: &[UnitRow]) -> String {
    let mut out = String::from(
        "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs\n",
    );
    for UnitRow { tid, lun, sid, counts } in rows {
        // Writing to a string cannot fail.
        let _ = write!(out, "{tid:3} {lun:3} {sid:3}");
        let UnitCounts { read_submitted, read_done, write_submitted, write_done, errors } = *counts;
        for moved in [read_submitted, read_done, write_submitted, write_done] {
            let _ = write!(out, " {:12} {:6}", moved.bytes, moved.commands);
        }
        let _ = writeln!(out, " {errors:4}");
    }
    out
}

/// Writes the table of connections: its head, and a line for each row. Two of its columns are always 0: over TCP
/// tgt counts neither Data-In nor response PDUs.
#[must_use]
pub fn connections(rows: &[ConnectionRow]) -> String {
    let mut out =
        String::from("sid cid rxdata_octets txdata_octets dataout_pdus datain_pdus cmd_pdus rsp_pdus\n");
    for ConnectionRow { sid, cid, counts } in rows {
        let ConnectionCounts { received, sent, data_out_pdus, command_pdus } = counts;
        let _ = writeln!(
            out,
            "{sid:3} {cid:3} {received:13} {sent:13} {data_out_pdus:12} {:11} {command_pdus:8} {:8}",
            0, 0
        );
    }
    out
}

/// Writes both tables of one session.
#[must_use]
pub fn session(unit_rows: &[UnitRow], connection_rows: &[ConnectionRow]) -> String {
    units(unit_rows) + "\n" + &connections(connection_rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Moved;

    /// Captured from tgt's daemon.
    #[test]
    fn table_of_units() {
        let moved = |bytes, commands| Moved { bytes, commands };
        let counts = UnitCounts {
            read_submitted: moved(58_871_840, 14374),
            read_done: moved(58_867_744, 14373),
            errors: 1,
            ..UnitCounts::default()
        };
        let row = UnitRow { tid: 1, lun: 1, sid: 2, counts };
        let expected = "\
tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs
  1   1   2     58871840  14374     58867744  14373            0      0            0      0    1
";
        assert_eq!(units(&[row]), expected);
        assert_eq!(units(&[]), expected.lines().next().unwrap().to_owned() + "\n");
    }

    /// Likewise, of a session with one connection.
    #[test]
    fn tables_of_a_session() {
        let unit = UnitRow { tid: 1, lun: 3, sid: 1, ..UnitRow::default() };
        let counts = ConnectionCounts { received: 79708, sent: 277_516, data_out_pdus: 8, command_pdus: 23 };
        let connection = ConnectionRow { sid: 1, cid: 0, counts };
        let expected = "\
tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs
  1   3   1            0      0            0      0            0      0            0      0    0

sid cid rxdata_octets txdata_octets dataout_pdus datain_pdus cmd_pdus rsp_pdus
  1   0         79708        277516            8           0       23        0
";
        assert_eq!(session(&[unit], &[connection]), expected);
    }
}
