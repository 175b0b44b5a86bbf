//! `postern-agent`, alone with an access.conf or joined to a fleet.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;

use super::binary;
use super::notify::Notify;
use crate::shell::{ran, run};
use crate::{Node, Process, Ran, Result, wait};

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    /// Where it runs.
    pub node: Node,
    /// Its state directory.
    pub state: PathBuf,
    arguments: Vec<String>,
    process: Process,
    notify: Notify,
}

// === impl Agent ===

impl Agent {
    /// Starts an agent alone, as a drop-in for fwknopd, with this access.conf, and waits until it
    /// is up.
    ///
    /// # Errors
    ///
    /// When it does not come up; the text holds its log.
    pub fn alone(node: &Node, access: &str) -> Result<Self> {
        Self::alone_with(node, access, &[])
    }

    /// As [`Agent::alone`], with further arguments.
    ///
    /// # Errors
    ///
    /// As [`Agent::alone`].
    pub fn alone_with(node: &Node, access: &str, more: &[&str]) -> Result<Self> {
        let state = state_dir(node);
        let arguments = arguments_alone(node, access, &state, more)?;
        Self::start(node, state, arguments)
    }

    /// Tries to start an agent that is expected to refuse, and returns what it said.
    ///
    /// # Errors
    ///
    /// When it does not end by itself; the text holds its log.
    pub fn refused(node: &Node, access: &str, more: &[&str]) -> Result<Ran> {
        let state = state_dir(node);
        let arguments = arguments_alone(node, access, &state, more)?;
        Self::refused_with(node, &arguments)
    }

    /// As [`Agent::refused`], with all arguments given.
    ///
    /// # Errors
    ///
    /// As [`Agent::refused`].
    pub fn refused_with(node: &Node, arguments: &[String]) -> Result<Ran> {
        let mut command = node.command(binary("postern-agent")?);
        command.arg("run").args(arguments);
        let mut process = node.start("agent-refused", &mut command)?;
        let code = process.wait(wait::SOON)?;
        Ok(Ran {
            what: crate::shell::describe(&command),
            code,
            stdout: String::new(),
            stderr: process.log(),
        })
    }

    /// Joins the fleet with `token` and starts, and waits until it is up.
    ///
    /// # Errors
    ///
    /// When joining fails or it does not come up.
    pub fn joined(node: &Node, token: &str) -> Result<Self> {
        Self::joined_with(node, token, &[])
    }

    /// As [`Agent::joined`], with further arguments.
    ///
    /// # Errors
    ///
    /// As [`Agent::joined`].
    pub fn joined_with(node: &Node, token: &str, more: &[&str]) -> Result<Self> {
        Self::join(node, token)?.ok()?;
        Self::of_member(node, more)
    }

