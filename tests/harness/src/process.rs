//! One running program and its log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::shell::{describe, exit_code};
use crate::{Result, wait};

/// A program that runs beside the test, killed when this value goes.
///
/// Both its streams go to one file, so that nothing blocks on a full pipe and the log is still
/// there afterwards.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
    log: PathBuf,
    code: Option<i32>,
    /// How much of the log [`Process::wait_for_next`] has gone through.
    heard: usize,
}

// === impl Process ===

impl Process {
    /// Starts `command` with its output in `log`.
    ///
    /// # Errors
    ///
    /// When the log cannot be made or the program cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let what = describe(command);
        let file = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start `{what}`"))?;
        Ok(Self {
            child,
            what,
            log: log.to_path_buf(),
            code: None,
            heard: 0,
        })
    }

    /// The process id; `ip netns exec` replaces itself, so it is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Waits until the log holds `needle`.
    ///
    /// # Errors
    ///
    /// When it ends before, or does not say so within `limit`.
    pub fn wait_for(&mut self, needle: &str, limit: Duration) -> Result<Duration> {
        self.wait_for_nth(needle, 1, limit)
    }

    /// Waits until the log holds `needle` `count` times.
    ///
    /// # Errors
    ///
    /// When it ends before, or does not say so within `limit`.
    pub fn wait_for_nth(
        &mut self,
        needle: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Duration> {
        let what = format!("`{}` to say {needle:?} {count} times", self.what);
        let waited = wait::until(&what, limit, || {
            let done = self.log().matches(needle).count() >= count;
            if !done && let Some(code) = self.poll()? {
                bail!("it left with {code}");
            }
            Ok(done)
        });
        waited.with_context(|| format!("{what}; its log:\n{}", self.log()))
    }

    /// Waits until the log holds `needle` after what this waited for before.
    ///
    /// # Errors
    ///
    /// When it ends before, or does not say so within `limit`.
    pub fn wait_for_next(&mut self, needle: &str, limit: Duration) -> Result<Duration> {
        let what = format!("`{}` to say {needle:?}", self.what);
        let waited = wait::until(&what, limit, || {
            let log = self.log();
            let rest = log.get(self.heard..).unwrap_or_default();
            if let Some(at) = rest.find(needle) {
                self.heard += at + needle.len();
                return Ok(true);
            }
            if let Some(code) = self.poll()? {
                bail!("it left with {code}");
            }
            Ok(false)
        });
        waited.with_context(|| format!("{what}; its log:\n{}", self.log()))
    }

    /// The processes that it has started, and those that these have.
    pub fn descendants(&self) -> Vec<u32> {
        descendants(self.pid())
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("process id")?;
        signal::kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("cannot send {signal} to `{}`", self.what))
    }

    /// The exit code, if it has ended.
    ///
    /// # Errors
    ///
    /// When the kernel does not know the process.
    pub fn poll(&mut self) -> Result<Option<i32>> {
        if self.code.is_none() {
            self.code = self.child.try_wait()?.map(exit_code);
        }
        Ok(self.code)
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    ///
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<i32> {
        let what = format!("`{}` to end", self.what);
        let waited = wait::some(&what, limit, || self.poll());
        let (code, _) = waited.with_context(|| format!("its log:\n{}", self.log()))?;
        Ok(code)
    }

    /// Kills it with -9 and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        if self.poll()?.is_none() {
            self.child.kill()?;
            self.code = Some(exit_code(self.child.wait()?));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The processes that one has started, and those that these have.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut waiting = children(pid);
    while let Some(pid) = waiting.pop() {
        found.push(pid);
        waiting.extend(children(pid));
    }
    found
}

/// What the threads of a process have started.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let listed = threads.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let listed = listed.collect::<Vec<_>>().join(" ");
    let numbers = listed.split_ascii_whitespace();
    numbers.filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_has_started_is_found_while_it_runs() {
        let me = std::process::id();
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .spawn()
            .unwrap();
        let found = wait::some("the shell's program", wait::SOON, || {
            let found = descendants(me);
            let its = descendants(shell.id());
            Ok((found.contains(&shell.id()) && its.len() == 1).then_some(its))
        });

        let (its, _) = found.unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert!(descendants(shell.id()).is_empty());
        for pid in its {
            signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        }
    }
}
