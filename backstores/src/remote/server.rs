//! A server as all loops share it: its address and settings, opening it, and requests that block.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use scsi_core::store::{BlockOp, IoError, IoTag};

use super::address::{Address, Endpoint, connect_result};
use super::link::{Context, Link, Resized, SCRATCH_LEN};
use super::operations::{LinkId, Operations};
use super::protocol::{Broken, Protocol};
use super::stream::Stream;
#[cfg(feature = "nbd-tls")]
use super::tls::TlsSettings;
use crate::workers::{Job, Unit, Workers};

/// Address and settings of a store on a server.
pub(crate) struct Settings {
    /// Name of the store in messages.
    pub(crate) name: String,
    pub(crate) address: Address,
    /// Connections of each loop; more than 0.
    pub(crate) connections: usize,
    /// Time after which an operation that the server does not answer fails; `None`: it waits. An operation fails up to an
    /// eighth later.
    pub(crate) timeout: Option<Duration>,
    /// Time for connecting and the handshake.
    pub(crate) open_timeout: Duration,
    /// A lost connection to a server with a volatile cache loses no acknowledged writes.
    pub(crate) trusts_server: bool,
    /// Period of queries of the size, on another connection.
    pub(crate) size_poll: Option<Duration>,
    #[cfg(feature = "nbd-tls")]
    pub(crate) tls: Option<Arc<TlsSettings>>,
}

/// A store on a server, shared by its handles on all loops. It is dropped where blocking is permitted, or by a worker.
pub(crate) struct Server<P: Protocol> {
    pub(super) settings: Settings,
    make: Box<dyn Fn() -> P + Send + Sync>,
    /// The addresses of the last look-up.
    endpoints: Mutex<Vec<Endpoint>>,
    /// Connections that no loop uses. The first one is that of the opening, because some servers accept one client only.
    parked: Mutex<Vec<Link<P>>>,
    /// How often a query found another size.
    pub(super) resizes: AtomicU32,
    /// A query of the size or a look-up is queued or runs.
    busy: AtomicBool,
    jobs: Unit,
}

impl<P: Protocol> Server<P> {
    /// Connects, and waits until the protocol is ready; `make` makes the protocol of each connection. Blocks up to
    /// `open_timeout`.
    ///
    /// # Errors
    /// A text for the operator, without the name of the store.
    pub(crate) fn open(
        settings: Settings,
        make: Box<dyn Fn() -> P + Send + Sync>,
    ) -> Result<Arc<Self>, String> {
        let deadline = Instant::now() + settings.open_timeout;
        let endpoints = resolve(&settings.address, deadline)?;
        let server = Self {
            settings,
            make,
            endpoints: Mutex::new(endpoints),
            parked: Mutex::default(),
            resizes: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            jobs: Workers::shared().serial(),
        };
        let link = server.connect(deadline)?;
        server.parked.lock().push(link);
        Ok(Arc::new(server))
    }

    /// Sends an operation without data and waits for its answer. Blocks up to `open_timeout`.
    ///
    /// # Errors
    /// [`IoError::UNREACHABLE`], or the error of the operation.
    pub(crate) fn run(&self, op: BlockOp) -> Result<(), IoError> {
        let deadline = Instant::now() + self.settings.open_timeout;
        let parked = self.parked.lock().pop();
        let mut link = match parked {
            Some(link) => link,
            None => self.connect(deadline).map_err(|why| self.unreachable(&why))?,
        };
        let mut operations = Operations::default();
        let cookie = operations.insert(0, IoTag(0), op, 0, |kind| link.protocol.len_max(kind));
        link.push(cookie, &mut operations);
        let mut done = Vec::new();
        let mut context = Context { operations: &mut operations, done: &mut done };
        drive(&mut link, &mut context, deadline, |_, context| !context.done.is_empty())
            .map_err(|why| self.unreachable(&why))?;
        self.park(link);
        done.pop().map_or(Err(IoError::UNREACHABLE), |completion| completion.result.map(drop))
    }

    /// Connects once more, so that the protocol learns the present size. Blocks up to `open_timeout`.
    ///
    /// # Errors
    /// [`IoError::UNREACHABLE`].
    pub(crate) fn check(&self) -> Result<(), IoError> {
        let deadline = Instant::now() + self.settings.open_timeout;
        let mut link = self.connect(deadline).map_err(|why| self.unreachable(&why))?;
        if link.became_ready == Some(Resized(true)) {
            self.resizes.fetch_add(1, Ordering::Relaxed);
        }
        end(&mut link);
        Ok(())
    }

    fn unreachable(&self, why: &str) -> IoError {
        log::warn!("{}: {why}", self.settings.name);
        IoError::UNREACHABLE
    }

    /// A new connection whose protocol is ready.
    fn connect(&self, deadline: Instant) -> Result<Link<P>, String> {
        let address = &self.settings.address;
        let mut failure = String::new();
        let endpoints = self.endpoints.lock().clone();
        for endpoint in endpoints {
            match self.connect_to(&endpoint, deadline) {
                Ok(link) => return Ok(link),
                Err(why) => failure = format!("{address}: {why}"),
            }
        }
        Err(failure)
    }

