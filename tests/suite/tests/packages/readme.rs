//! The ten minutes of the README, as a newcomer does them: packages are installed, and every command
//! that the page marks is run as it stands, on the machine that the page says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::postern::binary;
use harness::service::TcpService;
use harness::shell::run;
use harness::{Lab, Node, Ran, Result, in_lab, wait};
use suite::page::{Cast, Play, Step, marked_steps};

use crate::boot::{Machine, Version};

const README: &str = include_str!("../../../../README.md");

/// Who is where. The page names 192.0.2.10, and by name web-1 and controller.example.
const ADDRESSES: &str = "127.0.0.1 localhost\n192.0.2.11 web-1\n192.0.2.30 controller.example\n";

/// `ssh` of the page: reaches a machine only where its port 22 answers, and is root there. Options, which
/// `postern ssh` writes before the host, change nothing about that.
const SSH: &str = "#!/bin/bash
set -e
while [[ $1 == -o ]]; do shift 2; done
to=${1#root@} && shift
exec 3<>\"/dev/tcp/$to/22\"
IFS= read -r -t 3 banner <&3
pid=$(cat \"$(dirname \"$0\")/$to\")
exec nsenter --target \"$pid\" --all --root --wd=/root \
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c \"$*\"
";

/// Everybody on the page.
struct Newcomers {
    machines: BTreeMap<&'static str, Machine>,
    people: BTreeMap<&'static str, Node>,
    _services: Vec<TcpService>,
}

// === impl Newcomers ===

impl Newcomers {
    /// Machines with their packages, and people with the client's program and an `ssh`.
    fn arrive(lab: &Lab) -> Result<Self> {
        let mut machines = BTreeMap::new();
        let mut services = Vec::new();
        for (name, number) in [("host", 10), ("web-1", 11), ("controller", 30)] {
            let machine = Machine::boot(&lab.node(name, number)?)?;
            fs::write(machine.path("/etc/hosts"), ADDRESSES)?;
            if name != "controller" {
                services.push(machine.node.serve_tcp(22)?);
            }
            machines.insert(name, machine);
        }
        let mut people = BTreeMap::new();
        for (name, number) in [("laptop", 19), ("alice", 20), ("otto", 21)] {
            let node = lab.node(name, number)?;
            node.write("hosts", ADDRESSES)?;
            let bin = node.dir.join("bin");
            fs::create_dir(&bin)?;
            fs::write(bin.join("ssh"), SSH)?;
            run(Command::new("chmod").arg("755").arg(bin.join("ssh")))?.ok()?;
            for (host, addresses) in [
                ("host", ["192.0.2.10", "host"]),
                ("web-1", ["192.0.2.11", "web-1"]),
            ] {
                for address in addresses {
                    let init = machines.get(host).context("a machine")?.init();
                    fs::write(bin.join(address), init.to_string())?;
                }
            }
            people.insert(name, node);
        }
        Ok(Self {
            machines,
            people,
            _services: services,
        })
    }
}

/// Runs lines of a shell with the client's program, where the file `hosts` of a node is `/etc/hosts`.
pub(crate) fn by_person(node: &Node, text: &str) -> Result<Ran> {
    let built = binary("postern")?;
    let built = built.parent().context("a program is in a directory")?;
    let path = format!(
        "{}:{}:/usr/sbin:/usr/bin:/sbin:/bin",
        node.dir.join("bin").display(),
        built.display()
    );
    let mut command = node.command("unshare");
    command
        .args(["--mount", "--propagation", "private", "bash", "-ec"])
        .arg("mount --bind hosts /etc/hosts; eval \"$1\"")
        .args(["newcomer", text])
        .env("PATH", path);
    run(&mut command)
}

impl Cast for Newcomers {
    fn shell(&mut self, who: &str, text: &str) -> Result<Ran> {
        if let Some(machine) = self.machines.get(who) {
            return machine.try_shell(text);
        }
        by_person(self.people.get(who).context("nobody of that name")?, text)
    }

    fn file(&mut self, who: &str, name: &str, text: &str) -> Result<()> {
        let node = self.people.get(who).context("nobody of that name")?;
        node.write(name, text)?;
        Ok(())
    }
}

#[test]
fn every_command_of_the_readmes_ten_minutes_works_as_it_stands() {
    in_lab(|lab| {
        let steps = marked_steps(README)?;
        ensure!(steps.len() > 10, "the marks of the page are gone");
        let mut newcomers = Newcomers::arrive(lab)?;
        for machine in ["host", "web-1"] {
            newcomers
                .machines
                .get(machine)
                .context("a machine")?
                .install("postern-agent", Version::Now)?;
        }
        newcomers
            .machines
            .get("controller")
            .context("a machine")?
            .install("postern-controller", Version::Now)?;
        let mut play = Play::default();
        play.all(&mut newcomers, &steps)?;
        play.end()
    });
}

/// What the page promises, on a machine that does nothing else.
const FIRST_HOST: Duration = Duration::from_secs(120);

#[test]
fn from_the_package_to_the_first_protected_host_takes_no_more_than_two_minutes() {
    in_lab(|lab| {
        let steps = marked_steps(README)?;
        let first_knock = steps.iter().position(
            |step| matches!(step, Step::Run(_, _, text) if text.contains("postern knock")),
        );
        let (until, _) = steps.split_at(first_knock.context("nobody knocks")? + 1);
        let mut newcomers = Newcomers::arrive(lab)?;

        let start = wait::now();
        newcomers
            .machines
            .get("host")
            .context("a machine")?
            .install("postern-agent", Version::Now)?;
        let mut play = Play::default();
        for step in until {
            play.go(&mut newcomers, step)?;
        }

        let took = start.elapsed();
        report(took)?;
        ensure!(took < FIRST_HOST, "{took:?}");
        Ok(())
    });
}

/// For `make package-test`, which says it, and for the page.
fn report(took: Duration) -> Result<()> {
    let Some(file) = std::env::var_os("POSTERN_FIRST_HOST_FILE") else {
        return Ok(());
    };
    Ok(fs::write(
        Path::new(&file),
        format!("{:.1}\n", took.as_secs_f64()),
    )?)
}
