//! Our tgtd beside a stock tgtd, in one run: `cargo run --release -p tgt-tests --bin bench`.
//!
//! Both daemons are started and set up alike, each by its own tgtadm; every workload is then run peer after peer,
//! round after round, so that whatever else the machine does hurts both. The peer that is not measured is stopped.
//! docs/performance.md says how to read the result.

mod hanging_file;
mod management;
mod memory;
mod peer;
mod report;
mod site;
mod workload;

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{setpriority_process, setsid};
use tgt_tests::load::{self, Fairness, Plan, Shape};

use peer::{Cpus, Peer, Programs};
use report::{Measured, Results};
use site::Site;
use workload::{WORKLOADS, Workload};

/// What the bench can be told.
#[derive(Parser)]
#[command(name = "bench", about = "Measures our tgtd beside a stock tgtd on this machine")]
struct Options {
    /// Names of workloads, separated by commas; NAME* stands for all that begin so
    #[arg(long, value_delimiter = ',', default_value = "all")]
    workload: Vec<String>,
    /// List the workloads, and do nothing
    #[arg(long)]
    list: bool,
    /// Instead of workloads, measure how long `show` takes, also while initiators come and go and a disk hangs
    #[arg(long)]
    management: bool,
    /// Rounds; what is printed are medians over them
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds measured in each round of each workload
    #[arg(long, default_value_t = 2.0)]
    time: f64,
    /// Seconds of load before measuring begins
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Our tgtd; built and taken from the target folder unless given
    #[arg(long)]
    tgtd: Option<PathBuf>,
    /// Our tgtadm
    #[arg(long)]
    tgtadm: Option<PathBuf>,
    /// The stock tgtd
    #[arg(long, default_value = "/usr/sbin/tgtd")]
    stock: PathBuf,
    /// The stock tgtadm; the one beside the stock tgtd unless given
    #[arg(long)]
    stock_tgtadm: Option<PathBuf>,
    /// Measure only this peer: ours or stock
    #[arg(long)]
    only: Option<String>,
    /// CPUs of the target, as in 0 or 0,2-3
    #[arg(long)]
    target_cpus: Option<Cpus>,
    /// CPUs of the load generator
    #[arg(long)]
    generator_cpus: Option<Cpus>,
    /// Pin nothing
    #[arg(long)]
    free: bool,
    /// Niceness of both daemons and of the generator, -20 to 19: below 0 (as root) a busy machine disturbs less
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    nice: i32,
    /// Folder for disk images and sockets
    #[arg(long)]
    work: Option<PathBuf>,
    /// Folder on tmpfs
    #[arg(long, default_value = "/dev/shm")]
    shm: PathBuf,
    /// Size of each disk image in MiB
    #[arg(long, default_value_t = 256)]
    size: u64,
    /// Instead of workloads: threads and memory with many idle sessions, and with many units
    #[arg(long)]
    memory: bool,
    /// First write every image through the target and check what it gives back
    #[arg(long)]
    verify: bool,
    /// Write every single figure to this file, comma-separated
    #[arg(long)]
    csv: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let workloads = workload::choose(&options.workload)?;
    if options.list {
        for workload in WORKLOADS {
            println!("{:<14} {workload}", workload.name);
        }
        return Ok(());
    }
    let programs = programs(options)?;
    if options.nice != 0 {
        be_nice(options.nice)?;
    }
    let size = if options.management { 1 } else { options.size };
    let site = Site::new(options.work.as_deref(), &options.shm, size)?;
    let mut peers = Vec::new();
    for programs in programs {
        eprintln!("start {} ({})", programs.name, programs.tgtd.display());
        let peer = Peer::start(programs, &site)?;
        peer.freeze()?;
        peers.push(peer);
    }
    if options.memory {
        println!("{}", memory::markdown(&memory::measure(&peers, &site)?));
        return Ok(());
    }
    if options.management {
        let time = Duration::try_from_secs_f64(options.time)?;
        println!("{}", management::run(&peers, &site, time)?);
        return Ok(());
    }
    if options.verify {
        for peer in &peers {
            verify(peer)?;
        }
    }
    let pinning = Pinning::of(options)?;
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for workload in &workloads {
            eprintln!("round {round} of {}: {}", options.rounds, workload.name);
            site.warm(workload.backing)?;
            for peer in &peers {
                if results.has_failed(workload.name, peer.name()) {
                    continue;
                }
                let outcome = measure(peer, workload, options, &pinning).map_err(|error| error.to_string());
                if let Err(error) = &outcome {
                    eprintln!("  {}: {error}", peer.name());
                }
                results.add(round, workload.name, peer.name(), outcome);
            }
        }
    }
    let names: Vec<_> = peers.iter().map(Peer::name).collect();
    println!("{}", results.markdown(&workloads, &names, options.rounds));
    if let Some(csv) = &options.csv {
        fs::write(csv, results.csv())?;
    }
    Ok(())
}

