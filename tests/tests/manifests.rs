//! Checks of manifests and tests: dependencies build with the declared Rust version, each dependency is used, and no test
//! returns early.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// `cargo metadata` of the locked dependencies on this architecture; it needs no network after a build.
fn metadata() -> Value {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cannot run cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_else(|| panic!("no text {key} in {object}"))
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().expect("packages are a list")
}

/// Parses a Rust version for comparison: "1.89" is 1.89.0.
fn version(text: &str) -> [u32; 3] {
    let mut numbers = text.split('.').map(|part| part.parse().expect("a number"));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

#[test]
fn locked_dependencies_build_with_the_declared_rust_version() {
    let metadata = metadata();
    let (ours, others): (Vec<&Value>, Vec<&Value>) =
        packages(&metadata).iter().partition(|package| package["source"].is_null());
    let declared = text(ours[0], "rust_version");
    assert!(
        ours.iter().all(|package| text(package, "rust_version") == declared),
        "all crates declare the same"
    );
    assert!(others.len() > 50, "too few dependencies in cargo metadata");
    let newer: Vec<String> = others
        .into_iter()
        .filter_map(|package| {
            let needed = package["rust_version"].as_str()?;
            (version(needed) > version(declared))
                .then(|| format!("{} {} needs {needed}", text(package, "name"), text(package, "version")))
        })
        .collect();
    assert!(newer.is_empty(), "rust-version is {declared}, but:\n  {}", newer.join("\n  "));
}

/// Concatenated Rust files below a directory.
fn code(directory: &Path) -> String {
    let mut all = String::new();
    let mut left: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a readable directory");
            left.extend(entries.map(|entry| entry.expect("a readable entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all += &fs::read_to_string(path).expect("a readable file");
        }
    }
    all
}

#[test]
fn every_dependency_is_used() {
    let metadata = metadata();
    let mut unused = Vec::new();
    for package in packages(&metadata).iter().filter(|package| package["source"].is_null()) {
        let directory =
            Path::new(text(package, "manifest_path")).parent().expect("a manifest is in a directory");
        let (all, program) = (code(directory), code(&directory.join("src")));
        for dependency in package["dependencies"].as_array().expect("dependencies are a list") {
            let name = text(dependency, "name").replace('-', "_");
            // The library of md-5 is called md5.
            let name = if name == "md_5" { "md5".to_owned() } else { name };
            let code = if dependency["kind"].is_null() { &program } else { &all };
            let mut found = code.match_indices(&name).map(|(at, _)| &code[at + name.len()..]);
            if !found.any(|after| after.starts_with("::") || after.starts_with(';')) {
                unused.push(format!("{} -> {name}", text(package, "name")));
            }
        }
    }
    assert!(unused.is_empty(), "dependencies that no code names:\n  {}", unused.join("\n  "));
}

/// A test that returns early passes without having tested anything.
#[test]
fn no_test_returns_early() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Concatenated, so that this test does not match itself.
    let returns = [["return", ";"].concat(), ["{ return", " }"].concat()];
    let mut early = Vec::new();
    for directory in
        ["iscsi-proto", "scsi-core", "target-engine", "backstores", "tgtd-bin", "tgtadm-bin", "tests"]
    {
        let code = code(&root.join(directory));
        let mut function: Option<(String, String)> = None;
        let mut attribute = false;
        for line in code.lines() {
            let indent = &line[..line.len() - line.trim_start().len()];
            if line.trim() == "#[test]" {
                attribute = true;
            } else if attribute && line.trim_start().starts_with("fn ") {
                attribute = false;
                function = Some((format!("{indent}}}"), line.trim().to_owned()));
            } else if let Some((end, name)) = &function {
                if line == end {
                    function = None;
                } else if returns.iter().any(|word| line.contains(word)) {
                    early.push(format!("{directory}: {name} {}", line.trim()));
                }
            }
        }
    }
    assert!(early.is_empty(), "tests that return early:\n  {}", early.join("\n  "));
}
