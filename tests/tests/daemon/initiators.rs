//! Disks used by the tools of libiscsi and by QEMU's block layer.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use iscsi_proto::login::LoginStatus;

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{Brand, DISK, Daemon, fail, succeed, target_name};

const MIB: u64 = 1 << 20;
const DISK_LEN: u64 = 64 * MIB;
/// Most bytes that a file system needs for the metadata of holes.
const METADATA: u64 = 256 << 10;

/// Creates a file of pseudo-random bytes.
pub(crate) fn image(daemon: &Daemon, len: u64) -> PathBuf {
    let path = daemon.path("source.img");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut words = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let data: Vec<u8> = (0..len / 8).flat_map(|_| words().to_le_bytes()).collect();
    File::create(&path).unwrap().write_all(&data).unwrap();
    path
}

/// Runs commands of qemu-io in one session; all must succeed.
#[track_caller]
pub(crate) fn qemu_io(options: &[&str], url: &str, commands: &[&str]) -> String {
    let commands = commands.iter().flat_map(|command| ["-c", *command]);
    let text = succeed("qemu-io", options.iter().copied().chain(commands).chain([url]));
    assert!(!text.contains("verification failed") && !text.contains("failed:"), "{text}");
    text
}

pub(crate) const RAW: &[&str] = &["-f", "raw", "-t", "none"];
pub(crate) const RAW_UNMAP: &[&str] = &["-f", "raw", "-t", "none", "-d", "unmap"];
const RAW_CACHED: &[&str] = &["-f", "raw", "-t", "writeback"];

#[track_caller]
pub(crate) fn assert_same(one: &Path, other: &Path, len: u64) {
    let (one, other) = (File::open(one).unwrap(), File::open(other).unwrap());
    for offset in (0..len).step_by(MIB as usize) {
        let [left, right] = [&one, &other].map(|file| {
            let mut data = vec![0; MIB as usize];
            file.read_exact_at(&mut data, offset).unwrap();
            data
        });
        assert!(left == right, "they differ in the MiB at {offset}");
    }
}

#[test]
fn iscsi_ls_lists_targets_and_their_units() {
    let daemon = Daemon::start();
    daemon.disk(1, DISK_LEN);
    daemon.unit(1, 7, 256 * MIB, &[]);
    daemon.target(2);
    let text = succeed("iscsi-ls", ["-s", &format!("iscsi://{}", daemon.portal)]);
    for tid in [1, 2] {
        let line = format!("Target:{} Portal:{},1", target_name(tid), daemon.portal);
        assert!(text.contains(&line), "{line}: {text}");
    }
    assert_eq!(text.matches("Type:STORAGE_ARRAY_CONTROLLER").count(), 2, "{text}");
    assert!(text.contains("Lun:1    Type:DIRECT_ACCESS (Size:63M)"), "{text}");
    assert!(text.contains("Lun:7    Type:DIRECT_ACCESS (Size:255M)"), "{text}");
}

#[test]
fn iscsi_inq_reads_the_standard_data_and_every_page() {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &["--compat-ids"]);
    daemon.thin_disk(1, DISK_LEN, 512);
    let url = daemon.url(1);
    let standard = succeed("iscsi-inq", [&url]);
    for line in ["Device Type:DIRECT_ACCESS", "Vendor:IET", "Product:VIRTUAL-DISK", "CmdQue:1", "Removable:0"]
    {
        assert!(standard.contains(line), "{line}: {standard}");
    }
    let pages: [(&str, &[&str]); 6] = [
        ("0", &["Page:0x00", "Page:0x80", "Page:0x83", "Page:0xb0", "Page:0xb1", "Page:0xb2"]),
        ("128", &["Unit Serial Number:[", "beaf11]"]),
        ("131", &["Designator Type:(3) NAA", "Designator Type:(1) T10_VENDORT_ID", "IET     00010001"]),
        ("176", &["maximum transfer length:", "optimal unmap granularity:8", "maximum unmap lba count:"]),
        ("177", &["Medium Rotation Rate:0RPM"]),
        ("178", &["lbpu:1", "lbpws:1", "lbprz:1", "provisioning type:2"]),
    ];
    for (page, lines) in pages {
        let text = succeed("iscsi-inq", ["-e", "1", "-c", page, &url]);
        for line in lines {
            assert!(text.contains(line), "page {page}, {line}: {text}");
        }
    }
}