/// The daemons to measure: ours, built if it is not given, and the stock one if there is one.
fn programs(options: &Options) -> Result<Vec<Programs>, Box<dyn Error>> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    if let Some(only) = options.only.as_deref().filter(|only| !["ours", "stock"].contains(only)) {
        return Err(format!("no such peer: {only}").into());
    }
    let mut programs = Vec::new();
    if wanted("ours") {
        let (tgtd, tgtadm) = match (&options.tgtd, &options.tgtadm) {
            (Some(tgtd), Some(tgtadm)) => (tgtd.clone(), tgtadm.clone()),
            (tgtd, tgtadm) => {
                let built = peer::build()?;
                (tgtd.clone().unwrap_or(built.tgtd), tgtadm.clone().unwrap_or(built.tgtadm))
            }
        };
        programs.push(Programs { name: "ours", tgtd, tgtadm });
    }
    if wanted("stock") {
        let beside = options.stock.with_file_name("tgtadm");
        let tgtadm = options.stock_tgtadm.clone().unwrap_or(beside);
        if options.stock.exists() && tgtadm.exists() {
            programs.push(Programs { name: "stock", tgtd: options.stock.clone(), tgtadm });
        } else {
            let missing = if options.stock.exists() { &tgtadm } else { &options.stock };
            eprintln!(
                "there is no {}: nothing to compare with (Debian: apt-get install tgt; or --stock PATH)",
                missing.display()
            );
        }
    }
    if programs.is_empty() { Err("nothing to measure".into()) } else { Ok(programs) }
}

/// Sets the niceness of this process, which the daemons inherit.
fn be_nice(nice: i32) -> io::Result<()> {
    setpriority_process(None, nice)?;
    // Where the kernel schedules by sessions, niceness counts within one only: the session needs its own.
    if !Path::new(AUTOGROUP).exists() {
        return Ok(());
    }
    // Fails where it leads a session already.
    let _ = setsid();
    fs::write(AUTOGROUP, nice.to_string())
}

const AUTOGROUP: &str = "/proc/self/autogroup";

/// Who runs where.
struct Pinning {
    target: Option<Cpus>,
    generator: Option<Cpus>,
    all: Cpus,
}

impl Pinning {
    fn of(options: &Options) -> Result<Self, Box<dyn Error>> {
        let all = Cpus::allowed()?;
        let (first, last) = all.ends();
        if options.free {
            return Ok(Self { target: None, generator: None, all });
        }
        if first == last && options.target_cpus.is_none() {
            eprintln!("there is one CPU only: target and generator share it, IOPS mean little");
        }
        let target = options.target_cpus.clone().unwrap_or_else(|| Cpus::one(first));
        let generator = options.generator_cpus.clone().unwrap_or_else(|| Cpus::one(last));
        Ok(Self { target: Some(target), generator: Some(generator), all })
    }
}

fn measure(
    peer: &Peer,
    workload: &Workload,
    options: &Options,
    pinning: &Pinning,
) -> Result<Measured, Box<dyn Error>> {
    let (target, generator) =
        if workload.pinned { (&pinning.target, &pinning.generator) } else { (&None, &None) };
    peer.pin(target.as_ref().unwrap_or(&pinning.all))?;
    generator.as_ref().unwrap_or(&pinning.all).pin_this_thread()?;
    let mut plan = peer.plan(workload);
    plan.time = Duration::try_from_secs_f64(options.time)?;
    plan.warm_up = Duration::try_from_secs_f64(options.warm_up)?;
    peer.thaw()?;
    let measured = load::run(&plan).and_then(|outcome| {
        let fairness = fairness(&plan, &outcome)?;
        Ok(Measured { outcome, fairness })
    });
    peer.freeze()?;
    Ok(measured?)
}

/// Sessions that all do the same should come equally far; of others, each as far as every other by what it does when
/// it is alone.
fn fairness(plan: &Plan, outcome: &load::Outcome) -> Result<Fairness, load::LoadError> {
    let mut shares = outcome.rates();
    let mut known: Vec<(Shape, f64)> = Vec::new();
    for (number, share) in shares.iter_mut().enumerate().take_while(|_| !plan.mix.is_empty()) {
        let shape = plan.mix[number / plan.units.len() % plan.mix.len()];
        let alone = match known.iter().find(|(other, _)| *other == shape) {
            Some((_, alone)) => *alone,
            None => {
                let alone = alone(plan, shape)?;
                known.push((shape, alone));
                alone
            }
        };
        *share /= alone;
    }
    Ok(Fairness::of(&shares))
}

/// Commands per second of one such session when there is no other.
fn alone(plan: &Plan, shape: Shape) -> Result<f64, load::LoadError> {
    let Shape { transfer_len, depth } = shape;
    let (time, warm_up) = (plan.time / ALONE, plan.warm_up / ALONE);
    let units = plan.units[..1].to_vec();
    let plan = Plan { units, sessions: 1, mix: &[], transfer_len, depth, time, warm_up, ..plan.clone() };
    Ok(load::run(&plan)?.iops())
}

/// A session by itself is measured by so much less time.
const ALONE: u32 = 4;

/// Writes stamps over every image on tmpfs and reads them back, at random and in order.
fn verify(peer: &Peer) -> Result<(), Box<dyn Error>> {
    let stamped = Workload { backing: site::Backing::Tmpfs, targets: site::UNITS, ..workload::FILL };
    peer.thaw()?;
    let fill = peer.plan(&stamped);
    let plans = [
        Plan { work: load::Work::Fill, ..fill.clone() },
        Plan { verify: true, random: true, time: Duration::from_secs(1), ..fill.clone() },
        Plan { verify: true, transfer_len: 512 << 10, depth: 4, time: Duration::from_secs(1), ..fill },
    ];
    for plan in &plans {
        let outcome = load::run(plan).map_err(|error| format!("{}: verify: {error}", peer.name()))?;
        eprintln!("{}: {:?} of {} MB is right", peer.name(), plan.work, outcome.bytes / 1_000_000);
    }
    peer.freeze()?;
    Ok(())
}
