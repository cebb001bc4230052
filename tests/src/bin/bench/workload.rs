//! The named workloads.

use std::fmt;

use iscsi_proto::frame::Digests;
use tgt_tests::load::{Shape, Work};

use super::site::Backing;

/// A load, the targets it is run on, and their backing store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) backing: Backing,
    /// Bytes of one command.
    pub(super) transfer_len: u32,
    /// Commands outstanding on each session.
    pub(super) depth: usize,
    pub(super) work: Work,
    pub(super) random: bool,
    pub(super) targets: usize,
    /// Sessions for each target.
    pub(super) sessions: usize,
    pub(super) digests: bool,
    /// Shapes of the sessions in turn; empty: all have `transfer_len` and `depth`.
    pub(super) mix: &'static [Shape],
    /// Pins target and generator to one CPU each.
    pub(super) pinned: bool,
}

impl Workload {
    pub(super) fn digests(&self) -> Digests {
        Digests { header: self.digests, data: self.digests }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = match self.transfer_len {
            len if len.is_multiple_of(1 << 20) => format!("{} MiB", len >> 20),
            len if len.is_multiple_of(1 << 10) => format!("{} KiB", len >> 10),
            len => format!("{len} B"),
        };
        let order = if self.random { "random" } else { "sequential" };
        let work = match self.work {
            Work::Read => "reads".to_owned(),
            Work::Write => "writes".to_owned(),
            Work::Mixed(percent) => format!("{percent} % reads, else writes"),
            Work::Fill => "sequential writes of the whole unit".to_owned(),
        };
        if self.mix.is_empty() {
            write!(f, "{len} {order} {work}, depth {}, {}", self.depth, self.backing)?;
        } else {
            write!(f, "{order} {work} of {} lengths and depths, {}", shapes(self.mix), self.backing)?;
        }
        if self.targets > 1 {
            write!(f, ", {} targets", self.targets)?;
        }
        if self.sessions > 1 {
            write!(f, ", {} sessions", self.sessions)?;
        }
        if self.digests {
            write!(f, ", both digests")?;
        }
        if !self.pinned {
            write!(f, ", not pinned")?;
        }
        Ok(())
    }
}

/// Number of distinct shapes in a mix.
fn shapes(mix: &[Shape]) -> usize {
    mix.iter().enumerate().filter(|&(at, shape)| !mix[..at].contains(shape)).count()
}

const SMALL: Workload = Workload {
    name: "",
    backing: Backing::Tmpfs,
    transfer_len: 4096,
    depth: 32,
    work: Work::Read,
    random: true,
    targets: 1,
    sessions: 1,
    digests: false,
    mix: &[],
    pinned: true,
};
const SEED: Workload = Workload { transfer_len: 16 << 10, depth: 128, targets: 3, ..SMALL };
const LARGE: Workload = Workload { transfer_len: 128 << 10, depth: 16, random: false, ..SMALL };
const HUGE: Workload = Workload { transfer_len: 1 << 20, depth: 8, random: false, ..SMALL };

const FAIR: Workload = Workload { sessions: SHAPES.len(), mix: &SHAPES, ..SMALL };
const BESIDE: Workload = Workload { sessions: GREEDY.len(), mix: &GREEDY, ..SMALL };

/// Four lengths at four depths each.
const SHAPES: [Shape; 16] = {
    let (lens, depths) = ([4 << 10, 16 << 10, 128 << 10, 1 << 20], [1, 4, 16, 32]);
    let mut shapes = [Shape { transfer_len: 0, depth: 0 }; 16];
    let mut index = 0;
    while index < shapes.len() {
        shapes[index] = Shape { transfer_len: lens[index / 4], depth: depths[index % 4] };
        index += 1;
    }
    shapes
};

/// One session of single 4 KiB commands beside fifteen of 8 commands of 1 MiB.
const GREEDY: [Shape; 16] = {
    let mut shapes = [Shape { transfer_len: 1 << 20, depth: 8 }; 16];
    shapes[0] = Shape { transfer_len: 4 << 10, depth: 1 };
    shapes
};

