//! Runs a program with the settings of a systemd unit file that confine a process, so that tests need no running systemd.
//!
//! ```text
//! confined UNIT[:DROP-IN] PROGRAM [ARGUMENT...]
//! ```
//!
//! [`APPLIED`] lists the settings that it applies, and [`NOT_APPLIED`] those for which it would need systemd. It ends
//! with an error at a setting that is in neither. The names in `SystemCallFilter=` are resolved by `systemd-analyze`.
//! `User=` runs the program as `nobody`, because the user of the drop-in does not exist on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, umask};
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set, set_no_new_privs,
};
use seccompiler::{BpfProgram, TargetArch, apply_filter, compile_from_json};
use serde_json::{Value, json};

/// Settings of `[Service]` that this program applies.
const APPLIED: &[&str] = &[
    "CapabilityBoundingSet",
    "Group",
    "LimitCORE",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "UMask",
    "User",
];

/// Settings that do not confine a process, or that need mounts, groups of processes or another manager.
const NOT_APPLIED: &[&str] = &[
    "Environment",
    "EnvironmentFile",
    "ExecReload",
    "ExecStart",
    "ExecStartPost",
    "ExecStop",
    "KeyringMode",
    "LimitMEMLOCK",
    "LimitNOFILE",
    "LockPersonality",
    "OOMScoreAdjust",
    "PrivateMounts",
    "ProtectControlGroups",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "Restart",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "RuntimeDirectoryPreserve",
    "StateDirectory",
    "SystemCallArchitectures",
    "TasksMax",
    "TimeoutStopSec",
    "Type",
];

/// UID and GID of nobody and nogroup.
const NOBODY: u32 = 65534;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let Err(failure) = run();
    eprintln!("confined: {failure}");
    ExitCode::FAILURE
}

/// Replaces this process with the program; returns only if that fails.
fn run() -> Result<Infallible, Failure> {
    let mut arguments = std::env::args_os().skip(1);
    let files =
        arguments.next().and_then(|files| files.into_string().ok()).ok_or("a unit file is missing")?;
    let mut command = Command::new(arguments.next().ok_or("a program is missing")?);
    command.args(arguments);

    let settings = Settings::read(&files)?;
    // Before the filter, which does not permit everything that this program does.
    let filters = settings.filters()?;
    if rustix::process::geteuid().is_root() {
        keep_capabilities(settings.one("CapabilityBoundingSet"))?;
        if settings.has("User") {
            command.uid(NOBODY).gid(NOBODY);
        }
    }
    let core = settings.one("LimitCORE").parse().ok();
    rustix::process::setrlimit(Resource::Core, Rlimit { current: core, maximum: core })?;
    umask(Mode::from_raw_mode(u32::from_str_radix(settings.one("UMask"), 8)?));
    set_no_new_privs(settings.one("NoNewPrivileges") == "yes")?;
    for filter in &filters {
        apply_filter(filter)?;
    }
    Err(command.exec().into())
}

/// The settings of `[Service]`, by name, in order.
struct Settings(BTreeMap<String, Vec<String>>);

impl Settings {
    /// Reads a unit file and drop-ins, whose paths are separated by colons.
    fn read(paths: &str) -> Result<Self, Failure> {
        let mut settings = BTreeMap::<_, Vec<_>>::new();
        for path in paths.split(':') {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            let mut section = "";
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                if line.starts_with('[') {
                    section = line;
                } else if let (Some((name, value)), "[Service]") = (line.split_once('='), section) {
                    if !APPLIED.contains(&name) && !NOT_APPLIED.contains(&name) {
                        return Err(format!("{path}: this program does not know {name}=").into());
                    }
                    settings.entry(name.to_owned()).or_default().push(value.to_owned());
                }
            }
        }
        Ok(Self(settings))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The last value of a setting, or an empty one.
    fn one(&self, name: &str) -> &str {
        self.0.get(name).and_then(|values| values.last()).map_or("", String::as_str)
    }