#[test]
fn qemu_img_reads_back_the_image_it_wrote() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, DISK_LEN);
    let (source, url) = (image(&daemon, DISK_LEN), daemon.url(1));
    let source_name = source.to_str().unwrap();
    let info = succeed("qemu-img", ["info", "--output=json", &url]);
    assert!(info.contains(&format!("\"virtual-size\": {DISK_LEN}")), "{info}");
    succeed("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", source_name, &url]);
    succeed("qemu-img", ["compare", "-f", "raw", "-F", "raw", source_name, &url]);
    assert_same(&source, &file, DISK_LEN);
    let back = daemon.path("back.img");
    let back_name = back.to_str().unwrap();
    succeed("qemu-img", ["convert", "-m", "8", "-f", "raw", "-O", "raw", &url, back_name]);
    assert_same(&source, &back, DISK_LEN);
}

#[test]
fn concurrent_out_of_order_writes_arrive() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, DISK_LEN);
    let (source, url) = (image(&daemon, DISK_LEN), daemon.url(1));
    let source_name = source.to_str().unwrap();
    succeed("qemu-img", ["convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", source_name, &url]);
    succeed("qemu-img", ["compare", "-f", "raw", "-F", "raw", source_name, &url]);
    assert_same(&source, &file, DISK_LEN);
}

#[test]
fn patterns_of_many_sizes_are_read_back_in_another_session() {
    let daemon = Daemon::start();
    daemon.disk(1, DISK_LEN);
    let url = daemon.url(1);
    let sizes = [512_u64, 4096, 12_288, 65_536, 69_632, 262_144, 1_048_576, 3_145_728, 8_388_608];
    let mut offset = 0;
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for (number, len) in sizes.into_iter().chain(sizes).enumerate() {
        writes.push(format!("write -P {} {offset} {len}", number + 1));
        reads.push(format!("read -P {} {offset} {len}", number + 1));
        offset += len + 4096 * number as u64;
    }
    reads.reverse();
    qemu_io(RAW, &url, &writes.iter().map(String::as_str).collect::<Vec<_>>());
    qemu_io(RAW, &url, &reads.iter().map(String::as_str).collect::<Vec<_>>());
    let asynchronous =
        |verb: &str| (0..64).map(|at| format!("{verb} -P {} {}k 64k", at + 1, at * 64)).collect::<Vec<_>>();
    let flush = vec!["aio_flush".to_owned()];
    let all = [asynchronous("aio_write"), flush.clone(), asynchronous("aio_read"), flush].concat();
    qemu_io(RAW, &url, &all.iter().map(String::as_str).collect::<Vec<_>>());
    // For parts of blocks QEMU reads, modifies and writes.
    qemu_io(
        RAW,
        &url,
        &["write -P 9 0 64k", "write -P 8 1000 3000", "read -P 9 0 1000", "read -P 8 1000 3000"],
    );
}

#[test]
fn write_zeroes_and_discards_free_blocks_of_a_thin_unit() {
    let daemon = Daemon::start();
    let file = daemon.thin_disk(1, DISK_LEN, 512);
    let url = daemon.url(1);
    let blocks = || File::open(&file).unwrap().metadata().unwrap().blocks() * 512;
    qemu_io(
        RAW_UNMAP,
        &url,
        &["write -P 1 0 16M", "write -z 4M 1M", "read -P 1 0 4M", "read -P 0 4M 1M", "read -P 1 5M 11M"],
    );
    let full = blocks();
    qemu_io(
        RAW_UNMAP,
        &url,
        &["write -z -u 8M 4M", "read -P 1 5M 3M", "read -P 0 8M 4M", "read -P 1 12M 4M"],
    );
    assert!(blocks() <= full - 4 * MIB + METADATA, "writing zeroes that may unmap frees blocks");
    qemu_io(RAW_UNMAP, &url, &["discard 0 4M", "read -P 0 0 4M", "read -P 1 5M 3M", "read -P 1 12M 4M"]);
    assert!(blocks() <= full - 8 * MIB + METADATA, "a discard frees blocks");
    let map = succeed("qemu-img", ["map", "--output=json", "-f", "raw", &url]);
    assert!(map.contains("\"data\": false") && map.contains("\"data\": true"), "{map}");
}

