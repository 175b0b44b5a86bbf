//! Which crates end up in a program: what it depends on, without what only builds or tests it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// The part of `cargo metadata` that is read here.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

/// One crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    id: String,
    /// As in Cargo.toml.
    pub(crate) name: String,
    /// As in Cargo.toml.
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) license: Option<String>,
    /// Who wrote it, as far as they say.
    #[serde(default)]
    pub(crate) authors: Vec<String>,
    /// Where its source is kept.
    pub(crate) repository: Option<String>,
    /// Its Cargo.toml; its licences lie beside it.
    pub(crate) manifest_path: PathBuf,
    /// `None` for our own.
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// `None` for what is linked, else `dev` or `build`.
    kind: Option<String>,
}

// === impl Metadata ===

impl Metadata {
    /// The crates of others that are linked into `program`, by name.
    ///
    /// # Errors
    ///
    /// When there is no such crate, or the graph has holes.
    pub(crate) fn linked_into(&self, program: &str) -> anyhow::Result<Vec<&Package>> {
        let is_it = |package: &&Package| package.source.is_none() && package.name == program;
        let Some(first) = self.packages.iter().find(is_it) else {
            bail!("no crate {program} in this workspace");
        };
        let mut seen = BTreeSet::new();
        let mut linked = Vec::new();
        let mut waiting = vec![first.id.as_str()];
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            let package = self.package(id)?;
            // A macro runs in the compiler, with all that it is made of.
            if package.is_macro() {
                continue;
            }
            if package.source.is_some() {
                linked.push(package);
            }
            let node = self.resolve.nodes.iter().find(|node| node.id == id);
            let node = node.with_context(|| format!("{id} is not resolved"))?;
            let is_linked =
                |dep: &&Dependency| dep.dep_kinds.iter().any(|kind| kind.kind.is_none());
            waiting.extend(
                node.deps
                    .iter()
                    .filter(is_linked)
                    .map(|dep| dep.pkg.as_str()),
            );
        }
        linked.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(linked)
    }

    fn package(&self, id: &str) -> anyhow::Result<&Package> {
        let found = self.packages.iter().find(|package| package.id == id);
        found.with_context(|| format!("{id} is in no list"))
    }
}

// === impl Package ===

impl Package {
    fn is_macro(&self) -> bool {
        let is_macro = |target: &Target| target.kind.iter().any(|kind| kind == "proc-macro");
        self.targets.iter().any(is_macro)
    }
}
