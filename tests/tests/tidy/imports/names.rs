//! The imports between the files of a crate, as their tokens name them.
//!
//! An import of a name that a module only passes on (`pub use child::Name`) counts for the file that has the name.
//! Code under `#[cfg(test)]` is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// Files of a crate by the paths of their modules: `text::keys` for `src/text/keys.rs`.
pub(super) type Files = BTreeMap<Vec<String>, (String, String)>;

/// An import: from which file into which, both by module.
pub(super) type Imports = BTreeSet<(Vec<String>, Vec<String>)>;

/// What the tokens of one file name.
#[derive(Default)]
struct Names {
    /// Paths that begin at a module of this crate, in full from the root of the crate.
    paths: Vec<Vec<String>>,
    /// The same of `pub use`, by the names that it gives.
    passed_on: BTreeMap<String, Vec<String>>,
    /// All names outside of `pub use` that are no fields, methods or declared modules.
    used: BTreeSet<String>,
    /// A `pub use` is being read.
    in_public_use: bool,
    /// Modules that are declared for tests only.
    test_modules: Vec<Vec<String>>,
}

type Tokens = Peekable<IntoIter>;

/// Stands for the first half of `::`.
const JOINED: &str = ":joint";

impl Names {
    /// Reads the tokens of the module at `module`, which declares `children` in files of their own.
    fn read(&mut self, tokens: TokenStream, module: &[String], children: &[String]) {
        let mut tokens = tokens.into_iter().peekable();
        let mut before = String::new();
        let mut public = false;
        let mut in_path = false;
        while let Some(token) = tokens.next() {
            if let TokenTree::Ident(ident) = &token
                && !(self.in_public_use || in_path || before == "." || before == "mod")
            {
                self.used.insert(ident.to_string());
            }
            match &token {
                TokenTree::Ident(ident) if ident == "use" => self.in_public_use = public,
                TokenTree::Punct(punct) if punct.as_char() == ';' => self.in_public_use = false,
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if matches!(tokens.peek(), Some(TokenTree::Group(group)) if is_for_tests(group)) {
                        self.skip_item(&mut tokens, module);
                    }
                }
                TokenTree::Ident(ident) if before == "mod" => {
                    if let Some(TokenTree::Group(group)) = tokens.peek() {
                        let inner = [module, &[ident.to_string()]].concat();
                        self.read(group.stream(), &inner, &[]);
                        tokens.next();
                    }
                }
                // The path in `pub(in super::super)` imports nothing.
                TokenTree::Group(_) if before == "pub" => {}
                TokenTree::Group(group) => self.read(group.stream(), module, children),
                // A name after `::` continues a path that began elsewhere.
                TokenTree::Ident(ident) if !in_path && is_path(&mut tokens) => {
                    let mut path = module.to_vec();
                    match ident.to_string().as_str() {
                        "crate" => path.clear(),
                        "self" => {}
                        "super" => drop(path.pop()),
                        child if children.iter().any(|other| other == child) => path.push(child.to_owned()),
                        _ => continue,
                    }
                    self.continue_path(path, &mut tokens);
                }
                _ => {}
            }
            in_path = before == JOINED && token.to_string() == ":";
            before = match &token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && punct.spacing() == Spacing::Joint => {
                    JOINED.to_owned()
                }
                _ => token.to_string(),
            };
            public = before == "pub" || public && matches!(token, TokenTree::Group(_));
        }
    }

    /// Reads on after a part of a path: `::name`, `::super`, `::*`, `::{…}`.
    fn continue_path(&mut self, mut path: Vec<String>, tokens: &mut Tokens) {
        while is_path(tokens) {
            tokens.next();
            tokens.next();
            match tokens.peek() {
                Some(TokenTree::Ident(ident)) if ident == "super" => drop(path.pop()),
                Some(TokenTree::Ident(ident)) if ident == "self" => {}
                Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.read_tree(&path, group.clone());
                    tokens.next();
                    return;
                }
                _ => break,
            }
            tokens.next();
        }
        let mut name = path.last().cloned();
        if matches!(tokens.peek(), Some(TokenTree::Ident(ident)) if ident == "as") {
            tokens.next();
            name = tokens.next().map(|alias| alias.to_string());
        }
        self.add(name, path);
    }

    fn add(&mut self, name: Option<String>, path: Vec<String>) {
        match name {
            Some(name) if self.in_public_use => drop(self.passed_on.insert(name, path)),
            _ => self.paths.push(path),
        }
    }

    /// The parts between the braces of a `use`, separated by commas.
    fn read_tree(&mut self, path: &[String], group: Group) {
        let mut tokens = group.stream().into_iter().peekable();
        while let Some(token) = tokens.next() {
            if let TokenTree::Ident(ident) = &token {
                let name = ident.to_string();
                match name.as_str() {
                    "as" => drop(tokens.next()),
                    "self" => self.add(path.last().cloned(), path.to_vec()),
                    "super" => self.continue_path(path[..path.len() - 1].to_vec(), &mut tokens),
                    _ => self.continue_path([path, &[name]].concat(), &mut tokens),
                }
            } else if matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '*') {
                self.paths.push(path.to_vec());
            }
        }
    }

    /// Passes over the item behind an attribute, and notes the module that it declares.
    fn skip_item(&mut self, tokens: &mut Tokens, module: &[String]) {
        let mut before = String::new();
        for token in tokens.by_ref() {
            match &token {
                TokenTree::Ident(ident) if before == "mod" => {
                    self.test_modules.push([module, &[ident.to_string()]].concat());
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => return,
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
                _ => {}
            }
            before = token.to_string();
        }
    }
}

