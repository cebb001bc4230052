//! Our tgtd beside upstream tgt's, in one run: `cargo run --release -p tgt-tests --bin bench`.
//!
//! The bench starts both daemons and configures the same targets on them, each with its own tgtadm. In each round it
//! runs each workload on one daemon after the other, so that other load on the machine affects both; the daemon that is not
//! measured is stopped by SIGSTOP. docs/performance.md explains the result.

mod hanging_file;
mod hostile;
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

/// The bench's options.
#[derive(Parser)]
#[command(name = "bench", about = "Measure our tgtd beside upstream tgt's on this machine")]
struct Options {
    /// Names of workloads, separated by commas; NAME* selects all whose names begin with NAME
    #[arg(long, value_delimiter = ',', default_value = "all")]
    workload: Vec<String>,
    /// List the workloads, or with --hostile the attacks, and exit
    #[arg(long)]
    list: bool,
    /// Instead of workloads, measure the latency of `show`, also while initiators log in and out and a disk hangs
    #[arg(long)]
    management: bool,
    /// Instead of workloads, measure honest sessions and new logins beside hostile peers; fails if a bound is broken
    #[arg(long)]
    hostile: bool,
    /// With --hostile: names of attacks, separated by commas; NAME* selects all whose names begin with NAME
    #[arg(long, value_delimiter = ',', default_value = "all")]
    attack: Vec<String>,
    /// With --hostile: all attacks together for so many minutes, with a thousand hostile and a hundred honest sessions
    #[arg(long, value_name = "MINUTES", requires = "hostile")]
    soak: Option<f64>,
    /// With --hostile: the most resident memory of the daemon in MiB
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    rss_max: u64,
    /// Rounds; the tables show medians over them. With --hostile: most tries of an attack until it breaks no bound
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds measured in each round of each workload
    #[arg(long, default_value_t = 2.0)]
    time: f64,
    /// Seconds of load before the measurement
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Our tgtd [default: built by cargo, from the target directory]
    #[arg(long)]
    tgtd: Option<PathBuf>,
    /// Our tgtadm [default: built by cargo, from the target directory]
    #[arg(long)]
    tgtadm: Option<PathBuf>,
    /// Upstream tgt's tgtd
    #[arg(long, default_value = "/usr/sbin/tgtd")]
    tgt: PathBuf,
    /// Upstream tgt's tgtadm [default: in the directory of its tgtd]
    #[arg(long)]
    tgt_tgtadm: Option<PathBuf>,
    /// Measure only this peer: ours or tgt
    #[arg(long)]
    only: Option<String>,
    /// CPUs of the target, for example 0 or 0,2-3 [default: the first]
    #[arg(long)]
    target_cpus: Option<Cpus>,
    /// CPUs of the load generator [default: the last]
    #[arg(long)]
    generator_cpus: Option<Cpus>,
    /// Do not pin target and load generator to CPUs
    #[arg(long)]
    free: bool,
    /// Niceness of the daemons and the load generator, -20 to 19; below 0 (root only) other load disturbs less
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    nice: i32,
    /// Directory for disk images and sockets [default: that of the bench]
    #[arg(long)]
    work: Option<PathBuf>,
    /// Directory on tmpfs for disk images
    #[arg(long, default_value = "/dev/shm")]
    shm: PathBuf,
    /// Size of each disk image in MiB
    #[arg(long, default_value_t = 256)]
    size: u64,
    /// Instead of workloads, measure threads and memory with many idle sessions and with many units
    #[arg(long)]
    memory: bool,
    /// First write the images on tmpfs through the target, read them back and compare
    #[arg(long)]
    verify: bool,
    /// Write the figures of every round to this file, comma-separated
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
    if options.list && options.hostile {
        hostile::list();
        return Ok(());
    }
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
    if options.hostile {
        return under_attack(options, &programs, &site);
    }
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
    compare(options, &workloads, &peers, &site)
}

