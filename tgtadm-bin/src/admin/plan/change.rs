//! The changes that make a running daemon equal to the file.

use crate::admin::command::Command;
use crate::admin::secrets::Secrets;

/// One command of a plan and how to undo it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::admin) struct Change {
    pub(in crate::admin) command: Command,
    /// The commands that undo it, in this order.
    pub(in crate::admin) undo: Vec<Command>,
    /// Whether initiators that are logged in would notice the change.
    pub(in crate::admin) disruptive: bool,
}

/// What a plan does with a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::admin) enum TargetAction {
    Create,
    Delete,
    Update,
}

/// The changes to one target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::admin) struct TargetPlan {
    pub(in crate::admin) tid: u32,
    pub(in crate::admin) name: String,
    pub(in crate::admin) action: TargetAction,
    pub(in crate::admin) in_use: bool,
    pub(in crate::admin) changes: Vec<Change>,
    /// Commands whose effect no report of the daemon shows. They are sent again if the target is not in use.
    pub(in crate::admin) unverifiable: Vec<Command>,
    /// Messages about stores that are not exported.
    pub(in crate::admin) skipped: Vec<String>,
}

impl TargetPlan {
    /// Whether the target is left as it is because the changes would disrupt its sessions.
    pub(in crate::admin) fn is_deferred(&self, force: bool) -> bool {
        self.in_use && !force && self.changes.iter().any(|change| change.disruptive)
    }
}

/// All differences between a running daemon and the file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::admin) struct Plan {
    /// Changes to the daemon's own settings.
    pub(in crate::admin) settings: Vec<Change>,
    pub(in crate::admin) targets: Vec<TargetPlan>,
    /// Accounts of the file whose secret differs or cannot be compared.
    pub(in crate::admin) secrets: Secrets,
}

impl Plan {
    /// Whether the daemon differs from the file. A unit that is not made because its device is skipped is a difference.
    pub(in crate::admin) fn has_differences(&self) -> bool {
        !self.settings.is_empty()
            || !self.secrets.different.is_empty()
            || self.targets.iter().any(|target| !target.changes.is_empty() || !target.skipped.is_empty())
    }

    /// The line that `--plan` ends with.
    pub(in crate::admin) fn summary(&self, force: bool) -> String {
        let count = |action| {
            self.targets.iter().filter(|target| target.action == action && !target.changes.is_empty()).count()
        };
        let is_equal = |target: &&TargetPlan| target.changes.is_empty() && target.skipped.is_empty();
        let unchanged = self.targets.iter().filter(is_equal).count();
        let incomplete = self.targets.iter().filter(|target| !target.skipped.is_empty()).count();
        let deferred = self.targets.iter().filter(|target| target.is_deferred(force)).count();
        let mut text = format!(
            "# Targets: {} to make, {} to delete, {} to change, {unchanged} as the file has them.",
            count(TargetAction::Create),
            count(TargetAction::Delete),
            count(TargetAction::Update)
        );
        if deferred > 0 {
            text += &format!(" {deferred} in use, left as they are without --force.");
        }
        if incomplete > 0 {
            text += &format!(" {incomplete} without the units of skipped devices.");
        }
        match self.secrets.different.len() {
            0 => {}
            1 => text += " 1 secret changes.",
            count => text += &format!(" {count} secrets change."),
        }
        if !self.settings.is_empty() {
            text += " The daemon's own settings change.";
        }
        text
    }
}