    fn connect_to(&self, endpoint: &Endpoint, deadline: Instant) -> Result<Link<P>, String> {
        let fd = loop {
            match endpoint.connect() {
                // The queue of a unix socket is full.
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                connected => break connected.map_err(|errno| format!("cannot connect: {errno}"))?,
            }
        };
        wait(&fd, PollFlags::OUT, deadline)?;
        connect_result(&fd).map_err(|errno| format!("cannot connect: {errno}"))?;
        let mut link = self.link(LinkId(0), fd);
        let mut context = Context { operations: &mut Operations::default(), done: &mut Vec::new() };
        drive(&mut link, &mut context, deadline, |link, _| link.ready)?;
        Ok(link)
    }

    /// A connection over a connected socket.
    pub(super) fn link(&self, id: LinkId, fd: std::os::fd::OwnedFd) -> Link<P> {
        let link = Link::new(id, Stream::new(fd), (self.make)());
        #[cfg(feature = "nbd-tls")]
        let link = link.with_tls(self.settings.tls.clone());
        link
    }

    /// The address for the attempt of this number.
    pub(super) fn endpoint(&self, attempt: u32) -> Option<Endpoint> {
        let endpoints = self.endpoints.lock();
        endpoints.get(attempt as usize % endpoints.len().max(1)).cloned()
    }

    /// Keeps a connection that is ready and idle.
    pub(super) fn park(&self, link: Link<P>) {
        self.parked.lock().push(link);
    }

    /// A connection that was kept.
    pub(super) fn unpark(&self) -> Option<Link<P>> {
        self.parked.lock().pop()
    }

    /// Looks up the name on a worker, unless it is an address.
    pub(super) fn resolve_again(self: &Arc<Self>) {
        if self.settings.address.is_name() {
            self.on_worker(|server| {
                if let Ok(endpoints) = server.settings.address.resolve() {
                    *server.endpoints.lock() = endpoints;
                }
            });
        }
    }

    /// Queries the size on a worker; see `resizes`.
    pub(super) fn poll_size(self: &Arc<Self>) {
        self.on_worker(|server| _ = server.check());
    }

    /// Runs a job on a worker, unless one is queued or runs.
    fn on_worker(self: &Arc<Self>, run: fn(&Self)) {
        if !self.busy.swap(true, Ordering::AcqRel) {
            self.jobs.push(Box::new(ServerJob { server: Arc::clone(self), run }));
        }
    }
}

/// Ends the connections that no loop uses.
impl<P: Protocol> Drop for Server<P> {
    fn drop(&mut self) {
        for link in self.parked.get_mut() {
            end(link);
        }
    }
}

struct ServerJob<P: Protocol> {
    server: Arc<Server<P>>,
    run: fn(&Server<P>),
}

impl<P: Protocol> Job for ServerJob<P> {
    fn run(self: Box<Self>) {
        (self.run)(&self.server);
    }

    fn cancelled(self: Box<Self>) {}
}

/// After the job, and also if it was abandoned.
impl<P: Protocol> Drop for ServerJob<P> {
    fn drop(&mut self) {
        self.server.busy.store(false, Ordering::Release);
    }
}

/// Sends the last message of a connection, if the socket takes it.
fn end<P: Protocol>(link: &mut Link<P>) {
    link.with_own(|protocol, out| protocol.end(out));
    let mut context = Context { operations: &mut Operations::default(), done: &mut Vec::new() };
    let _ = link.send(&mut context);
}

/// Sends and receives until `finished`.
fn drive<P: Protocol>(
    link: &mut Link<P>,
    context: &mut Context<'_, P::Progress>,
    deadline: Instant,
    finished: impl Fn(&Link<P>, &Context<'_, P::Progress>) -> bool,
) -> Result<(), String> {
    let mut scratch = vec![0; SCRATCH_LEN];
    let text = |why: Broken| match why {
        Broken::Ended => "the server closes the connection".to_owned(),
        why => why.to_string(),
    };
    loop {
        let sent = link.send(context).map_err(text)?;
        if finished(link, context) {
            return Ok(());
        }
        let flags = if sent { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        wait(link.stream.socket(), flags, deadline)?;
        link.receive(&mut scratch, context).map_err(text)?;
    }
}

/// Waits until a socket is ready.
fn wait(fd: &impl AsFd, flags: PollFlags, deadline: Instant) -> Result<(), String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(fd, flags)], Some(&timeout)) {
            Ok(0) => return Err("the server does not answer in time (open-timeout)".to_owned()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.to_string()),
        }
    }
}

/// Looks up a name, on a thread that is left to the resolver when the time is over.
fn resolve(address: &Address, deadline: Instant) -> Result<Vec<Endpoint>, String> {
    let text = |error: std::io::Error| format!("{address}: {error}");
    if !address.is_name() {
        return address.resolve().map_err(text);
    }
    let (send, found) = mpsc::channel();
    let name = address.clone();
    std::thread::Builder::new()
        .name("tgt/opener".to_owned())
        .spawn(move || _ = send.send(name.resolve()))
        .map_err(text)?;
    match found.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(found) => found.map_err(text),
        Err(_) => Err(format!("{address}: the name is not resolved in time (open-timeout)")),
    }
}
