//! Manual pages have exactly the options of `--help`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::harness::binaries;

/// The options `-x` and `--name` at the start of the lines of a help text.
fn options_of_help(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let forms = lines.flat_map(|line| line.split("  ").next().unwrap_or_default().split([' ', ',', '=']));
    forms.filter(|form| form.starts_with('-') && form.len() > 1).map(str::to_owned).collect()
}

/// The options of a manual page: `.It Fl x , -name Ar value`.
fn options_of_page(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix(".It ")) {
        let mut flags = false;
        for word in line.split_whitespace().filter(|word| *word != ",") {
            match word {
                "Fl" => flags = true,
                _ if word.starts_with(|first: char| first.is_uppercase()) && word.len() == 2 => flags = false,
                _ if flags => drop(found.insert(format!("-{word}"))),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn manual_pages_have_exactly_the_options_of_help() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man");
    let pages = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<_> = pages.filter(|path| path.extension().is_some_and(|section| section == "8")).collect();
    assert!(pages.len() >= 4, "{pages:?}");
    for path in pages {
        let program = path.file_stem().unwrap().to_str().unwrap();
        let output = Command::new(binaries().join(program)).arg("--help").output().unwrap();
        let help = options_of_help(&String::from_utf8(output.stdout).unwrap());
        assert!(help.contains("--help") && help.len() > 5, "{program}: {help:?}");
        let page = options_of_page(&std::fs::read_to_string(&path).unwrap());
        let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
            these.difference(those).cloned().collect::<Vec<_>>()
        };
        assert_eq!(only(&help, &page), [""; 0], "{program}: --help has them, the page does not");
        assert_eq!(only(&page, &help), [""; 0], "{program}: the page has them, --help does not");
    }
}
