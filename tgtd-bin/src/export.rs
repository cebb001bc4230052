//! `--export`: one target for each file or device, and instructions that say how to attach them.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use backstores::registry::parse_size;
use target_engine::model::portal::PortalSpec;

/// The value of one `--export`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Export {
    /// The absolute path of a file or block device.
    pub(crate) path: PathBuf,
    /// The size in bytes of the file if it has to be created.
    pub(crate) size: Option<u64>,
}

/// Why a file cannot be exported as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// The file cannot be opened or created.
    #[error("cannot export {}: {source}{hint}", path.display())]
    Unusable {
        /// The path of the export.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
        /// What the user can do; may be empty.
        hint: &'static str,
    },
    /// The file exists with another size. It is left unchanged.
    #[error("cannot export {}: it exists with {found} bytes, not {asked}; leave the size out to export it as it is", path.display())]
    OtherSize {
        /// The path of the export.
        path: PathBuf,
        /// The size of the file, in bytes.
        found: u64,
        /// The size in `--export`, in bytes.
        asked: u64,
    },
}

impl Export {
    /// Parses `PATH` or `PATH:SIZE`. The text after the last colon is a size if it parses as one; otherwise it belongs
    /// to the path.
    ///
    /// # Errors
    /// A message that says what is accepted: the path is empty, or the size is not a multiple of 512.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (path, size) = match text.rsplit_once(':').map(|(path, size)| (path, parse_size(size))) {
            Some((path, Some(size))) => (path, Some(size)),
            _ => (text, None),
        };
        if let Some(size) = size
            && (size == 0 || !size.is_multiple_of(BLOCK_LEN))
        {
            return Err(format!("{size} bytes are not a whole number of blocks of {BLOCK_LEN} bytes"));
        }
        if path.is_empty() || path == ":" {
            return Err("expected PATH or PATH:SIZE, for example disk.img:1G".to_owned());
        }
        // The daemon may change its working directory.
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        Ok(Self { path, size })
    }

    /// Whether the path ends in a colon and a text that begins as a number, which was probably meant as a size.
    fn ends_in_wrong_size(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.rsplit_once(':').is_some_and(|(_, end)| end.starts_with(|sign: char| sign.is_ascii_digit()))
    }

    /// Creates the file if a size is given and the file does not exist; otherwise checks that it exists and has the
    /// size.
    ///
    /// # Errors
    /// The file cannot be created or inspected, or has another size.
    pub(crate) fn prepare(&self) -> Result<(), ExportError> {
        let unusable = |source, hint| ExportError::Unusable { path: self.path.clone(), source, hint };
        let Some(asked) = self.size else {
            let hint = if self.ends_in_wrong_size() {
                "; the text after the last colon is not a size: accepted are bytes, or a number with K, M, G or T, below 16777216T"
            } else {
                "; give a size to create it, for example disk.img:1G"
            };
            return std::fs::metadata(&self.path).map(drop).map_err(|source| unusable(source, hint));
        };
        match std::fs::File::create_new(&self.path) {
            Ok(file) => file.set_len(asked).map_err(|source| {
                // A file without its size would be refused by the next start.
                let _ = std::fs::remove_file(&self.path);
                unusable(source, "")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let found = std::fs::metadata(&self.path).map_err(|source| unusable(source, ""))?;
                match found.len() {
                    found_len if found.is_file() && found_len != asked => {
                        Err(ExportError::OtherSize { path: self.path.clone(), found: found_len, asked })
                    }
                    _ => Ok(()),
                }
            }
            Err(source) => Err(unusable(source, "")),
        }
    }
}

/// Derives a unique target name for each export from the name of its file.
pub(crate) fn target_names(exports: &[Export]) -> Vec<String> {
    let mut taken = HashSet::new();
    exports
        .iter()
        .map(|export| {
            let stem = sanitized(&export.path);
            let mut name = format!("{NAME_PREFIX}{stem}");
            let mut number = 1;
            while !taken.insert(name.clone()) {
                number += 1;
                name = format!("{NAME_PREFIX}{stem}-{number}");
            }
            name
        })
        .collect()
}