#[test]
fn writes_with_fua_and_flushes_succeed() {
    let daemon = Daemon::start();
    daemon.disk(1, DISK_LEN);
    let url = daemon.url(1);
    qemu_io(
        RAW_CACHED,
        &url,
        &["write -f -P 8 0 1M", "read -P 8 0 1M", "write -P 7 0 1M", "flush", "read -P 7 0 1M"],
    );
}

#[test]
fn unit_with_aio_store_serves_the_same_bytes() {
    let daemon = Daemon::start();
    daemon.target(1);
    let file = daemon.unit(1, DISK, DISK_LEN, &["--bstype", "aio"]);
    let (source, url) = (image(&daemon, DISK_LEN), daemon.url(1));
    let source_name = source.to_str().unwrap();
    succeed("qemu-img", ["convert", "-n", "-W", "-m", "8", "-f", "raw", "-O", "raw", source_name, &url]);
    succeed("qemu-img", ["compare", "-f", "raw", "-F", "raw", source_name, &url]);
    assert_same(&source, &file, DISK_LEN);
    qemu_io(RAW, &url, &["write -P 3 512 1024", "read -P 3 512 1024", "flush"]);
}

#[test]
fn unit_with_4k_blocks_serves_the_same_bytes() {
    let daemon = Daemon::start();
    let file = daemon.thin_disk(1, DISK_LEN, 4096);
    let (source, url) = (image(&daemon, DISK_LEN), daemon.url(1));
    let source_name = source.to_str().unwrap();
    succeed("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", source_name, &url]);
    succeed("qemu-img", ["compare", "-f", "raw", "-F", "raw", source_name, &url]);
    assert_same(&source, &file, DISK_LEN);
    qemu_io(RAW_UNMAP, &url, &["write -P 4 0 16M", "discard 4M 4M", "read -P 4 0 4M", "read -P 0 4M 4M"]);
}

#[test]
fn read_only_unit_refuses_writes() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, DISK_LEN);
    daemon.set_unit(1, DISK, "readonly=1");
    let url = daemon.url(1);
    qemu_io(&["-r", "-f", "raw"], &url, &["read -P 0 0 1M"]);
    fail("qemu-io", ["-f", "raw", "-c", "write -P 1 0 64k", &url]);
    assert_eq!(File::open(file).unwrap().metadata().unwrap().blocks(), 0, "nothing was written");
}

#[test]
fn unknown_targets_units_and_blocks_are_refused() {
    let daemon = Daemon::start();
    daemon.disk(1, DISK_LEN);
    fail("qemu-img", ["info", &daemon.url_of("iqn.2026-01.org.example:nobody", DISK)]);
    let nobody = "iqn.2026-01.org.example:nobody";
    let refused = Client::try_login(daemon.portal, LOCALHOST, &next_name(), nobody, 0);
    assert!(matches!(refused, Err(End::Refused(LoginStatus::NotFound))), "{:?}", refused.err());
    fail("qemu-img", ["info", &daemon.url_of(&target_name(1), 77)]);
    fail("qemu-io", ["-f", "raw", "-c", &format!("read {} 8192", DISK_LEN - 4096), &daemon.url(1)]);
    qemu_io(RAW, &daemon.url(1), &[&format!("read -P 0 {} 4096", DISK_LEN - 4096)]);
}

#[test]
fn concurrent_sessions_do_not_mix_data() {
    let daemon = Daemon::start();
    daemon.disk(1, DISK_LEN);
    let url = daemon.url(1);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let url = &url;
            scope.spawn(move || {
                let (pattern, offset) = (number + 1, number * 16);
                let commands = ["write", "read"].map(|verb| format!("{verb} -P {pattern} {offset}M 16M"));
                qemu_io(RAW, url, &[&commands[0], &commands[1], &commands[1]]);
            });
        }
    });
    let commands: Vec<String> =
        (0..4).map(|number| format!("read -P {} {}M 16M", number + 1, number * 16)).collect();
    qemu_io(RAW, &url, &commands.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn header_digests_are_negotiated_and_correct() {
    let daemon = Daemon::start();
    daemon.disk(1, DISK_LEN);
    for digest in ["crc32c", "crc32c-none", "none-crc32c", "none"] {
        let disk = format!("driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={},", daemon.portal);
        let disk =
            format!("{disk}file.target={},file.lun={DISK},file.header-digest={digest}", target_name(1));
        qemu_io(&["--image-opts"], &disk, &["write -P 21 0 1M", "read -P 21 0 1M"]);
    }
}