fn is_path(tokens: &mut Tokens) -> bool {
    matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
        && matches!(tokens.clone().nth(1), Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

/// `[cfg(test)]`, and `test` within `all(…)` or `any(…)`.
fn is_for_tests(attribute: &Group) -> bool {
    let text: String = attribute.to_string().split_whitespace().collect();
    text.starts_with("[cfg(") && !text.contains("not(") && {
        text.split(|character: char| !character.is_alphanumeric()).any(|word| word == "test")
    }
}

/// Modules that a file declares without a body: they have files of their own.
fn declared(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.trim().strip_suffix(';')?.split_once("mod "));
    names.map(|(_, name)| name.to_owned()).collect()
}

/// The path of the module in a file, from its crate's `src`.
pub(super) fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("a source file that compiles")
}

/// The imports between the files of a crate.
pub(super) fn imports(files: &Files) -> Imports {
    let mut names = BTreeMap::new();
    for (module, (_, text)) in files {
        let children = declared(text);
        let mut found = Names::default();
        found.read(tokens(text), module, &children);
        // What a module passes on from its children is no import, unless it uses the name itself.
        let is_child = |path: &[String]| {
            path.strip_prefix(module.as_slice()).is_some_and(|rest| children.contains(&rest[0]))
        };
        let imported = |(name, path): &(&String, &Vec<String>)| !is_child(path) || found.used.contains(*name);
        let imported = found.passed_on.iter().filter(imported).map(|(_, path)| path.clone());
        found.paths.extend(imported.collect::<Vec<_>>());
        names.insert(module, found);
    }
    let mut found = Imports::new();
    for (module, Names { paths, .. }) in &names {
        let targets = paths.iter().filter_map(|path| file_of(path, files, &names, 0));
        found.extend(targets.filter(|target| target != *module).map(|target| ((*module).clone(), target)));
    }
    let test_modules: Vec<_> = names.values().flat_map(|names| &names.test_modules).collect();
    let is_test = |module: &[String]| test_modules.iter().any(|test| module.starts_with(test));
    found.retain(|(from, to)| !is_test(from) && !is_test(to));
    found
}

