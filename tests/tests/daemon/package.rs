//! The Debian package: built from this workspace's programs, installed into an empty root directory, run from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::{CONTROL_PORT, binaries, wait_until};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Builds the package and returns its path.
pub(crate) fn build(into: &Path) -> PathBuf {
    let mut command = Command::new(repository().join("dist/deb/build"));
    succeed(command.arg("--binaries").arg(binaries()).arg("--out").arg(into));
    let name = succeed(Command::new("sh").arg("-c").arg("echo tgt-rs_*.deb").current_dir(into));
    into.join(name.trim_end())
}

/// Paths of the files of a package, and their modes.
fn content(package: &Path) -> BTreeMap<String, String> {
    let list = succeed(Command::new("dpkg-deb").arg("-c").arg(package));
    let files = list.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], "root/root", "{line}");
        Some((words.get(5)?.strip_prefix('.')?.to_owned(), words[0].to_owned()))
    });
    files.collect()
}

/// A root directory with only dpkg's own files.
fn empty_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["info", "updates", "triggers"] {
        std::fs::create_dir_all(root.path().join("var/lib/dpkg").join(folder)).unwrap();
    }
    std::fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
    root
}

/// Runs dpkg on a root directory; maintainer scripts run outside of it and get it as DPKG_ROOT.
#[track_caller]
fn dpkg(root: &Path, words: &[&str]) {
    let mut command = Command::new("dpkg");
    command.arg(format!("--root={}", root.display())).args(["--force-script-chrootless", "--force-depends"]);
    command.args(["--log=/dev/null", "--force-confold", "--no-triggers"]).args(words);
    succeed(command.env("DEBIAN_FRONTEND", "noninteractive"));
}

/// A package named `tgt` with two of its files.
fn stand_in_for_tgt(into: &Path, unit: &str) -> PathBuf {
    let root = into.join("tgt");
    for (path, text) in [
        (
            "DEBIAN/control",
            "Package: tgt\nVersion: 1:1.0.85\nArchitecture: all\nMaintainer: x\nDescription: x\n",
        ),
        ("usr/sbin/tgtd", "tgt"),
        (unit.trim_start_matches('/'), "tgt"),
    ] {
        std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        std::fs::write(root.join(path), text).unwrap();
    }
    let package = into.join("tgt.deb");
    succeed(Command::new("dpkg-deb").arg("--build").arg(root).arg(&package));
    package
}

/// Each relative link of a document leads to a file of the package.
#[track_caller]
fn assert_links_lead_to_files(package: &Path, content: &BTreeMap<String, String>) {
    let mut documents = content.keys().filter(|path| path.ends_with(".md")).peekable();
    assert!(documents.peek().is_some());
    for document in documents {
        let script = r#"dpkg-deb --fsys-tarfile "$0" | tar --extract --to-stdout ".$1""#;
        let text = succeed(Command::new("sh").args(["-c", script]).arg(package).arg(document));
        let directory = document.rsplit_once('/').unwrap().0;
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = format!("{directory}/{link}");
            let is_elsewhere = link.contains("://") || link.starts_with('#');
            assert!(is_elsewhere || content.contains_key(&file), "{document}: {link}");
        }
    }
}

const CONFFILES: [&str; 3] = ["/etc/default/tgt", "/etc/tgt/conf.d/README", "/etc/tgt/targets.conf"];

