//! Threads for jobs that may block: opening and closing stores, resolving names, running redirect commands. Each result
//! carries the ticket of its job; a job that hangs blocks one thread and delays no other job.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use scsi_core::store::{Backstore, panic_message};

use super::guarded::Guarded;
use super::mailbox::Mailbox;
use super::open_store::{Closer, OpenStore};
use crate::control::jobs::{Job, JobDone, RedirectCommand};
use crate::limits::{OPENER_JOBS_MAX, OPENER_THREADS, REDIRECT_ANSWER_LEN_MAX, REDIRECT_TIME};
use crate::model::portal::PortalSpec;
use crate::model::store::{StoreId, StoreOpener, StoreSpec};

/// What a thread does.
enum Task {
    Job(Job),
    /// Flush and drop a store whose last handle was dropped: it may take long.
    Close(StoreId, Arc<dyn Backstore>),
}

/// The threads; they end when this is dropped and their jobs are done.
pub struct Openers {
    shared: Arc<Shared>,
}

struct Shared {
    /// Locked to push or pop, never during a job.
    queue: Mutex<Queue>,
    more: Condvar,
    opener: Arc<dyn StoreOpener>,
    done: Mailbox<JobDone>,
    /// The name of its threads, at most 15 bytes: the kernel keeps no more.
    name: &'static str,
    /// The threads that close what is opened here; `None`: these.
    closers: Option<Arc<Self>>,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Openers {
    /// Makes a pool without threads: they are started with this name as jobs come. Results are sent to `done`. Stores that are opened
    /// here are closed by `closers`, so that opens that hang do not delay a close; `None`: by the same threads.
    pub fn new(
        name: &'static str,
        opener: Arc<dyn StoreOpener>,
        done: Mailbox<JobDone>,
        closers: Option<&Self>,
    ) -> Self {
        let (queue, more) = (Mutex::new(Queue::default()), Condvar::new());
        let closers = closers.map(|closers| Arc::clone(&closers.shared));
        Self { shared: Arc::new(Shared { queue, more, opener, done, name, closers }) }
    }

    /// Queues a job.
    ///
    /// # Errors
    /// Too many jobs wait, or no thread can be started for the first one; the job is returned.
    pub fn push(&self, job: Job) -> Result<(), Job> {
        if self.shared.queue.lock().tasks.len() >= OPENER_JOBS_MAX {
            return Err(job);
        }
        if self.shared.add(Task::Job(job)) {
            return Ok(());
        }
        // Only this thread adds jobs: the last one is this one. Stores to close may have come after it.
        let tasks = &mut self.shared.queue.lock().tasks;
        let last = tasks.iter().rposition(|task| matches!(task, Task::Job(_)));
        match last.and_then(|last| tasks.remove(last)) {
            Some(Task::Job(job)) => Err(job),
            _ => Ok(()),
        }
    }
}

impl Drop for Openers {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.more.notify_all();
    }
}

impl Closer for Shared {
    /// Without a thread the store waits for one; the number of these tasks is bounded by that of the open stores.
    fn close(self: Arc<Self>, id: StoreId, store: Arc<dyn Backstore>) {
        self.add(Task::Close(id, store));
    }
}

impl Shared {
    /// Queues a task. `false`: there is no thread for it.
    fn add(self: &Arc<Self>, task: Task) -> bool {
        let needs_thread = {
            let mut queue = self.queue.lock();
            queue.tasks.push_back(task);
            let needs_thread = queue.idle < queue.tasks.len() && queue.threads < OPENER_THREADS;
            queue.threads += usize::from(needs_thread);
            needs_thread
        };
        self.more.notify_one();
        if !needs_thread {
            return true;
        }
        let shared = Arc::clone(self);
        let started = std::thread::Builder::new().name(self.name.to_owned()).spawn(move || shared.run());
        let Err(error) = started else { return true };
        log::error!("no thread to open or close stores: {error}");
        let mut queue = self.queue.lock();
        queue.threads -= 1;
        queue.threads > 0
    }

    fn run(self: &Arc<Self>) {
        while let Some(task) = self.next() {
            // A closed mailbox: the daemon ends.
            let _ = self.done.send_reserved(self.work(task));
        }
    }

