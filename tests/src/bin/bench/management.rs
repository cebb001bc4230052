//! The latency of `show`: idle, while initiators log in and out, and while a unit's backing store hangs as well.
//!
//! The bench writes the request to the control socket itself, so that the start of tgtadm is not measured.

use std::error::Error;
use std::fmt::Write;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use target_engine::control::request::Strings;
use target_engine::control::wire::{Mode, Op, RequestHeader};
use tgt_tests::control::ask;
use tgt_tests::load::{Histogram, UnitName, leave_reads, visit};

use super::hanging_file::HangingFile;
use super::peer::Peer;
use super::site::Site;

/// Numbers of targets measured with.
const FEW: u32 = 3;
const MANY: u32 = 500;
/// Tid of the first target.
const FIRST: u32 = 1000;
/// Initiators that log in and out.
const INITIATORS: u32 = 10;
/// Reads that hang: more than tgt has threads for a unit.
const READS: u32 = 32;
/// LUN of the unit that hangs; LUN 1 is a plain file.
const HANGING: u16 = 2;
/// Most time until the reads reach the file, and until the hanging unit is deleted.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What happens during a measurement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Disturbance {
    Nothing,
    Logins,
    LoginsAndHang,
}

/// The result of one measurement.
struct Row {
    targets: u32,
    disturbance: Disturbance,
    peer: &'static str,
    latency: Histogram,
    logins: u64,
    time: Duration,
}

/// Measures one peer after the other and returns the table.
pub(super) fn run(peers: &[Peer], site: &Site, time: Duration) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    for peer in peers {
        peer.thaw()?;
        let bench = Bench::new(peer, site)?;
        let mut made = 0;
        for targets in [FEW, MANY] {
            for number in made..targets {
                bench.add_target(number)?;
            }
            made = targets;
            for disturbance in [Disturbance::Nothing, Disturbance::Logins, Disturbance::LoginsAndHang] {
                eprintln!("{}: {targets} targets, {disturbance}", peer.name());
                match bench.measure(targets, disturbance, time) {
                    Ok(row) => rows.push(row),
                    Err(error) => eprintln!("  {error}"),
                }
            }
        }
        bench.end()?;
        peer.freeze()?;
    }
    Ok(markdown(&rows))
}

/// A daemon and the files of its units.
struct Bench {
    peer: &'static str,
    portal: SocketAddr,
    socket: PathBuf,
    image: PathBuf,
    hanging: Option<HangingFile>,
}

impl Bench {
    fn new(peer: &Peer, site: &Site) -> Result<Self, Box<dyn Error>> {
        let folder = site.folder(peer.name())?;
        let image = folder.join("shared.img");
        File::create(&image)?.set_len(1 << 20)?;
        let hanging = HangingFile::new(&folder.join("hanging.img"));
        let hanging = hanging
            .inspect_err(|error| {
                eprintln!("cannot mount a file that hangs (needs /dev/fuse and root): {error}")
            })
            .ok();
        Ok(Self { peer: peer.name(), portal: peer.portal(), socket: peer.control_socket(), image, hanging })
    }

    fn add_target(&self, number: u32) -> Result<(), Box<dyn Error>> {
        let header = header(number);
        let name = Strings { targetname: Some(target_name(number)), ..Strings::default() };
        ask(&self.socket, Mode::Target, Op::New, &header, &name)?;
        let all = Strings { initiator_address: Some("ALL".to_owned()), ..Strings::default() };
        ask(&self.socket, Mode::Target, Op::Bind, &header, &all)?;
        self.add_unit(number, 1, &self.image)?;
        match &self.hanging {
            Some(file) if number == 0 => self.add_unit(number, HANGING, file.path()),
            _ => Ok(()),
        }
    }

    fn add_unit(&self, number: u32, lun: u16, path: &Path) -> Result<(), Box<dyn Error>> {
        let path = Some(path.to_str().ok_or("path is not UTF-8")?.to_owned());
        let header = RequestHeader { lun: lun.into(), ..header(number) };
        ask(&self.socket, Mode::LogicalUnit, Op::New, &header, &Strings { path, ..Strings::default() })?;
        Ok(())
    }

