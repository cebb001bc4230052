//! The commands of the systemd unit file, run in the order of systemd with the real programs and a configuration, and
//! with the unit's settings that confine processes (`confined`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{DEADLINE, DISK, binaries, wait_until};

/// The unit file.
pub(crate) const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/tgt.service");
/// The drop-in that runs the unit without root's privileges.
pub(crate) const UNPRIVILEGED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/examples/unprivileged.conf");
/// UID of the user of [`UNPRIVILEGED`] in the tests.
pub(crate) const NOBODY: u32 = 65534;

/// The directives of the unit file, and a directory with a configuration.
pub(crate) struct Unit {
    directory: TempDir,
    /// Directory of the programs.
    programs: PathBuf,
    /// The commands run with the drop-in [`UNPRIVILEGED`].
    unprivileged: bool,
    /// Path of the control socket without its number.
    socket: PathBuf,
    /// Values of each directive of `[Service]`, in order.
    service: BTreeMap<String, Vec<String>>,
    environment: BTreeMap<String, String>,
}

/// A started unit; its daemon is killed when dropped.
pub(crate) struct Started<'a> {
    unit: &'a Unit,
    daemon: Child,
    portal: std::net::SocketAddr,
}

impl Unit {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        Self::on(directory, socket, 0)
    }

    /// A unit with the drop-in [`UNPRIVILEGED`], and copies of the programs that its user can execute.
    pub(crate) fn unprivileged() -> Self {
        let unit = Self::new();
        let programs = unit.path("programs");
        std::fs::create_dir(&programs).unwrap();
        for name in ["tgtd", "tgtadm", "tgt-admin"] {
            std::fs::copy(binaries().join(name), programs.join(name)).unwrap();
        }
        Self { programs, unprivileged: true, ..unit }
    }

    /// Another unit, whose daemon has this control port.
    fn beside(other: &Self, control_port: u16) -> Self {
        Self::on(tempfile::tempdir().unwrap(), other.socket.clone(), control_port)
    }

    fn on(directory: TempDir, socket: PathBuf, control_port: u16) -> Self {
        let text = std::fs::read_to_string(UNIT).unwrap();
        let (_, service) = text.split_once("[Service]\n").unwrap();
        let (service, _) = service.split_once("[Install]\n").unwrap();
        let mut directives = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in
            service.lines().filter(|line| !line.starts_with('#')).filter_map(|l| l.split_once('='))
        {
            directives.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        let set = directives["Environment"].iter().filter_map(|value| value.split_once('='));
        let mut environment: BTreeMap<_, _> = set.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        assert_eq!(environment["TGTD_CONFIG"], "/etc/tgt/targets.conf");
        // Settings of an administrator in /etc/default/tgt.
        let config = directory.path().join("targets.conf");
        environment.insert("TGTD_CONFIG".to_owned(), config.to_str().unwrap().to_owned());
        environment.insert("TGTD_CONTROL_PORT".to_owned(), control_port.to_string());
        environment.insert("TGTD_OPTS".to_owned(), "--iscsi portal=127.0.0.1:0".to_owned());
        let programs = binaries().to_owned();
        Self { directory, programs, unprivileged: false, socket, service: directives, environment }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gives the unit's files to the user of its daemon.
    fn give(&self, path: &Path) {
        if self.unprivileged {
            let owner = format!("{NOBODY}:{NOBODY}");
            assert!(Command::new("chown").args(["-R", &owner]).arg(path).status().unwrap().success());
        }
    }

    /// Writes a configuration of targets with one disk each.
    pub(crate) fn configure(&self, targets: &[&str]) {
        let installed = include_str!("../../../dist/targets.conf");
        let here = installed.replace("/etc/tgt", self.directory.path().to_str().unwrap());
        std::fs::write(self.path("targets.conf"), here).unwrap();
        std::fs::create_dir_all(self.path("conf.d")).unwrap();
        let target = |name: &&str| {
            let disk = self.path(&format!("{name}.img"));
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).open(&disk);
            file.and_then(|file| file.set_len(1 << 20)).unwrap();
            let (name, disk) = (full_name(name), disk.display().to_string());
            format!("<target {name}>\n  backing-store {disk}\n</target>\n")
        };
        std::fs::write(self.path("conf.d/all.conf"), targets.iter().map(target).collect::<String>()).unwrap();
        self.give(self.directory.path());
    }

    /// A command that runs with the settings of the unit.
    pub(crate) fn confined(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_confined"));
        let drop_in = if self.unprivileged { format!(":{UNPRIVILEGED}") } else { String::new() };
        command.arg(format!("{UNIT}{drop_in}")).arg(program).stdin(Stdio::null());
        command
    }

    /// Parses a command line of the unit; the flag is true if the command may fail.
    fn command(&self, line: &str) -> (Command, bool) {
        let (line, may_fail) = line.strip_prefix('-').map_or((line, false), |line| (line, true));
        let mut words = Vec::new();
        for word in line.split(' ') {
            let variable = word.strip_prefix('$').map(|name| name.trim_matches(['{', '}']));
            match variable.map(|name| &self.environment[name]) {
                None => words.push(word),
                Some(value) if word.starts_with("${") => words.push(value),
                Some(value) => words.extend(value.split_whitespace()),
            }
        }
        let program = words[0].strip_prefix("/usr/sbin/").expect("a program in /usr/sbin");
        let mut command = self.confined(self.programs.join(program));
        command.args(&words[1..]).env("TGT_IPC_SOCKET", &self.socket).env_remove("NOTIFY_SOCKET");
        if self.unprivileged {
            command.envs(self.environment_of_the_user());
        }
        (command, may_fail)
    }

    /// The environment that the drop-in sets, with the directories of this unit.
    fn environment_of_the_user(&self) -> Vec<(String, String)> {
        let directory = self.directory.path().to_str().unwrap();
        let text = std::fs::read_to_string(UNPRIVILEGED).unwrap();
        let set = text.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
        let here = |value: &str| value.replace("/run/tgtd", directory).replace("/var/lib", directory);
        set.map(|(name, value)| (name.to_owned(), here(value))).collect()
    }

    /// Runs the commands of a directive; calls `after` after each, and returns their outputs.
    #[track_caller]
    fn run(&self, directive: &str, mut after: impl FnMut(usize)) -> Vec<Output> {
        let run = |(index, line): (usize, &String)| {
            let (mut command, may_fail) = self.command(line);
            let output = command.output().unwrap();
            assert!(output.status.success() || may_fail, "{line}: {output:?}");
            after(index);
            output
        };
        self.service[directive].iter().enumerate().map(run).collect()
    }

    /// Writes a file that the configuration includes.
    pub(crate) fn include(&self, name: &str, text: &str) {
        std::fs::write(self.path("conf.d").join(name), text).unwrap();
    }

    pub(crate) fn adm(&self, words: &[&str]) -> Output {
        let (mut command, _) = self.command("/usr/sbin/tgtadm -C ${TGTD_CONTROL_PORT}");
        command.args(words).output().unwrap()
    }

    /// Starts the daemon, waits for READY, and runs the following commands.
    pub(crate) fn start(&self) -> Started<'_> {
        let started = self.start_daemon();
        let last = self.service["ExecStartPost"].len() - 1;
        assert!(matches!(started.login("one"), Err(End::Closed(_))));
        let first = |op: &[&str]| {
            self.adm(&[&["--mode", "target", "--tid", "99", "--op"], op].concat());
        };
        self.run("ExecStartPost", |index| {
            let login = started.login("one");
            // Without targets the daemon closes connections anyway, so another target exists for a while.
            match index {
                0 => first(&["new", "-T", "iqn.2026-01.org.example:first"]),
                1 => first(&["delete"]),
                _ => {}
            }
            match login {
                Ok(_) => assert_eq!(index, last),
                Err(End::Closed(_)) => assert_ne!(index, last),
                Err(end) => panic!("a reconnecting initiator would give up: {end:?}"),
            }
        });
        started
    }

    /// Starts the unit with a configuration of which a command fails.
    fn start_without_targets(&self) -> Started<'_> {
        let started = self.start_daemon();
        let ended = self.run("ExecStartPost", |_| ());
        assert!(ended.iter().any(|output| !output.status.success()), "{ended:?}");
        started
    }

    /// Starts the daemon only.
    pub(crate) fn start_daemon(&self) -> Started<'_> {
        assert_eq!(self.service["Type"], ["notify"]);
        let notify = self.path("notify");
        let _ = std::fs::remove_file(&notify);
        let supervisor = UnixDatagram::bind(&notify).unwrap();
        self.give(&notify);
        supervisor.set_read_timeout(Some(DEADLINE)).unwrap();
        let (mut command, _) = self.command(&self.service["ExecStart"][0]);
        let log = std::fs::File::create(self.path("log")).unwrap();
        let daemon = command.env("NOTIFY_SOCKET", &notify).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let mut started = Started { unit: self, daemon, portal: ([127, 0, 0, 1], 0).into() };
        let mut bytes = [0; 256];
        let count = supervisor.recv(&mut bytes).unwrap();
        assert!(bytes[..count].starts_with(b"READY=1"), "{}", started.log());
        let portals = String::from_utf8(self.adm(&["--mode", "portal", "--op", "show"]).stdout).unwrap();
        let portal = portals.strip_prefix("Portal: ").and_then(|text| text.strip_suffix(",1\n"));
        started.portal = portal.expect("a portal").parse().unwrap();
        started
    }
}

