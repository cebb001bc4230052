//! Replays every input of the fuzz corpora through the function that its fuzz target calls, on stable Rust, so that
//! a crash that was fixed stays fixed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use target_engine::control::fuzzing::{access_rules, management_request};
use target_engine::iscsi::login::fuzzing::drive;
use target_engine::shard::fuzzing::connection;
use tgtadm_bin::admin::config::fuzzing::targets_conf;

/// Name of a fuzz target, which is also that of its corpus directory, and the function it calls.
type Target = (&'static str, fn(&[u8]));

fn targets() -> Vec<Target> {
    let mut targets: Vec<Target> =
        iscsi_proto::fuzzing::TARGETS.iter().map(|target| (target.name, target.run)).collect();
    targets.extend_from_slice(&[
        ("cdb", scsi_core::fuzzing::cdb as fn(&[u8])),
        ("mode_parameter_list", scsi_core::fuzzing::mode_parameter_list),
        ("persistent_reserve_list", scsi_core::fuzzing::persistent_reserve_list),
        ("unmap_list", scsi_core::fuzzing::unmap_list),
        ("sense", scsi_core::fuzzing::sense),
        ("tape_image", scsi_core::fuzzing::tape_image),
        ("login", drive),
        ("connection", connection),
        ("management_request", management_request),
        ("access_rules", access_rules),
        ("targets_conf", targets_conf),
        ("nbd_handshake", backstores::nbd::fuzzing::handshake),
        ("nbd_reply", backstores::nbd::fuzzing::reply),
        ("nebd_frames", backstores::nebd::fuzzing::frames),
        ("longhorn_messages", backstores::longhorn::fuzzing::messages),
    ]);
    targets
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a directory of the repository");
    let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("a readable entry").path();
    let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    entries.filter_map(|entry| stem(path(entry))).collect()
}

#[test]
fn every_fuzz_target_is_replayed_and_has_a_corpus() {
    let known: BTreeSet<String> = targets().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), known);
    assert_eq!(names(&fuzz().join("corpus")), known);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in known {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "fuzz/Cargo.toml has a binary {name}");
    }
}

#[test]
fn corpus_inputs_do_not_panic() {
    for (name, run) in targets() {
        let folder = fuzz().join("corpus").join(name);
        let mut count = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            // Prints the input, so that the output of a crash names it.
            println!("{}", path.display());
            run(&bytes);
            count += 1;
        }
        assert!(count > 0, "the corpus of {name} has inputs");
    }
}