    fn measure(&self, targets: u32, disturbance: Disturbance, time: Duration) -> Result<Row, Box<dyn Error>> {
        let stuck = if disturbance == Disturbance::LoginsAndHang { Some(self.hang()?) } else { None };
        let initiators = if disturbance == Disturbance::Nothing { 0 } else { INITIATORS };
        let (over, logins) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut latency = Histogram::default();
        let shown = thread::scope(|scope| {
            for number in 0..initiators {
                let (over, logins, portal) = (&over, &logins, self.portal);
                scope.spawn(move || {
                    let unit = UnitName { target: target_name(number % FEW), lun: 1 };
                    while !over.load(Ordering::Relaxed) {
                        match visit(portal, &unit, number + 1) {
                            Ok(()) => drop(logins.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => eprintln!("  login failed: {error}"),
                        }
                    }
                });
            }
            let shown = self.show(targets, time, &mut latency);
            over.store(true, Ordering::Relaxed);
            shown
        });
        if let (Some(file), Some(stuck)) = (&self.hanging, stuck) {
            file.hold(false)?;
            drop::<TcpStream>(stuck);
        }
        shown?;
        let logins = logins.into_inner();
        Ok(Row { targets, disturbance, peer: self.peer, latency, logins, time })
    }

    /// Sends `show` repeatedly for `time`, and checks that each reply has all targets.
    fn show(&self, targets: u32, time: Duration, latency: &mut Histogram) -> Result<(), Box<dyn Error>> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            let asked = Instant::now();
            let text =
                ask(&self.socket, Mode::Target, Op::Show, &RequestHeader::default(), &Strings::default())?;
            latency.record(asked.elapsed().as_nanos() as u64);
            let last = target_name(targets - 1);
            let count = text.lines().filter(|line| line.starts_with("Target ")).count();
            if !text.contains(&last) || count < targets as usize {
                return Err(format!("show has {count} of {targets} targets").into());
            }
        }
        Ok(())
    }

    /// A session with reads that hang; returns once one of them has reached the file.
    fn hang(&self) -> Result<TcpStream, Box<dyn Error>> {
        let file = self.hanging.as_ref().ok_or("skipped: cannot mount a file that hangs")?;
        let unit = UnitName { target: target_name(0), lun: HANGING };
        file.hold(true)?;
        let stuck = leave_reads(self.portal, &unit, INITIATORS + 1, READS)?;
        let begin = Instant::now();
        while file.waiting() == 0 {
            if begin.elapsed() > TIMEOUT {
                file.hold(false)?;
                return Err("no read reached the file".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(stuck)
    }

    /// Deletes the unit of the hanging file, so that the daemon closes it.
    fn end(self) -> Result<(), Box<dyn Error>> {
        if self.hanging.is_some() {
            let begin = Instant::now();
            let header = RequestHeader { lun: HANGING.into(), ..header(0) };
            while let Err(error) =
                ask(&self.socket, Mode::LogicalUnit, Op::Delete, &header, &Strings::default())
            {
                if begin.elapsed() > TIMEOUT {
                    return Err(error.into());
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

fn header(number: u32) -> RequestHeader {
    RequestHeader { tid: (FIRST + number).cast_signed(), ..RequestHeader::default() }
}

fn target_name(number: u32) -> String {
    format!("iqn.2001-04.com.example:managed-{number}")
}

impl std::fmt::Display for Disturbance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("idle"),
            Self::Logins => write!(f, "{INITIATORS} initiators log in and out"),
            Self::LoginsAndHang => write!(f, "the same, and a disk hangs"),
        }
    }
}

fn markdown(rows: &[Row]) -> String {
    let mut out = "| `show` of | meanwhile | daemon | answers/s | p50 ms | p99 ms | max ms | logins/s |\n\
                   | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for row in rows {
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let per_second = |count: u64| count as f64 / row.time.as_secs_f64();
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| {} targets | {} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} |",
            row.targets,
            row.disturbance,
            row.peer,
            per_second(row.latency.total()),
            ms(row.latency.percentile(0.5)),
            ms(row.latency.percentile(0.99)),
            ms(row.latency.max()),
            per_second(row.logins),
        );
    }
    out
}
