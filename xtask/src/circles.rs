//! Circles of files that import each other.
//!
//! A module and what lies below it may know each other; any other circle means that neither file can be
//! understood without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::modules::{Crate, Place};

type Graph = BTreeMap<Place, BTreeSet<Place>>;

/// Prints the circles of all crates below `root`; status 1 if there are any.
///
/// # Errors
///
/// What cannot be read.
pub fn print(root: &Path) -> Result<u8, String> {
    let mut found = 0;
    for entry in crates(root)? {
        let read = Crate::read(&entry)?;
        for circle in circles(&imports(&read)) {
            found += 1;
            let files = circle.iter().map(|place| read.modules[place].0.clone());
            let files = files.map(|file| short(&file, root).display().to_string());
            println!("circle: {}", files.collect::<Vec<_>>().join(", "));
        }
    }
    println!("circles: {found}");
    Ok(u8::from(found > 0))
}

fn short(file: &Path, root: &Path) -> PathBuf {
    file.strip_prefix(root).unwrap_or(file).to_owned()
}

/// The root files of the crates below `dir`.
fn crates(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(crates(&path)?);
        }
    }
    if dir.join("Cargo.toml").exists() {
        let roots = ["src/lib.rs", "src/main.rs", "src/bin/plugfest/main.rs"];
        found.extend(
            roots
                .map(|root| dir.join(root))
                .into_iter()
                .filter(|root| root.exists()),
        );
    }
    found.sort();
    Ok(found)
}

/// Who imports whom, but for what lies above or below.
fn imports(read: &Crate) -> Graph {
    let related = |a: &Place, b: &Place| a.starts_with(b) || b.starts_with(a);
    let names = |(place, (_, paths)): (&Place, &(PathBuf, BTreeSet<Place>))| {
        let homes = paths.iter().filter_map(|path| read.home(path));
        let strangers = homes.filter(|home| !related(home, place));
        (place.clone(), strangers.cloned().collect())
    };
    read.modules.iter().map(names).collect()
}

/// Everything that can be reached from `from`, not counting `from` itself unless a way leads back.
fn reached<'g>(graph: &'g Graph, from: &Place) -> BTreeSet<&'g Place> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&Place> = graph[from].iter().collect();
    while let Some(place) = next.pop() {
        if seen.insert(place) {
            next.extend(&graph[place]);
        }
    }
    seen
}

/// The largest sets of modules of which each reaches each other.
fn circles(graph: &Graph) -> Vec<Vec<Place>> {
    let reach: BTreeMap<&Place, BTreeSet<&Place>> = graph
        .keys()
        .map(|from| (from, reached(graph, from)))
        .collect();
    let mut found: BTreeSet<Vec<Place>> = BTreeSet::new();
    for (from, to) in &reach {
        let back = to.iter().filter(|place| reach[*place].contains(from));
        let circle: Vec<Place> = back.map(|place| (*place).clone()).collect();
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of these files.
    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<Place>> {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("it lies in one")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        circles(&imports(
            &Crate::read(&dir.path().join("lib.rs")).expect("Rust"),
        ))
    }

    fn place(words: &[&str]) -> Place {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn three_files_that_import_each_other_are_one_circle() {
        let found = circles_of(&[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::{b::B, d::D}; pub struct A;"),
            ("b/mod.rs", "mod inner; pub struct B;"),
            ("b/inner.rs", "fn f() -> crate::c::C { super::super::c::C }"),
            ("c.rs", "use super::a; pub struct C;"),
            ("d.rs", "pub struct D;"),
        ]);
        assert_eq!(
            found,
            Vec::<Vec<Place>>::new(),
            "b is left through its child only"
        );
        let found = circles_of(&[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::{b::B, d::D}; pub struct A;"),
            ("b/mod.rs", "pub struct B(crate::c::C);"),
            ("c.rs", "use super::a; pub struct C;"),
            ("d.rs", "pub struct D;"),
        ]);
        assert_eq!(
            found,
            [[place(&["a"]), place(&["b"]), place(&["c"])].to_vec()]
        );
    }

    #[test]
    fn a_parent_and_its_child_may_know_each_other_and_tests_do_not_count() {
        let found = circles_of(&[
            ("lib.rs", "mod a; mod b; pub struct Root;"),
            ("a.rs", "mod part; use part::Part; pub struct A;"),
            (
                "a/part.rs",
                "use super::A; use crate::Root; pub struct Part;",
            ),
            (
                "b.rs",
                "use crate::a::A; #[cfg(test)] mod tests { use crate::a; }",
            ),
        ]);
        assert_eq!(found, Vec::<Vec<Place>>::new());
    }
}
