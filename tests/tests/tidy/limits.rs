//! `docs/limits.md` is generated from the documentation of the constants that are bounds: all of
//! `target-engine/src/limits.rs`, and those of other files whose documentation has the same paragraph.
//! `TGT_WRITE=1 cargo test -p tgt-tests --test tidy limits` writes it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use syn::{BinOp, Expr, Item, ItemConst, Lit, Meta};

use super::{files, none, root};

/// The file of the engine's bounds: each of its constants must have the paragraph.
const LIMITS: &str = "target-engine/src/limits.rs";
const PAGE: &str = "docs/limits.md";
/// What begins the four sentences of the paragraph.
const FIELDS: [&str; 4] = ["Hit by: ", "Scope: ", "Over it: ", "Seen: "];
/// The values of the first sentence, in the order of the page, with their headings.
const GROUPS: [(&str, &str); 5] = [
    ("any peer", "Any peer, also one that has not logged in"),
    ("initiator", "An initiator that has logged in"),
    ("operator", "The operator: requests and configuration"),
    ("store", "The host: backing stores, standard error, and commands that the daemon runs"),
    ("engine", "Nobody from outside: sizes of turns and buffers"),
];

const HEAD: &str = "# Limits

The bounds of the daemon, by who can reach them. This page is generated from the documentation of the constants
(`TGT_WRITE=1 cargo test -p tgt-tests --test tidy limits`); they are in `target-engine/src/limits.rs` unless another file is
named. A target's `MaxQueueCmd`, `MaxConnections` and other parameters (tgtadm(8)) bound a session further.
";

/// A row of the page.
#[derive(Debug, Eq, PartialEq)]
struct Bound {
    name: String,
    /// Without the directory of the workspace; empty for [`LIMITS`].
    path: String,
    value: String,
    what: String,
    group: usize,
    /// Scope, effect, and where it is seen.
    cells: [String; 3],
}

/// The value of a constant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Value {
    Number(u128),
    Time(Duration),
}

/// The paragraphs of a constant's documentation, each on one line.
fn paragraphs(item: &ItemConst) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let Meta::NameValue(meta) = &attribute.meta else { continue };
        let Expr::Lit(literal) = &meta.value else { continue };
        let Lit::Str(line) = &literal.lit else { continue };
        let line = line.value();
        match (line.trim(), paragraphs.last_mut()) {
            ("", _) => paragraphs.push(String::new()),
            (line, Some(last)) if !last.is_empty() => *last = format!("{last} {line}"),
            (line, Some(last)) => last.push_str(line),
            (_, None) => {}
        }
    }
    paragraphs
}

/// The four sentences of a paragraph, without what begins them and without the full stop.
fn sentences(paragraph: &str) -> Option<[&str; 4]> {
    let mut rest = paragraph.strip_suffix('.')?.strip_prefix(FIELDS[0])?;
    let mut found = [""; 4];
    for (at, next) in FIELDS[1..].iter().enumerate() {
        let (sentence, after) = rest.split_once(&format!(". {next}"))?;
        (found[at], rest) = (sentence, after);
    }
    found[3] = rest;
    Some(found)
}

