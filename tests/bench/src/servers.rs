//! The servers under test, each started fresh for every experiment.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use harness::process::descendants;
use harness::{Process, wait};
use nix::sys::signal::Signal;

use crate::arena::Arena;
use crate::clock;
use crate::keyring::{Form, Keyring};

/// What our agent says when it captures and its firewall stands.
pub(crate) const POSTERN_READY: &str = "is ready";

/// Who is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Server {
    /// fwknopd as Debian ships it.
    FwknopdDefault,
    /// fwknopd with a short PCAP_LOOP_SLEEP and a large PCAP_DISPATCH_COUNT.
    FwknopdTuned,
    /// fwknopd with ENABLE_UDP_SERVER.
    FwknopdUdp,
    /// fwknopd with ENABLE_UDP_SERVER, and CMD_CYCLE_OPEN calling ipset.
    FwknopdIpset,
    /// Our agent, with the back end that it takes by itself.
    Postern,
    /// Our agent with iptables and ipset.
    PosternIptables,
}

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
}

// === impl Server ===

impl Server {
    pub(crate) const ALL: [Self; 6] = [
        Self::FwknopdDefault,
        Self::FwknopdTuned,
        Self::FwknopdUdp,
        Self::FwknopdIpset,
        Self::Postern,
        Self::PosternIptables,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::FwknopdDefault => "fwknopd",
            Self::FwknopdTuned => "tuned",
            Self::FwknopdUdp => "UDP",
            Self::FwknopdIpset => "UDP+ipset",
            Self::Postern => "postern",
            Self::PosternIptables => "postern, iptables",
        }
    }

    /// Whether it is Postern.
    pub(crate) const fn is_ours(self) -> bool {
        match self {
            Self::Postern | Self::PosternIptables => true,
            Self::FwknopdDefault | Self::FwknopdTuned | Self::FwknopdUdp | Self::FwknopdIpset => {
                false
            }
        }
    }

    /// The forms of packet that its own client sends.
    pub(crate) const fn forms(self) -> &'static [Form] {
        match self {
            Self::Postern | Self::PosternIptables => &[Form::Stock, Form::Tagged],
            Self::FwknopdDefault | Self::FwknopdTuned | Self::FwknopdUdp | Self::FwknopdIpset => {
                &[Form::Stock]
            }
        }
    }

    /// The form that its own client sends by itself.
    pub(crate) fn best_form(self) -> Form {
        self.forms().last().copied().unwrap_or(Form::Stock)
    }

    /// Starts the server on a clean firewall and a clean memory, and waits until it listens.
    pub(crate) fn start(self, arena: &Arena, keyring: Keyring) -> anyhow::Result<Running> {
        let state = arena.server.dir.join("state");
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(&state)?;
        let running = self.start_again(arena, keyring)?;
        // Whoever has a new journal refuses what is dated in the second in which it began. Everyone
        // is given that second.
        clock::until_next_second();
        Ok(running)
    }

    /// Starts the server on a clean firewall, with what it remembers from before.
    pub(crate) fn start_again(self, arena: &Arena, keyring: Keyring) -> anyhow::Result<Running> {
        let mut process = self.spawn(arena, keyring)?;
        let ready = match self {
            Self::Postern | Self::PosternIptables => POSTERN_READY,
            Self::FwknopdDefault | Self::FwknopdTuned => "main event loop",
            Self::FwknopdUdp | Self::FwknopdIpset => "UDP server to listen",
        };
        process.wait_for(ready, wait::SOON)?;
        Ok(Running { process })
    }

    /// Starts the server and does not wait.
    pub(crate) fn spawn(self, arena: &Arena, keyring: Keyring) -> anyhow::Result<Process> {
        arena.reset_firewall()?;
        match self {
            Self::Postern => Self::spawn_postern(arena, keyring, "auto"),
            Self::PosternIptables => Self::spawn_postern(arena, keyring, "iptables"),
            Self::FwknopdDefault => Self::spawn_fwknopd(arena, keyring, "", ""),
            Self::FwknopdTuned => Self::spawn_fwknopd(
                arena,
                keyring,
                "PCAP_LOOP_SLEEP 1000;\nPCAP_DISPATCH_COUNT 100000;\n",
                "",
            ),
            Self::FwknopdUdp => Self::spawn_fwknopd(arena, keyring, "ENABLE_UDP_SERVER Y;\n", ""),
            Self::FwknopdIpset => {
                arena.accept_from_set("spa")?;
                let cycle = format!(
                    "CMD_CYCLE_OPEN /usr/sbin/ipset -exist add spa $SRC timeout {}\nCMD_CYCLE_CLOSE NONE\n",
                    keyring.timeout_secs
                );
                Self::spawn_fwknopd(arena, keyring, "ENABLE_UDP_SERVER Y;\n", &cycle)
            }
        }
    }

    fn spawn_postern(arena: &Arena, keyring: Keyring, back_end: &str) -> anyhow::Result<Process> {
        let node = &arena.server;
        let access = node.write("access.conf", &keyring.access_conf(""))?;
        let mut command = node.command(harness::postern::binary("postern-agent")?);
        command
            .args(["run", "--interface", "eth1", "--backend", back_end])
            .arg("--access-file")
            .arg(access)
            .arg("--state")
            .arg(node.dir.join("state"));
        if arena.one_process {
            command.arg("--no-separation");
        }
        node.start("postern-agent", &mut command)
    }

    fn spawn_fwknopd(
        arena: &Arena,
        keyring: Keyring,
        conf: &str,
        more: &str,
    ) -> anyhow::Result<Process> {
        let node = &arena.server;
        let state = node.dir.join("state").display().to_string();
        let access = node.write("access.conf", &keyring.access_conf(more))?;
        let conf = node.write(
            "fwknopd.conf",
            &format!(
                "PCAP_INTF eth1;\nFWKNOP_RUN_DIR {state};\nFWKNOP_PID_FILE {state}/fwknopd.pid;\n\
                 DIGEST_FILE {state}/digest.cache;\nFIREWALL_EXE /usr/sbin/iptables;\n{conf}"
            ),
        )?;
        let mut command = node.command("fwknopd");
        command.arg("-f").arg("-c").arg(conf).arg("-a").arg(access);
        node.start("fwknopd", &mut command)
    }
}

