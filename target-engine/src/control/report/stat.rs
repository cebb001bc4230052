//! The tables of counters, as stock prints them.

use std::fmt::Write;

/// One row of `stat`: a unit as one nexus sees it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UnitRow {
    /// The target's number.
    pub tid: u32,
    /// The unit's number.
    pub lun: u16,
    /// The session's number.
    pub sid: u16,
    /// Reads begun.
    pub read_submitted: Moved,
    /// Reads ended.
    pub read_done: Moved,
    /// Writes begun.
    pub write_submitted: Moved,
    /// Writes ended.
    pub write_done: Moved,
    /// Commands that ended with another status than GOOD.
    pub errors: u32,
}

/// Bytes and commands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moved {
    /// Expected data transfer lengths, in bytes.
    pub bytes: u64,
    /// Commands.
    pub commands: u32,
}

/// The table of units: its head, and a line for each row.
#[must_use]
pub fn units(rows: &[UnitRow]) -> String {
    let mut out = String::from(
        "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs\n",
    );
    for row in rows {
        // A string takes whatever is written to it.
        let _ = write!(out, "{:3} {:3} {:3}", row.tid, row.lun, row.sid);
        for moved in [row.read_submitted, row.read_done, row.write_submitted, row.write_done] {
            let _ = write!(out, " {:12} {:6}", moved.bytes, moved.commands);
        }
        let _ = writeln!(out, " {:4}", row.errors);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stock daemon's capture.
    #[test]
    fn table_of_units() {
        let moved = |bytes, commands| Moved { bytes, commands };
        let row = UnitRow {
            tid: 1,
            lun: 1,
            sid: 2,
            read_submitted: moved(58_871_840, 14374),
            read_done: moved(58_867_744, 14373),
            errors: 1,
            ..UnitRow::default()
        };
        let expected = "\
tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs
  1   1   2     58871840  14374     58867744  14373            0      0            0      0    1
";
        assert_eq!(units(&[row]), expected);
        assert_eq!(units(&[]), expected.lines().next().unwrap().to_owned() + "\n");
    }
}
