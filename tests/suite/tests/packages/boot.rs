//! A machine with systemd, in the network of a node.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::shell::run;
use harness::{Node, Process, Ran, Result, machine, wait};

const BOOT: &str = include_str!("boot.sh");

/// Removes the control groups that the machine has divided, whatever hierarchy they are in here.
const REMOVE_GROUPS: &str = "\
mount -t cgroup2 cgroup2 /mnt
for _ in 1 2 3 4 5 6 7 8 9 10; do
    find \"/mnt/$1\" -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d \"/mnt/$1\" ] || exit 0
    sleep 0.1
done";

/// For dpkg, which calls man-db and syncs, on a machine that may be busy.
const BOOTED: Duration = Duration::from_secs(60);

/// Which of the two versions that were packed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    /// 0.0.9
    Before,
    /// This one.
    Now,
}

/// A booted machine. Ends, with all that ran on it, when the value goes.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Its network.
    pub(crate) node: Node,
    /// systemd, as this machine numbers it.
    init: u32,
    process: Option<Process>,
}

// === impl Machine ===

impl Machine {
    /// Boots on this machine's own files, or on those that POSTERN_TEST_ROOT names.
    pub(crate) fn boot(node: &Node) -> Result<Self> {
        machine::require(&[
            "unshare",
            "nsenter",
            "setpriv",
            "systemctl",
            "dpkg",
            "/lib/systemd/systemd",
        ])?;
        let lower = std::env::var_os("POSTERN_TEST_ROOT").unwrap_or_else(|| "/".into());
        let mut command = node.command("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                BOOT,
                "boot",
            ])
            .arg(lower)
            .arg(node.dir.join("machine"))
            .arg(&node.namespace);
        let process = node.start("machine", &mut command)?;
        let mut machine = Self {
            node: node.clone(),
            init: 0,
            process: Some(process),
        };
        machine.init = machine.wait_until_booted()?;
        fs::create_dir(machine.path("packages"))?;
        Ok(machine)
    }

    fn wait_until_booted(&self) -> Result<u32> {
        let process = self.process.as_ref().context("it has ended")?;
        let id = process.pid();
        let children = format!("/proc/{id}/task/{id}/children");
        let (init, _) = wait::some("systemd", BOOTED, || {
            let text = fs::read_to_string(&children)
                .with_context(|| format!("it did not boot: {}", process.log()))?;
            let Ok(init) = text.trim().parse() else {
                return Ok(None);
            };
            let state = run(enter(init, "systemctl").arg("is-system-running"))?;
            Ok((state.stdout.trim() == "running").then_some(init))
        })?;
        Ok(init)
    }

    /// Its first program, as this machine numbers it.
    pub(crate) fn init(&self) -> u32 {
        self.init
    }

    /// A file of it, as this machine reaches it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init)).join(path.trim_start_matches('/'))
    }

    /// Runs a line of a shell, whatever comes of it.
    pub(crate) fn try_shell(&self, line: &str) -> Result<Ran> {
        run(enter(self.init, "sh").arg("-ec").arg(line))
    }

    /// Runs a line of a shell, which must be a good one, and returns what it printed.
    pub(crate) fn shell(&self, line: &str) -> Result<String> {
        let ran = self.try_shell(line)?.ok()?;
        Ok(ran.stdout.trim().to_owned())
    }

    /// `dpkg -i` of one package; returns all that was said.
    pub(crate) fn install(&self, name: &str, version: Version) -> Result<String> {
        let deb = package(name, version)?;
        let file = format!("packages/{name}.deb");
        fs::copy(&deb, self.path(&file))?;
        let ran = self.try_shell(&format!("dpkg -i /{file}"))?.ok()?;
        Ok(ran.stdout + &ran.stderr)
    }

    /// What `systemctl is-active` or `is-enabled` says of a unit.
    pub(crate) fn unit_is(&self, question: &str, unit: &str) -> Result<String> {
        let ran = self.try_shell(&format!("systemctl is-{question} {unit}"))?;
        Ok(ran.stdout.trim().to_owned())
    }

    /// The number of a unit's program, 0 where none runs.
    pub(crate) fn main_pid(&self, unit: &str) -> Result<u32> {
        let pid = self.shell(&format!("systemctl show -P MainPID {unit}"))?;
        pid.parse().with_context(|| format!("no number: {pid}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.process.take());
        let mut remove = Command::new("unshare");
        remove.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            REMOVE_GROUPS,
            "remove",
        ]);
        // What is left of it is an empty directory of the kernel.
        let _ = run(remove.arg(&self.node.namespace));
    }
}

/// A package that was packed for the tests.
pub(crate) fn package(name: &str, version: Version) -> Result<PathBuf> {
    let built = harness::postern::binary("postern")?;
    let found = built
        .ancestors()
        .map(|dir| dir.join("test-packages"))
        .find(|dir| dir.join("complete").exists());
    let dir = found.context(
        "the packages are not beside the build: run tests/packages.sh first, as `make test` does",
    )?;
    let version = match version {
        Version::Before => "before",
        Version::Now => "now",
    };
    let mut debs = Vec::new();
    for entry in fs::read_dir(dir.join(version))? {
        let path = entry?.path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if file.starts_with(&format!("{name}_")) {
            debs.push(path);
        }
    }
    ensure!(debs.len() == 1, "{name}: {debs:?}");
    debs.pop().context("no package")
}

fn enter(init: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg("--target")
        .arg(init.to_string())
        .args(["--all", "--root", "--wd=/", program])
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}
