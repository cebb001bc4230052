//! The descriptors and threads of the control thread, and what the control plane does with them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::login_entry::LoginEntry;
use crate::control::admission::{Admission, AdmissionCounts};
use crate::control::dispatch::{Control, LoopGone, Outside};
use crate::control::jobs::{Job, JobDone};
use crate::control::messages::{Attach, LoginId, LoopId, ToControl, ToLoop};
use crate::control::pending::ClientId;
use crate::control::report::Reply;
use crate::iscsi::login::Answer;
use crate::limits::CONTROL_MESSAGES_MAX;
use crate::model::PortalId;
use crate::model::store::{StoreKind, StoreOpener};
use crate::runtime::mailbox::{Inbox, Mailbox, mailbox};
use crate::runtime::message::LoopMessage;
use crate::runtime::openers::Openers;
use crate::runtime::poller::{Interest, Key, Poller, Ready};
use crate::runtime::target_loop::{self, LoopHandle};
use crate::warnings::Warnings;

/// What a descriptor is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    Shutdown,
    Messages,
    Jobs,
    Admin,
    Client(ClientId),
    Portal(PortalId),
    Login(LoginId),
}

/// A listening socket.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) key: Key,
}

/// The control thread's sockets and threads.
pub(crate) struct World {
    pub(super) poller: Poller<Source>,
    pub(super) admin: Option<(UnixListener, Key)>,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) last_client: u64,
    pub(super) listeners: BTreeMap<PortalId, Listener>,
    pub(super) logins: BTreeMap<LoginId, LoginEntry>,
    /// Of the `logins`.
    pub(super) admission: Admission,
    /// Discovery sessions with a request that waits for its turn, each once.
    pub(super) requests: VecDeque<LoginId>,
    pub(super) last_login: u64,
    pub(super) answers: Vec<(LoginId, Answer)>,
    /// Closed when no descriptor is left, to accept a connection and close it.
    pub(super) spare: Option<File>,
    /// Until when no connection is accepted.
    pub(super) paused_until: Option<Instant>,
    pub(super) internal_reply: Option<Reply>,
    loops: BTreeMap<LoopId, LoopHandle>,
    messages: Inbox<ToControl>,
    to_control: Mailbox<ToControl>,
    jobs: Inbox<JobDone>,
    openers: Openers,
    /// Used by the stores themselves: see `OpenStore`. Its threads end with this.
    _closers: Openers,
    /// For redirect commands: stores that hang do not delay logins.
    redirectors: Openers,
    kinds: Vec<StoreKind>,
    shutdown: Option<UnixStream>,
    signals: usize,
    ending: bool,
    /// The first loop that ended unasked.
    failed_loop: Option<LoopId>,
    warnings: Warnings,
    /// Limits the messages on beginning and end of sessions.
    notices: Warnings,
}

/// The control thread's state.
pub(crate) struct ControlLoop {
    pub(crate) control: Control,
    pub(crate) world: World,
    pub(super) ready: Vec<Ready<Source>>,
}

/// The client of requests that the server makes itself, before it serves others.
const INTERNAL: ClientId = ClientId(0);

impl World {
    pub(super) fn new(opener: Arc<dyn StoreOpener>) -> io::Result<Self> {
        let mut poller = Poller::new()?;
        let (to_control, messages) = mailbox(CONTROL_MESSAGES_MAX)?;
        let (done, jobs) = mailbox(CONTROL_MESSAGES_MAX)?;
        poller.register(&messages, Source::Messages, Interest::Read)?;
        poller.register(&jobs, Source::Jobs, Interest::Read)?;
        let closers = Openers::new("tgt/closer", Arc::clone(&opener), done.clone(), None);
        Ok(Self {
            poller,
            admin: None,
            clients: BTreeMap::new(),
            last_client: INTERNAL.0,
            listeners: BTreeMap::new(),
            logins: BTreeMap::new(),
            admission: Admission::default(),
            requests: VecDeque::new(),
            last_login: 0,
            answers: Vec::new(),
            spare: open_spare(),
            paused_until: None,
            internal_reply: None,
            loops: BTreeMap::new(),
            messages,
            to_control,
            jobs,
            openers: Openers::new("tgt/opener", Arc::clone(&opener), done.clone(), Some(&closers)),
            redirectors: Openers::new("tgt/redirector", Arc::clone(&opener), done, None),
            _closers: closers,
            kinds: opener.kinds(),
            shutdown: None,
            signals: 0,
            ending: false,
            failed_loop: None,
            warnings: Warnings::default(),
            notices: Warnings::default(),
        })
    }

    pub(super) fn serve_admin(&mut self, listener: UnixListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let key = self.poller.register(&listener, Source::Admin, Interest::Read)?;
        self.admin = Some((listener, key));
        Ok(())
    }

    /// A byte on this stream ends the daemon gracefully, a second one at once.
    pub(crate) fn end_by(&mut self, shutdown: UnixStream) -> io::Result<()> {
        shutdown.set_nonblocking(true)?;
        self.poller.register(&shutdown, Source::Shutdown, Interest::Read)?;
        self.shutdown = Some(shutdown);
        Ok(())
    }

    pub(super) fn take_signal(&mut self) {
        let mut bytes = [0; 16];
        match self.shutdown.as_mut().map(|shutdown| shutdown.read(&mut bytes)) {
            // The other end is closed: no request to end can come any more. The daemon goes on.
            Some(Ok(0)) => self.forget_shutdown(),
            Some(Ok(count)) => self.signals += count,
            _ => {}
        }
    }

    fn forget_shutdown(&mut self) {
        // Closing removes it from the poller; pending events of it find no stream.
        self.shutdown = None;
    }

    pub(super) fn signalled(&self) -> bool {
        self.signals > 0
    }