/// Replaces characters that an iSCSI name may not contain with dashes, and upper case with lower case, as RFC 3722
/// does.
fn sanitized(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let legal = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' });
    let name: String = legal.take(STEM_LEN_MAX).collect();
    if name.is_empty() { "disk".to_owned() } else { name }
}

/// The initiator addresses that may log in to an export: those of this machine, which are loopback and the addresses of
/// the portals.
pub(crate) fn admitted(portals: &[PortalSpec]) -> Vec<String> {
    let own = portals.iter().filter_map(|portal| portal.host.parse::<IpAddr>().ok());
    let own = own.filter(|address| !address.is_unspecified() && !address.is_loopback());
    let loopback = ["127.0.0.0/8".to_owned(), "::1".to_owned()];
    loopback.into_iter().chain(own.map(|address| address.to_string())).collect()
}

/// The text that says how to attach the exports, to list them, and to administer the daemon.
pub(crate) fn instructions(
    exports: &[(Export, String)],
    portals: &[PortalSpec],
    socket_base: &Path,
    control_port: u16,
) -> String {
    let portal = portals.first().map_or_else(|| "127.0.0.1:3260".to_owned(), reachable);
    let mut text = String::new();
    for (export, name) in exports {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} is LUN 1 of {name} on {portal}\n\
             \n  qemu-img info iscsi://{portal}/{name}/1\n  \
             iscsiadm -m discovery -t sendtargets -p {portal}\n  \
             iscsiadm -m node -T {name} -p {portal} --login\n",
            export.path.display()
        );
    }
    let number = if control_port == 0 { String::new() } else { format!(" -C {control_port}") };
    let tgtadm = format!("TGT_IPC_SOCKET={} tgtadm{number}", socket_base.display());
    let _ = writeln!(
        text,
        "List it:     iscsi-ls -s iscsi://{portal}\n\
         Administer:  {tgtadm} --mode target --op show\n\
         Only this machine may attach it. Others need a portal that they can reach and a rule that admits them:\n\
         \n  {tgtadm} --mode portal --op new --params portal=ADDRESS:PORT\n  \
         {tgtadm} --mode target --op bind --tid 1 --initiator-address INITIATOR\n\n\
         Ctrl-C ends it."
    );
    text
}

/// The address and port to connect to. A wildcard address is reached by loopback.
fn reachable(portal: &PortalSpec) -> String {
    let host = match portal.host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "::1".to_owned(),
        _ => portal.host.clone(),
    };
    PortalSpec { host, port: portal.port }.to_string()
}

