//! postern-agent, from its installation to its purge.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, ensure};
use harness::postern::Member;
use harness::service::Reach;
use harness::{Lab, Node, Result, in_lab, wait};
use suite::STANZA;

use crate::boot::{Machine, Version};

const UNIT: &str = "postern-agent.service";

const RC: &str = "[lab]\nSPA_SERVER 192.0.2.10\nKEY suite-passphrase\nHMAC_KEY suite-hmac-passphrase\nUSE_HMAC Y\n";

/// A machine at 192.0.2.10, a user and a stranger.
fn machine(lab: &Lab) -> Result<(Machine, Node, Node)> {
    let machine = Machine::boot(&lab.node("host", 10)?)?;
    let user = lab.node("user", 20)?;
    user.write(".fwknoprc", RC)?;
    Ok((machine, user, lab.node("stranger", 66)?))
}

/// As an administrator does after the installation.
fn configure(machine: &Machine) -> Result<()> {
    let access = format!("PROTECT tcp/22\n{STANZA}");
    fs::write(machine.path("/etc/postern/access.conf"), access)?;
    machine.shell("sed -i 's|^#access_file|access_file|' /etc/postern/agent.toml")?;
    machine.shell("systemctl enable --now postern-agent")?;
    Ok(())
}

fn knock(machine: &Machine, user: &Node) -> Result<()> {
    let host = machine.node.v4.to_string();
    let words = ["-n", "lab", "-a", &user.v4.to_string()];
    // A new journal refuses the second in which it was made.
    wait::until("a knock opens the port", wait::SOON, || {
        Member::stranger(user, "nobody").knock(&host, "tcp/22", &words)?;
        Ok(user.reach(machine.node.v4, 22)? == Reach::Open)
    })?;
    Ok(())
}

#[test]
fn the_agent_is_not_started_by_its_installation_and_serves_once_it_is_configured() {
    in_lab(|lab| {
        let (machine, user, stranger) = machine(lab)?;
        let ssh = machine.node.serve_tcp(22)?;

        machine.install("postern-agent", Version::Now)?;

        ensure!(machine.unit_is("active", UNIT)? == "inactive");
        ensure!(machine.unit_is("enabled", UNIT)? == "disabled");
        ensure!(
            stranger.reach(machine.node.v4, 22)? == Reach::Open,
            "hides nothing yet"
        );
        configure(&machine)?;
        ensure!(machine.unit_is("enabled", "postern-protect.service")? == "enabled");
        ensure!(user.reach(machine.node.v4, 22)? == Reach::Silent);
        knock(&machine, &user)?;
        ensure!(stranger.reach(machine.node.v4, 22)? == Reach::Silent);
        drop(ssh);
        Ok(())
    });
}

#[test]
fn the_confined_agent_opens_with_iptables_too() {
    in_lab(|lab| {
        let (machine, user, stranger) = machine(lab)?;
        let ssh = machine.node.serve_tcp(22)?;
        machine.install("postern-agent", Version::Now)?;
        machine.shell("sed -i 's|^#backend.*|backend = \"iptables\"|' /etc/postern/agent.toml")?;

        configure(&machine)?;

        knock(&machine, &user)?;
        ensure!(stranger.reach(machine.node.v4, 22)? == Reach::Silent);
        drop(ssh);
        Ok(())
    });
}

#[test]
fn an_upgrade_restarts_the_agent_and_what_is_hidden_is_never_seen_meanwhile() {
    in_lab(|lab| {
        let (machine, user, stranger) = machine(lab)?;
        let ssh = machine.node.serve_tcp(22)?;
        machine.install("postern-agent", Version::Before)?;
        configure(&machine)?;
        let before = machine.main_pid(UNIT)?;
        let address = machine.node.v4;
        let is_over = AtomicBool::new(false);

        let seen = thread::scope(|scope| {
            let looking = scope.spawn(|| -> Result<Vec<Reach>> {
                let mut seen = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    seen.push(stranger.reach(address, 22)?);
                }
                Ok(seen)
            });
            let upgraded = machine.install("postern-agent", Version::Now);
            is_over.store(true, Ordering::SeqCst);
            let seen = looking.join().ok().context("a panic while looking")??;
            upgraded.map(|_| seen)
        })?;

        ensure!(
            !seen.is_empty() && seen.iter().all(|seen| *seen == Reach::Silent),
            "{seen:?}"
        );
        let after = machine.main_pid(UNIT)?;
        ensure!(after != 0 && after != before, "{before} is {after}");
        let toml = fs::read_to_string(machine.path("/etc/postern/agent.toml"))?;
        ensure!(
            toml.contains("\naccess_file ="),
            "its configuration is kept"
        );
        knock(&machine, &user)?;
        drop(ssh);
        Ok(())
    });
}

#[test]
fn an_upgrade_starts_nothing_that_did_not_run_and_unmasks_nothing() {
    in_lab(|lab| {
        let (machine, _, _) = machine(lab)?;
        machine.install("postern-agent", Version::Before)?;
        machine.install("postern-agent", Version::Now)?;
        ensure!(machine.unit_is("active", UNIT)? == "inactive");
        ensure!(machine.unit_is("enabled", UNIT)? == "disabled");
        machine.shell("systemctl mask postern-agent postern-sets")?;

        machine.install("postern-agent", Version::Before)?;
        machine.shell("dpkg --remove postern-agent")?;
        machine.install("postern-agent", Version::Now)?;

        ensure!(machine.unit_is("enabled", UNIT)? == "masked");
        ensure!(machine.unit_is("enabled", "postern-sets.service")? == "masked");
        Ok(())
    });
}

#[test]
fn removing_the_agent_says_what_stays_hidden_and_no_key_goes_before_somebody_says_so() {
    in_lab(|lab| {
        let (machine, user, _) = machine(lab)?;
        let ssh = machine.node.serve_tcp(22)?;
        machine.install("postern-agent", Version::Now)?;
        configure(&machine)?;
        let state = machine.path("/var/lib/postern-agent/protected-ports");
        wait::until("the list is written", wait::SOON, || Ok(state.exists()))?;

        let removed = machine.try_shell("dpkg --remove postern-agent")?.ok()?;

        ensure!(removed.stderr.contains("tcp/22"), "{}", removed.stderr);
        ensure!(user.reach(machine.node.v4, 22)? == Reach::Silent);
        ensure!(machine.try_shell("pidof postern-agent")?.code != 0);
        ensure!(!machine.path("/usr/bin/postern-agent").exists());
        ensure!(machine.path("/etc/postern/agent.toml").exists() && state.exists());

        fs::remove_file(machine.path("/etc/postern/access.conf"))?;
        let purged = machine.try_shell("dpkg --purge postern-agent")?.ok()?;

        ensure!(
            purged.stderr.contains("rm -r /var/lib/postern-agent"),
            "{}",
            purged.stderr
        );
        ensure!(state.exists() && !machine.path("/etc/postern").exists());
        let left = machine.shell(
            "find / -xdev -name '*postern-*' -not -path '/proc/*' -not -path '/packages/*' \
                                  -path '*/systemd/*' -not -path '/var/log/*'",
        )?;
        ensure!(left.is_empty(), "{left}");
        drop(ssh);
        Ok(())
    });
}
