//! The rules of the house, as far as a test can see them: lengths and heads of files, arrows between crates, purity
//! of the pure ones, where `unsafe` may stand, and words that have no place in a repository.

mod functions;
mod imports;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// Files of the repository by their path in it, with one of these endings.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the repository") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                if !["target", ".git", "corpus", "artifacts"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending))
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 5, "there are files to look at");
    found
}

/// Prints all breaches, then fails if there were any.
fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// Code without comments, with the numbers of the lines.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.enumerate().map(|(index, line)| (index + 1, line))
}

#[test]
fn files_are_rooms_not_halls() {
    let long = files(&[".rs"]).into_iter().filter(|(_, text)| {
        text.lines().count() > 500
            && !text.lines().any(|line| line.starts_with("//! Longer than 500 lines because "))
    });
    none("over 500 lines without a reason in the head", &long.map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is() {
    let silent = files(&[".rs"]).into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none("no `//!` head", &silent.map(|(path, _)| path).collect::<Vec<_>>());
}

/// What each crate may depend on among the crates of the house; an arrow that is not here does not exist.
const ARROWS: [(&str, &[&str]); 7] = [
    ("iscsi-proto", &[]),
    ("scsi-core", &[]),
    ("target-engine", &["iscsi-proto", "scsi-core"]),
    ("backstores", &["scsi-core"]),
    ("tgtadm-bin", &["target-engine", "scsi-core"]),
    ("tgtd-bin", &["target-engine", "backstores", "scsi-core"]),
    ("tests", &["iscsi-proto", "scsi-core", "target-engine", "backstores"]),
];

/// The names in `[dependencies]` and in parts of it; those of development do not count.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && !line.contains("dev-dependencies");
        } else if let Some((name, value)) =
            line.split_once(['=', '.']).filter(|_| inside && !line.starts_with('#'))
        {
            found.push((name.trim(), value.trim()));
        }
    }
    found
}

#[test]
fn arrows_between_crates_are_as_drawn() {
    let house: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let mut breaches = Vec::new();
    for (name, allowed) in ARROWS {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        for (dependency, value) in dependencies(&manifest) {
            if house.contains(&dependency) && !allowed.contains(&dependency) {
                breaches.push(format!("{name} -> {dependency}"));
            }
            if (name, dependency) == ("tgtadm-bin", "target-engine") && value.contains("runtime") {
                breaches.push("tgtadm-bin uses the engine without its runtime".to_owned());
            }
        }
    }
    none("arrows that are not drawn", &breaches);
}

/// Crates that have no business in a crate without I/O.
const IMPURE: [&str; 10] =
    ["rustix", "polling", "socket2", "io-uring", "libc", "nix", "tokio", "getrandom", "signal-hook", "log"];

#[test]
fn the_pure_crates_are_pure() {
    let words =
        ["std::net", "std::fs", "std::thread", "std::process", "Instant::now", "SystemTime", "std::env"];
    let mut breaches = Vec::new();
    for name in ["iscsi-proto", "scsi-core"] {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let impure = dependencies(&manifest).into_iter().filter(|(other, _)| IMPURE.contains(other));
        breaches.extend(impure.map(|(other, _)| format!("{name} -> {other}")));
        for (path, text) in files(&[".rs"]) {
            if !path.starts_with(&format!("{name}/src/")) {
                continue;
            }
            for (number, line) in code(&text) {
                if words.iter().any(|word| line.contains(word)) {
                    breaches.push(format!("{path}:{number}: {}", line.trim()));
                }
            }
        }
    }
    none("I/O, threads or a clock in a pure crate", &breaches);
}

/// Only where the kernel or a C library is talked to; elsewhere a test may say why it must.
#[test]
fn unsafe_stands_where_it_may() {
    let allowed = |path: &str, text: &str| {
        path.starts_with("backstores/")
            || ["target-engine/src/runtime/poller.rs", "target-engine/src/runtime/buffers.rs"].contains(&path)
            || path.starts_with("tests/") && text.contains("#![expect(unsafe_code, reason = ")
    };
    let keyword = ["unsafe {", "unsafe impl", "unsafe fn", "unsafe extern"];
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs"]) {
        if path == "tests/tests/tidy/main.rs" || allowed(&path, &text) {
            continue;
        }
        let lines = code(&text).filter(|(_, line)| keyword.iter().any(|word| line.contains(word)));
        breaches.extend(lines.map(|(number, _)| format!("{path}:{number}")));
    }
    none("unsafe where it may not stand", &breaches);
}

/// In lower case, and in pieces here, so that this file does not break its own rule. (A session is the protocol's
/// word and may be spoken of.)
const BANNED: [&[&str]; 9] = [
    &["sub", "agent"],
    &["as an ", "ai "],
    &["to", "do("],
    &["fix", "me"],
    &["work in ", "progress"],
    &["unimplemented", "!("],
    &["to", "do!("],
    &["iss", "ue #"],
    &["help", "er-"],
];

#[test]
fn nothing_speaks_of_the_work_instead_of_the_product() {
    let banned: Vec<String> = BANNED.iter().map(|pieces| pieces.concat()).collect();
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs", ".md", ".toml"]) {
        for (index, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            // A stage of the work by its number, as in the name of a part of a plan.
            let stage = ["phase ", "issue "].iter().any(|word| {
                let mut after = lower.match_indices(word).map(|(at, _)| &lower[at + word.len()..]);
                after.any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
            });
            if stage || banned.iter().any(|word| lower.contains(word)) {
                breaches.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    none("words of the work", &breaches);
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    let places =
        [["/wo", "rk/"].concat(), ["/fa", "rm/"].concat(), ["/ho", "me/"].concat(), ["/ro", "ot/"].concat()];
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs", ".md", ".toml", ".8", ".5", ".sh", "run"]) {
        for (index, line) in text.lines().enumerate() {
            let own = |at: usize| {
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || ".-_}".contains(before))
            };
            if places.iter().any(|place| line.match_indices(place.as_str()).any(|(at, _)| own(at))) {
                breaches.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    none("paths of a machine", &breaches);
}

#[test]
fn an_ignored_test_says_why() {
    let mut breaches = Vec::new();
    let bare = ["#[ign", "ore]"].concat();
    for (path, text) in files(&[".rs"]) {
        let lines = code(&text).filter(|(_, line)| line.contains(&bare));
        breaches.extend(lines.map(|(number, _)| format!("{path}:{number}")));
    }
    none("ignored without a reason", &breaches);
}
