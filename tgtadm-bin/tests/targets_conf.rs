//! Compares the commands of our `tgt-admin` with those of tgt's (Debian package `tgt`) for the same files.
//!
//! Both run with `--pretend` and without a daemon. Files in `targets_conf/same` give the same commands. Files in
//! `targets_conf/different` give other commands for the reason in their first line; the expected output is in the file
//! next to them.
//!
//! `@` in a file is the directory of the devices. tgt sends the parameters of a unit in the order of a Perl hash, which
//! is random; they are compared in sorted order.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const OURS: &str = env!("CARGO_BIN_EXE_tgt-admin");
const TGT: &str = "/usr/sbin/tgt-admin";

/// A directory with devices, one of which is in use, and files to include.
struct Site {
    folder: tempfile::TempDir,
    user: std::process::Child,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace('@', folder.path().to_str().unwrap())).unwrap();
        };
        for name in ["a", "b", "c", "d", "B", "a9", "a10", "z", "used", "with space"] {
            put(&format!("{name}.img"), "");
        }
        put("conf.d/1.conf", "<target iqn.2001-04.com.example:one>\n</target>\n");
        put("conf.d/2.conf", "<target iqn.2001-04.com.example:two>\nbacking-store @/b.img\n</target>\n");
        put("conf.d/3.other", "<target iqn.2001-04.com.example:three>\n</target>\n");
        put("folder/a", "<target iqn.2001-04.com.example:four>\n</target>\n");
        put("folder/.b", "<target iqn.2001-04.com.example:five>\n</target>\n");
        put("nearby.inc", "<target iqn.2001-04.com.example:six>\n</target>\n");
        put("inside.inc", "backing-store @/a.img\n");
        let used = fs::File::open(folder.path().join("used.img")).unwrap();
        let user = Command::new("sleep").arg("600").stdin(Stdio::from(used)).spawn().unwrap();
        Self { folder, user }
    }

    /// The standard output, standard error and exit code of a tool, without the name of the directory.
    fn run(&self, tool: &str, conf: &Path, options: &[&str]) -> (String, String, Option<i32>) {
        let folder = self.folder.path();
        let here = folder.to_str().unwrap();
        fs::write(folder.join("targets.conf"), fs::read_to_string(conf).unwrap().replace('@', here)).unwrap();
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new(tool)
        } else {
            // tgt requires root.
            let mut command = Command::new("unshare");
            command.args(["-Ur", tool]);
            command
        };
        command.args(options).args(["-c", "targets.conf"]).current_dir(folder);
        let output = command.env("TGT_IPC_SOCKET", folder.join("nobody")).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(here, "@");
        (text(output.stdout), text(output.stderr), output.status.code())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.user.kill();
        let _ = self.user.wait();
    }
}

/// The commands in order, but parameters of one unit sorted, then the comments.
fn comparable(text: &str) -> String {
    let kind = |line: &str| {
        let is_parameter = line.contains("--op update --mode logicalunit");
        (is_parameter, is_parameter && line.contains("--params mode_page"))
    };
    let mut commands: Vec<&str> = text.lines().filter(|line| line.starts_with("tgtadm")).collect();
    let mut sorted = Vec::new();
    while !commands.is_empty() {
        let like = commands.iter().take_while(|line| kind(line) == kind(commands[0])).count();
        let mut group: Vec<&str> = commands.drain(..like).collect();
        if kind(group[0]).0 {
            group.sort_unstable();
        }
        sorted.extend(group);
    }
    let mut comments: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    comments.sort_unstable();
    sorted.extend(comments);
    sorted.join("\n") + "\n"
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets_conf").join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == ending)).collect();
    found.sort();
    found
}

#[test]
fn same_file_gives_same_commands() {
    let site = Site::new();
    let files = files("same", "conf");
    assert!(files.len() >= 25);
    for conf in files {
        let (theirs, _, their_code) = site.run(TGT, &conf, &["-e", "-p"]);
        let (ours, complaints, our_code) = site.run(OURS, &conf, &["-e", "-p"]);
        assert_eq!(comparable(&ours), comparable(&theirs), "{}: {complaints}", conf.display());
        assert_eq!(our_code, their_code, "{}", conf.display());
    }
}

#[test]
fn force_exports_devices_in_use() {
    let site = Site::new();
    let conf = files("same", "conf").into_iter().find(|path| path.ends_with("device_in_use.conf")).unwrap();
    let (theirs, _, _) = site.run(TGT, &conf, &["-e", "-p", "-f"]);
    let (ours, _, _) = site.run(OURS, &conf, &["-e", "-p", "-f"]);
    assert_eq!(comparable(&ours), comparable(&theirs));
    assert!(ours.contains("used.img"));
}

/// `UPDATE_EXPECTED=1` writes the expected output.
#[test]
fn differences_have_a_reason_and_expected_output() {
    let site = Site::new();
    for conf in files("different", "conf") {
        assert!(fs::read_to_string(&conf).unwrap().starts_with("# "), "{} has a reason", conf.display());
        let (theirs, _, _) = site.run(TGT, &conf, &["-e", "-p"]);
        let (ours, complaints, code) = site.run(OURS, &conf, &["-e", "-p"]);
        assert_ne!(comparable(&ours), comparable(&theirs), "{} is no difference", conf.display());
        let ours = format!("{}{complaints}exit {}\n", comparable(&ours), code.unwrap());
        let nobody =
            "tgtadm: failed to send request hdr to tgt daemon, Transport endpoint is not connected\n";
        let ours = ours.replace(nobody, "");
        let expected = conf.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &ours).unwrap();
        }
        assert_eq!(ours, fs::read_to_string(&expected).unwrap_or_default(), "{}", conf.display());
    }
    assert_eq!(files("different", "conf").len(), files("different", "expected").len());
}