/// The workload that fills images.
pub(super) const FILL: Workload = Workload { transfer_len: 64 << 10, depth: 16, ..SMALL };

/// Whether an argument, NAME, NAME* or all, selects this name.
pub(super) fn selects(argument: &str, name: &str) -> bool {
    match argument.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => argument == "all" || argument == name,
    }
}

/// All workloads, in the order in which they are run.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload { name: "seed-file", backing: Backing::File, ..SEED },
    Workload { name: "seed-tmpfs", ..SEED },
    Workload { name: "seed-null", backing: Backing::Null, ..SEED },
    Workload { name: "seed-free", pinned: false, ..SEED },
    Workload { name: "r4k-file", backing: Backing::File, ..SMALL },
    Workload { name: "r4k-tmpfs", ..SMALL },
    Workload { name: "r4k-null", backing: Backing::Null, ..SMALL },
    Workload { name: "r512-null", backing: Backing::Null, transfer_len: 512, depth: 64, ..SMALL },
    Workload { name: "w4k-file", backing: Backing::File, work: Work::Write, ..SMALL },
    Workload { name: "w4k-tmpfs", work: Work::Write, ..SMALL },
    Workload { name: "w4k-null", backing: Backing::Null, work: Work::Write, ..SMALL },
    Workload { name: "rw4k-tmpfs", work: Work::Mixed(70), ..SMALL },
    Workload { name: "r4k-qd1", depth: 1, ..SMALL },
    Workload { name: "w4k-qd1", depth: 1, work: Work::Write, ..SMALL },
    Workload { name: "r128k-tmpfs", ..LARGE },
    Workload { name: "w128k-tmpfs", work: Work::Write, ..LARGE },
    Workload { name: "r128k-null", backing: Backing::Null, ..LARGE },
    Workload { name: "w128k-null", backing: Backing::Null, work: Work::Write, ..LARGE },
    Workload { name: "r1m-tmpfs", ..HUGE },
    Workload { name: "w1m-tmpfs", work: Work::Write, ..HUGE },
    Workload { name: "dig-r4k", digests: true, ..SMALL },
    Workload { name: "dig-r128k", digests: true, ..LARGE },
    Workload { name: "dig-w128k", digests: true, work: Work::Write, ..LARGE },
    Workload { name: "s8", sessions: 8, depth: 4, ..SMALL },
    Workload { name: "s64", sessions: 64, depth: 4, ..SMALL },
    Workload { name: "s256", sessions: 256, depth: 4, ..SMALL },
    Workload { name: "fair16", ..FAIR },
    Workload { name: "fair16-w", work: Work::Write, ..FAIR },
    Workload { name: "beside1m", ..BESIDE },
    Workload { name: "beside1m-w", work: Work::Write, ..BESIDE },
];

/// The workloads that `names` select, in the order of the names.
pub(super) fn choose(names: &[String]) -> Result<Vec<Workload>, String> {
    let mut chosen = Vec::new();
    for name in names {
        let before = chosen.len();
        chosen.extend(WORKLOADS.iter().filter(|workload| selects(name, workload.name)).copied());
        if chosen.len() == before {
            return Err(format!("unknown workload {name}; --list shows the valid ones"));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Result<Vec<&'static str>, String> {
        let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
        Ok(choose(&wanted)?.iter().map(|workload| workload.name).collect())
    }

    #[test]
    fn workloads_are_chosen_by_name_or_prefix() {
        assert_eq!(names(&["s8", "w1m*"]).unwrap(), ["s8", "w1m-tmpfs"]);
        assert_eq!(names(&["all"]).unwrap().len(), WORKLOADS.len());
        assert!(names(&["s6"]).is_err());
    }

    #[test]
    fn workload_names_are_unique() {
        let mut names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WORKLOADS.len());
    }
}
