//! Which source file of a crate names which other one, read with a parser of the language.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// A module's place below the crate, `["store", "sqlite"]`; empty for the crate's own file.
type Place = Vec<String>;

/// The files of one crate, and whom each names.
pub(crate) struct Modules {
    files: BTreeMap<Place, PathBuf>,
    names: BTreeMap<Place, BTreeSet<Place>>,
}

// === impl Modules ===

impl Modules {
    /// Reads the crate whose sources are in `src`. What is compiled for tests only does not count,
    /// and neither does a binary's `main.rs` beside a library.
    pub(crate) fn of(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        let has_library = src.join("lib.rs").exists();
        for path in super::sources(src) {
            let place = place(src, &path);
            let is_binary_beside = has_library && path.ends_with("main.rs");
            if place.last().is_none_or(|name| name != "tests") && !is_binary_beside {
                files.insert(place, path);
            }
        }
        let mut names = BTreeMap::new();
        for (place, path) in &files {
            let text = fs::read_to_string(path).unwrap();
            let mut reader = Reader {
                at: place.clone(),
                files: &files,
                named: BTreeSet::new(),
            };
            reader.visit_file(&syn::parse_file(&text).unwrap());
            // A child stands on its ancestors; that it names them is no circle.
            reader.named.retain(|named| !place.starts_with(named));
            names.insert(place.clone(), reader.named);
        }
        Self { files, names }
    }

    /// The files that lie on a circle of names, each circle with all of its files.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let mut circles: Vec<Vec<String>> = Vec::new();
        let mut done = BTreeSet::new();
        for place in self.files.keys() {
            if done.contains(place) {
                continue;
            }
            let after = self.reachable(place);
            let circle: Vec<&Place> = after
                .iter()
                .filter(|other| self.reachable(other).contains(place))
                .collect();
            if !circle.is_empty() {
                done.extend(circle.iter().map(|place| (*place).clone()));
                circles.push(circle.iter().map(|place| place.join("::")).collect());
            }
        }
        circles
    }

    fn reachable(&self, from: &Place) -> BTreeSet<Place> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![from];
        while let Some(place) = waiting.pop() {
            for next in &self.names[place] {
                if found.insert(next.clone()) {
                    waiting.push(next);
                }
            }
        }
        found
    }
}

fn place(src: &Path, file: &Path) -> Place {
    let relative = file.strip_prefix(src).unwrap().with_extension("");
    let mut place: Place = relative
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if matches!(
        place.last().map(String::as_str),
        Some("lib" | "main" | "mod")
    ) {
        place.pop();
    }
    place
}

/// Collects the files that one file names.
struct Reader<'a> {
    /// The module that is read; inline modules are below their file.
    at: Place,
    files: &'a BTreeMap<Place, PathBuf>,
    named: BTreeSet<Place>,
}

// === impl Reader ===

impl Reader<'_> {
    fn name(&mut self, path: &[String]) {
        let Some(full) = self.resolve(path) else {
            return;
        };
        // The longest beginning that is a file; the rest are items in it.
        let file = (0..=full.len())
            .rev()
            .find_map(|len| self.files.get_key_value(&full[..len]));
        if let Some((place, _)) = file {
            self.named.insert(place.clone());
        }
    }

    /// The full place of a path; `None` for one that begins in another crate or with an import.
    fn resolve(&self, path: &[String]) -> Option<Place> {
        let (first, rest) = path.split_first()?;
        let mut place = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.at.clone(),
            "super" => self.at[..self.at.len().checked_sub(1)?].to_vec(),
            child => {
                let place = [self.at.as_slice(), &[child.to_owned()]].concat();
                self.files.contains_key(&place).then_some(place)?
            }
        };
        for part in rest {
            if part == "super" {
                place.pop()?;
            } else {
                place.push(part.clone());
            }
        }
        Some(place)
    }

    fn name_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.name_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.name(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.name(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.name(before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.name_tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.name_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        let names: Vec<String> = segments.map(|part| part.ident.to_string()).collect();
        if names.len() > 1 {
            self.name(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !attributes(item).iter().any(is_test_only) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.at.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.at.pop();
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is someone else's, and these are the items that name files"
)]
fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test_only(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Ident>()
            .is_ok_and(|condition| condition == "test")
}

#[test]
fn a_circle_is_found_and_a_child_that_names_its_parent_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    fs::create_dir(dir.path().join("store")).unwrap();
    write("lib.rs", "mod store; mod error; mod other;");
    write("store.rs", "mod rows; use rows::Row; pub struct Store;");
    write(
        "store/rows.rs",
        "use super::Store; use crate::error; pub struct Row;",
    );
    write("error.rs", "fn f(s: &crate::store::Store) {}");
    write(
        "other.rs",
        "#[cfg(test)] mod tests { use crate::store; } use crate::store::Store;",
    );

    let circles = Modules::of(dir.path()).circles();

    // store -> store::rows -> error -> store
    assert_eq!(circles, [["error", "store", "store::rows"]]);
}
