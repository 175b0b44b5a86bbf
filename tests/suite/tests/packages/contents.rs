//! What is in the packages.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use harness::shell::run;
use harness::{Result, in_lab};

use crate::boot::{Machine, Version, package};

const PACKAGES: &[&str] = &["postern", "postern-agent", "postern-controller"];

/// The files of a package, as dpkg lists them.
fn files(name: &str) -> Result<BTreeSet<String>> {
    let mut list = std::process::Command::new("dpkg-deb");
    let ran = run(list.arg("--contents").arg(package(name, Version::Now)?))?.ok()?;
    let path = |line: &str| line.split_whitespace().last().map(str::to_owned);
    Ok(ran.stdout.lines().filter_map(path).collect())
}

/// The commands below `words`, as the help of the program lists them, with all below them.
fn commands(program: &str, words: &[String], found: &mut Vec<String>) -> Result<()> {
    let mut help = std::process::Command::new(harness::postern::binary(program)?);
    let ran = run(help.args(words).arg("--help"))?.ok()?;
    let mut lines = ran.stdout.lines().skip_while(|line| *line != "Commands:");
    lines.next();
    for line in lines.take_while(|line| !line.is_empty()) {
        let is_entry = line.starts_with("  ") && !line.starts_with("   ");
        let name = line.split_whitespace().next().filter(|_| is_entry);
        if let Some(name) = name.filter(|name| *name != "help") {
            let mut below = words.to_vec();
            below.push(name.to_owned());
            found.push(format!("{program}-{}", below.join("-")));
            commands(program, &below, found)?;
        }
    }
    Ok(())
}

#[test]
fn every_command_has_its_man_page_in_the_package() -> Result<()> {
    for name in PACKAGES {
        let files = files(name)?;
        let mut pages = vec![(*name).to_owned()];
        commands(name, &[], &mut pages)?;
        ensure!(pages.len() > 3, "{pages:?}");
        for page in pages {
            let path = format!("./usr/share/man/man1/{page}.1.gz");
            ensure!(files.contains(&path), "{name} has no {path}");
        }
    }
    Ok(())
}

#[test]
fn every_package_has_completions_notices_and_its_licence() -> Result<()> {
    for name in PACKAGES {
        let files = files(name)?;
        for path in [
            format!("./usr/share/bash-completion/completions/{name}"),
            format!("./usr/share/zsh/vendor-completions/_{name}"),
            format!("./usr/share/fish/vendor_completions.d/{name}.fish"),
            format!("./usr/share/doc/{name}/NOTICES.gz"),
            format!("./usr/share/doc/{name}/copyright"),
        ] {
            ensure!(files.contains(&path), "{name} has no {path}");
        }
    }
    Ok(())
}

/// What systemd calls the exposure of each unit, out of 10, may not rise.
const EXPOSURES: &[(&str, f64)] = &[
    ("postern-agent", 2.5),
    ("postern-controller", 1.5),
    ("postern-protect", 4.3),
    ("postern-sets", 4.3),
];

#[test]
fn the_units_are_valid_and_confined() {
    in_lab(|lab| {
        let machine = Machine::boot(&lab.node("host", 10)?)?;
        machine.install("postern-agent", Version::Now)?;
        machine.install("postern-controller", Version::Now)?;
        for (unit, limit) in EXPOSURES {
            let file = format!("/lib/systemd/system/{unit}.service");
            let verified =
                machine.try_shell(&format!("systemd-analyze verify --man=yes {file}"))?;
            let said = verified.text();
            let about_us = said
                .lines()
                .find(|line| line.contains("postern") && line.contains(": "));
            ensure!(verified.code == 0 && about_us.is_none(), "{said}");

            let said = machine.shell(&format!("systemd-analyze security --no-pager {unit}"))?;
            let last = said.lines().last().unwrap_or_default();
            let exposure = last
                .rsplit(": ")
                .next()
                .and_then(|text| text.split(' ').next());
            let exposure: f64 = exposure.context("no exposure")?.parse()?;
            ensure!(exposure <= *limit, "{last}");
        }
        Ok(())
    });
}
