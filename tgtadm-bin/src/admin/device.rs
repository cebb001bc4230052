//! The file or device at a path: whether it exists, whether it is in use, and its SCSI identity.

use std::fs::{self, Metadata, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Whether a path can be exported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PathStatus {
    /// The path can be exported.
    Free,
    /// No file or device is there, or it is a directory.
    Absent,
    /// Another process has it open, or the kernel uses it: mounted, swap, part of a RAID or a volume group.
    InUse,
}

/// Checks a path. The process `ignored_process` may have it open.
pub(super) fn probe(path: &Path, ignored_process: Option<u32>) -> PathStatus {
    let Ok(metadata) = fs::metadata(path).and_then(|found| {
        if found.is_dir() { Err(std::io::ErrorKind::IsADirectory.into()) } else { Ok(found) }
    }) else {
        return PathStatus::Absent;
    };
    let claimed = metadata.file_type().is_block_device() && is_claimed(path);
    if claimed || is_open(&metadata, ignored_process) { PathStatus::InUse } else { PathStatus::Free }
}

/// `O_EXCL` without `O_CREAT` on a block device fails while the kernel itself uses it (open(2)).
fn is_claimed(path: &Path) -> bool {
    let opened =
        OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed()).open(path);
    opened.is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()))
}

/// Whether a process other than this one and `ignored_process` has it open. Processes of other users may be hidden.
fn is_open(wanted: &Metadata, ignored_process: Option<u32>) -> bool {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut others = processes.filter(|process| *process != own && Some(*process) != ignored_process);
    others.any(|process| {
        let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::metadata(entry.path()).ok()).any(|other| is_same(wanted, &other))
    })
}

/// Compares devices by number, because one device can have many names, and files by inode.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    let device = |file: &Metadata| file.file_type().is_block_device() || file.file_type().is_char_device();
    if device(one) {
        return one.file_type() == other.file_type() && one.rdev() == other.rdev();
    }
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The identity of a SCSI device as parameters of a unit, from what the kernel keeps of its INQUIRY data (SPC-4 6.6.2,
/// 7.8.15) and Block Limits page (SBC-3 6.6.3). Empty for other files.
pub(super) fn identity(path: &Path) -> Vec<(&'static str, String)> {
    let Ok(metadata) = fs::metadata(path) else { return Vec::new() };
    if !metadata.file_type().is_block_device() {
        return Vec::new();
    }
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    identity_in(&PathBuf::from(format!("/sys/dev/block/{major}:{minor}")))
}

/// Reads the identity from the sysfs directory of a disk or of one of its partitions.
fn identity_in(block: &Path) -> Vec<(&'static str, String)> {
    let whole = fs::canonicalize(block).ok();
    let folders = whole.iter().flat_map(|whole| [Some(whole.as_path()), whole.parent()]).flatten();
    let Some(device) = folders.map(|folder| folder.join("device")).find(|device| device.exists()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, file) in [("vendor_id", "vendor"), ("product_id", "model"), ("product_rev", "rev")] {
        if let Ok(text) = fs::read_to_string(device.join(file)) {
            found.push((name, text.trim_end_matches('\n').to_owned()));
        }
    }
    if let Some(serial) = page(&device, "vpd_pg80").and_then(|data| String::from_utf8(data).ok()) {
        found.push(("scsi_sn", serial.trim().to_owned()));
    }
    if let Some(limits) = page(&device, "vpd_pgb0") {
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        // The granularity is in bytes 6 and 7 of the page, the optimal length in 12 to 15; `page` removes 4 bytes of
        // header.
        for (name, range) in [("optimal_xfer_gran", 2..4), ("optimal_xfer_len", 8..12)] {
            if let Some(value) = limits.get(range).map(number).filter(|value| *value > 0) {
                found.push((name, value.to_string()));
            }
        }
    }
    found.retain(|(_, value)| !value.is_empty());
    found
}

/// A VPD page without its header (SPC-4 7.8.2).
fn page(device: &Path, file: &str) -> Option<Vec<u8>> {
    let bytes = fs::read(device.join(file)).ok()?;
    let len = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    Some(bytes[4..].iter().copied().take(len).collect())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn file_is_in_use_while_another_process_has_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        assert_eq!(probe(&path, None), PathStatus::Absent);
        assert_eq!(probe(folder.path(), None), PathStatus::Absent);
        fs::write(&path, "").unwrap();
        let own = fs::File::open(&path).unwrap();
        assert_eq!(probe(&path, None), PathStatus::Free, "this process is ignored");
        let mut other = Command::new("sleep").arg("60").stdin(Stdio::from(own)).spawn().unwrap();
        assert_eq!(probe(&path, None), PathStatus::InUse);
        let link = folder.path().join("link");
        fs::hard_link(&path, &link).unwrap();
        assert_eq!(probe(&link, None), PathStatus::InUse, "also under another name");
        assert_eq!(probe(&path, Some(other.id())), PathStatus::Free);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(probe(&path, None), PathStatus::Free);
    }

    #[test]
    fn identity_comes_from_sysfs() {
        let sys = tempfile::tempdir().unwrap();
        let partition = sys.path().join("sda/sda1");
        let device = sys.path().join("sda/device");
        fs::create_dir_all(&partition).unwrap();
        assert!(identity_in(&partition).is_empty());
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("vendor"), "ATA     \n").unwrap();
        fs::write(device.join("model"), "QEMU HARDDISK   \n").unwrap();
        fs::write(device.join("rev"), "2.5+\n").unwrap();
        fs::write(device.join("vpd_pg80"), b"\0\x80\0\x0a  QM00001 junk").unwrap();
        fs::write(device.join("vpd_pgb0"), b"\0\xb0\0\x0c\0\0\0\x08\0\0\0\0\0\0\0\x10").unwrap();
        let expected = [
            ("vendor_id", "ATA     "),
            ("product_id", "QEMU HARDDISK   "),
            ("product_rev", "2.5+"),
            ("scsi_sn", "QM00001"),
            ("optimal_xfer_gran", "8"),
            ("optimal_xfer_len", "16"),
        ];
        for folder in [&partition, &sys.path().join("sda")] {
            assert_eq!(identity_in(folder), expected.map(|(name, value)| (name, value.to_owned())));
        }
        fs::write(device.join("vpd_pg80"), b"\0\x80").unwrap();
        assert_eq!(identity_in(&partition).len(), 5);
    }
}