fn value(expression: &Expr, known: &BTreeMap<String, Value>) -> Option<Value> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok().map(Value::Number),
            _ => None,
        },
        Expr::Paren(inner) => value(&inner.expr, known),
        Expr::Cast(cast) => value(&cast.expr, known),
        Expr::Path(path) => known.get(&path.path.segments.last()?.ident.to_string()).copied(),
        Expr::Binary(binary) => {
            let (Value::Number(left), Value::Number(right)) =
                (value(&binary.left, known)?, value(&binary.right, known)?)
            else {
                return None;
            };
            match binary.op {
                BinOp::Add(_) => left.checked_add(right),
                BinOp::Sub(_) => left.checked_sub(right),
                BinOp::Mul(_) => left.checked_mul(right),
                BinOp::Div(_) => left.checked_div(right),
                BinOp::Shl(_) => left.checked_shl(right.try_into().ok()?),
                _ => None,
            }
            .map(Value::Number)
        }
        Expr::Call(call) => {
            let Expr::Path(function) = &*call.func else { return None };
            let Value::Number(number) = value(call.args.first()?, known)? else { return None };
            let number = number.try_into().ok()?;
            match function.path.segments.last()?.ident.to_string().as_str() {
                "from_secs" => Some(Value::Time(Duration::from_secs(number))),
                "from_millis" => Some(Value::Time(Duration::from_millis(number))),
                "from_micros" => Some(Value::Time(Duration::from_micros(number))),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The value with its unit. A constant with `LEN` or `BYTES` in its name is in bytes.
fn shown(name: &str, value: Value) -> String {
    match value {
        Value::Time(time) => match (time.as_micros(), time.as_secs()) {
            (_, seconds) if seconds > 0 && seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
            (micros, seconds) if micros.is_multiple_of(1_000_000) => format!("{seconds} s"),
            (micros, _) if micros.is_multiple_of(1000) => format!("{} ms", micros / 1000),
            (micros, _) => format!("{micros} µs"),
        },
        Value::Number(number) if name.split('_').any(|word| ["LEN", "BYTES"].contains(&word)) => {
            let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
            let fitting = units.iter().find(|(_, shift)| number > 0 && number.is_multiple_of(1 << shift));
            fitting.map_or(format!("{number} bytes"), |(unit, shift)| format!("{} {unit}", number >> shift))
        }
        Value::Number(number) => number.to_string(),
    }
}

/// The bounds of one file, in its order, and what is wrong with the others.
fn bounds(path: &str, text: &str) -> (Vec<Bound>, Vec<String>) {
    let file = syn::parse_file(text).expect("a source file that compiles");
    let (mut known, mut found, mut faults) = (BTreeMap::new(), Vec::new(), Vec::new());
    for item in &file.items {
        let Item::Const(item) = item else { continue };
        let name = item.ident.to_string();
        let value = value(&item.expr, &known);
        value.map(|value| known.insert(name.clone(), value));
        let mut paragraphs = paragraphs(item);
        let last = paragraphs.pop().unwrap_or_default();
        if path != LIMITS && !last.starts_with(FIELDS[0]) {
            continue;
        }
        let Some([by, scope, over, seen]) = sentences(&last) else {
            let [by, scope, over, seen] = FIELDS;
            faults.push(format!("{path}: {name}: its documentation must end with the paragraph `{by}…. {scope}…. {over}…. {seen}….`"));
            continue;
        };
        let group = GROUPS.iter().position(|(group, _)| *group == by);
        let (Some(group), Some(value)) = (group, value) else {
            faults
                .push(format!("{path}: {name}: {by:?} is not one of {GROUPS:?}, or its value is not known"));
            continue;
        };
        // The page has no items that links could lead to.
        let unlinked = |text: &str| text.replace(['[', ']'], "");
        let what = unlinked(paragraphs.join(" ").trim());
        let path = if path == LIMITS { String::new() } else { path.to_owned() };
        let cells = [scope, over, seen].map(unlinked);
        found.push(Bound { value: shown(&name, value), name, path, what, group, cells });
    }
    (found, faults)
}

fn page(bounds: &[Bound]) -> String {
    let mut out = HEAD.to_owned();
    for (group, (_, heading)) in GROUPS.iter().enumerate() {
        out += &format!("\n## {heading}\n\n| bound | value | what | scope | over it | seen |\n");
        out += "| --- | ---: | --- | --- | --- | --- |\n";
        for Bound { name, path, value, what, cells: [scope, over, seen], .. } in
            bounds.iter().filter(|bound| bound.group == group)
        {
            let path = if path.is_empty() { String::new() } else { format!(" ({path})") };
            out += &format!("| `{name}`{path} | {value} | {what} | {scope} | {over} | {seen} |\n");
        }
    }
    out
}

#[test]
fn page_of_limits_matches_the_constants() {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let sources = files(&[".rs"]).into_iter().filter(|(path, _)| path.contains("/src/"));
    // The engine's own bounds are first in each group.
    let (own, others): (Vec<_>, Vec<_>) = sources.partition(|(path, _)| path == LIMITS);
    for (path, text) in own.iter().chain(&others) {
        let (some, wrong) = bounds(path, text);
        found.extend(some);
        faults.extend(wrong);
    }
    none("bounds without a full description", &faults);
    let (path, page) = (root().join(PAGE), page(&found));
    if std::env::var_os("TGT_WRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let is_current = fs::read_to_string(&path).is_ok_and(|written| written == page);
    assert!(
        is_current,
        "{PAGE} does not match the constants: TGT_WRITE=1 cargo test -p tgt-tests --test tidy limits writes it"
    );
}

#[test]
fn bounds_are_read_from_documentation_and_value() {
    let text = "/// Peers of [`TARGETS_MAX`].\n/// In all.\n///\n/// Hit by: initiator. Scope: daemon. Over it: a, b.c;\n\
                /// [`D_MAX`]. Seen: log, `e`.\nconst PEERS_MAX: usize = 2 * OTHERS;";
    let others = "/// Not a bound.\nconst OTHERS: usize = 1 << 4;\n";
    let bound = Bound {
        name: "PEERS_MAX".to_owned(),
        path: "a/src/b.rs".to_owned(),
        value: "32".to_owned(),
        what: "Peers of `TARGETS_MAX`. In all.".to_owned(),
        group: 1,
        cells: ["daemon", "a, b.c; `D_MAX`", "log, `e`"].map(str::to_owned),
    };
    assert_eq!(bounds("a/src/b.rs", &format!("{others}{text}")), (vec![bound], Vec::new()));
    let faults = |text: &str| bounds(LIMITS, text).1.len();
    assert_eq!(faults(others), 1, "every constant of the file is a bound");
    assert_eq!(faults(text), 1, "OTHERS is not known");
    assert_eq!(faults(&format!("const OTHERS: u8 = 1;{}", text.replace("initiator", "nobody"))), 2);
}

#[test]
fn values_have_the_unit_of_their_constant() {
    let of = |name: &str, expression: &str| {
        let expression: Expr = syn::parse_str(expression).unwrap();
        value(&expression, &BTreeMap::new()).map(|value| shown(name, value))
    };
    let cases = [
        ("CLIENTS_MAX", "16_384", "16384"),
        ("TEXT_LEN_MAX", "64 * 1024", "64 KiB"),
        ("AHS_LEN_MAX", "255 * 4", "1020 bytes"),
        ("PAYLOAD_BYTES_MAX", "(1 << 30) as u64", "1 GiB"),
        ("SILENT_MAX", "1024 * 1024", "1048576"),
        ("WAIT", "Duration::from_secs(90)", "90 s"),
        ("WAIT", "Duration::from_secs(7200)", "2 h"),
        ("WAIT", "std::time::Duration::from_millis(1500)", "1500 ms"),
        ("WAIT", "Duration::from_micros(50)", "50 µs"),
    ];
    for (name, expression, expected) in cases {
        assert_eq!(of(name, expression).as_deref(), Some(expected), "{name} = {expression}");
    }
    assert_eq!(of("CLIENTS_MAX", "read_config()"), None);
}
