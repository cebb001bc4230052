//! Compares our parser of `targets.conf` with the Perl library that tgt uses (Debian package `libconfig-general-perl`,
//! a dependency of `tgt`) on random texts: if both accept a text, they read the same tree.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tgtadm_bin::admin::config::{Entry, EntryItem, Files, read};

/// Reads each file of the command line with tgt's options and prints one line for each.
const PERL: &str = r#"
use Config::General qw(ParseConfig);
sub show {
    my ($x) = @_;
    return "{" . join("|", map { "$_=" . show($x->{$_}) } sort keys %$x) . "}" if ref $x eq "HASH";
    return "[" . join(",", map { show($_) } @$x) . "]" if ref $x eq "ARRAY";
    return defined $x ? "'$x'" : "~";
}
for my $file (@ARGV) {
    my %tree = eval {
        ParseConfig(-ConfigFile => $file, -UseApacheInclude => 1, -IncludeDirectories => 1,
                    -IncludeGlob => 1, -MergeDuplicateBlocks => 1)
    };
    my $line = $@ ? "!" : show(\%tree);
    $line =~ s/\n/\\n/g;
    print "$line\n";
}
"#;

/// Lines of the random texts. Blocks and options have different names, because Config::General cannot mix them.
const PIECES: [&str; 40] = [
    "a b",
    "a  b  c ",
    "a = b",
    "b=c",
    "b =c d",
    "b c=d",
    "a",
    "b=",
    "\ta \"b c\"",
    "a \"b\" c",
    "a \"b",
    "a 'b c'",
    "a \"\"",
    "a \"",
    "a \" b \" # c",
    "a b # c",
    "a b#c",
    "a b \\# c",
    "a \\$x \\\\ \\\" \\n \\",
    "a b \\",
    "c \\\\",
    " # c",
    "#c \\",
    "",
    "<t x>",
    "<t x>",
    "<t x>  # c",
    "<t \"x y\">",
    "<s>",
    "</t>",
    "</t>",
    "</s>",
    "</s>",
    "<t z/>",
    "a <<E",
    "E",
    "  E",
    "/* c */",
    "/*",
    "*/",
];

/// A node of Config::General's tree: equal keys are one list, blocks of one name are one block.
enum Node {
    Value(Option<String>),
    List(Vec<Self>),
    Block(BTreeMap<String, Self>),
}

fn insert(block: &mut BTreeMap<String, Node>, entry: &Entry) {
    match &entry.item {
        EntryItem::Value(value) => {
            let value = Node::Value(value.clone());
            match block.remove(&entry.key) {
                None => block.insert(entry.key.clone(), value),
                Some(Node::List(mut values)) => {
                    values.push(value);
                    block.insert(entry.key.clone(), Node::List(values))
                }
                Some(other) => block.insert(entry.key.clone(), Node::List(vec![other, value])),
            };
        }
        EntryItem::Block(inner) => {
            let mut place = block.entry(entry.key.clone()).or_insert_with(|| Node::Block(BTreeMap::new()));
            if let Some(name) = &inner.name {
                let Node::Block(named) = place else { panic!("a block") };
                place = named.entry(name.clone()).or_insert_with(|| Node::Block(BTreeMap::new()));
            }
            let Node::Block(place) = place else { panic!("a block") };
            inner.entries.iter().for_each(|entry| insert(place, entry));
        }
    }
}

fn show(node: &Node) -> String {
    match node {
        Node::Value(None) => "~".to_owned(),
        Node::Value(Some(value)) => format!("'{value}'"),
        Node::List(values) => format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(",")),
        Node::Block(block) => {
            let parts = block.iter().map(|(key, node)| format!("{key}={}", show(node)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join("|"))
        }
    }
}

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }
    fn directory(&self, _: &Path) -> Option<Vec<PathBuf>> {
        None
    }
    fn matching(&self, _: &str) -> Vec<PathBuf> {
        Vec::new()
    }
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

fn ours(path: &Path) -> Option<String> {
    let mut top = BTreeMap::new();
    read(path, &Disk).ok()?.iter().for_each(|entry| insert(&mut top, entry));
    Some(show(&Node::Block(top)).replace('\n', "\\n"))
}

#[test]
fn texts_that_both_accept_have_equal_trees() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 1_u64;
    let mut chance = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let paths: Vec<PathBuf> = (0..2000).map(|number| folder.path().join(number.to_string())).collect();
    for path in &paths {
        let mut text = String::new();
        for _ in 0..=chance(9) {
            let piece = PIECES[chance(PIECES.len())];
            // Config::General interprets these in a line that continues another.
            if !["a <<E", "/* c */", "/*", "*/", "<t z/>"].contains(&piece) || !text.ends_with("\\\n") {
                writeln!(text, "{piece}").unwrap();
            }
        }
        fs::write(path, text).unwrap();
    }
    let output = Command::new("perl").args(["-e", PERL]).args(&paths).output().unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert!(theirs.lines().count() == paths.len(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut both = 0;
    let mut different = String::new();
    for (path, theirs) in paths.iter().zip(theirs.lines()) {
        let Some(ours) = ours(path).filter(|_| theirs != "!") else { continue };
        both += 1;
        if ours != theirs {
            let text = fs::read_to_string(path).unwrap();
            writeln!(different, "{text:?}\n  ours   {ours}\n  theirs {theirs}").unwrap();
        }
    }
    assert!(different.is_empty(), "{different}");
    assert!(both > paths.len() / 4, "{both} of {} texts were read by both", paths.len());
}
