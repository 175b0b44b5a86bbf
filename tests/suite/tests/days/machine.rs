//! A machine whose files are its own where our programs keep theirs: `/etc`, `/var/lib`, `/run` and
//! the home of root. All else is this machine's, and cannot be told from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use harness::postern::binary;
use harness::shell::run;
use harness::{Node, Process, Ran, Result, wait};

/// Makes the files, says so, and holds them. Our programs and sshd come along before anything is
/// laid over the place where they were built.
const HOLD: &str = "set -e
mkdir bin ssh own
mount --bind \"$1\" bin
mount --bind \"$2\" ssh
mount -t tmpfs -o mode=755 tmpfs own
mkdir own/etc own/work
mount -t overlay overlay /etc -o \"lowerdir=/etc,upperdir=$PWD/own/etc,workdir=$PWD/own/work\"
mount --rbind . /root
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /etc/postern /var/lib/postern-agent
cp hosts /etc/hosts
rm -rf /etc/fwknop
hostname \"$3\"
touch ready
exec sleep infinity
";

/// Where programs are looked for.
const PATH: &str = "/root/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One machine. Its files go with the value.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Its network.
    pub(crate) node: Node,
    /// How far its clock is off, as faketime writes it.
    pub(crate) clock: Option<&'static str>,
    holder: Process,
}

// === impl Machine ===

impl Machine {
    /// Begins to make one; `hosts` is its `/etc/hosts`. See [`Machine::ready`].
    pub(crate) fn begin(node: Node, hosts: &str) -> Result<Self> {
        node.write("hosts", hosts)?;
        let postern = binary("postern")?;
        let programs = postern.parent().context("a program without directory")?;
        let mut command = node.command("unshare");
        command
            .args(["--mount", "--uts", "--propagation", "private"])
            .args(["bash", "-c", HOLD, "hold"])
            .args([programs, &sshd_tree(&postern)?])
            .arg(&node.name);
        let holder = node.start("machine", &mut command)?;
        Ok(Self {
            node,
            clock: None,
            holder,
        })
    }

    /// Waits until its files are there.
    pub(crate) fn ready(&mut self) -> Result<()> {
        let ready = self.node.dir.join("ready");
        wait::until("a machine", wait::SOON, || {
            if let Some(code) = self.holder.poll()? {
                anyhow::bail!("it left with {code}: {}", self.holder.log());
            }
            Ok(ready.exists())
        })?;
        Ok(())
    }

    /// A shell on it, which begins in root's home.
    fn command(&self, text: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--net", "--uts", "--target"])
            .arg(self.holder.pid().to_string())
            .args(["env", "-i", "HOME=/root", "USER=root", "LANG=C.UTF-8"])
            .arg(format!("PATH={PATH}"))
            .arg("TZ=Europe/Berlin");
        if let Some(clock) = self.clock {
            command.args(["FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", clock]);
        }
        // Exec, so that a program that is started as one line is the process that is known here.
        command.args(["bash", "-ec", "cd; eval \"$1\"", "shell", text]);
        command
    }

    /// Runs lines of a shell, whatever comes of it.
    pub(crate) fn shell(&self, text: &str) -> Result<Ran> {
        run(&mut self.command(text))
    }

    /// Starts one line of a shell that goes on.
    pub(crate) fn start(&self, name: &str, line: &str) -> Result<Process> {
        self.node
            .start(name, &mut self.command(&format!("exec {line}")))
    }
}

/// Where tests/ssh.sh has unpacked sshd.
fn sshd_tree(program: &Path) -> Result<PathBuf> {
    let found = program
        .ancestors()
        .map(|dir| dir.join("ssh"))
        .find(|dir| dir.join("complete").exists());
    let tree = found
        .context("sshd is not beside the build: run tests/ssh.sh first, as `make test` does")?;
    Ok(fs::canonicalize(tree)?)
}