/// Checks the metadata and files of the package; returns the path of its unit file.
#[track_caller]
fn assert_content(package: &Path) -> String {
    let control = succeed(Command::new("dpkg-deb").arg("-I").arg(package));
    for line in ["Package: tgt-rs", "Conflicts: tgt", "Replaces: tgt", "Provides: tgt"] {
        assert!(control.lines().any(|found| found.trim() == line), "{line}: {control}");
    }

    let content = content(package);
    let mode = |path: &str| content.get(path).map(String::as_str);
    for program in ["tgtd", "tgtadm", "tgt-admin", "tgt-setup-lun", "tgtimg"] {
        assert_eq!(mode(&format!("/usr/sbin/{program}")), Some("-rwxr-xr-x"), "{program}");
        for completion in [
            format!("bash-completion/completions/{program}"),
            format!("zsh/vendor-completions/_{program}"),
            format!("fish/vendor_completions.d/{program}.fish"),
        ] {
            assert_eq!(mode(&format!("/usr/share/{completion}")), Some("-rw-r--r--"));
        }
    }
    for page in std::fs::read_dir(repository().join("docs/man")).unwrap() {
        let page = page.unwrap().file_name().into_string().unwrap();
        let (_, section) = page.rsplit_once('.').unwrap();
        assert_eq!(mode(&format!("/usr/share/man/man{section}/{page}.gz")), Some("-rw-r--r--"), "{page}");
    }
    for document in ["json.md", "security.md", "examples/unprivileged.conf"] {
        assert_eq!(mode(&format!("/usr/share/doc/tgt-rs/{document}")), Some("-rw-r--r--"), "{document}");
    }
    assert_links_lead_to_files(package, &content);
    let unit = content.keys().find(|path| path.ends_with("/systemd/system/tgt.service")).expect("a unit");
    assert_eq!(
        succeed(Command::new("dpkg-deb").arg("-I").arg(package).arg("conffiles")),
        CONFFILES.join("\n") + "\n"
    );
    assert!(CONFFILES.iter().all(|path| mode(path) == Some("-rw-r--r--")));
    unit.clone()
}

#[test]
fn package_replaces_tgt_and_its_programs_run() {
    let directory = tempfile::tempdir().unwrap();
    let package = build(directory.path());
    let unit = assert_content(&package);
    let root = empty_root();
    let tgt = stand_in_for_tgt(directory.path(), &unit);
    dpkg(root.path(), &["-i", tgt.to_str().unwrap()]);
    dpkg(root.path(), &["-i", package.to_str().unwrap()]);
    let status = std::fs::read_to_string(root.path().join("var/lib/dpkg/status")).unwrap();
    assert!(!status.contains("Package: tgt\n"), "{status}");
    let installed = |path: &str| root.path().join(path.trim_start_matches('/'));
    let found = std::fs::read(installed(&unit)).unwrap();
    assert_eq!(found, std::fs::read(repository().join("dist/tgt.service")).unwrap());
    assert!(
        installed("/etc/systemd/system/multi-user.target.wants/tgt.service").is_symlink(),
        "the service is enabled"
    );
    assert_serves(&installed("/usr/sbin"));

    std::fs::write(installed(CONFFILES[2]), "changed\n").unwrap();
    dpkg(root.path(), &["-i", package.to_str().unwrap()]);
    assert_eq!(
        std::fs::read_to_string(installed(CONFFILES[2])).unwrap(),
        "changed\n",
        "an upgrade keeps the file"
    );
    dpkg(root.path(), &["-r", "tgt-rs"]);
    assert!(!installed("/usr/sbin/tgtd").exists() && installed(CONFFILES[2]).exists());
    std::fs::create_dir_all(installed("/var/lib/tgt")).unwrap();
    dpkg(root.path(), &["-P", "tgt-rs"]);
    assert!(!installed("/etc/tgt").exists() && !installed("/var/lib/tgt").exists());
    assert!(!installed("/etc/systemd/system/multi-user.target.wants/tgt.service").is_symlink());
}

/// Runs the installed programs: starts a daemon, configures a disk, and ends the daemon.
fn assert_serves(programs: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let command = |program: &str| {
        let mut command = Command::new(programs.join(program));
        command.args(["-C", CONTROL_PORT]).env("TGT_IPC_SOCKET", directory.path().join("socket"));
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut daemon =
        command("tgtd").args(["-f", "--iscsi", "portal=127.0.0.1:0"]).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the daemon serves", || {
        assert_eq!(daemon.try_wait().unwrap(), None);
        command("tgtadm").args(["--mode", "sys", "--op", "show"]).output().unwrap().status.success()
    });
    std::fs::write(directory.path().join("disk.img"), [0; 4096]).unwrap();
    let disk = directory.path().join("disk.img");
    succeed(command("tgt-setup-lun").args(["-n", "iqn.2026-01.org.example:disk", "-d"]).arg(disk));
    succeed(command("tgtadm").args(["--mode", "target", "--op", "delete", "--tid", "1"]));
    succeed(command("tgtadm").args(["--mode", "system", "--op", "delete"]));
    assert!(daemon.wait().unwrap().success());
}