/// Runs every workload on every daemon in each round, and prints the tables.
fn compare(
    options: &Options,
    workloads: &[Workload],
    peers: &[Peer],
    site: &Site,
) -> Result<(), Box<dyn Error>> {
    let pinning = Pinning::of(options)?;
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for workload in workloads {
            eprintln!("round {round} of {}: {}", options.rounds, workload.name);
            site.warm(workload.backing)?;
            for peer in peers {
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
    println!("{}", results.markdown(workloads, &names, options.rounds));
    if let Some(csv) = &options.csv {
        fs::write(csv, results.csv())?;
    }
    Ok(())
}

/// Attacks one daemon: ours unless `--only` chooses tgt's.
fn under_attack(options: &Options, programs: &[Programs], site: &Site) -> Result<(), Box<dyn Error>> {
    let program = programs.first().ok_or("no daemon to attack")?;
    let pinning = Pinning::of(options)?;
    pinning.generator.as_ref().unwrap_or(&pinning.all).pin_this_thread()?;
    let hostile = hostile::Options {
        attacks: options.attack.clone(),
        time: Duration::try_from_secs_f64(options.time)?,
        warm_up: Duration::try_from_secs_f64(options.warm_up)?,
        tries: options.rounds,
        rss_max: options.rss_max,
        soak: options.soak,
    };
    hostile::run(&hostile, (program, pinning.target.as_ref().unwrap_or(&pinning.all)), site)
}

/// The daemons to measure: ours, built unless given, and tgt's if it is installed.
fn programs(options: &Options) -> Result<Vec<Programs>, Box<dyn Error>> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    if let Some(only) = options.only.as_deref().filter(|only| !["ours", "tgt"].contains(only)) {
        return Err(format!("--only {only}: unknown daemon; valid: ours, tgt").into());
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
    if wanted("tgt") {
        let beside = options.tgt.with_file_name("tgtadm");
        let tgtadm = options.tgt_tgtadm.clone().unwrap_or(beside);
        if options.tgt.exists() && tgtadm.exists() {
            programs.push(Programs { name: "tgt", tgtd: options.tgt.clone(), tgtadm });
        } else {
            let missing = if options.tgt.exists() { &tgtadm } else { &options.tgt };
            eprintln!(
                "{} does not exist: measuring ours only (install Debian package tgt, or give --tgt PATH)",
                missing.display()
            );
        }
    }
    if programs.is_empty() { Err("no daemon to measure".into()) } else { Ok(programs) }
}

/// Sets the niceness of this process, which the daemons inherit.
fn be_nice(nice: i32) -> io::Result<()> {
    setpriority_process(None, nice)?;
    // With autogroup scheduling niceness has effect only within a session: set the niceness of a session of its own.
    if !Path::new(AUTOGROUP).exists() {
        return Ok(());
    }
    // Fails if this process leads a process group; its session is then used.
    let _ = setsid();
    fs::write(AUTOGROUP, nice.to_string())
}

const AUTOGROUP: &str = "/proc/self/autogroup";

/// CPUs of the target and the load generator.
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
            eprintln!("one CPU only: target and load generator share it, IOPS are not meaningful");
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

/// Fairness between the sessions of an outcome. With a mix, the rate of each session is divided by the rate that one such
/// session has alone.
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

/// Commands per second of one session of this shape without others.
fn alone(plan: &Plan, shape: Shape) -> Result<f64, load::LoadError> {
    let Shape { transfer_len, depth } = shape;
    let (time, warm_up) = (plan.time / ALONE, plan.warm_up / ALONE);
    let units = plan.units[..1].to_vec();
    let plan = Plan { units, sessions: 1, mix: &[], transfer_len, depth, time, warm_up, ..plan.clone() };
    Ok(load::run(&plan)?.iops())
}

/// Divides the time for which [`alone`] measures.
const ALONE: u32 = 4;

/// Writes stamps over each image on tmpfs, reads them back in random and in sequential order, and compares them.
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
        eprintln!("{}: verified {:?} of {} MB", peer.name(), plan.work, outcome.bytes / 1_000_000);
    }
    peer.freeze()?;
    Ok(())
}
