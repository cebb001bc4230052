//! The files in `dist/completions` are made from the tables of options. `TGT_WRITE=1 cargo test` writes them again.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use clap_complete::Shell;
use tgtadm_bin::admin::invocation;
use tgtadm_bin::{completions, image, setup_lun};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/completions")
}

/// The files for bash, zsh and fish.
#[track_caller]
fn assert_files(tool: &str, generated: [Vec<u8>; 3]) {
    let files = [format!("bash/{tool}"), format!("zsh/_{tool}"), format!("fish/{tool}.fish")];
    for (file, generated) in files.iter().zip(generated) {
        let path = folder().join(file);
        if std::env::var_os("TGT_WRITE").is_some() {
            fs::write(&path, &generated).unwrap();
        }
        let same = fs::read(&path).unwrap() == generated;
        assert!(same, "{file} differs from the tables of options: TGT_WRITE=1 cargo test writes it again");
    }
}

fn of(mut command: clap::Command) -> [Vec<u8>; 3] {
    let name = command.get_name().to_owned();
    [Shell::Bash, Shell::Zsh, Shell::Fish].map(|shell| {
        let mut generated = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut generated);
        generated
    })
}

#[test]
fn completions_are_made_from_the_tables_of_options() {
    assert_files("tgt-admin", of(invocation::described()));
    assert_files("tgt-setup-lun", of(setup_lun::Args::command()));
    assert_files("tgtimg", of(image::Args::command()));
    assert_files(
        "tgtadm",
        [completions::bash(), completions::zsh(), completions::fish()].map(String::into_bytes),
    );
}

/// What bash offers for the last word.
fn offered(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let script = format!(
        "source {}/bash/tgtadm; COMP_WORDS=({}); COMP_CWORD={}; _tgtadm; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        folder().display(),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_offers_what_a_mode_and_an_operation_take() {
    assert_eq!(offered("tgtadm --mode ta"), ["target"]);
    assert_eq!(offered("tgtadm --mode portal --op "), ["new", "delete", "show"]);
    assert_eq!(offered("tgtadm -m tgt -o u"), ["unbind", "update"]);
    assert_eq!(offered("tgtadm --device-type c"), ["cd", "changer"]);
    let options = offered("tgtadm --mode target --op new --");
    assert_eq!(options, ["--debug", "--lld", "--op", "--mode", "--tid", "--targetname", "--control-port"]);
    assert!(offered("tgtadm --mode lu --op new -").contains(&"--backing-store".to_owned()));
    assert!(offered("tgtadm --").contains(&"--initiator-name".to_owned()));
    assert_eq!(offered("tgtadm --password "), [""; 0]);
}
