//! The directory of sessions, with the loop of each. The control plane maintains it from its own decisions and the loops'
//! messages, so that no login or report waits for a loop.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use iscsi_proto::ids::{Cid, Isid, Tsih};
use iscsi_proto::params::{ConnectionParams, SessionParams};
use scsi_core::device::NexusId;

use super::connections::{ConnectionBounds, ConnectionCounts, Full};
use super::tid::Tid;
use crate::limits::{REINSTATEMENTS_MAX, SESSIONS_MAX};
use crate::stats::{ConnectionStats, SessionStats};

/// All sessions of the daemon.
#[derive(Debug, Default)]
pub struct SessionDirectory {
    sessions: BTreeMap<u16, Session>,
    by_key: HashMap<SessionKey, Tsih>,
    counts: ConnectionCounts,
    last_tsih: u16,
    last_nexus: u64,
}

/// The identity of a session (RFC 7143 4.4.3): the ports at its ends.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SessionKey {
    /// InitiatorName, normalised.
    pub initiator_name: String,
    /// The ISID.
    pub isid: Isid,
    /// The target.
    pub tid: Tid,
    /// The target portal group.
    pub portal_group: u16,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its handle, unique in the daemon.
    pub tsih: Tsih,
    /// Its nexus, never used before.
    pub nexus: NexusId,
    /// Its identity.
    pub key: SessionKey,
    /// The index of its loop among those of its target.
    pub loop_index: usize,
    /// InitiatorAlias, as sent.
    pub alias: Option<String>,
    /// The account with which its first connection authenticated, or, once that is not bound to the target any more, the
    /// latest one to join.
    pub user: Option<String>,
    /// Whether its loop has not confirmed it yet.
    pub pending: bool,
    /// Its connections, the first one first.
    pub connections: Vec<Connection>,
    /// Connections that its loop has not confirmed yet.
    pub joining: Vec<Connection>,
    /// The negotiated parameters.
    pub params: SessionParams,
    /// Its counters for each unit, written by its loop.
    pub stats: Arc<SessionStats>,
}

/// A connection of a session.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its CID.
    pub cid: Cid,
    /// The initiator's address.
    pub peer: IpAddr,
    /// The negotiated parameters.
    pub params: ConnectionParams,
    /// Its counters, written by its loop.
    pub stats: Arc<ConnectionStats>,
}

