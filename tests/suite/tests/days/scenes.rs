//! What happens on the pages without being typed.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use harness::fwknop::Fwknopd;
use harness::{Result, wait};

use crate::fleet::{Fleet, hosts};

/// Lets something happen.
pub(crate) fn play(fleet: &mut Fleet, what: &str) -> Result<()> {
    let words: Vec<&str> = what.split(' ').collect();
    match words.as_slice() {
        ["the", "controller", "starts"] => controller_starts(fleet),
        ["the", "controller", "stops"] => fleet.stop("controller", "controller"),
        ["the", "agent", "of", host, "starts"] => agent_starts(fleet, host),
        ["the", "agent", "of", host, "stops"] => fleet.stop(host, "agent"),
        ["the", "other", "hosts", "and", "users", "join"] => the_others_join(fleet),
        ["sshd", "runs", "on", host, "and", user, "may", "log", "in"] => {
            sshd_runs(fleet, host, user)
        }
        [user, "knocks", "at", host] => {
            let line = format!("postern knock {host} -A tcp/22 --no-wait");
            fleet.must(user, &line).map(|_| ())
        }
        [host, "has", "the", "address", address] => {
            let line = format!("ip address add {address}/24 dev eth0");
            fleet.must(host, &line).map(|_| ())
        }
        ["the", "disk", "of", host, "is", "new"] => disk_is_new(fleet, host),
        ["the", "clock", "of", user, "is", "4", "minutes", "slow"] => {
            clock(fleet, user, Some("-4m"))
        }
        ["the", "clock", "of", user, "is", "right"] => clock(fleet, user, None),
        ["fwknopd", "runs", "on", host] => fwknopd_runs(fleet, host),
        [
            "the",
            "file",
            name,
            "of",
            owner,
            "is",
            "brought",
            "to",
            other,
        ] => brought(fleet, name, owner, other),
        ["all", "hosts", "are", "in", "sync"] => in_sync(fleet),
        _ => bail!("nobody knows how"),
    }
}

fn controller_starts(fleet: &mut Fleet) -> Result<()> {
    fleet.run("controller", "controller", "postern-controller serve")?;
    let operator = fleet.machine("operator")?;
    wait::until("the controller to listen", wait::SOON, || {
        Ok(operator.shell("nc -z controller.example 7443")?.code == 0)
    })?;
    Ok(())
}

fn agent_starts(fleet: &mut Fleet, host: &str) -> Result<()> {
    fleet.run(host, "agent", "postern-agent run")?;
    agent_is_up(fleet, host)
}

fn agent_is_up(fleet: &Fleet, host: &str) -> Result<()> {
    let machine = fleet.machine(host)?;
    let mut last = String::new();
    let waited = wait::until("the agent to be up", wait::SOON, || {
        let ran = machine.shell("postern-agent status")?;
        last = ran.text();
        Ok(ran.code == 0)
    });
    waited.with_context(|| format!("{host}: {last}"))?;
    Ok(())
}

/// The operator has left a token for each in a file of that name; here it is brought to them.
fn the_others_join(fleet: &mut Fleet) -> Result<()> {
    let tokens = fleet
        .must("operator", "cd tokens && tail -n +1 -v *")?
        .stdout;
    let mut members = Vec::new();
    for part in tokens.split("==> ").skip(1) {
        let (name, token) = part.split_once(" <==").context("no heading")?;
        members.push((name.to_owned(), token.trim().to_owned()));
    }
    let hosts: Vec<String> = hosts().into_iter().map(|(name, _)| name).collect();
    for (name, token) in &members {
        if hosts.contains(name) {
            let line =
                format!("umask 077; echo {token} > token; postern-agent join --token-file token");
            fleet.must(name, &line)?;
            fleet.run(name, "agent", "postern-agent run")?;
            continue;
        }
        let (machine, profile) = match name.as_str() {
            "bob" => ("bob", String::new()),
            name => ("office", format!("--profile profiles/{name}")),
        };
        fleet.must(
            machine,
            &format!("mkdir -p profiles; echo {token} | postern {profile} join -"),
        )?;
    }
    for (name, _) in members.iter().filter(|(name, _)| hosts.contains(name)) {
        agent_is_up(fleet, name)?;
    }
    Ok(())
}

