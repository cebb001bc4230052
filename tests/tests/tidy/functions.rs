//! The length of functions.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{files, none};

/// The most lines of a function, from its `fn` to its closing brace.
const LINES_MAX: usize = 60;

/// A function over [`LINES_MAX`].
#[derive(Debug, Eq, PartialEq)]
struct LongFunction {
    name: String,
    /// Of the `fn`, from 1.
    line: usize,
    lines: usize,
}

/// Collects the functions of a file that are too long.
#[derive(Default)]
struct Long {
    found: Vec<LongFunction>,
}

impl Long {
    fn measure(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.fn_token.span.start().line;
        let last = body.brace_token.span.close().end().line;
        let lines = last - first + 1;
        if lines > LINES_MAX {
            self.found.push(LongFunction { name: signature.ident.to_string(), line: first, lines });
        }
    }
}

impl<'ast> Visit<'ast> for Long {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn long_functions(text: &str) -> Vec<LongFunction> {
    let file = syn::parse_file(text).expect("a source file that compiles");
    assert!(file.span().end().line > 0, "spans have line numbers");
    let mut long = Long::default();
    long.visit_file(&file);
    long.found
}

#[test]
fn functions_have_at_most_60_lines() {
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs"]) {
        let long = long_functions(&text).into_iter();
        breaches.extend(
            long.map(|LongFunction { name, line, lines }| format!("{path}:{line}: {name} has {lines} lines")),
        );
    }
    none("functions of over 60 lines", &breaches);
}

#[test]
fn long_functions_are_found_in_items_impls_and_traits() {
    let body = "    work();\n".repeat(LINES_MAX - 1);
    let longest = format!("fn a() {{\n{}}}\n", &body["    work();\n".len()..]);
    assert!(long_functions(&longest).is_empty());
    let long = format!("fn a() {{\n{body}}}\n");
    let found = |line| [LongFunction { name: "a".to_owned(), line, lines: LINES_MAX + 1 }];
    assert_eq!(long_functions(&long), found(1));
    for item in ["impl A", "trait A", "mod a"] {
        assert_eq!(long_functions(&format!("{item} {{\n{long}}}\n")), found(2), "{item}");
    }
}
