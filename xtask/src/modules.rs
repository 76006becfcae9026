//! The modules of a crate, by file, and the paths that each of them names.
//!
//! Knows Rust's rules for where a module's file lies and where a path leads; judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree};

/// A module's place in its crate: `["dpdk", "stop"]`; empty for the root.
pub type Place = Vec<String>;

/// The modules of a crate that have files of their own.
#[derive(Debug, Default)]
pub struct Crate {
    /// Each module's file, and the paths that it names, from the crate's root.
    pub modules: BTreeMap<Place, (PathBuf, BTreeSet<Place>)>,
}

impl Crate {
    /// Reads a crate from its root file on; tests are left out.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read or parsed.
    pub fn read(root: &Path) -> Result<Self, String> {
        let mut read = Self::default();
        let dir = root.parent().unwrap_or(Path::new("."));
        read.file(root, dir, Vec::new())?;
        Ok(read)
    }

    /// The module with a file that `path` leads to: the longest beginning of it that is one.
    pub fn home(&self, path: &[String]) -> Option<&Place> {
        (0..=path.len())
            .rev()
            .find_map(|n| self.modules.get_key_value(&path[..n]))
            .map(|(place, _)| place)
    }

    fn file(&mut self, file: &Path, dir: &Path, place: Place) -> Result<(), String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let parsed = syn::parse_file(&text).map_err(|error| wrong(&error))?;
        let mut names = Names {
            place: place.clone(),
            ..Names::default()
        };
        names.children = parsed.items.iter().filter_map(child).collect();
        names.visit_file(&parsed);
        self.modules
            .insert(place.clone(), (file.to_owned(), names.found));
        for name in names.files {
            let mut at = place.clone();
            at.push(name.clone());
            let flat = dir.join(format!("{name}.rs"));
            let below = dir.join(&name);
            let file = if flat.exists() {
                flat
            } else {
                below.join("mod.rs")
            };
            self.file(&file, &below, at)?;
        }
        Ok(())
    }
}

/// The name of a module that an item is, whether it has a file or not.
fn child(item: &Item) -> Option<String> {
    match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|what| what.is_ident("test"))
    })
}

/// What a file names.
#[derive(Default)]
struct Names {
    place: Place,
    children: BTreeSet<String>,
    found: BTreeSet<Place>,
    files: Vec<String>,
}

impl Names {
    /// Notes a path, if it leads to a place in this crate.
    fn note(&mut self, path: &[String]) {
        let Some(first) = path.first() else { return };
        let mut at = self.place.clone();
        let rest = match first.as_str() {
            "crate" => {
                at.clear();
                &path[1..]
            }
            "self" => &path[1..],
            "super" => {
                let up = path.iter().take_while(|word| *word == "super").count();
                at.truncate(at.len().saturating_sub(up));
                &path[up..]
            }
            name if self.children.contains(name) => path,
            _ => return,
        };
        at.extend(rest.iter().cloned());
        self.found.insert(at);
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.note(&with(&name.ident)),
            UseTree::Rename(name) => self.note(&with(&name.ident)),
            UseTree::Glob(_) => self.note(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if is_test(&module.attrs) {
            return;
        }
        if module.content.is_none() {
            self.files.push(module.ident.to_string());
            return;
        }
        self.place.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.place.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let words = path.segments.iter().map(|word| word.ident.to_string());
            self.note(&words.collect::<Vec<_>>());
        }
        visit::visit_path(self, path);
    }
}