fn in_sync(fleet: &Fleet) -> Result<()> {
    let operator = fleet.machine("operator")?;
    let mut last = String::new();
    let waited = wait::until("all hosts to be in sync", wait::SOON, || {
        let ran = operator.shell("postern host list --json")?.ok()?;
        let hosts = ran.json_lines()?;
        let says =
            |host: &serde_json::Value, name| host.get(name).and_then(serde_json::Value::as_bool);
        last = ran.stdout;
        Ok(hosts.iter().all(|host| {
            says(host, "connected") == Some(true) && says(host, "in_sync") == Some(true)
        }))
    });
    waited.with_context(|| last)?;
    Ok(())
}

const SSHD: &str = "set -e
mkdir -p /run/sshd sshd
echo 'sshd:x:74:74::/run/sshd:/usr/sbin/nologin' >> /etc/passwd
sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow
[ -e sshd/key ] || ssh-keygen -q -t ed25519 -N '' -f sshd/key
cat > sshd/config <<END
Port 22
HostKey /root/sshd/key
AuthorizedKeysFile /root/sshd/authorized
PermitRootLogin yes
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
END
";

fn sshd_runs(fleet: &mut Fleet, host: &str, user: &str) -> Result<()> {
    fleet.must(host, SSHD)?;
    let key = fleet.must(
        user,
        "mkdir -p -m 700 .ssh; [ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
cat .ssh/id_ed25519.pub",
    )?;
    fleet.must(
        host,
        &format!("echo '{}' >> sshd/authorized", key.stdout.trim()),
    )?;
    let public = fleet.must(host, "cut -d' ' -f1,2 sshd/key.pub")?.stdout;
    let address = fleet.machine(host)?.node.v4;
    let known = format!(
        "echo '{host},{address} {}' >> .ssh/known_hosts",
        public.trim()
    );
    fleet.must(user, &known)?;
    let libraries = "LD_LIBRARY_PATH=/root/ssh/usr/lib/x86_64-linux-gnu";
    let sshd = format!("env {libraries} /root/ssh/usr/sbin/sshd -D -e -f /root/sshd/config");
    fleet.run(host, "sshd", &sshd)?;
    let machine = fleet.machine(host)?;
    wait::until("sshd to listen", wait::SOON, || {
        Ok(machine.shell("nc -z localhost 22")?.code == 0)
    })?;
    Ok(())
}

/// Nothing is left of what was on it.
fn disk_is_new(fleet: &mut Fleet, host: &str) -> Result<()> {
    fleet.stop(host, "agent")?;
    fleet.must(
        host,
        "postern-agent flush; find /var/lib/postern-agent /run -mindepth 1 -delete",
    )?;
    Ok(())
}

fn brought(fleet: &Fleet, name: &str, owner: &str, other: &str) -> Result<()> {
    let from = fleet.machine(owner)?.node.dir.join(name);
    fs::copy(from, fleet.machine(other)?.node.dir.join(name))?;
    Ok(())
}

fn clock(fleet: &mut Fleet, user: &str, off: Option<&'static str>) -> Result<()> {
    let machine = fleet
        .machines
        .get_mut(user)
        .context("nobody of that name")?;
    machine.clock = off;
    Ok(())
}

fn fwknopd_runs(fleet: &mut Fleet, host: &str) -> Result<()> {
    let access = fleet.must(host, "cat /etc/fwknop/access.conf")?.stdout;
    let node = fleet.machine(host)?.node.clone();
    fleet.must(host, "iptables -A INPUT -p tcp --dport 22 -j DROP")?;
    fleet.fwknopd.push(Fwknopd::start(&node, &access, "")?);
    fleet.run(host, "listener", "nc -lk 22")?;
    wait::until("fwknopd's rules", Duration::from_secs(5), || {
        Ok(node
            .rules()?
            .iter()
            .any(|rule| rule.contains("FWKNOP_INPUT")))
    })?;
    Ok(())
}
