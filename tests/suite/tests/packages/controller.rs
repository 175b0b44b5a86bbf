//! postern-controller, from its installation to its purge.

use anyhow::ensure;
use harness::{Result, in_lab};

use crate::boot::{Machine, Version};

const UNIT: &str = "postern-controller.service";

/// As an administrator does after the installation.
const INIT: &str = "postern-controller init --address 192.0.2.10:7443";

fn owner(machine: &Machine, path: &str) -> Result<String> {
    machine.shell(&format!("stat -c '%U:%G %a' {path}"))
}

#[test]
fn the_controller_serves_as_a_user_of_its_own_and_an_upgrade_keeps_its_fleet() {
    in_lab(|lab| {
        let machine = Machine::boot(&lab.node("host", 10)?)?;

        machine.install("postern-controller", Version::Before)?;

        ensure!(machine.unit_is("active", UNIT)? == "inactive");
        ensure!(machine.unit_is("enabled", UNIT)? == "disabled");
        ensure!(owner(&machine, "/var/lib/postern")? == "postern:postern 700");
        ensure!(machine.shell("getent passwd postern")?.ends_with("nologin"));
        machine.shell(INIT)?;
        machine.shell("systemctl enable --now postern-controller")?;
        let before = machine.main_pid(UNIT)?;
        ensure!(owner(&machine, &format!("/proc/{before}"))?.starts_with("postern:"));
        let fleet = machine.shell("sha256sum /var/lib/postern/ca.pem /var/lib/postern/seal.key")?;

        machine.install("postern-controller", Version::Now)?;

        let after = machine.main_pid(UNIT)?;
        ensure!(after != 0 && after != before, "{before} is {after}");
        ensure!(
            machine.shell("sha256sum /var/lib/postern/ca.pem /var/lib/postern/seal.key")? == fleet
        );
        Ok(())
    });
}

#[test]
fn the_fleets_authority_outlives_the_removal_and_the_purge_of_the_controller() {
    in_lab(|lab| {
        let machine = Machine::boot(&lab.node("host", 10)?)?;
        machine.install("postern-controller", Version::Now)?;
        machine.shell(INIT)?;
        machine.shell("systemctl enable --now postern-controller")?;

        machine.shell("dpkg --remove postern-controller")?;
        ensure!(machine.try_shell("pidof postern-controller")?.code != 0);
        let purged = machine.try_shell("dpkg --purge postern-controller")?.ok()?;

        ensure!(
            purged.stderr.contains("rm -r /var/lib/postern"),
            "{}",
            purged.stderr
        );
        ensure!(machine.path("/var/lib/postern/ca-key.pem").exists());
        Ok(())
    });
}

#[test]
fn a_controller_that_made_nothing_leaves_nothing() {
    in_lab(|lab| {
        let machine = Machine::boot(&lab.node("host", 10)?)?;
        machine.install("postern-controller", Version::Now)?;

        let purged = machine.try_shell("dpkg --purge postern-controller")?.ok()?;

        ensure!(!purged.stderr.contains("kept"), "{}", purged.stderr);
        ensure!(!machine.path("/var/lib/postern").exists());
        Ok(())
    });
}
