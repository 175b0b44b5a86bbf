//! The notices as a text: who is inside under which licence, then every licence text once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;

use crate::linked::Package;

/// How files begin that hold a licence or what a licence asks to be handed on.
const BEGINNINGS: &[&str] = &["licen", "copying", "copyright", "notice", "unlicense"];

const RULE: &str = "------------------------------------------------------------------------\n";

/// The notices of a program.
///
/// # Errors
///
/// When a crate says no licence, or its files cannot be read.
pub(crate) fn notices(program: &str, linked: &[&Package]) -> anyhow::Result<String> {
    let mut text = format!(
        "What is linked into the program of crate {program} and is not ours, under which licence, and after that the\n\
         text of each licence as its authors ship it. The standard library of Rust, under MIT or\n\
         Apache-2.0, is linked too.\n\n"
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in linked {
        let name = format!("{} {}", package.name, package.version);
        let license = package.license.as_deref();
        let license = license.with_context(|| format!("{name} says no licence"))?;
        let _ = writeln!(text, "{name}  {license}");
        if let Some(repository) = &package.repository {
            let _ = writeln!(text, "    {repository}");
        }
        let found = licence_texts(package)?;
        // Whoever ships no text is named, as every licence asks.
        if found.is_empty() && !package.authors.is_empty() {
            let _ = writeln!(text, "    Copyright: {}", package.authors.join(", "));
        }
        for licence in found {
            texts.entry(licence).or_default().push(name.clone());
        }
    }
    for (licence, names) in texts {
        let _ = write!(text, "\n{RULE}{}\n{RULE}\n{licence}\n", names.join(", "));
    }
    Ok(text)
}

/// What lies beside a crate's Cargo.toml, without the differences that mean nothing.
fn licence_texts(package: &Package) -> anyhow::Result<Vec<String>> {
    let dir = package.manifest_path.parent();
    let dir = dir.context("a Cargo.toml is in a directory")?;
    let mut texts = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let is_one = BEGINNINGS.iter().any(|begin| name.starts_with(begin));
        if is_one && entry.file_type()?.is_file() {
            let path = entry.path();
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            texts.push(text.trim_matches('\n').to_owned());
        }
    }
    texts.sort();
    Ok(texts)
}
