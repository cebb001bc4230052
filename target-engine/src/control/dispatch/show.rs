//! Reports of the configuration and the sessions.

use super::state::{Control, Env};
use crate::control::report::{self, Reply, Report};
use crate::model::Tid;

impl Control {
    pub(super) fn system_show(&self, env: &Env<'_>) -> Reply {
        Ok(Report::System(report::system(&self.model, env.out.store_kinds())))
    }

    pub(super) fn target_show_all(&self, env: &Env<'_>) -> Reply {
        let targets = self.model.targets().map(|target| report::target(target, &self.sessions, env.now));
        Ok(Report::Targets(targets.collect()))
    }

    pub(super) fn target_show(&self, tid: Tid, env: &Env<'_>) -> Reply {
        let target = report::target(self.model.target(tid)?, &self.sessions, env.now);
        Ok(Report::Target(Box::new(target)))
    }

    pub(super) fn portal_show(&self) -> Reply {
        Ok(Report::Portals(self.model.portals.iter().map(|portal| portal.spec.clone()).collect()))
    }

    pub(super) fn driver_show(&self) -> Reply {
        Ok(Report::Drivers(report::drivers(&self.model)))
    }

    pub(super) fn connection_show(&self, tid: Tid) -> Reply {
        self.model.target(tid)?;
        Ok(Report::Sessions(report::sessions(self.sessions.of_target(tid))))
    }

    pub(super) fn account_show(&self) -> Reply {
        Ok(Report::Accounts(self.model.accounts.users().map(str::to_owned).collect()))
    }
}