impl SessionDirectory {
    /// Returns whether one more connection is permitted, not counting those that it replaces.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn check(&self, bounds: &ConnectionBounds, key: &SessionKey, peer: IpAddr) -> Result<(), Full> {
        bounds.check(&self.counts, key.tid, peer, &key.initiator_name)
    }

    /// Enters a session that its loop is going to open. A previous session of the same key keeps its entry until its end
    /// is reported, but is found by its handle only. `None`: all handles are in use.
    pub fn open(
        &mut self,
        key: SessionKey,
        loop_index: usize,
        alias: Option<String>,
        params: SessionParams,
        first: Connection,
    ) -> Option<&mut Session> {
        // A session that is replaced has its handle for a little longer.
        let replacing = if self.by_key.contains_key(&key) { REINSTATEMENTS_MAX } else { 0 };
        if self.sessions.len() >= SESSIONS_MAX + replacing {
            return None;
        }
        self.counts.add(key.tid, first.peer, &key.initiator_name);
        let tsih = self.free_handle();
        self.last_tsih = tsih;
        self.last_nexus += 1;
        self.by_key.insert(key.clone(), Tsih(tsih));
        let session = Session {
            tsih: Tsih(tsih),
            nexus: NexusId(self.last_nexus),
            key,
            loop_index,
            alias,
            user: None,
            pending: true,
            connections: vec![first],
            joining: Vec::new(),
            params,
            stats: Arc::default(),
        };
        Some(self.sessions.entry(tsih).or_insert(session))
    }

    /// Finds the session that a login with this key would reinstate or join.
    #[must_use]
    pub fn find(&self, key: &SessionKey) -> Option<&Session> {
        self.by_key.get(key).and_then(|tsih| self.get(*tsih))
    }

    /// Finds a session by its handle.
    #[must_use]
    pub fn get(&self, tsih: Tsih) -> Option<&Session> {
        self.sessions.get(&tsih.0)
    }

    /// Finds a session by its handle, if its nexus is this one: a message about a previous session of the handle does not
    /// concern it.
    pub fn get_mut(&mut self, tsih: Tsih, nexus: Option<NexusId>) -> Option<&mut Session> {
        self.sessions.get_mut(&tsih.0).filter(|session| nexus.is_none_or(|nexus| session.nexus == nexus))
    }

    /// Removes a session that has ended; its handle is free.
    pub fn end(&mut self, tsih: Tsih, nexus: NexusId) -> Option<Session> {
        if self.get(tsih)?.nexus != nexus {
            return None;
        }
        let session = self.sessions.remove(&tsih.0)?;
        if self.by_key.get(&session.key) == Some(&tsih) {
            self.by_key.remove(&session.key);
        }
        for connection in session.connections.iter().chain(&session.joining) {
            self.counts.remove(session.key.tid, connection.peer, &session.key.initiator_name);
        }
        Some(session)
    }

    /// Enters a connection that is going to join a session.
    pub fn join(&mut self, tsih: Tsih, connection: Connection) {
        if let Some(session) = self.sessions.get_mut(&tsih.0) {
            self.counts.add(session.key.tid, connection.peer, &session.key.initiator_name);
            session.joining.push(connection);
        }
    }

    /// Records that the loop has confirmed a connection; it replaces one of the same CID.
    pub fn joined(&mut self, tsih: Tsih, cid: Cid) {
        let Some(session) = self.sessions.get_mut(&tsih.0) else { return };
        let Some(index) = session.joining.iter().position(|connection| connection.cid == cid) else { return };
        let connection = session.joining.remove(index);
        self.connection_ended(tsih, cid);
        if let Some(session) = self.sessions.get_mut(&tsih.0) {
            session.connections.push(connection);
        }
    }

    /// Removes a connection that did not join after all.
    pub fn join_failed(&mut self, tsih: Tsih, cid: Cid) {
        let Some(session) = self.sessions.get_mut(&tsih.0) else { return };
        if let Some(index) = session.joining.iter().position(|connection| connection.cid == cid) {
            let connection = session.joining.remove(index);
            self.counts.remove(session.key.tid, connection.peer, &session.key.initiator_name);
        }
    }

    /// Removes a connection that has ended.
    pub fn connection_ended(&mut self, tsih: Tsih, cid: Cid) {
        let Some(session) = self.sessions.get_mut(&tsih.0) else { return };
        for ended in session.connections.extract_if(.., |connection| connection.cid == cid) {
            self.counts.remove(session.key.tid, ended.peer, &session.key.initiator_name);
        }
    }

    /// Returns all sessions, by handle.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Session> {
        self.sessions.values()
    }

    /// Returns the sessions of a target, by handle.
    pub fn of_target(&self, tid: Tid) -> impl DoubleEndedIterator<Item = &Session> {
        self.sessions.values().filter(move |session| session.key.tid == tid)
    }

    /// Lets sessions be found by their keys again whose successors came to nothing.
    pub fn find_again(&mut self) {
        for (tsih, session) in &self.sessions {
            if !self.by_key.contains_key(&session.key) {
                self.by_key.insert(session.key.clone(), Tsih(*tsih));
            }
        }
    }

    /// Returns the number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Returns whether there are no sessions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Returns the number of connections of all sessions, including those that are joining.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counts.all()
    }

    /// The next handle, counting up; 0 stands for a new session and the highest for discovery.
    fn free_handle(&self) -> u16 {
        let mut tsih = self.last_tsih;
        loop {
            tsih = if tsih >= u16::MAX - 1 { 1 } else { tsih + 1 };
            if !self.sessions.contains_key(&tsih) {
                return tsih;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(initiator: &str, tid: u32) -> SessionKey {
        SessionKey {
            initiator_name: initiator.to_owned(),
            isid: Isid([1; 6]),
            tid: Tid::new(tid).unwrap(),
            portal_group: 1,
        }
    }

    fn connection(cid: u16, peer: &str) -> Connection {
        Connection {
            cid: Cid(cid),
            peer: peer.parse().unwrap(),
            params: ConnectionParams::default(),
            stats: Arc::default(),
        }
    }

    fn open(directory: &mut SessionDirectory, key: SessionKey, loop_index: usize) -> (Tsih, NexusId) {
        let session = directory
            .open(key, loop_index, None, SessionParams::default(), connection(0, "127.0.0.1"))
            .unwrap();
        (session.tsih, session.nexus)
    }

    #[test]
    fn handles_count_up_and_are_reused() {
        let mut directory = SessionDirectory::default();
        let (first, nexus) = open(&mut directory, key("a", 1), 0);
        assert_eq!((first, nexus), (Tsih(1), NexusId(1)));
        directory.end(first, nexus).unwrap();
        assert_eq!(open(&mut directory, key("a", 1), 0), (Tsih(2), NexusId(2)));
        directory.last_tsih = u16::MAX - 1;
        assert_eq!(open(&mut directory, key("b", 1), 0), (Tsih(1), NexusId(3)));
        assert_eq!(open(&mut directory, key("c", 1), 0), (Tsih(3), NexusId(4)), "2 is in use");
    }

    #[test]
    fn reinstated_session_is_found_by_its_handle_until_it_ends() {
        let mut directory = SessionDirectory::default();
        let (old, old_nexus) = open(&mut directory, key("a", 1), 0);
        let (new, new_nexus) = open(&mut directory, key("a", 1), 0);
        assert_eq!(directory.find(&key("a", 1)).unwrap().tsih, new);
        assert!(directory.get(old).is_some());
        directory.end(old, old_nexus).unwrap();
        assert_eq!(directory.find(&key("a", 1)).unwrap().tsih, new, "the old one's end is not the new one's");
        assert!(directory.end(new, old_nexus).is_none(), "nor by a stale message");
        directory.end(new, new_nexus).unwrap();
        assert!(directory.find(&key("a", 1)).is_none() && directory.is_empty());
    }

    #[test]
    fn failed_reinstatement_returns_the_key() {
        let mut directory = SessionDirectory::default();
        let (old, _) = open(&mut directory, key("a", 1), 0);
        let (new, new_nexus) = open(&mut directory, key("a", 1), 0);
        directory.end(new, new_nexus).unwrap();
        assert!(directory.find(&key("a", 1)).is_none());
        directory.find_again();
        assert_eq!(directory.find(&key("a", 1)).unwrap().tsih, old);
    }

    #[test]
    fn connection_is_entered_once_confirmed() {
        let mut directory = SessionDirectory::default();
        let (tsih, nexus) = open(&mut directory, key("a", 1), 0);
        let peers = |directory: &SessionDirectory| {
            let session = directory.get(tsih).unwrap();
            session.connections.iter().map(|known| (known.cid.0, known.peer.to_string())).collect::<Vec<_>>()
        };
        let entry = |cid, peer: &str| (cid, peer.to_owned());
        directory.join(tsih, connection(1, "127.0.0.2"));
        assert_eq!(peers(&directory), [entry(0, "127.0.0.1")]);
        directory.joined(tsih, Cid(1));
        directory.joined(tsih, Cid(2));
        assert_eq!(peers(&directory), [entry(0, "127.0.0.1"), entry(1, "127.0.0.2")]);
        directory.join(tsih, connection(0, "127.0.0.3"));
        assert_eq!(directory.connections(), 3);
        directory.joined(tsih, Cid(0));
        assert_eq!(peers(&directory), [entry(1, "127.0.0.2"), entry(0, "127.0.0.3")]);
        directory.join(tsih, connection(4, "127.0.0.4"));
        directory.join_failed(tsih, Cid(4));
        directory.connection_ended(tsih, Cid(1));
        assert_eq!((peers(&directory), directory.connections()), (vec![entry(0, "127.0.0.3")], 1));
        directory.end(tsih, nexus).unwrap();
        assert_eq!(directory.connections(), 0);
    }

    #[test]
    fn session_is_reinstated_when_all_handles_are_in_use() {
        let mut directory = SessionDirectory::default();
        for number in 0..SESSIONS_MAX {
            open(&mut directory, key(&number.to_string(), 1), 0);
        }
        let mut open = |name: &str| {
            let first = connection(0, "127.0.0.1");
            directory.open(key(name, 1), 0, None, SessionParams::default(), first).is_some()
        };
        assert!(!open("new") && open("0") && open("1"));
    }

    #[test]
    fn keys_differ_by_each_part() {
        let mut directory = SessionDirectory::default();
        open(&mut directory, key("a", 1), 0);
        assert!(directory.find(&key("b", 1)).is_none());
        assert!(directory.find(&key("a", 2)).is_none());
        assert!(directory.find(&SessionKey { isid: Isid([2; 6]), ..key("a", 1) }).is_none());
        assert!(directory.find(&SessionKey { portal_group: 2, ..key("a", 1) }).is_none());
    }
}
