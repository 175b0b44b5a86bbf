//! `postern-controller` with its database in the node's directory.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::notify::Notify;
use super::{binary, token_in};
use crate::{Node, Process, Ran, Result, wait};

/// Where the controller of a lab listens.
pub const CONTROLLER_PORT: u16 = 7443;

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    /// Where it runs.
    pub node: Node,
    /// Its data directory.
    pub data: PathBuf,
    /// The first operator's token, as `init` printed it.
    pub first_token: String,
    process: Process,
    notify: Notify,
}

// === impl Controller ===

impl Controller {
    /// Makes a fleet and serves it, and waits until it is up.
    ///
    /// # Errors
    ///
    /// When `init` fails or it does not come up; the text holds its log.
    pub fn start(node: &Node) -> Result<Self> {
        Self::start_with(node, &[])
    }

    /// The same with its database at a PostgreSQL server.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_over(node: &Node, database: &str) -> Result<Self> {
        Self::start_with(node, &["--database", database])
    }

    /// A further controller of the fleet in this database, with the seal key of the `first`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn join_over(node: &Node, database: &str, first: &Self) -> Result<Self> {
        let data = node.dir.join("controller-data");
        let mut join = node.command(binary("postern-controller")?);
        join.args(["init", "--join", "--database", database, "--data"]);
        join.arg(&data).arg("--seal-key-file");
        join.arg(first.data.join("seal.key")).arg("--address");
        join.arg(format!("{}:{CONTROLLER_PORT}", node.v4));
        crate::shell::run(&mut join)?.ok()?;
        Self::serve(node, data, String::new())
    }

    /// A token that points here, made beside it.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn token(&self, role: &str, name: &str, labels: &[&str]) -> Result<String> {
        let mut words = vec!["token", "create", "--role", role, "--name", name];
        for label in labels {
            words.extend(["--label", label]);
        }
        token_in(&self.run(&words)?)
    }

    /// Runs `postern-controller WORDS... --data` to its good end.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> Result<Ran> {
        let mut command = self.node.command(binary("postern-controller")?);
        command.args(words).arg("--data").arg(&self.data);
        crate::shell::run(&mut command)?.ok()
    }

    fn start_with(node: &Node, how: &[&str]) -> Result<Self> {
        let data = node.dir.join("controller-data");
        let mut init = node.command(binary("postern-controller")?);
        init.arg("init").arg("--data").arg(&data);
        init.args(["--fleet", "lab", "--address"]);
        init.arg(format!("{}:{CONTROLLER_PORT}", node.v4)).args(how);
        let first_token = token_in(&crate::shell::run(&mut init)?.ok()?)?;

        Self::serve(node, data, first_token)
    }

    fn serve(node: &Node, data: PathBuf, first_token: String) -> Result<Self> {
        let (process, notify) = launch(node, &data)?;
        let mut controller = Self {
            node: node.clone(),
            data,
            first_token,
            process,
            notify,
        };
        controller.notify.ready(&mut controller.process)?;
        Ok(controller)
    }

    /// What it has logged since it was started last.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process that serves.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills it with -9.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Ends it with SIGTERM and returns the exit code.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<i32> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(wait::SOON)
    }

    /// Serves again with the same data, and waits until it is up.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.kill()?;
        (self.process, self.notify) = launch(&self.node, &self.data)?;
        self.notify.ready(&mut self.process)
    }
}

fn launch(node: &Node, data: &PathBuf) -> Result<(Process, Notify)> {
    let notify = Notify::new(&node.dir, "controller")?;
    let mut command = node.command(binary("postern-controller")?);
    command.arg("serve").arg("--data").arg(data);
    command.args(["--listen", &format!("0.0.0.0:{CONTROLLER_PORT}")]);
    notify.tell(&mut command);
    Ok((node.start("controller", &mut command)?, notify))
}
