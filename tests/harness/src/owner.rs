//! The owner of a node's firewall: programs as Debian packs them, run in the node's network.
//!
//! `tests/owners.sh` has unpacked them beside the build. Here they are laid over the machine's own
//! files in a mount namespace, so that they see a machine on which they are installed, and what they
//! write (`/etc/ufw`, `/var/lib/fail2ban`, `/run`) is theirs alone and gone with the lab.

use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;

use crate::shell::run;
use crate::{Node, Process, Ran, Result, machine, wait};

/// Lays the packages over `/etc`, `/usr` and `/var`. What is written goes to memory, because one
/// overlay cannot be written on another, and a machine for tests may itself stand on one.
const LAY_OVER: &str = "\
set -eu
packages=$1 written=$2
mkdir -p \"$written\"
mount -t tmpfs tmpfs \"$written\"
for dir in etc usr var; do
    mkdir -p \"$written/$dir\" \"$written/.$dir\"
    mount -t overlay overlay \"/$dir\" \
        -o \"lowerdir=$packages/$dir:/$dir,upperdir=$written/$dir,workdir=$written/.$dir\"
done
mount -t tmpfs tmpfs /run
echo laid over
exec sleep infinity
";

/// Whoever owns the firewall of one node.
#[derive(Debug)]
pub struct Owner {
    node: Node,
    /// A process that does nothing but live in the mount namespace.
    holder: Process,
}

// === impl Owner ===

impl Owner {
    /// Moves in, with the programs that own firewalls.
    ///
    /// # Errors
    ///
    /// When the packages are not there, or cannot be laid over this machine's files.
    pub fn of(node: &Node) -> Result<Self> {
        Self::with(node, "owners")
    }

    /// Moves in, with what `tests/NAME.sh` has unpacked.
    ///
    /// # Errors
    ///
    /// As [`Owner::of`].
    pub fn with(node: &Node, name: &str) -> Result<Self> {
        machine::require(&["unshare", "nsenter", "mount"])?;
        let packages = packages(name)?;
        let mut command = node.command("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", LAY_OVER])
            .arg("owner")
            .arg(packages)
            .arg(node.dir.join("owner"));
        let mut holder = node.start("owner", &mut command)?;
        holder.wait_for("laid over", wait::SOON)?;
        Ok(Self {
            node: node.clone(),
            holder,
        })
    }

    /// A command of the owner's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--net", "--target"])
            .arg(self.holder.pid().to_string())
            .arg(program)
            .env("HOME", "/root");
        command
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn run(&self, line: &str) -> Result<Ran> {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        run(self.command(program).args(words))
    }

    /// Runs a line of a shell to its end, which must be a good one.
    ///
    /// # Errors
    ///
    /// When it cannot be started or fails.
    pub fn shell(&self, line: &str) -> Result<Ran> {
        run(self.command("sh").arg("-ec").arg(line))?.ok()
    }

    /// Starts a program that runs beside the test.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, line: &str) -> Result<Process> {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        let name = format!("owner-{program}");
        self.node.start(&name, self.command(program).args(words))
    }
}

/// Where `tests/NAME.sh` has put the packages.
fn packages(name: &str) -> Result<PathBuf> {
    let build = crate::postern::build_dir()?;
    let found = build
        .ancestors()
        .map(|dir| dir.join(name))
        .find(|dir| dir.join("complete").exists());
    let found = found.or_else(|| {
        let named = PathBuf::from(std::env::var_os("POSTERN_OWNERS_DIR")?);
        (name == "owners" && named.join("complete").exists()).then_some(named)
    });
    ensure!(
        found.is_some(),
        "the packages of {name} are not beside the build in {}: run tests/{name}.sh first, as \
         `make test` does",
        build.display()
    );
    Ok(found.unwrap_or_default())
}