/// The naming authority is a domain that RFC 2606 reserves for examples.
const NAME_PREFIX: &str = "iqn.2001-04.com.example:";
/// Keeps the whole name far below the 223 bytes of RFC 7143 4.2.7.1.
const STEM_LEN_MAX: usize = 64;
const BLOCK_LEN: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn export(path: &str) -> Export {
        Export { path: path.into(), size: None }
    }

    #[test]
    fn size_is_the_text_after_the_last_colon_if_it_parses() {
        let cases = [
            ("/a/disk.img", "/a/disk.img", None),
            ("/a/disk.img:1G", "/a/disk.img", Some(1 << 30)),
            ("/a/disk.img:512", "/a/disk.img", Some(512)),
            ("/dev/disk/by-path/pci-0000:00:1f.2", "/dev/disk/by-path/pci-0000:00:1f.2", None),
            ("/a/b:c:4k", "/a/b:c", Some(4096)),
        ];
        for (text, path, size) in cases {
            assert_eq!(Export::parse(text), Ok(Export { path: path.into(), size }), "{text}");
        }
        assert!(Export::parse("disk.img").is_ok_and(|export| export.path.is_absolute()));
        for invalid in ["", ":", ":1G", "/a:0", "/a:1000"] {
            assert!(Export::parse(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn file_is_created_once_and_never_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.img");
        let sized = |size| Export { path: path.clone(), size };

        assert!(matches!(sized(None).prepare(), Err(ExportError::Unusable { .. })));
        sized(Some(4096)).prepare().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
        std::fs::write(&path, [7; 4096]).unwrap();
        sized(Some(4096)).prepare().unwrap();
        sized(None).prepare().unwrap();
        let other = sized(Some(8192)).prepare();
        assert!(matches!(other, Err(ExportError::OtherSize { found: 4096, asked: 8192, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), [7; 4096]);
    }

    #[test]
    fn missing_file_with_a_wrong_size_is_not_asked_for_a_size() {
        let directory = tempfile::tempdir().unwrap();
        for (name, is_wrong) in [
            ("new.img:1000000P", true),
            ("disk.img:1T5", true),
            ("a:b:1.5G", true),
            ("new.img", false),
            ("a:b", false),
        ] {
            let path = directory.path().join(name);
            let refused = Export::parse(path.to_str().unwrap()).unwrap().prepare().unwrap_err().to_string();
            assert_eq!(refused.contains("is not a size: accepted are bytes"), is_wrong, "{refused}");
            assert_eq!(refused.contains("give a size to create it"), !is_wrong, "{refused}");
        }
        let path = directory.path().join("pci-0000:00:1f.2");
        std::fs::write(&path, [0; 512]).unwrap();
        Export::parse(path.to_str().unwrap())
            .unwrap()
            .prepare()
            .expect("a colon belongs to an existing path");
    }

    #[test]
    fn error_of_a_file_that_cannot_be_created_has_path_and_reason() {
        let refused = Export { path: "/nonexistent/disk.img".into(), size: Some(512) }.prepare().unwrap_err();
        assert!(refused.to_string().contains("/nonexistent/disk.img: No such file"), "{refused}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("huge.img");
        assert!(Export { path: path.clone(), size: Some(u64::MAX - 511) }.prepare().is_err());
        assert!(!path.exists(), "no file is left");
    }

    #[test]
    fn target_names_are_legal_and_unique() {
        let exports = ["/a/Disk One.img", "/b/disk_one.raw", "/dev/sda", "/", "/b/disk-one"].map(export);
        let names = target_names(&exports);
        let suffixes: Vec<&str> = names.iter().map(|name| name.rsplit(':').next().unwrap()).collect();
        assert_eq!(suffixes, ["disk-one", "disk-one-2", "sda", "disk", "disk-one-3"]);
        for name in names {
            assert!(iscsi_name_is_legal(&name), "{name}");
        }
    }

    /// What `target new` accepts.
    fn iscsi_name_is_legal(name: &str) -> bool {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":.-".contains(&byte))
    }

    #[test]
    fn exports_admit_loopback_and_portal_addresses() {
        assert_eq!(admitted(&[]), ["127.0.0.0/8", "::1"]);
        let portals = ["0.0.0.0", "192.0.2.1", "127.0.0.1", "[2001:db8::1]", "storage.example.com"];
        let portals = portals.map(|text| text.parse().unwrap());
        assert_eq!(admitted(&portals), ["127.0.0.0/8", "::1", "192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn instructions_name_portal_target_and_control_socket() {
        let exports = [(export("/a/disk.img"), "iqn.x:disk".to_owned())];
        let portals = ["[::]:3261".parse().unwrap()];
        let text = instructions(&exports, &portals, Path::new("/run/s"), 7);
        for line in [
            "/a/disk.img is LUN 1 of iqn.x:disk on [::1]:3261",
            "  qemu-img info iscsi://[::1]:3261/iqn.x:disk/1",
            "  iscsiadm -m node -T iqn.x:disk -p [::1]:3261 --login",
            "List it:     iscsi-ls -s iscsi://[::1]:3261",
            "TGT_IPC_SOCKET=/run/s tgtadm -C 7 --mode target --op show",
            "  TGT_IPC_SOCKET=/run/s tgtadm -C 7 --mode portal --op new --params portal=ADDRESS:PORT",
            "  TGT_IPC_SOCKET=/run/s tgtadm -C 7 --mode target --op bind --tid 1 --initiator-address INITIATOR",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
