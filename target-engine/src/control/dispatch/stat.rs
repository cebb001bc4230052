//! Statistics, read from the counters that the loops write, and the reports of sessions and units that only the JSON
//! form has. No loop is asked.

use scsi_core::lun::Lun;

use super::state::{Control, Env};
use super::target::no_connection;
use super::unit::no_unit;
use crate::control::report::stat::{self, LoginCounts, UnitRow};
use crate::control::report::{self, Reply, Report};
use crate::model::Tid;
use crate::model::sessions::Session;
use crate::model::target::Target;

impl Control {
    pub(super) fn system_stat(&self, env: &Env<'_>) -> Reply {
        let rows = self.model.targets().flat_map(|target| self.rows(target)).collect();
        let stores = self.model.targets().flat_map(stat::stores).collect();
        let (failed_proofs, failed_proofs_by_address) =
            (self.failed_proofs.all(), self.failed_proofs.by_address());
        let logins = LoginCounts { failed_proofs, failed_proofs_by_address, ..self.login_counts.clone() };
        Ok(Report::SystemCounts(rows, stores, logins, env.out.admission_counts()))
    }

    pub(super) fn target_stat(&self, tid: Tid) -> Reply {
        let target = self.model.target(tid)?;
        Ok(Report::UnitCounts(self.rows(target).collect(), stat::stores(target).collect()))
    }

    /// Counters of one unit, for every session, or for session `sid` if it is not 0.
    pub(super) fn unit_stat(&self, tid: Tid, lun: u64, sid: u64) -> Reply {
        let target = self.model.target(tid)?;
        let known = super::unit::lun(lun).filter(|lun| target.units.contains_key(lun));
        let lun = known.ok_or_else(|| no_unit(tid, lun))?;
        if sid != 0 {
            self.session(sid)?;
        }
        let rows: Vec<_> =
            self.rows_of(target, lun).filter(|row| sid == 0 || u64::from(row.sid) == sid).collect();
        let stores = stat::stores(target).filter(|row| row.lun == lun.number()).collect();
        Ok(Report::UnitCounts(rows, stores))
    }

    /// Sessions, newest first: of one target or of all; only session `sid` if it is not 0.
    pub(super) fn session_show(&self, tid: Option<Tid>, sid: u64) -> Reply {
        if let Some(tid) = tid {
            self.model.target(tid)?;
        }
        if sid != 0 {
            self.session(sid)?;
        }
        let is_asked = |session: &&Session| {
            tid.is_none_or(|tid| session.key.tid == tid) && (sid == 0 || u64::from(session.tsih.0) == sid)
        };
        Ok(Report::Sessions(report::sessions(self.sessions.all().filter(is_asked))))
    }

    /// The units of a target, or one of them.
    pub(super) fn unit_show(&self, tid: Tid, lun: u64, env: &Env<'_>) -> Reply {
        let units = &self.model.target(tid)?.units;
        if lun == u64::MAX {
            let units = units.iter().map(|(lun, entry)| report::unit(*lun, entry, env.now));
            return Ok(Report::Units(units.collect()));
        }
        let known = super::unit::lun(lun).and_then(|lun| Some((lun, units.get(&lun)?)));
        let (lun, entry) = known.ok_or_else(|| no_unit(tid, lun))?;
        Ok(Report::Units(vec![report::unit(lun, entry, env.now)]))
    }

    /// Counters of a session's units, the highest number first, and of its connections. No target is given: session
    /// numbers are unique in the daemon.
    pub(super) fn session_stat(&self, sid: u64) -> Reply {
        let session = self.session(sid)?;
        let tid = session.key.tid;
        let units: Vec<_> =
            self.model.target(tid)?.units.keys().rev().map(|lun| stat::unit(tid, *lun, session)).collect();
        let connections: Vec<_> =
            session.connections.iter().map(|connection| stat::connection(session, connection)).collect();
        Ok(Report::SessionCounts(units, connections))
    }

    pub(super) fn connection_stat(&self, sid: u64, cid: u32) -> Reply {
        let session = self.session(sid)?;
        let known = session.connections.iter().find(|connection| u32::from(connection.cid.0) == cid);
        let connection = known.ok_or_else(|| no_connection(sid, cid))?;
        Ok(Report::ConnectionCounts(vec![stat::connection(session, connection)]))
    }

    /// The rows of a target, by unit, then by session.
    fn rows<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = UnitRow> + 'a {
        target.units.keys().flat_map(|lun| self.rows_of(target, *lun))
    }

    fn rows_of(&self, target: &Target, lun: Lun) -> impl Iterator<Item = UnitRow> {
        let tid = target.tid;
        let sessions = self.sessions.of_target(tid).filter(|session: &&Session| !session.pending);
        sessions.map(move |session| stat::unit(tid, lun, session))
    }
}