/// The module of the file that has what a path names.
fn file_of(
    path: &[String],
    files: &Files,
    names: &BTreeMap<&Vec<String>, Names>,
    depth: usize,
) -> Option<Vec<String>> {
    let mut lengths = (0..=path.len()).rev();
    let module = lengths.find_map(|len| files.get_key_value(&path[..len])).map(|(module, _)| module)?;
    let name = path.get(module.len());
    match name.and_then(|name| names[module].passed_on.get(name)) {
        Some(origin) if depth < 8 => file_of(origin, files, names, depth + 1),
        _ => Some(module.clone()),
    }
}

/// The imports of a crate that has these files, as `from -> to`.
fn imports_of(sources: &[(&str, &str)]) -> Vec<String> {
    let file = |(path, text): &(&str, &str)| (module_of(path), ((*path).to_owned(), (*text).to_owned()));
    let files: Files = sources.iter().map(file).collect();
    imports(&files).iter().map(|(from, to)| format!("{} -> {}", files[from].0, files[to].0)).collect()
}

#[test]
fn imports_are_found_however_they_are_written() {
    for text in [
        "use crate::b::Item;",
        "use crate::{b::{self, inner::{Item, Other}}};",
        "use super::b::*;",
        "use super::{b as other};",
        "pub(super) use super::b::Item;",
        "fn f() { crate::b::item() }",
        "fn f() { assert!(super::b::item(1, [2])); }",
        "fn f(_: &dyn super::b::Item, _: u8) {}",
        "fn f(_: super::b::Item) {}",
        "mod inner { use super::super::b; }",
        "macro_rules! m { () => { $crate::b::item() } }",
        "#[cfg(not(test))] use crate::b;",
    ] {
        assert_eq!(
            imports_of(&[("a.rs", text), ("b.rs", ""), ("lib.rs", "mod a; mod b;")]),
            ["a.rs -> b.rs"]
        );
    }
    for text in [
        "#[cfg(test)] use crate::b::{Item};",
        "#[cfg(all(test, unix))] mod tests { use crate::b; }",
        "#[cfg(test)] #[derive(Debug)] struct A { b: crate::b::Item }",
        "pub(in crate::b) fn f() {}",
        "use other::b::Item; fn f() { other::crate_b::f() }",
        "// use crate::b;",
    ] {
        assert_eq!(imports_of(&[("a.rs", text), ("b.rs", ""), ("lib.rs", "")]), [""; 0], "{text}");
    }
}

#[test]
fn imports_of_children_and_of_test_modules_are_told_apart() {
    let found = imports_of(&[
        ("a/mod.rs", "mod one;\n#[cfg(test)]\nmod tests;\npub use one::Item;"),
        ("a/one.rs", "use super::other;"),
        ("a/tests.rs", "use super::one::Item;"),
    ]);
    assert_eq!(found, ["a/one.rs -> a/mod.rs"]);
    let found = imports_of(&[
        ("a/mod.rs", "mod one;\nuse one::Item;\npub(crate) use super::b::Other;"),
        ("a/one.rs", ""),
        ("b.rs", ""),
    ]);
    assert_eq!(found, ["a/mod.rs -> a/one.rs", "a/mod.rs -> b.rs"]);
    let found = imports_of(&[
        ("a/mod.rs", "mod one;\npub use one::Item;\nfn f(_: Item) {}"),
        ("a/one.rs", "use super::f;"),
    ]);
    assert_eq!(found, ["a/mod.rs -> a/one.rs", "a/one.rs -> a/mod.rs"]);
}

#[test]
fn imports_of_names_that_are_passed_on_lead_to_their_files() {
    for text in ["pub use one::Item;", "pub use one::{Item};", "pub use self::one::{Old as Item};"] {
        let found = imports_of(&[
            ("a/mod.rs", &format!("mod one;\n{text}")),
            ("a/one.rs", ""),
            ("b.rs", "use crate::a::Item;"),
            ("c.rs", "use crate::a::own;"),
        ]);
        assert_eq!(found, ["b.rs -> a/one.rs", "c.rs -> a/mod.rs"], "{text}");
    }
}
