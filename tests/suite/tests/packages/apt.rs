//! The signed tree of `make apt-tree`, and a real apt that reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use harness::shell::run;
use harness::{Lab, Node, Result, in_lab};

use crate::boot::{Machine, Version, package};

/// As docs/install.md has it, but for where the tree is.
const SOURCES: &str = "\
Types: deb
URIs: file:/srv/apt
Suites: stable
Components: main
Signed-By: /etc/apt/keyrings/postern.gpg
";

/// A key that signs, in a file.
fn key(node: &Node) -> Result<PathBuf> {
    let home = node.dir.join("gpg");
    fs::create_dir(&home)?;
    let gpg = |words: &[&str]| {
        let mut command = Command::new("gpg");
        command
            .arg("--homedir")
            .arg(&home)
            .args(["--batch", "--quiet"]);
        run(command.args(words))?.ok()
    };
    gpg(&[
        "--passphrase",
        "",
        "--quick-generate-key",
        "Release",
        "ed25519",
        "sign",
        "never",
    ])?;
    let key = gpg(&["--export-secret-keys", "--armor"])?.stdout;
    run(Command::new("gpgconf")
        .arg("--homedir")
        .arg(&home)
        .args(["--kill", "all"]))?
    .ok()?;
    node.write("release-key.asc", &key)
}

/// Makes or renews the tree with the packages of a version, and returns it.
fn tree(node: &Node, key: &Path, version: Version) -> Result<PathBuf> {
    let packages = package("postern", version)?;
    let packages = packages.parent().context("a package is in a directory")?;
    let tree = node.dir.join("tree");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/apt-tree.sh");
    run(Command::new(script).arg(key).arg(packages).arg(&tree))?.ok()?;
    Ok(tree)
}

/// Puts the tree where the machine finds it.
fn publish(machine: &Machine, tree: &Path) -> Result<()> {
    machine.shell("rm -rf /srv/apt && mkdir -p /srv /etc/apt/keyrings")?;
    run(Command::new("cp")
        .arg("-r")
        .arg(tree)
        .arg(machine.path("/srv/apt")))?
    .ok()?;
    Ok(())
}

/// A machine whose apt knows of the tree, and of nothing else.
fn machine(lab: &Lab, tree: &Path) -> Result<Machine> {
    let machine = Machine::boot(&lab.node("host", 10)?)?;
    publish(&machine, tree)?;
    machine.shell(
        "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/preferences.d/*
         cp /srv/apt/postern-archive-keyring.gpg /etc/apt/keyrings/postern.gpg",
    )?;
    fs::write(
        machine.path("/etc/apt/sources.list.d/postern.sources"),
        SOURCES,
    )?;
    Ok(machine)
}

const INSTALL: &str = "apt-get update && apt-get install -y --no-install-recommends postern postern-agent postern-controller";

#[test]
fn apt_installs_and_upgrades_from_the_signed_tree() {
    in_lab(|lab| {
        let build = lab.node("build", 30)?;
        let key = key(&build)?;
        let machine = machine(lab, &tree(&build, &key, Version::Before)?)?;

        machine.shell(INSTALL)?;

        ensure!(machine.shell("dpkg-query -W -f '${Version}' postern-agent")? == "0.0.9");
        publish(&machine, &tree(&build, &key, Version::Now)?)?;
        machine.shell("apt-get update && apt-get upgrade -y")?;
        for program in ["postern", "postern-agent", "postern-controller"] {
            let version = machine.shell(&format!("dpkg-query -W -f '${{Version}}' {program}"))?;
            ensure!(version != "0.0.9", "{program} {version}");
            machine.shell(&format!("{program} --version"))?;
        }
        let offered = machine.shell("apt-cache madison postern-agent")?;
        ensure!(
            offered.contains("0.0.9"),
            "the version before can still be had: {offered}"
        );
        Ok(())
    });
}

#[test]
fn apt_takes_nothing_from_a_tree_that_somebody_has_changed_or_another_has_signed() {
    in_lab(|lab| {
        let build = lab.node("build", 30)?;
        let tree = tree(&build, &key(&build)?, Version::Now)?;
        let machine = machine(lab, &tree)?;

        machine.shell("echo x | tee -a /srv/apt/pool/postern_*.deb")?;
        ensure!(
            machine.try_shell(INSTALL)?.code != 0,
            "a package was changed"
        );
        publish(&machine, &tree)?;
        machine
            .shell("sed -i 's/^Label: Postern/Label: postern/' /srv/apt/dists/stable/InRelease")?;
        ensure!(
            machine.try_shell("apt-get update --error-on=any")?.code != 0,
            "the list was changed"
        );
        let other = lab.node("other", 31)?;
        let other_tree = self::tree(&other, &key(&other)?, Version::Now)?;
        publish(&machine, &other_tree)?;
        ensure!(
            machine.try_shell("apt-get update --error-on=any")?.code != 0,
            "another has signed it"
        );
        Ok(())
    });
}
