//! Hostile peers beside honest ones: `bench --hostile`.
//!
//! For each attack a daemon is started. A victim, one session with 4 KiB reads and writes, is measured beside honest sessions
//! with the load that the attackers offer, and then beside the attackers, while new initiators log in one after the other.

mod attacks;
mod crowd;
mod priority;
mod report;
mod soak;

use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use target_engine::control::request::{Secret, Strings};
use target_engine::control::wire::{Mode, Op, RequestHeader};
use tgt_tests::control::ask;
use tgt_tests::load::{
    Generator, Histogram, Idle, InitiatorPort, LoadError, Opened, Outcome, Plan, UnitName, Work, process_cost,
};

use self::attacks::{Attack, Honest, Needs};
use self::crowd::{Crowd, NEW_INITIATORS};
use self::report::{Bounds, Row};
use super::peer::{Cpus, Peer, Programs};
use super::site::{Backing, Site};
use super::workload::{FILL, Workload};

/// Block length of the units.
const BLOCK_LEN: u32 = 512;
/// Account of the target whose logins need a proof.
const ACCOUNT: &str = "somebody";
/// Tid of the target whose logins need a proof.
const CHAP_TID: i32 = 1000;
/// Tid of the target with a redirect command; those of the many targets follow.
const REDIRECTING_TID: i32 = 1001;
/// Accounts of an attack on accounts.
const ACCOUNTS: u32 = 4000;
/// Targets of the attacks on discovery.
const TARGETS: i32 = 1000;
/// LUN of the unit with direct I/O.
const DIRECT: u16 = 2;
/// Number of the first initiator port of honest sessions; the victim has number 0.
const HONEST_PORT: u32 = 1;
/// Time between two logins of new initiators.
const LOGIN_PAUSE: Duration = Duration::from_millis(20);
/// Most time for one response to a new initiator.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time over which the CPU time of a daemon with silent attackers is measured.
const IDLE_TIME: Duration = Duration::from_millis(500);
/// Time within which the daemon gives memory back when the attackers have gone.
const SETTLE_TIME: Duration = Duration::from_secs(60);
/// Resident memory that the daemon may keep of an attack, in bytes.
const KEPT_MAX: u64 = 16 << 20;
/// Time between two looks at the memory of the daemon.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Open files that the largest attack needs.
const FILES: u64 = 18_000;

/// The victim's commands.
const VICTIM: Workload = Workload {
    transfer_len: 4096,
    depth: 4,
    work: Work::Mixed(70),
    random: true,
    backing: Backing::Tmpfs,
    ..FILL
};

/// Options of `bench --hostile`.
pub(super) struct Options {
    pub(super) attacks: Vec<String>,
    pub(super) time: Duration,
    pub(super) warm_up: Duration,
    /// Most times that an attack is made until it breaks no bound: other load on the machine makes figures worse.
    pub(super) tries: usize,
    /// Largest resident memory of the daemon in MiB.
    pub(super) rss_max: u64,
    /// Minutes of a soak in place of the attacks one by one.
    pub(super) soak: Option<f64>,
}

/// The daemon under attack.
struct Field {
    peer: Peer,
    portal: SocketAddr,
    /// The unit of the victim, the new initiators and most attackers.
    unit: UnitName,
    /// A unit with direct I/O on the same loop.
    direct: UnitName,
    /// A target whose logins need a proof.
    chap_target: String,
    /// A target with a redirect command.
    redirecting: String,
}

/// The daemon to start and its CPUs; the calling thread is pinned to those of the generator.
pub(super) type Start<'a> = (&'a Programs, &'a Cpus);

/// Prints the names of all attacks and what they do.
pub(super) fn list() {
    for attack in attacks::ATTACKS {
        println!("{:<14} {}", attack.name, attack.what);
    }
}

/// Makes the attacks one after the other, each on its own daemon, and prints the table.
///
/// # Errors
/// A daemon cannot be started, or rows break a bound; the error names them.
pub(super) fn run(options: &Options, start: Start<'_>, site: &Site) -> Result<(), Box<dyn Error>> {
    let attacks = attacks::choose(&options.attacks)?;
    raise_file_limit()?;
    let bounds = Bounds { rss_max: options.rss_max << 20 };
    if let Some(minutes) = options.soak {
        let field = Field::new(start, site, Needs::Targets, 1)?;
        let time = Duration::try_from_secs_f64(minutes * 60.0)?;
        return soak::run(&field, &attacks, time, &bounds);
    }
    let mut rows = Vec::new();
    for attack in attacks {
        eprintln!("{}: {}", attack.name, attack.what);
        let mut best: Option<Row> = None;
        for _ in 0..options.tries {
            let field = Field::new(start, site, attack.needs, attack.loops)?;
            let row = measure(&field, attack, options)?;
            eprintln!("  {}", row.summary(&bounds));
            let faults = row.faults(&bounds).len();
            if best.as_ref().is_none_or(|best| faults < best.faults(&bounds).len()) {
                best = Some(row);
            }
            if faults == 0 {
                break;
            }
        }
        rows.extend(best);
    }
    println!("{}", report::markdown(&rows, &bounds));
    match report::failed(&rows, &bounds) {
        failed if failed.is_empty() => Ok(()),
        failed => Err(format!("attacks that break a bound: {}", failed.join(", ")).into()),
    }
}