    /// The filters in the order in which they are applied: the kernel takes the strictest result of all.
    fn filters(&self) -> Result<Vec<BpfProgram>, Failure> {
        let error = match self.one("SystemCallErrorNumber") {
            "EPERM" => EPERM,
            other => return Err(format!("SystemCallErrorNumber={other} is not EPERM").into()),
        };
        let mut names = BTreeSet::new();
        for word in self.one("SystemCallFilter").split_whitespace() {
            add_system_calls(word, &mut names)?;
        }
        let allow = json!("allow");
        let deny = |error: u32| json!({ "errno": error });
        // Names that seccompiler does not know are newer than it is.
        names.retain(|name| compile(&deny(error), &allow, &[json!({ "syscall": name })]).is_ok());
        let rules: Vec<Value> = names.iter().flat_map(|name| self.rules_of(name)).collect();
        let mut filters = Vec::new();
        if self.one("RestrictNamespaces") == "yes" {
            // The arguments of clone3 are in memory, where a filter cannot look; C libraries then use clone.
            filters.push(compile(&allow, &deny(ENOSYS), &[json!({ "syscall": "clone3" })])?);
        }
        filters.push(compile(&deny(error), &allow, &rules)?);
        Ok(filters)
    }

    /// The rules under which a listed system call is permitted: one of them holds.
    fn rules_of(&self, name: &str) -> Vec<Value> {
        let argument = |index: u8, mask: u64, value: u64| {
            let op = json!({ "masked_eq": mask });
            json!({ "syscall": name, "args": [{ "index": index, "type": "qword", "op": op, "val": value }] })
        };
        let (write_execute, namespaces) =
            (self.one("MemoryDenyWriteExecute") == "yes", self.one("RestrictNamespaces") == "yes");
        match name {
            "socket" => {
                let families = self.one("RestrictAddressFamilies").split_whitespace();
                families.map(|family| argument(0, 0xffff_ffff, family_number(family))).collect()
            }
            "mmap" if write_execute => {
                [0, PROT_WRITE, PROT_EXEC].map(|value| argument(2, PROT_WRITE | PROT_EXEC, value)).into()
            }
            "mprotect" | "pkey_mprotect" if write_execute => vec![argument(2, PROT_EXEC, 0)],
            "shmat" if write_execute => vec![argument(2, SHM_EXEC, 0)],
            "clone" | "unshare" if namespaces => vec![argument(0, CLONE_NEW, 0)],
            "setns" if namespaces => Vec::new(),
            _ => vec![json!({ "syscall": name })],
        }
    }
}

const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const SHM_EXEC: u64 = 0o100_000;
/// The flags `CLONE_NEW*` of clone(2).
const CLONE_NEW: u64 = 0x7e02_0000;

/// # Panics
/// The family is not in the unit file's list as of now.
fn family_number(name: &str) -> u64 {
    match name {
        "AF_UNIX" => 1,
        "AF_INET" => 2,
        "AF_INET6" => 10,
        "AF_NETLINK" => 16,
        other => panic!("this program does not know {other}"),
    }
}

/// A filter with one action for the system calls for which a rule holds, and one for all others.
fn compile(otherwise: &Value, matched: &Value, rules: &[Value]) -> Result<BpfProgram, Failure> {
    let filter = json!({ "all": { "mismatch_action": otherwise, "match_action": matched, "filter": rules } });
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut programs = compile_from_json(filter.to_string().as_bytes(), architecture)?;
    programs.remove("all").ok_or_else(|| "no filter".into())
}

/// Adds a system call, or those of a group such as `@system-service`, to which a group may belong again.
fn add_system_calls(word: &str, names: &mut BTreeSet<String>) -> Result<(), Failure> {
    if !word.starts_with('@') {
        names.insert(word.to_owned());
        return Ok(());
    }
    let output = Command::new("systemd-analyze").args(["syscall-filter", word]).output();
    let output = output.map_err(|error| format!("systemd-analyze (package systemd): {error}"))?;
    let text = String::from_utf8(output.stdout)?;
    let members =
        text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let members: Vec<&str> = members.collect();
    if members.is_empty() {
        return Err(format!("systemd-analyze does not know {word}").into());
    }
    members.iter().try_for_each(|member| add_system_calls(member, names))
}

/// Removes all but the named capabilities from the bounding set. A program that root executes then has only these.
fn keep_capabilities(names: &str) -> Result<(), Failure> {
    let mut kept = CapabilitySet::empty();
    for name in names.split_whitespace() {
        let known = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
        kept |= known.ok_or_else(|| format!("unknown capability {name}"))?;
    }
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // An error: the kernel has no more capabilities.
        if !kept.contains(capability) && capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    Ok(())
}