impl Started<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// URL of the disk of a target for QEMU.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("iscsi://{}/{}/{DISK}", self.portal, full_name(target))
    }

    pub(crate) fn login(&self, target: &str) -> Result<Client, End> {
        Client::try_login(self.portal, LOCALHOST, &next_name(), &full_name(target), DISK)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.unit.path("log")).unwrap()
    }

    pub(crate) fn targets(&self) -> Vec<String> {
        let shown = self.unit.adm(&["--mode", "target", "--op", "show"]);
        let text = String::from_utf8(shown.stdout).unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("Target ")?.split_once(": "));
        let mut names: Vec<String> = names.map(|(_, name)| name.to_owned()).collect();
        names.sort();
        names
    }

    /// Runs the stop commands, which must end the daemon without a signal.
    pub(crate) fn stop(mut self) {
        self.unit.run("ExecStop", |_| ());
        let mut status = None;
        wait_until("the daemon exits", || {
            status = self.daemon.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{}", self.log());
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

pub(crate) fn full_name(target: &str) -> String {
    format!("iqn.2026-01.org.example:{target}")
}

#[test]
fn unit_starts_reloads_stops_and_starts_again() {
    start_reload_stop_and_start_again(&Unit::new());
}

#[test]
fn unprivileged_unit_starts_reloads_stops_and_starts_again() {
    start_reload_stop_and_start_again(&Unit::unprivileged());
}

fn start_reload_stop_and_start_again(unit: &Unit) {
    unit.configure(&["one"]);
    let started = unit.start();
    let mut session = started.login("one").unwrap();
    session.write(0, &[1; 512]).unwrap();

    unit.configure(&["one", "two"]);
    unit.run("ExecReload", |_| ());
    assert!(!unit.service["ExecReload"].iter().any(|line| line.ends_with(" -f") || line.contains("--force")));
    assert_eq!(started.targets(), [full_name("one"), full_name("two")]);
    assert_eq!(session.read(0, 1).unwrap(), [1; 512], "a reload keeps sessions");
    started.login("two").unwrap();
    started.stop();

    let again = unit.start();
    assert_eq!(again.targets(), [full_name("one"), full_name("two")]);
    assert_eq!(again.login("one").unwrap().read(0, 1).unwrap(), [1; 512]);
    again.stop();
}

#[test]
fn target_that_cannot_be_created_does_not_affect_others() {
    let unit = Unit::new();
    unit.configure(&["one"]);
    let bad = |name: &str, line: &str| format!("<target {}>\n  {line}\n</target>\n", full_name(name));
    unit.include("0-refused-by-the-daemon.conf", &bad("bad", "initiator-address 10.0.0.256"));
    unit.include("z-refused-by-the-tool.conf", &bad("worse", "lun 1\n  lun 2"));
    let started = unit.start();
    assert_eq!(started.targets(), [full_name("one")]);
    started.login("one").unwrap();
    let output_of = |directive| {
        let (mut command, _) =
            unit.command(unit.service[directive].iter().find(|line| line.contains("tgt-admin")).unwrap());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for directive in ["ExecReload", "ExecStartPost"] {
        let (code, text) = output_of(directive);
        assert_eq!(code, Some(22), "{text}");
        assert!(
            text.contains(&format!("0-refused-by-the-daemon.conf:1: target {}", full_name("bad"))),
            "{text}"
        );
        assert!(text.contains("z-refused-by-the-tool.conf:3: "), "{text}");
    }
    assert_eq!(started.targets(), [full_name("one")]);
    started.stop();
}

#[test]
fn reload_configures_the_daemon_after_an_unreadable_file() {
    let unit = Unit::new();
    unit.configure(&["one"]);
    unit.include("bad.conf", "<target iqn.2026-01.org.example:bad>\n");
    let started = unit.start_without_targets();
    assert_eq!(started.targets(), [""; 0]);
    unit.include("bad.conf", "");
    unit.run("ExecReload", |_| ());
    started.login("one").unwrap();
    started.stop();
}

#[test]
fn second_unit_runs_on_another_control_port() {
    let unit = Unit::new();
    unit.configure(&["one"]);
    let second = Unit::beside(&unit, 1);
    second.configure(&["one", "other"]);
    let (first_started, second_started) = (unit.start(), second.start());
    assert_eq!(first_started.targets(), [full_name("one")]);
    assert_eq!(second_started.targets(), [full_name("one"), full_name("other")]);
    second_started.stop();
    first_started.login("one").unwrap();
    first_started.stop();
}

#[test]
fn sighup_does_not_end_the_daemon() {
    let unit = Unit::new();
    unit.configure(&["one"]);
    let started = unit.start();
    rustix::process::kill_process(Pid::from_child(&started.daemon), Signal::HUP).unwrap();
    wait_until("the signal is logged", || started.log().contains("ignored; tgt-admin --update ALL"));
    started.login("one").unwrap();
    started.stop();
}
