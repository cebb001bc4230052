//! Tests of the tree: statements, errors, included files.

use std::collections::BTreeMap;
use std::io;

use super::*;
use crate::admin::config::Files;

/// Files in memory. A pattern matches by its beginning before the `*`.
struct MemoryFiles(BTreeMap<&'static str, &'static str>);

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.get(path.to_str().unwrap());
        text.map(|text| text.as_bytes().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn directory(&self, path: &Path) -> Option<Vec<PathBuf>> {
        let inside = format!("{}/", path.to_str().unwrap());
        let names: Vec<PathBuf> =
            self.0.keys().filter(|name| name.starts_with(&inside)).map(PathBuf::from).collect();
        (!names.is_empty()).then_some(names)
    }

    fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        let start = pattern.split('*').next().unwrap();
        self.0.keys().filter(|name| name.starts_with(start)).map(PathBuf::from).collect()
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path.to_str().unwrap()) || self.directory(path).is_some()
    }
}

/// Entries in short form: `key=value`, a key without a value as `key`, a block as `key[name]{…}`.
fn short(entries: &[Entry]) -> String {
    let one = |entry: &Entry| match &entry.item {
        EntryItem::Value(None) => entry.key.clone(),
        EntryItem::Value(Some(value)) => format!("{}={value}", entry.key),
        EntryItem::Block(Block { name, entries }) => {
            format!("{}[{}]{{{}}}", entry.key, name.as_deref().unwrap_or_default(), short(entries))
        }
    };
    entries.iter().map(one).collect::<Vec<_>>().join("|")
}

fn tree(files: &[(&'static str, &'static str)]) -> String {
    match read(Path::new(files[0].0), &MemoryFiles(files.iter().copied().collect())) {
        Ok(entries) => short(&entries),
        Err(error) => error.to_string(),
    }
}

#[test]
fn statements_become_entries() {
    #[rustfmt::skip]
    let cases = [
        ("a b\na = b\na=b\na =b c\na b=c\na = b = c",      "a=b|a=b|a=b|a=b c|a=b=c|a=b = c"),
        ("a\na=\na =\na \"\"\na \"",                       "a|a=|a=|a=|a="),
        ("a \"b c\"\na 'b c'\na \"b\" c\na \"b\na \"b \"", "a=b c|a='b c'|a=\"b\" c|a=\"b|a=b "),
        (r#"a \$b\\c\"d\#e\f\!"#,                          r#"a=$b\c"d#e\f\!"#),
        ("<t x>\na b\n</t>\n<t/>\n<t \"x y\"/>",           "t[x]{a=b}|t[]{}|t[x y]{}"),
        ("< t  x y >\n</other>\n<\"t x\" y>\n</t>",        "t[x y]{}|t x[y]{}"),
        ("<t>\n<s x>\n</s>\na\n</t>",                      "t[]{s[x]{}|a}"),
        ("a <<E\nb \\# \"\nE",                             "a=b # \""),
        ("a b\n</t>",                                      "f:2: </t> has no matching <t>"),
        ("<t x>\n<s>\n</s>",                               "f:1: the block <t> does not end; end it with </t>"),
        ("<t",                                             "f:1: a block begins with '<NAME>' alone on its line; the '>' is missing"),
        ("<t> a",                                          "f:1: a block begins with '<NAME>' alone on its line; the '>' is missing"),
        ("<>",                                             "f:1: a block has no name; write '<NAME>' or '<NAME VALUE>'"),
        ("<t>\n</>",                                       "f:2: a block ends with '</NAME>' alone on its line"),
        ("= b",                                            "f:1: no key before the '='; write 'KEY VALUE'"),
    ];
    for (text, expected) in cases {
        assert_eq!(tree(&[("f", text)]), expected, "{text:?}");
    }
    let deep = "<t>\n".repeat(BLOCKS_MAX + 1);
    assert_eq!(
        tree(&[("f", deep.leak())]),
        format!("f:{}: blocks are nested more than 32 deep", BLOCKS_MAX + 1)
    );
}

#[test]
fn included_files_replace_their_include_line() {
    #[rustfmt::skip]
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("f", "a 1\nInclude g\na 2"), ("g", "b")],                            "a=1|b|a=2"),
        (&[("f", "<t x>\ninclude \"g\"\n</t>"), ("g", "b\n</t>\n<t y>")],        "t[x]{b}|t[y]{}"),
        (&[("f", "include d"), ("d/1", "b 1"), ("d/2", "b 2")],                  "b=1|b=2"),
        (&[("f", "include g*"), ("g1", "b 1"), ("g2", "b 2")],                   "b=1|b=2"),
        (&[("f", "include {h,g}1"), ("g1", "b 1"), ("h1", "b 2")],               "b=2|b=1"),
        (&[("e/f", "include g"), ("e/g", "b 1")],                                "b=1"),
        (&[("e/f", "include g"), ("e/g", "b 1"), ("g", "b 2")],                  "b=2"),
        (&[("f", "include g\ninclude g\ninclude f"), ("g", "b")],                "b"),
        (&[("f", "include x*\nincludeoptional x\ninclude\nincluded y")],         "include|included=y"),
        (&[("f", "a\ninclude x")],                                               "f:2: there is no file 'x' to include"),
        (&[("f", "include g"), ("g", "\n</t>")],                                 "g:2: </t> has no matching <t>"),
        (&[("f", "include g"), ("g", "<t>")],                                    "g:1: the block <t> does not end; end it with </t>"),
    ];
    for (files, expected) in cases {
        assert_eq!(tree(files), *expected, "{files:?}");
    }
    let missing = read(Path::new("f"), &MemoryFiles(BTreeMap::new())).unwrap_err();
    assert_eq!(missing.to_string(), "f:0: f: entity not found");
}

#[test]
fn braces_expand_to_alternatives() {
    assert_eq!(alternatives("a{b,c}d{,e}"), ["abd", "abde", "acd", "acde"]);
    assert_eq!(alternatives("a{b"), ["a{b"]);
    assert!(alternatives(&"{a,b}".repeat(40)).len() <= 2 * ALTERNATIVES_MAX);
}
