//! Which source file of a crate names which other one, read with a parser of the language.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

/// A module's place below the crate, `["store", "sqlite"]`; empty for the crate's own file.
type Place = Vec<String>;

/// The files of one crate, and whom each names.
pub(crate) struct Modules {
    files: Files,
    names: BTreeMap<Place, BTreeSet<Place>>,
}

// === impl Modules ===

impl Modules {
    /// Reads the crate whose sources are in `src`. What is compiled for tests only does not count,
    /// and neither does a binary's `main.rs` beside a library.
    pub(crate) fn of(src: &Path) -> Self {
        let mut files = Files::default();
        let has_library = src.join("lib.rs").exists();
        for path in super::sources(src) {
            let place = place(src, &path);
            let is_binary_beside = has_library && path.ends_with("main.rs");
            if place.last().is_none_or(|name| name != "tests") && !is_binary_beside {
                let text = fs::read_to_string(path).unwrap();
                files.parsed.insert(place, syn::parse_file(&text).unwrap());
            }
        }
        files.note_exports();
        let mut names = BTreeMap::new();
        for (place, file) in &files.parsed {
            let mut reader = Reader {
                at: place.clone(),
                files: &files,
                named: BTreeSet::new(),
            };
            reader.visit_file(file);
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
        for place in self.files.parsed.keys() {
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

/// The files of one crate.
#[derive(Default)]
struct Files {
    parsed: BTreeMap<Place, syn::File>,
    /// What a file hands on (`pub use`), by the name it has there: the full path of what it is.
    exports: BTreeMap<Place, BTreeMap<String, Place>>,
}

// === impl Files ===

impl Files {
    fn note_exports(&mut self) {
        for (at, file) in &self.parsed {
            let mut found = Vec::new();
            for item in &file.items {
                if let syn::Item::Use(item) = item
                    && !matches!(item.vis, syn::Visibility::Inherited)
                {
                    leaves(&[], &item.tree, &mut found);
                }
            }
            let full = found
                .into_iter()
                .filter_map(|(path, name)| Some((name?, self.resolve(at, &path)?)));
            self.exports.insert(at.clone(), full.collect());
        }
    }

    /// The full place of a path named at `at`; `None` for one that begins in another crate or with an
    /// import.
    fn resolve(&self, at: &[String], path: &[String]) -> Option<Place> {
        let (first, rest) = path.split_first()?;
        let mut place = match first.as_str() {
            "crate" => Vec::new(),
            "self" => at.to_vec(),
            "super" => at[..at.len().checked_sub(1)?].to_vec(),
            child => {
                let place = [at, &[child.to_owned()]].concat();
                self.parsed.contains_key(&place).then_some(place)?
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

    /// The file in which the thing at this full place is made, however often it is handed on.
    fn home(&self, full: &[String]) -> Option<Place> {
        let mut full = full.to_vec();
        // No honest crate hands a thing on more often than this.
        for _ in 0..8 {
            // The longest beginning that is a file; the rest are items in it.
            let len = (0..=full.len())
                .rev()
                .find(|len| self.parsed.contains_key(&full[..*len]))?;
            let (file, items) = full.split_at(len);
            let handed_on = items
                .first()
                .and_then(|item| self.exports.get(file)?.get(item));
            match handed_on {
                Some(from) => full = [from.as_slice(), &items[1..]].concat(),
                None => return Some(file.to_vec()),
            }
        }
        None
    }
}

/// Collects the files that one file names.
struct Reader<'a> {
    /// The module that is read; inline modules are below their file.
    at: Place,
    files: &'a Files,
    named: BTreeSet<Place>,
}

// === impl Reader ===

impl Reader<'_> {
    fn name(&mut self, path: &[String]) {
        let full = self.files.resolve(&self.at, path);
        self.named
            .extend(full.and_then(|full| self.files.home(&full)));
    }
}

/// Every path of a `use`, with the name it has afterwards; none for a glob.
fn leaves(before: &[String], tree: &syn::UseTree, found: &mut Vec<(Place, Option<String>)>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => leaves(&with(&path.ident), &path.tree, found),
        syn::UseTree::Name(name) => found.push((with(&name.ident), Some(name.ident.to_string()))),
        syn::UseTree::Rename(rename) => {
            found.push((with(&rename.ident), Some(rename.rename.to_string())));
        }
        syn::UseTree::Glob(_) => found.push((before.to_vec(), None)),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                leaves(before, tree, found);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&[], &item.tree, &mut found);
        for (path, _) in found {
            self.name(&path);
        }
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

#[test]
fn a_circle_through_what_the_crate_hands_on_is_found_too() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "lib.rs",
        "mod lab; mod machine; pub use lab::Lab as Laboratory;",
    );
    write("lab.rs", "use crate::machine::check; pub struct Lab;");
    write("machine.rs", "use crate::Laboratory; pub fn check() {}");

    let circles = Modules::of(dir.path()).circles();

    assert_eq!(circles, [["lab", "machine"]]);
}
