//! Imports between the modules and files of a crate: only those in the table, and never in a circle.

mod names;
mod table;

use std::collections::BTreeSet;

use super::{DEPENDENCIES, files, none};
use names::{Files, Imports, imports, module_of};
use table::{CRATES, Layers, Module};

/// The imports that lie on circles: those whose ends lead back to their beginnings.
fn circles(imports: &Imports) -> Imports {
    let leads_back = |(from, to): &&(Vec<String>, Vec<String>)| {
        let mut reached = BTreeSet::from([to]);
        let mut ways = vec![to];
        while let Some(module) = ways.pop() {
            let next = imports.iter().filter(|(from, _)| from == module).map(|(_, to)| to);
            ways.extend(next.filter(|module| reached.insert(module)));
        }
        reached.contains(from)
    };
    imports.iter().filter(leads_back).cloned().collect()
}

fn files_of(name: &str) -> Files {
    let root = format!("{name}/src/");
    let own = files(&[".rs"]).into_iter().filter_map(|(path, text)| {
        let module = module_of(path.strip_prefix(&root).filter(|path| !path.starts_with("bin/"))?);
        Some((module, (path, text)))
    });
    own.collect()
}

/// The row of a module.
fn row_of<'a>(layers: &'a Layers, module: &[String]) -> Option<&'a Module> {
    let path = if module.is_empty() { "crate".to_owned() } else { module.join("::") };
    let leads = |row: &str| path == row || path.starts_with(&format!("{row}::"));
    layers.modules.iter().filter(|row| leads(row.path)).max_by_key(|row| row.path.len())
}

/// The files of each crate, and the imports between them.
fn tables() -> impl Iterator<Item = (&'static Layers, Files, Imports)> {
    CRATES.iter().map(|layers| {
        let files = files_of(layers.name);
        let imports = imports(&files);
        (layers, files, imports)
    })
}

#[test]
fn files_import_one_another_in_no_circle() {
    let mut breaches = Vec::new();
    for (_, files, imports) in tables() {
        let circles = circles(&imports);
        breaches.extend(circles.iter().map(|(from, to)| format!("{} -> {}", files[from].0, files[to].0)));
    }
    none("imports in a circle", &breaches);
}

#[test]
fn every_crate_has_a_table() {
    let has_table = |name: &str| CRATES.iter().any(|layers| layers.name == name);
    let crates = DEPENDENCIES.iter().map(|(name, _)| *name).filter(|name| *name != "tests");
    let breaches: Vec<String> = crates.filter(|name| !has_table(name)).map(str::to_owned).collect();
    none("crates without a table of imports", &breaches);
}

#[test]
fn every_file_has_a_row() {
    let mut breaches = Vec::new();
    for layers in CRATES {
        let files = files_of(layers.name);
        let without = files.iter().filter(|(module, _)| row_of(layers, module).is_none());
        breaches.extend(without.map(|(_, (path, _))| path.clone()));
    }
    none("files without a row in the table of imports", &breaches);
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut breaches = Vec::new();
    for (layers, files, imports) in tables() {
        for (from, to) in imports {
            if let (Some(row), Some(other)) = (row_of(layers, &from), row_of(layers, &to))
                && row.path != other.path
                && !row.imports.contains(&other.path)
            {
                let files = format!("{} -> {}", files[&from].0, files[&to].0);
                breaches.push(format!("{files}: {} -> {}", row.path, other.path));
            }
        }
    }
    none("imports that the table does not allow", &breaches);
}

#[test]
fn the_table_of_imports_is_in_layers() {
    let mut breaches = Vec::new();
    for Layers { name, modules } in CRATES {
        for (index, row) in modules.iter().enumerate() {
            let above = |other: &&&str| modules[..index].iter().any(|row| row.path == **other);
            let others = row.imports.iter().filter(|other| !above(other));
            breaches.extend(others.map(|other| format!("{name}: {} -> {other}", row.path)));
        }
    }
    none("a row names one that is not above it", &breaches);
}

#[test]
fn circles_are_found_without_what_leads_to_them() {
    let import = |from: &str, to: &str| (vec![from.to_owned()], vec![to.to_owned()]);
    let mut circle = vec![import("b", "c"), import("c", "d"), import("d", "b")];
    let mut all: Imports = circle.iter().cloned().collect();
    all.insert(import("a", "b"));
    all.extend([import("d", "e"), import("e", "f"), import("f", "e")]);
    circle.extend([import("e", "f"), import("f", "e")]);
    assert_eq!(circles(&all), circle.into_iter().collect());
}