    fn next(&self) -> Option<Task> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            self.more.wait(&mut queue);
            queue.idle -= 1;
        }
    }

    fn work(self: &Arc<Self>, task: Task) -> JobDone {
        match task {
            Task::Job(job) => self.do_job(job),
            Task::Close(id, store) => {
                // Panics in it are caught by `Guarded`.
                if let Err(error) = store.flush() {
                    log::error!("{}: the flush before it is closed failed: {error}", store.name());
                }
                drop(store);
                JobDone::Closed(id)
            }
        }
    }

    fn do_job(self: &Arc<Self>, job: Job) -> JobDone {
        match job {
            Job::Open(ticket, spec) => JobDone::Opened(ticket, self.open(StoreId(ticket.0), &spec)),
            Job::Refresh(ticket, unit) => JobDone::Refreshed(ticket, unit.refresh_capacity().map(drop)),
            Job::Flush(ticket, store) => JobDone::Flushed(ticket, store.flush()),
            Job::Resolve(ticket, spec) => JobDone::Resolved(ticket, resolve(&spec).unwrap_or_default()),
            Job::Redirect(ticket, command) => {
                JobDone::Redirected(ticket, run_redirect(&command, REDIRECT_TIME))
            }
        }
    }

    /// Opens a store. A panic of its opener is an error.
    fn open(self: &Arc<Self>, id: StoreId, spec: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.opener.open(spec)));
        let opened = opened.unwrap_or_else(|payload| {
            Err(format!("{}: the store's opener panicked: {}", spec.path, panic_message(payload)))
        });
        let store = Guarded::new(opened?, spec)?;
        let closer = Arc::clone(self.closers.as_ref().unwrap_or(self));
        Ok(OpenStore::new(id, store, closer))
    }
}

impl std::fmt::Debug for Openers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Openers")
    }
}

/// Resolves the host of a portal.
///
/// # Errors
/// The name is unknown.
pub(super) fn resolve(spec: &PortalSpec) -> std::io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = (spec.host.as_str(), spec.port).to_socket_addrs()?.collect();
    addresses.dedup();
    Ok(addresses)
}

