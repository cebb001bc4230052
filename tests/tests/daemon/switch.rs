//! Switches between tgt's package and ours in a separate root directory, in which the maintainer scripts run; the machine
//! is not changed and no daemon starts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::package::{build, succeed};

/// Copies the programs that the scripts of both packages call to the root directory `$1`, and builds `$2/tgt.deb` from
/// the installed tgt.
const PREPARE: &str = r#"
set -euo pipefail
root=$1 place=$2
for package in tgt dash coreutils grep sed findutils perl-base init-system-helpers sysvinit-utils systemd; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>&1 | grep -q ^ii ||
        { echo "install Debian's $package, or call tests/run" >&2; exit 1; }
done
mkdir -p "$root"/{dev,etc/default,proc,run,tmp,usr/bin,usr/sbin,usr/lib,usr/lib64,var/lib/dpkg/{info,updates,triggers}}
: >"$root/var/lib/dpkg/status"
for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$root/$directory"; done
: >"$root/dev/null"
{
    dpkg-query -L dash coreutils grep sed findutils perl-base init-system-helpers sysvinit-utils | grep -Ev '^/usr/share/(doc|man|locale|info)/|^/etc/'
    command -v systemctl
} | while read -r path; do
    if [ -f "$path" ]; then printf '%s\n' "${path#/}"; fi
done | sort -u >"$place/files"
tar -C / -cf - -T "$place/files" | tar -C "$root" -xf - --keep-directory-symlink
(cd / && while read -r file; do ldd "$file" 2>/dev/null || true; done <"$place/files") |
    sed -n 's/^.*[[:space:]]\(\/[^[:space:]]*\) (0x.*$/\1/p' | sort -u |
    while read -r library; do mkdir -p "$root$(dirname "$library")"; cp -L "$library" "$root$library"; done
ln -sf dash "$root/usr/bin/sh"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

package=$place/package
mkdir -p "$package/DEBIAN"
dpkg-query -L tgt | while read -r path; do
    if [ -f "$path" ]; then install -D -m "$(stat -c %a "$path")" "$path" "$package$path"; fi
done
dpkg-query -W -f '${Conffiles}\n' tgt | sed -n 's/^ \([^ ]*\) .*/\1/p' >"$package/DEBIAN/conffiles"
for part in preinst postinst prerm postrm; do
    file=$(dpkg-query --control-path tgt "$part")
    if [ -n "$file" ]; then cp -p "$file" "$package/DEBIAN/$part"; fi
done
printf 'include /etc/tgt/conf.d/*.conf\n' >"$package/etc/tgt/targets.conf"
dpkg-query -W -f 'Package: ${Package}\nVersion: ${Version}\nArchitecture: ${Architecture}\nMaintainer: x\nDescription: x\n' tgt \
    >"$package/DEBIAN/control"
dpkg-deb --root-owner-group --build "$package" "$place/tgt.deb"
"#;

const CONF: &str = "etc/tgt/targets.conf";
const SETTINGS: &str = "etc/default/tgt";
const EDITED: &str =
    "# edited\ninclude /etc/tgt/conf.d/*.conf\n<target iqn.2026-01.org.example:kept>\n</target>\n";

/// A root directory and both packages.
struct System {
    root: tempfile::TempDir,
    place: tempfile::TempDir,
    ours: PathBuf,
}

impl System {
    fn new() -> Self {
        assert!(
            rustix::process::getuid().is_root(),
            "dpkg runs the scripts in another root: call this as root"
        );
        let [root, place] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let script = place.path().join("prepare");
        std::fs::write(&script, PREPARE).unwrap();
        succeed(Command::new("bash").arg(script).arg(root.path()).arg(place.path()));
        let ours = build(place.path());
        Self { root, place, ours }
    }

    #[track_caller]
    fn dpkg(&self, words: &[&str]) {
        let (success, text) = self.try_dpkg(words);
        assert!(success && !text.contains("What would you like to do"), "{words:?}: {text}");
    }

    /// Runs dpkg without a terminal and without options that answer questions about configuration files.
    fn try_dpkg(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", self.root.path().display()));
        command.args(["--force-depends", "--log=/dev/null", "--no-triggers"]).args(words);
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
        let text = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (status.success(), text)
    }

    #[track_caller]
    fn install_tgt(&self) {
        self.dpkg(&["-i", self.place.path().join("tgt.deb").to_str().unwrap()]);
    }

