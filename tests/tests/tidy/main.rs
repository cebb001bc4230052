//! The rules of the workspace that a test can check: length and head of files, dependencies between crates, purity of the
//! pure ones, use of `unsafe`, imports between modules, length of functions, words that do not belong in the repository, and the page of limits.

mod functions;
mod imports;
mod limits;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// Paths and contents of the files of the repository with one of these endings.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory of the repository") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                if !["target", ".git", "corpus", "artifacts"].contains(&name.as_str()) {
                    directories.push(path);
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

/// Fails with the list of breaches if there are any.
fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// The lines of code without comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.enumerate().map(|(index, line)| (index + 1, line))
}

#[test]
fn files_have_at_most_500_lines() {
    let long = files(&[".rs"]).into_iter().filter(|(_, text)| {
        text.lines().count() > 500
            && !text.lines().any(|line| line.starts_with("//! Longer than 500 lines because "))
    });
    none("over 500 lines without a reason in the head", &long.map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn every_file_has_a_head() {
    let silent = files(&[".rs"]).into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none("no `//!` head", &silent.map(|(path, _)| path).collect::<Vec<_>>());
}

/// The crates of the workspace, and which of the others each may depend on; ARCHITECTURE.md draws it.
const DEPENDENCIES: [(&str, &[&str]); 7] = [
    ("iscsi-proto", &[]),
    ("scsi-core", &[]),
    ("target-engine", &["iscsi-proto", "scsi-core"]),
    ("backstores", &["scsi-core"]),
    ("tgtadm-bin", &["target-engine", "scsi-core"]),
    ("tgtd-bin", &["target-engine", "backstores", "scsi-core"]),
    ("tests", &["iscsi-proto", "scsi-core", "target-engine", "backstores"]),
];

/// The names and values in `[dependencies]` tables, without development dependencies.
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
fn crates_depend_on_one_another_as_in_the_table() {
    let workspace: Vec<&str> = DEPENDENCIES.iter().map(|(name, _)| *name).collect();
    let mut breaches = Vec::new();
    for (name, allowed) in DEPENDENCIES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        for (dependency, value) in dependencies(&manifest) {
            if workspace.contains(&dependency) && !allowed.contains(&dependency) {
                breaches.push(format!("{name} -> {dependency}"));
            }
            if (name, dependency) == ("tgtadm-bin", "target-engine") && value.contains("runtime") {
                breaches.push("tgtadm-bin uses the engine without its runtime".to_owned());
            }
        }
    }
    none("dependencies that the table does not allow", &breaches);
}

/// Crates that a crate without I/O must not depend on.
const IMPURE: [&str; 10] =
    ["rustix", "polling", "socket2", "io-uring", "libc", "nix", "tokio", "getrandom", "signal-hook", "log"];

#[test]
fn pure_crates_are_pure() {
    const CLOCK: &str = "Instant::now";
    let words = ["std::net", "std::fs", "std::thread", "std::process", CLOCK, "SystemTime", "std::env"];
    let mut breaches = Vec::new();
    for name in ["iscsi-proto", "scsi-core"] {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let impure = dependencies(&manifest).into_iter().filter(|(other, _)| IMPURE.contains(other));
        breaches.extend(impure.map(|(other, _)| format!("{name} -> {other}")));
        for (path, text) in files(&[".rs"]) {
            if !path.starts_with(&format!("{name}/src/")) {
                continue;
            }
            // A test needs some time to begin with.
            let is_tests = path.ends_with("/tests.rs");
            let tests = if is_tests { Some(0) } else { text.lines().position(|line| line == "mod tests {") };
            for (number, line) in code(&text) {
                let is_in_tests = tests.is_some_and(|begin| number > begin);
                if words.iter().any(|&word| line.contains(word) && !(is_in_tests && word == CLOCK)) {
                    breaches.push(format!("{path}:{number}: {}", line.trim()));
                }
            }
        }
    }
    none("I/O, threads or a clock in a pure crate", &breaches);
}

/// `unsafe` is for calls of the kernel or of a C library; a test may use it with a reason.
#[test]
fn unsafe_is_used_only_where_allowed() {
    let allowed = |path: &str, text: &str| {
        path.starts_with("backstores/")
            || ["target-engine/src/runtime/poller.rs", "target-engine/src/runtime/heap.rs"].contains(&path)
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
    none("unsafe code that is not allowed", &breaches);
}

/// In lower case. In pieces, so that this file does not break the rule itself.
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
fn texts_describe_the_product_not_the_work() {
    let banned: Vec<String> = BANNED.iter().map(|pieces| pieces.concat()).collect();
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs", ".md", ".toml"]) {
        for (index, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            // A numbered stage of the work.
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
fn texts_have_no_path_of_a_machine() {
    let roots =
        [["/wo", "rk/"].concat(), ["/fa", "rm/"].concat(), ["/ho", "me/"].concat(), ["/ro", "ot/"].concat()];
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs", ".md", ".toml", ".8", ".5", ".sh", "run"]) {
        for (index, line) in text.lines().enumerate() {
            let own = |at: usize| {
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || ".-_}".contains(before))
            };
            if roots.iter().any(|root| line.match_indices(root.as_str()).any(|(at, _)| own(at))) {
                breaches.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    none("paths of a machine", &breaches);
}

#[test]
fn ignored_tests_have_a_reason() {
    let mut breaches = Vec::new();
    let bare = ["#[ign", "ore]"].concat();
    for (path, text) in files(&[".rs"]) {
        let lines = code(&text).filter(|(_, line)| line.contains(&bare));
        breaches.extend(lines.map(|(number, _)| format!("{path}:{number}")));
    }
    none("ignored without a reason", &breaches);
}