/// Runs `<command> <target name> <initiator address>` and returns what it prints within the time.
fn run_redirect(redirect: &RedirectCommand, time: Duration) -> Result<String, String> {
    let mut words = redirect.command.split_ascii_whitespace();
    let name = words.next().ok_or("there is no redirect command")?;
    let failed = |error: std::io::Error| format!("redirect command {name:?}: {error}");
    let mut child = Command::new(name)
        .args(words)
        .arg(&redirect.target_name)
        .arg(redirect.initiator.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let stdout = child.stdout.take();
    match wait_until(&mut child, Instant::now() + time) {
        Some(status) if status.success() => {}
        Some(status) => return Err(format!("redirect command {name:?} failed: {status}")),
        None => {
            // It may have ended just now.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("redirect command {name:?} took more than {} ms", time.as_millis()));
        }
    }
    let mut answer = String::new();
    if let Some(stdout) = stdout {
        // A child of the command may hold the pipe open: read without waiting for its end.
        rustix::io::ioctl_fionbio(&stdout, true).map_err(|error| failed(error.into()))?;
        let _ = stdout.take(REDIRECT_ANSWER_LEN_MAX).read_to_string(&mut answer);
    }
    Ok(answer.trim().to_owned())
}

/// Waits for the child to end; `None`: it has not.
fn wait_until(child: &mut std::process::Child, deadline: Instant) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::mailbox::{Inbox, mailbox};
    use super::*;
    use crate::control::messages::Ticket;
    use crate::model::store::{OpenFlags, StoreKind};

    /// Refuses every path; `hang` waits for the test, `panic` panics.
    struct Refuser(Mutex<mpsc::Receiver<()>>);

    impl StoreOpener for Refuser {
        fn kinds(&self) -> Vec<StoreKind> {
            Vec::new()
        }

        fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
            match spec.path.as_str() {
                "hang" => drop(self.0.lock().recv()),
                "panic" => panic!("on purpose"),
                _ => {}
            }
            Err(spec.path.clone())
        }
    }

    fn spec(path: &str) -> StoreSpec {
        StoreSpec {
            kind: "x".to_owned(),
            path: path.to_owned(),
            options: String::new(),
            flags: OpenFlags::default(),
            block_len: 512,
            read_only: false,
        }
    }

    fn next(inbox: &mut Inbox<JobDone>) -> JobDone {
        let mut done = Vec::new();
        while done.is_empty() {
            let mut fds = [rustix::event::PollFd::new(&*inbox, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).unwrap();
            inbox.drain(&mut done);
        }
        assert_eq!(done.len(), 1);
        done.remove(0)
    }

    fn openers() -> (Openers, Inbox<JobDone>, mpsc::Sender<()>) {
        let (release, wait) = mpsc::channel();
        let (done, inbox) = mailbox(16).unwrap();
        (Openers::new("tgt/opener", Arc::new(Refuser(Mutex::new(wait))), done, None), inbox, release)
    }

    #[test]
    fn hanging_open_delays_no_other() {
        let (openers, mut inbox, release) = openers();
        assert!(openers.push(Job::Open(Ticket(1), spec("hang"))).is_ok());
        assert!(openers.push(Job::Open(Ticket(2), spec("quick"))).is_ok());
        assert!(matches!(next(&mut inbox), JobDone::Opened(Ticket(2), Err(why)) if why == "quick"));
        release.send(()).unwrap();
        assert!(matches!(next(&mut inbox), JobDone::Opened(Ticket(1), Err(_))));
    }

    #[test]
    fn panic_of_an_opener_is_an_error() {
        let (openers, mut inbox, _release) = openers();
        for ticket in 1..=OPENER_THREADS as u64 + 1 {
            assert!(openers.push(Job::Open(Ticket(ticket), spec("panic"))).is_ok());
            assert!(matches!(next(&mut inbox), JobDone::Opened(_, Err(why)) if why.contains("panicked")));
        }
    }

    #[test]
    fn names_and_addresses_are_resolved() {
        let (openers, mut inbox, _release) = openers();
        openers.push(Job::Resolve(Ticket(1), "127.0.0.1:7".parse().unwrap())).ok().unwrap();
        assert!(
            matches!(next(&mut inbox), JobDone::Resolved(_, found) if found == ["127.0.0.1:7".parse().unwrap()])
        );
        openers.push(Job::Resolve(Ticket(1), "no-such-host.invalid".parse().unwrap())).ok().unwrap();
        assert!(matches!(next(&mut inbox), JobDone::Resolved(_, found) if found.is_empty()));
    }

    #[test]
    fn redirect_commands_run_within_their_time() {
        let run_for = |time, command: &str| {
            let command = RedirectCommand {
                command: command.to_owned(),
                target_name: "iqn.x".to_owned(),
                initiator: "10.0.0.1".parse().unwrap(),
            };
            run_redirect(&command, time)
        };
        // A busy machine may need longer than REDIRECT_TIME to start a program.
        let run = |command: &str| run_for(Duration::from_secs(60), command);
        assert_eq!(run("/bin/echo  to: ").as_deref(), Ok("to: iqn.x 10.0.0.1"));
        for (command, why) in [
            ("/bin/false", "failed: exit status: 1"),
            ("/no/such/command", "No such file"),
            ("", "no redirect command"),
        ] {
            let refusal = run(command).unwrap_err();
            assert!(refusal.contains(why), "{command}: {refusal}");
        }
        for command in
            ["/bin/sh -c sleep${IFS}600", "/bin/sh -c echo${IFS}10.0.0.9:3260:Temporary;sleep${IFS}600"]
        {
            let refusal = run_for(REDIRECT_TIME, command).unwrap_err();
            assert!(refusal.contains("took more than 100 ms"), "{command}: {refusal}");
        }
        // No shell interprets the words.
        assert_eq!(run("/bin/echo $HOME;a `b` \"c d\"").as_deref(), Ok("$HOME;a `b` \"c d\" iqn.x 10.0.0.1"));
    }
}