/// Permits as many open files as this process may have.
fn raise_file_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if maximum.is_some_and(|maximum| maximum < FILES) {
        eprintln!("the limit of open files is below {FILES}: not all connections can be made");
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

impl Field {
    fn new(
        (programs, cpus): Start<'_>,
        site: &Site,
        needs: Needs,
        loops: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let peer = Peer::start(programs.clone(), site)?;
        let plan = peer.plan(&VICTIM);
        let unit = plan.units[0].clone();
        let direct = UnitName { lun: DIRECT, ..unit.clone() };
        let field = Self {
            portal: peer.portal(),
            unit,
            direct,
            chap_target: target_name(CHAP_TID),
            redirecting: target_name(REDIRECTING_TID),
            peer,
        };
        if loops > 1 {
            field.set_loops(loops)?;
        }
        field.add_direct_unit(site.image(Backing::File, 0))?;
        field.add_chap_target()?;
        field.add_redirecting_target()?;
        match needs {
            Needs::Nothing => {}
            Needs::Targets => (1..=TARGETS).try_for_each(|more| field.add_target(REDIRECTING_TID + more))?,
            Needs::Accounts => {
                (0..ACCOUNTS).try_for_each(|number| field.add_account(&format!("account-{number}")))?;
            }
        }
        // The targets' threads inherit the CPUs of the control thread only if they start later.
        field.peer.pin(cpus)?;
        Ok(field)
    }

    fn ask(&self, mode: Mode, op: Op, header: &RequestHeader, strings: &Strings) -> io::Result<()> {
        ask(&self.peer.control_socket(), mode, op, header, strings).map(drop)
    }

    fn add_target(&self, tid: i32) -> io::Result<()> {
        let header = RequestHeader { tid, ..RequestHeader::default() };
        let name = Strings { targetname: Some(target_name(tid)), ..Strings::default() };
        self.ask(Mode::Target, Op::New, &header, &name)?;
        let all = Strings { initiator_address: Some("ALL".to_owned()), ..Strings::default() };
        self.ask(Mode::Target, Op::Bind, &header, &all)
    }

    /// Has several loops serve the target of the victim.
    fn set_loops(&self, loops: usize) -> io::Result<()> {
        let header = RequestHeader { tid: self.peer.tid_of(VICTIM.backing, 0), ..RequestHeader::default() };
        let name = Some(("loops".to_owned(), Some(loops.to_string())));
        self.ask(Mode::Target, Op::Update, &header, &Strings { name, ..Strings::default() })
    }

    fn add_direct_unit(&self, image: PathBuf) -> Result<(), Box<dyn Error>> {
        let tid = self.peer.tid_of(VICTIM.backing, 0);
        let header = RequestHeader { tid, lun: DIRECT.into(), ..RequestHeader::default() };
        let path = Some(image.to_str().ok_or("path is not UTF-8")?.to_owned());
        let strings = Strings { path, bsoflags: Some("direct".to_owned()), ..Strings::default() };
        Ok(self.ask(Mode::LogicalUnit, Op::New, &header, &strings)?)
    }

    fn add_chap_target(&self) -> io::Result<()> {
        self.add_target(CHAP_TID)?;
        self.add_account(ACCOUNT)
    }

    /// Makes an account and binds it to the target whose logins need a proof.
    fn add_account(&self, name: &str) -> io::Result<()> {
        let header = RequestHeader { tid: CHAP_TID, ..RequestHeader::default() };
        let user = Some(name.to_owned());
        let password = Some(Secret::new(format!("a secret of {name}")));
        let account = Strings { user: user.clone(), password, ..Strings::default() };
        self.ask(Mode::Account, Op::New, &RequestHeader::default(), &account)?;
        self.ask(Mode::Account, Op::Bind, &header, &Strings { user, ..Strings::default() })
    }

    fn add_redirecting_target(&self) -> io::Result<()> {
        self.add_target(REDIRECTING_TID)?;
        let header = RequestHeader { tid: REDIRECTING_TID, ..RequestHeader::default() };
        let callback = ("RedirectCallback".to_owned(), Some("/bin/false".to_owned()));
        self.ask(Mode::Target, Op::Update, &header, &Strings { name: Some(callback), ..Strings::default() })
    }

    /// The victim's load.
    fn victim(&self, options: &Options) -> Plan {
        Plan { time: options.time, warm_up: options.warm_up, ..self.peer.plan(&VICTIM) }
    }

    /// Forgets the largest resident memory so far.
    fn reset_peak(&self) -> io::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.peer.process()), "5")
    }

    /// The largest resident memory in bytes.
    fn peak(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.peer.process()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(kib.ok_or(io::ErrorKind::InvalidData)? << 10)
    }

    /// The resident memory in bytes.
    fn resident(&self) -> u64 {
        process_cost(&[self.peer.process()]).resident
    }

    /// Bytes of resident memory beyond those `before` that are left when nobody has been there for a while.
    fn kept(&self, before: u64) -> u64 {
        let begin = Instant::now();
        loop {
            let kept = self.resident().saturating_sub(before);
            if kept <= KEPT_MAX || begin.elapsed() > SETTLE_TIME {
                return kept;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

fn target_name(tid: i32) -> String {
    format!("iqn.2001-04.com.example:hostile-{tid}")
}

/// One attack: the victim beside honest sessions, then beside the attackers.
fn measure(field: &Field, attack: &'static Attack, options: &Options) -> Result<Row, Box<dyn Error>> {
    let plan = field.victim(options);
    let honest = beside_honest(field, attack.honest, &plan)?;
    field.reset_peak()?;
    let resident = field.resident();
    let victim = Generator::log_in(&plan)?;
    let over = AtomicBool::new(false);
    let crowd = Crowd::new(field, attack, attack.connections, &over);
    let (outcome, delay, logins, idle_cores) = thread::scope(|scope| {
        let logins = scope.spawn(|| log_in_repeatedly(field, &over));
        crowd.spawn(scope);
        crowd.wait_until_tried();
        let (before, begin) = (priority::delay(), Instant::now());
        let outcome = victim.run();
        let delay = (priority::delay() - before).as_secs_f64() / begin.elapsed().as_secs_f64();
        let idle_cores = attack.holds.then(|| cores_while_idle(field));
        over.store(true, Ordering::Relaxed);
        (outcome, delay, logins.join(), idle_cores)
    });
    let logins = logins.map_err(|_| "the thread of new initiators panicked")?;
    let outcome = outcome.map_err(|error| error.to_string());
    let (peak, kept) = (field.peak()?, field.kept(resident));
    Ok(Row { attack, honest, outcome, delay, logins, idle_cores, peak, kept })
}

/// The victim's outcome beside honest sessions, while new initiators log in.
fn beside_honest(field: &Field, honest: Honest, plan: &Plan) -> Result<Outcome, LoadError> {
    let peers = Plan { sessions: honest.sessions(), first_port: HONEST_PORT, ..plan.clone() };
    let over = AtomicBool::new(false);
    let victim = Generator::log_in(plan)?;
    let Honest::Reads { transfer_len, depth, .. } = honest else {
        let _idle = Idle::log_in(&peers)?;
        return victim.run();
    };
    let peers = Plan { transfer_len, depth, work: Work::Read, warm_up: Duration::ZERO, ..peers };
    let peers = Generator::log_in(&peers)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            priority::be_idle();
            if let Err(error) = peers.run_until(&over) {
                eprintln!("  honest sessions: {error}");
            }
        });
        scope.spawn(|| log_in_repeatedly(field, &over));
        let outcome = victim.run();
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

/// CPUs that the daemon keeps busy while nobody honest is there.
fn cores_while_idle(field: &Field) -> f64 {
    let cpu = || process_cost(&[field.peer.process()]).cpu;
    let (before, begin) = (cpu(), Instant::now());
    thread::sleep(IDLE_TIME);
    (cpu() - before).as_secs_f64() / begin.elapsed().as_secs_f64()
}

/// Times of the logins of new initiators.
#[derive(Default)]
struct Logins {
    times: Histogram,
    failed: u64,
    /// Why the first one failed.
    why: Option<String>,
}

/// Logs in new initiators one after the other until the flag is set. Each disconnects at once.
fn log_in_repeatedly(field: &Field, over: &AtomicBool) -> Logins {
    let mut logins = Logins::default();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("iqn.2001-04.com.example:new-{number}");
        let port = InitiatorPort {
            from: Some(NEW_INITIATORS),
            timeout: LOGIN_TIMEOUT,
            ..InitiatorPort::new(name, number)
        };
        let begin = Instant::now();
        let opened = Opened::log_in(field.portal, port, Some(&field.unit));
        logins.times.record(begin.elapsed().as_nanos() as u64);
        if let Err(error) = opened {
            logins.failed += 1;
            logins.why.get_or_insert(error.to_string());
        }
        thread::sleep(LOGIN_PAUSE);
    }
    logins
}