    /// Starts the agent of a node that has joined, with these arguments, and waits until it is up.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn of_member(node: &Node, more: &[&str]) -> Result<Self> {
        let state = state_dir(node);
        let mut arguments = words(&["--interface", "eth0", "--state"], &state);
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        Self::start(node, state, arguments)
    }

    /// Starts an agent with a copy of the state directory of `other`, which should not run, and
    /// waits until it is up.
    ///
    /// # Errors
    ///
    /// When it cannot be copied or does not come up.
    pub fn copy_of(other: &Self, node: &Node) -> Result<Self> {
        let state = state_dir(node);
        run(Command::new("cp").arg("-a").arg(&other.state).arg(&state))?.ok()?;
        let arguments = words(&["--interface", "eth0", "--state"], &state);
        Self::start(node, state, arguments)
    }

    /// Redeems `token` without starting.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn join(node: &Node, token: &str) -> Result<Ran> {
        let mut command = node.command(binary("postern-agent")?);
        command.args(["join", "--token", token, "--state"]);
        run(command.arg(state_dir(node)))
    }

    fn start(node: &Node, state: PathBuf, arguments: Vec<String>) -> Result<Self> {
        let (process, notify) = launch(node, &arguments)?;
        let mut agent = Self {
            node: node.clone(),
            state,
            arguments,
            process,
            notify,
        };
        agent.ready()?;
        Ok(agent)
    }

    fn ready(&mut self) -> Result<()> {
        self.notify.ready(&mut self.process)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged since it was started last.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has logged `needle`.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn wait_for(&mut self, needle: &str) -> Result<Duration> {
        self.process.wait_for(needle, wait::SOON)
    }

    /// Replaces the access.conf of an agent that runs alone, without telling it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_access(&self, access: &str) -> Result<()> {
        self.node.write("access.conf", access)?;
        Ok(())
    }

    /// Sends SIGHUP, does something `meanwhile`, and waits until the new policy is in force.
    ///
    /// # Errors
    ///
    /// When it is not adopted, and what `meanwhile` returns.
    pub fn reload(&mut self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        const ADOPTED: &str = "policy applied";
        let before = self.log().matches(ADOPTED).count();
        self.signal(Signal::SIGHUP)?;
        meanwhile()?;
        self.process.wait_for_nth(ADOPTED, before + 1, wait::SOON)?;
        Ok(())
    }

    /// What `postern-agent status` says.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn status(&self) -> Result<String> {
        let mut command = self.node.command(binary("postern-agent")?);
        command.arg("status").arg("--state").arg(&self.state);
        Ok(run(&mut command)?.ok()?.stdout)
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Kills it with -9, and waits until its other processes have noticed: what was on its way from one to another has
    /// been done by then, or never is.
    ///
    /// # Errors
    ///
    /// When it cannot be killed, or one of its processes goes on.
    pub fn kill(&mut self) -> Result<()> {
        let others = self.process.descendants();
        self.process.kill()?;
        let is_own = |pid: &u32| {
            let name = std::fs::read_link(format!("/proc/{pid}/exe"));
            name.is_ok_and(|name| name.to_string_lossy().contains("postern-agent"))
        };
        wait::until("the agent's other processes to end", wait::SOON, || {
            Ok(!others.iter().any(is_own))
        })?;
        Ok(())
    }

    /// Ends it with SIGTERM and returns the exit code.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<i32> {
        self.signal(Signal::SIGTERM)?;
        self.process.wait(wait::SOON)
    }

    /// Takes everything of it out of the packet filter, after it has ended.
    ///
    /// # Errors
    ///
    /// When the program cannot be started; a refusal is in [`Ran`].
    pub fn flush(&self) -> Result<Ran> {
        let mut command = self.node.command(binary("postern-agent")?);
        run(command.arg("flush"))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// When the kernel does not know the process.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.process.poll()?.is_none())
    }

    /// Starts it again with the same state after it has ended, and waits until it is up.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.kill()?;
        (self.process, self.notify) = launch(&self.node, &self.arguments)?;
        self.ready()
    }

    /// The same with further arguments, which it keeps.
    ///
    /// # Errors
    ///
    /// As [`Agent::start_again`].
    pub fn start_again_with(&mut self, more: &[&str]) -> Result<()> {
        let more = more.iter().map(|&word| word.to_owned());
        self.arguments.extend(more);
        self.start_again()
    }

    /// Waits until the kernel has a hole for `address` and `port` (`tcp:22`), and says how long
    /// that took.
    ///
    /// # Errors
    ///
    /// When none appears.
    pub fn opens(&self, address: impl Into<IpAddr>, port: &str) -> Result<Duration> {
        let element = format!(" {},{port} ", address.into());
        wait::until(&format!("a hole for{element}"), wait::SOON, || {
            Ok(self
                .node
                .holes()?
                .iter()
                .any(|hole| hole.contains(&element)))
        })
    }

    /// Whether the kernel has a hole for `address` and `port` (`tcp:22`).
    ///
    /// # Errors
    ///
    /// When `ipset` fails.
    pub fn has_hole(&self, address: impl Into<IpAddr>, port: &str) -> Result<bool> {
        let element = format!(" {},{port} ", address.into());
        Ok(self
            .node
            .holes()?
            .iter()
            .any(|hole| hole.contains(&element)))
    }
}

/// Puts packets, one a line, to `postern-agent explain` and returns what it answered.
///
/// # Errors
///
/// When it cannot be started.
pub fn explain(access: &Path, more: &[&str], packets: &str) -> Result<Ran> {
    let mut command = Command::new(binary("postern-agent")?);
    command
        .arg("explain")
        .arg("--access-file")
        .arg(access)
        .args(more);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start explain")?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let packets = packets.to_owned();
    // Beside the reading, so that neither side waits for the other with a full pipe. It may leave
    // before it has read all, for example because of a bad file.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(packets.as_bytes());
    });
    let output = child.wait_with_output()?;
    let _ = writer.join();
    Ok(ran(crate::shell::describe(&command), &output))
}

fn launch(node: &Node, arguments: &[String]) -> Result<(Process, Notify)> {
    let notify = Notify::new(&node.dir, "agent")?;
    let mut command = node.command(binary("postern-agent")?);
    command.arg("run").args(arguments);
    notify.tell(&mut command);
    Ok((node.start("agent", &mut command)?, notify))
}

fn arguments_alone(node: &Node, access: &str, state: &Path, more: &[&str]) -> Result<Vec<String>> {
    let access = node.write("access.conf", access)?;
    let mut arguments = words(&["--interface", "eth0", "--access-file"], &access);
    // A test that names its own state directory means that one.
    if !more.contains(&"--state") {
        arguments.extend(words(&["--state"], state));
    }
    arguments.extend(more.iter().map(|&word| word.to_owned()));
    Ok(arguments)
}

fn words(words: &[&str], path: &Path) -> Vec<String> {
    let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    words.push(path.display().to_string());
    words
}

fn state_dir(node: &Node) -> PathBuf {
    node.dir.join("agent-state")
}
