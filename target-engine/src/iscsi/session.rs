//! A session's command numbering (RFC 7143 4.2.2.1): which command is next, which may be sent, and those that
//! arrived before their turn.

use std::collections::BTreeMap;

use iscsi_proto::sn::CmdSn;

/// The command window of one session.
#[derive(Debug)]
pub struct CommandWindow<T> {
    expected: CmdSn,
    /// MaxCmdSN as announced last; it never decreases.
    advertised: CmdSn,
    /// Commands the session may have outstanding.
    depth: u32,
    outstanding: u32,
    early: BTreeMap<u32, T>,
}

/// What to do with a numbered command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// It is the next one: run it, then call `next_early`.
    InOrder,
    /// Commands before it are missing: `hold` it.
    Early,
    /// It was received before, or is outside the window: ignore it (RFC 7143 4.2.2.1).
    Ignored,
}

impl<T> CommandWindow<T> {
    /// A window that begins at `expected`.
    #[must_use]
    pub fn new(expected: CmdSn, depth: u32) -> Self {
        let depth = depth.max(1);
        let advertised = CmdSn(expected.0.wrapping_add(depth - 1));
        Self { expected, advertised, depth, outstanding: 0, early: BTreeMap::new() }
    }

    /// Decides on a non-immediate command by its number, and counts it if it is the next one.
    #[inline]
    pub fn arrive(&mut self, cmd_sn: CmdSn) -> Arrival {
        if cmd_sn == self.expected && !self.advertised.is_before(cmd_sn) {
            self.expected = cmd_sn.next();
            self.outstanding += 1;
            return Arrival::InOrder;
        }
        let inside = self.expected.is_before(cmd_sn) && !self.advertised.is_before(cmd_sn);
        if inside && !self.early.contains_key(&cmd_sn.0) { Arrival::Early } else { Arrival::Ignored }
    }

    /// Holds a command that arrived before its turn; the window bounds how many there are.
    pub fn hold(&mut self, cmd_sn: CmdSn, command: T) {
        self.early.insert(cmd_sn.0, command);
    }

    /// The held command with this number.
    pub fn held(&mut self, cmd_sn: CmdSn) -> Option<&mut T> {
        self.early.get_mut(&cmd_sn.0)
    }

    /// Takes out and counts the held command whose turn it is now.
    #[inline]
    pub fn next_early(&mut self) -> Option<T> {
        if self.early.is_empty() {
            return None;
        }
        let command = self.early.remove(&self.expected.0)?;
        self.expected = self.expected.next();
        self.outstanding += 1;
        Some(command)
    }

    /// Whether commands that arrived before their turn are held.
    #[must_use]
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Whether commands with smaller numbers than this are missing; false for a number outside the window.
    #[must_use]
    pub fn misses_before(&self, cmd_sn: CmdSn) -> bool {
        self.expected.is_before(cmd_sn) && !self.advertised.next().is_before(cmd_sn)
    }

    /// Counts all missing commands before this number as received (RFC 7143 4.2.3.3 b). Returns those that were held.
    pub fn plug(&mut self, cmd_sn: CmdSn) -> Vec<T> {
        let mut held = Vec::new();
        while self.misses_before(cmd_sn) {
            held.extend(self.early.remove(&self.expected.0));
            self.expected = self.expected.next();
        }
        held
    }

    /// Takes out the held commands that `gone` picks, because their connection has ended.
    pub fn drop_early(&mut self, gone: impl Fn(&T) -> bool) -> Vec<T> {
        let numbers: Vec<u32> =
            self.early.iter().filter(|(_, held)| gone(held)).map(|(number, _)| *number).collect();
        numbers.iter().filter_map(|number| self.early.remove(number)).collect()
    }

    /// A counted command has ended.
    #[inline]
    pub fn finished(&mut self) {
        debug_assert!(self.outstanding > 0, "a command finishes once");
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// ExpCmdSN.
    #[must_use]
    #[inline]
    pub fn expected(&self) -> CmdSn {
        self.expected
    }

    /// MaxCmdSN to announce now: as many commands as fit into the window, never less than was announced before.
    #[inline]
    pub fn advertise(&mut self) -> CmdSn {
        let free = self.depth.saturating_sub(self.outstanding);
        let open = CmdSn(self.expected.0.wrapping_add(free).wrapping_sub(1));
        if self.advertised.is_before(open) {
            self.advertised = open;
        }
        self.advertised
    }

    /// Counted commands that have not ended.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_run_in_order_across_the_wrap() {
        let mut window = CommandWindow::new(CmdSn(u32::MAX), 8);
        assert_eq!(window.arrive(CmdSn(0)), Arrival::Early);
        window.hold(CmdSn(0), "second");
        assert_eq!(window.arrive(CmdSn(0)), Arrival::Ignored, "a duplicate of one held");
        assert_eq!(window.next_early(), None);
        assert_eq!(window.arrive(CmdSn(u32::MAX)), Arrival::InOrder);
        assert_eq!(window.next_early(), Some("second"));
        assert_eq!((window.expected(), window.outstanding()), (CmdSn(1), 2));
        assert_eq!(window.arrive(CmdSn(0)), Arrival::Ignored, "a duplicate of one run");
    }

    #[test]
    fn gaps_are_plugged_up_to_a_number_of_the_window() {
        let mut window = CommandWindow::new(CmdSn(u32::MAX - 1), 8);
        window.hold(CmdSn(u32::MAX), "held in the gap");
        window.hold(CmdSn(2), "behind it");
        assert!(window.misses_before(CmdSn(1)) && !window.misses_before(CmdSn(u32::MAX - 1)));
        assert!(!window.misses_before(CmdSn(7)), "beyond the window");
        assert_eq!(window.plug(CmdSn(7)), [""; 0]);
        assert_eq!(window.plug(CmdSn(1)), ["held in the gap"]);
        assert_eq!((window.expected(), window.outstanding()), (CmdSn(1), 0));
        assert_eq!(window.arrive(CmdSn(1)), Arrival::InOrder);
        assert_eq!(window.next_early(), Some("behind it"));
    }

    #[test]
    fn the_window_is_enforced() {
        let mut window = CommandWindow::<()>::new(CmdSn(10), 2);
        assert_eq!(window.advertise(), CmdSn(11));
        assert_eq!(window.arrive(CmdSn(12)), Arrival::Ignored);
        assert_eq!(window.arrive(CmdSn(10)), Arrival::InOrder);
        assert_eq!(window.arrive(CmdSn(11)), Arrival::InOrder);
        assert_eq!(window.advertise(), CmdSn(11), "full, and it never decreases");
        assert_eq!(window.arrive(CmdSn(12)), Arrival::Ignored, "full");
        window.finished();
        assert_eq!(window.advertise(), CmdSn(12));
        assert_eq!(window.arrive(CmdSn(12)), Arrival::InOrder);
    }
}