// === impl Running ===

impl Running {
    /// Ends the server as an operator would.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        if self.process.wait(Duration::from_secs(5)).is_err() {
            self.process.kill()?;
        }
        Ok(())
    }

    /// CPU time of the server so far, in seconds.
    pub(crate) fn cpu_secs(&self) -> anyhow::Result<f64> {
        cpu_secs(self.process.pid())
    }
}

/// CPU time of a program so far, in seconds: of each of its processes, and of those that they have
/// waited for (`/proc/PID/stat`).
pub(crate) fn cpu_secs(pid: u32) -> anyhow::Result<f64> {
    over_tree(pid, &|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let after_name = stat.rsplit_once(')').context("stat")?.1;
        let ticks: f64 = after_name
            .split_ascii_whitespace()
            .skip(11)
            .take(4)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        // USER_HZ is 100 on every Linux that runs Debian.
        Ok(ticks / 100.0)
    })
}

/// Resident memory of a server in MiB, of all its processes. What they share (the program's code) counts
/// once, where the kernel says so (`smaps_rollup`).
pub(crate) fn rss_mib(pid: u32) -> anyhow::Result<f64> {
    over_tree(pid, &|pid| {
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kib: f64 = maps
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .context("Pss")?
            .parse()?;
        Ok(kib / 1024.0)
    })
}

/// The sum over a process and all that it has started. One that ends meanwhile counts for nothing.
fn over_tree(pid: u32, of: &dyn Fn(u32) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let own = of(pid)?;
    let others = descendants(pid).into_iter().filter_map(|pid| of(pid).ok());
    Ok(own + others.sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_of_what_a_server_has_started_count_too() {
        let me = std::process::id();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let alone = |_: u32| Ok(1.0);

        assert!(over_tree(me, &alone).unwrap() >= 2.0);
        assert!(rss_mib(me).unwrap() > 0.1);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