    pub(super) fn signalled_again(&self) -> bool {
        self.signals > 1
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending || self.failed_loop.is_some()
    }

    pub(super) fn failed_loop(&self) -> Option<LoopId> {
        self.failed_loop
    }

    pub(super) fn internal_client(&mut self) -> ClientId {
        self.internal_reply = None;
        INTERNAL
    }

    /// Logs a warning that a peer causes, at a limited rate.
    pub(super) fn warn(&mut self, now: Instant, text: std::fmt::Arguments<'_>) {
        self.warnings.warn(now, text);
    }

    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready<Source>>,
    ) -> io::Result<()> {
        self.poller.wait(timeout, ready)
    }

    pub(super) fn take_messages(&mut self) -> Vec<ToControl> {
        let mut messages = Vec::new();
        self.messages.drain(&mut messages);
        messages
    }

    pub(super) fn take_jobs(&mut self) -> Vec<JobDone> {
        let mut done = Vec::new();
        self.jobs.drain(&mut done);
        done
    }

    /// Logs how many lines of the log were left out, where that is due.
    pub(super) fn log_left_out(&mut self, now: Instant) {
        self.warnings.tick(now);
        self.notices.tick(now);
    }

    /// Returns the earliest deadline of a client, a login, the pause or the log.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let clients = self.clients.values().map(|client| client.deadline);
        let logins = self.logins.values().filter_map(LoginEntry::deadline);
        let lines = self.warnings.due().into_iter().chain(self.notices.due());
        clients.chain(logins).chain(self.paused_until).chain(lines).min()
    }

    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Mailbox<LoopMessage>> {
        self.loops.values().map(|entry| &entry.mailbox)
    }

    /// Closes all listeners and all connections that have not logged in.
    pub(super) fn stop_listening(&mut self) {
        if let Some((listener, key)) = self.admin.take() {
            self.poller.deregister(key, &listener);
        }
        for id in self.listeners.keys().copied().collect::<Vec<_>>() {
            self.close_portal(id);
        }
        self.close_logins();
    }

    /// Whether all loops have ended and all replies are sent.
    pub(super) fn is_done(&self) -> bool {
        self.loops.is_empty() && self.clients.values().all(|client| !client.has_reply())
    }

    pub(super) fn join_loops(&mut self) {
        for (id, entry) in std::mem::take(&mut self.loops) {
            if entry.thread.is_finished() {
                let _ = entry.thread.join();
            } else {
                log::warn!("loop {} has not ended in time", id.0);
            }
        }
    }
}

impl Outside for World {
    fn reply(&mut self, client: ClientId, reply: Reply) {
        if client == INTERNAL {
            self.internal_reply = Some(reply);
        } else {
            self.send_reply(client, &reply);
        }
    }

    fn spawn_loop(&mut self, id: LoopId, thread_name: String) -> io::Result<()> {
        let spawned = target_loop::spawn(id, &thread_name, self.to_control.clone())?;
        self.loops.insert(id, spawned);
        Ok(())
    }

    fn send(&mut self, to: LoopId, message: ToLoop) -> Result<(), LoopGone> {
        let mailbox = &self.loops.get(&to).ok_or(LoopGone)?.mailbox;
        let message = match message {
            ToLoop::Siblings(tid, siblings) => {
                let mailbox = |id| Some((id, self.loops.get(&id)?.mailbox.clone()));
                LoopMessage::Siblings(tid, siblings.into_iter().filter_map(mailbox).collect())
            }
            message => message.into(),
        };
        mailbox.send_reserved(message).map_err(|_| LoopGone)
    }

    fn attach(&mut self, to: LoopId, login: LoginId, attach: Box<Attach>) -> Result<(), Box<Attach>> {
        match self.loops.get(&to).map(|entry| entry.mailbox.clone()) {
            Some(mailbox) => self.send_socket(&mailbox, login, attach),
            None => Err(attach),
        }
    }

    fn loop_ended(&mut self, id: LoopId) {
        // The thread ends by itself; it is not waited for.
        self.loops.remove(&id);
    }

    fn loop_failed(&mut self, id: LoopId) {
        log::error!("loop {} has failed: the daemon ends", id.0);
        self.failed_loop.get_or_insert(id);
    }

    fn job(&mut self, job: Job) -> Result<(), Job> {
        match job {
            Job::Redirect(..) => self.redirectors.push(job),
            _ => self.openers.push(job),
        }
    }

    fn listen(&mut self, id: PortalId, address: SocketAddr) -> io::Result<SocketAddr> {
        self.open_portal(id, address)
    }

    fn close_portal(&mut self, id: PortalId) {
        if let Some(Listener { socket, key }) = self.listeners.remove(&id) {
            self.poller.deregister(key, &socket);
        }
    }

    fn close_logins(&mut self) {
        for id in self.logins.keys().copied().collect::<Vec<_>>() {
            self.close_login(id);
        }
    }

    fn answer_login(&mut self, login: LoginId, answer: Answer) {
        self.answers.push((login, answer));
    }

    fn admission_counts(&self) -> AdmissionCounts {
        self.admission.counts()
    }

    fn is_login_waiting(&self, login: LoginId) -> bool {
        self.logins.get(&login).is_some_and(|entry| entry.closing.is_none())
    }

    fn store_kinds(&self) -> Vec<StoreKind> {
        self.kinds.clone()
    }

    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.notices.log(Instant::now(), log::Level::Info, text);
    }

    fn set_debug(&mut self, on: bool) {
        log::set_max_level(if on { log::LevelFilter::Debug } else { log::LevelFilter::Info });
    }

    fn end(&mut self) {
        self.ending = true;
    }
}

/// Opens a descriptor that is closed when no other is left.
pub(super) fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}