    #[track_caller]
    fn install_ours(&self) {
        self.dpkg(&["-i", self.ours.to_str().unwrap()]);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// Whether the service is enabled, by systemctl and by its symbolic link.
    #[track_caller]
    fn is_enabled(&self) -> bool {
        let says = self.systemctl("is-enabled").status.success();
        let link = self.path("etc/systemd/system/multi-user.target.wants/tgt.service").is_symlink();
        assert_eq!(says, link);
        says
    }

    fn systemctl(&self, word: &str) -> Output {
        let root = format!("--root={}", self.root.path().display());
        Command::new("systemctl").args([&root, word, "tgt.service"]).output().unwrap()
    }

    #[track_caller]
    fn disable(&self) {
        assert!(self.systemctl("disable").status.success());
        assert!(!self.is_enabled());
    }

    fn edit(&self) {
        for path in [CONF, SETTINGS] {
            std::fs::write(self.path(path), EDITED).unwrap();
            std::fs::set_permissions(self.path(path), PermissionsExt::from_mode(0o600)).unwrap();
        }
    }

    #[track_caller]
    fn assert_edited(&self) {
        for path in [CONF, SETTINGS] {
            assert_eq!(self.text(path), EDITED);
            assert_eq!(self.path(path).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    /// Whether deb-systemd-helper has a record of the unit.
    fn has_record(&self) -> bool {
        let records = std::fs::read_dir(self.path("var/lib/systemd")).into_iter().flatten();
        records.map(|entry| entry.unwrap().path()).any(|path| path.join("tgt.service.dsh-also").exists())
    }

    /// Backup files left over in the configuration directories.
    fn remains(&self) -> Vec<PathBuf> {
        let of = |directory: &str| std::fs::read_dir(self.path(directory)).into_iter().flatten();
        let paths = of("etc/tgt").chain(of("etc/default")).map(|entry| entry.unwrap().path());
        let strange = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.contains("dpkg") || name.contains("before")
        };
        paths.filter(strange).collect()
    }
}

#[test]
fn switch_and_purge_of_tgt_keep_edited_configuration_and_enablement() {
    let system = System::new();
    system.install_tgt();
    assert!(system.is_enabled() && system.has_record());
    system.edit();
    system.install_ours();
    system.assert_edited();
    assert!(system.is_enabled());
    assert!(system.text("var/lib/dpkg/info/tgt.postrm").contains("purge"), "tgt is removed but not purged");
    system.dpkg(&["--purge", "tgt"]);
    assert!(system.is_enabled(), "after the purge of tgt");
    system.assert_edited();
    system.install_ours();
    assert!(system.is_enabled(), "after an upgrade");
    system.assert_edited();
    assert!(system.remains().is_empty(), "{:?}", system.remains());

    system.dpkg(&["-r", "tgt-rs"]);
    system.assert_edited();
    system.install_ours();
    assert!(system.is_enabled(), "after removal and installation");
    system.assert_edited();
    system.dpkg(&["--purge", "tgt-rs"]);
    assert!(!system.path("etc/tgt").exists() && !system.path(SETTINGS).exists());
    assert!(!system.path("etc/systemd/system/multi-user.target.wants/tgt.service").is_symlink());
    assert!(!system.path("etc/systemd/system/tgtd.service").is_symlink());
    assert!(!system.has_record());
}

/// tgt is removed, and the configuration edited, before the installation.
#[test]
fn installation_after_removal_of_tgt_keeps_edited_configuration() {
    let system = System::new();
    system.install_tgt();
    system.dpkg(&["-r", "tgt"]);
    system.edit();
    system.install_ours();
    system.assert_edited();
    assert!(system.is_enabled());
    system.dpkg(&["--purge", "tgt"]);
    system.assert_edited();
    assert!(system.is_enabled());
    assert!(system.remains().is_empty(), "{:?}", system.remains());
}

#[test]
fn failed_installation_restores_the_configuration() {
    let system = System::new();
    let other = system.place.path().join("other");
    for (path, text) in [
        ("DEBIAN/control", "Package: other\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"),
        // A file of our package in another package that ours does not replace.
        ("usr/share/doc/tgt-rs/README.md", "other"),
    ] {
        std::fs::create_dir_all(other.join(path).parent().unwrap()).unwrap();
        std::fs::write(other.join(path), text).unwrap();
    }
    let package = system.place.path().join("other.deb");
    succeed(Command::new("dpkg-deb").arg("--build").arg(other).arg(&package));
    system.dpkg(&["-i", package.to_str().unwrap()]);
    std::fs::create_dir_all(system.path("etc/tgt")).unwrap();
    system.edit();
    let (success, text) = system.try_dpkg(&["-i", system.ours.to_str().unwrap()]);
    assert!(!success && text.contains("trying to overwrite"), "{text}");
    system.assert_edited();
    assert!(system.remains().is_empty(), "{:?}", system.remains());
}

#[test]
fn switch_back_and_purge_of_ours_keep_the_service_enabled() {
    let system = System::new();
    system.install_ours();
    assert!(system.is_enabled());
    assert_eq!(system.text(CONF), std::fs::read_to_string(repository().join("dist/targets.conf")).unwrap());
    system.dpkg(&["-r", "tgt-rs"]);
    system.install_tgt();
    assert!(system.is_enabled());
    system.dpkg(&["--purge", "tgt-rs"]);
    assert!(system.is_enabled(), "after the purge of ours");
    assert!(system.path(CONF).exists() && system.path("usr/sbin/tgtd").exists());
    system.install_ours();
    system.dpkg(&["--purge", "tgt"]);
    assert!(system.is_enabled(), "after the switch to tgt and back");
}

#[test]
fn disabled_service_stays_disabled_across_switches() {
    let system = System::new();
    system.install_tgt();
    system.disable();
    system.install_ours();
    assert!(!system.is_enabled());
    system.dpkg(&["--purge", "tgt"]);
    system.install_ours();
    assert!(!system.is_enabled(), "after the purge of tgt and an upgrade");
    system.dpkg(&["-r", "tgt-rs"]);
    system.install_tgt();
    assert!(!system.is_enabled(), "after the installation of tgt");
    system.dpkg(&["--purge", "tgt-rs"]);
    assert!(!system.is_enabled(), "after the purge of ours");
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
