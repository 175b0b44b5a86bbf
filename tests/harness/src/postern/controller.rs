//! `postern-controller` with its database in the node's directory.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::notify::Notify;
use super::{binary, token_in};
use crate::{Node, Process, Ran, Result, wait};

/// Where the controller of a lab listens.
pub const CONTROLLER_PORT: u16 = 7443;

const PROGRAM: &str = "postern-controller";

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    /// Where it runs.
    pub node: Node,
    /// Its data directory.
    pub data: PathBuf,
    /// The first operator's token, as `init` printed it.
    pub first_token: String,
    /// Ours, or that of a version before.
    program: PathBuf,
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
        Self::start_with(&binary(PROGRAM)?, node, &[])
    }

    /// The same with its database at a PostgreSQL server.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_over(node: &Node, database: &str) -> Result<Self> {
        Self::start_over_by(&binary(PROGRAM)?, node, database)
    }

    /// The same by this program, which may be of a version before.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_over_by(program: &Path, node: &Node, database: &str) -> Result<Self> {
        Self::start_with(program, node, &["--database", database])
    }

    /// A further controller of the fleet in this database, with the seal key of the `first`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn join_over(node: &Node, database: &str, first: &Self) -> Result<Self> {
        Self::join_over_by(&binary(PROGRAM)?, node, (database, first))
    }

    /// The same by this program, which may be of a version before.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn join_over_by(
        program: &Path,
        node: &Node,
        (database, first): (&str, &Self),
    ) -> Result<Self> {
        let data = node.dir.join("controller-data");
        let mut join = node.command(program);
        join.args(["init", "--join", "--database", database, "--data"]);
        join.arg(&data).arg("--seal-key-file");
        join.arg(first.data.join("seal.key")).arg("--address");
        join.arg(format!("{}:{CONTROLLER_PORT}", node.v4));
        crate::shell::run(&mut join)?.ok()?;
        Self::serve(program, node, (data, String::new()))
    }

    /// What it serves by.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Serves by this program from its next start on.
    pub fn will_be(&mut self, program: &Path) {
        self.program = program.to_owned();
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
        let mut command = self.node.command(&self.program);
        command.args(words).arg("--data").arg(&self.data);
        crate::shell::run(&mut command)?.ok()
    }

    fn start_with(program: &Path, node: &Node, how: &[&str]) -> Result<Self> {
        let data = node.dir.join("controller-data");
        let mut init = node.command(program);
        init.arg("init").arg("--data").arg(&data);
        init.args(["--fleet", "lab", "--address"]);
        init.arg(format!("{}:{CONTROLLER_PORT}", node.v4)).args(how);
        let first_token = token_in(&crate::shell::run(&mut init)?.ok()?)?;

        Self::serve(program, node, (data, first_token))
    }

    fn serve(program: &Path, node: &Node, (data, first_token): (PathBuf, String)) -> Result<Self> {
        let (process, notify) = launch(program, node, &data)?;
        let mut controller = Self {
            node: node.clone(),
            data,
            first_token,
            program: program.to_owned(),
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
        (self.process, self.notify) = launch(&self.program, &self.node, &self.data)?;
        self.notify.ready(&mut self.process)
    }
}

fn launch(program: &Path, node: &Node, data: &Path) -> Result<(Process, Notify)> {
    let notify = Notify::new(&node.dir, "controller")?;
    let mut command = node.command(program);
    command.arg("serve").arg("--data").arg(data);
    command.args(["--listen", &format!("0.0.0.0:{CONTROLLER_PORT}")]);
    notify.tell(&mut command);
    Ok((node.start("controller", &mut command)?, notify))
}
