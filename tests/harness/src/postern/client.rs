//! `postern` as a user, an operator or an auditor runs it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use serde_json::Value;

use super::{binary, token_in};
use crate::shell::run;
use crate::{Node, Ran, Result, wait};

/// A person with a profile on a machine.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where the person sits.
    pub node: Node,
    /// The profile directory.
    pub profile: PathBuf,
}

// === impl Member ===

impl Member {
    /// A person who has not joined; `name` tells profiles on one machine apart.
    pub fn stranger(node: &Node, name: &str) -> Self {
        Self {
            node: node.clone(),
            profile: node.dir.join(format!("profile-{name}")),
        }
    }

    /// A person who joins with `token`.
    ///
    /// # Errors
    ///
    /// When the token is refused.
    pub fn join(node: &Node, name: &str, token: &str) -> Result<Self> {
        let member = Self::stranger(node, name);
        member.run(&["join", token])?.ok()?;
        Ok(member)
    }

    /// The first operator, whose token carries no name.
    ///
    /// # Errors
    ///
    /// When the token is refused.
    pub fn join_as(node: &Node, name: &str, token: &str) -> Result<Self> {
        let member = Self::stranger(node, name);
        member.run(&["join", token, "--name", name])?.ok()?;
        Ok(member)
    }

    /// The command line `postern WORDS...` of this person.
    ///
    /// # Errors
    ///
    /// When the program is not built.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.node.command(binary("postern")?);
        command.env("POSTERN_PROFILE", &self.profile).args(words);
        Ok(command)
    }

    /// Runs `postern WORDS...` to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn run(&self, words: &[&str]) -> Result<Ran> {
        run(&mut self.command(words)?)
    }

    /// Knocks at `host` for `access` with further options. Unless these say otherwise nobody waits for
    /// the port: what the host did is for the caller to see.
    ///
    /// # Errors
    ///
    /// When the knock cannot be sent.
    pub fn knock(&self, host: &str, access: &str, more: &[&str]) -> Result<Ran> {
        let mut words = vec!["knock", host, "-A", access];
        words.extend(more);
        let says_so = |word: &&str| ["--wait", "--no-wait", "--no-check"].contains(word);
        if !more.iter().any(says_so) {
            words.push("--no-wait");
        }
        self.run(&words)?.ok()
    }
}

/// As an operator.
impl Member {
    /// A new one-time token.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn token(&self, role: &str, name: &str, labels: &[&str]) -> Result<String> {
        let mut words = vec!["token", "create", "--role", role, "--name", name];
        for label in labels {
            words.extend(["--label", label]);
        }
        token_in(&self.run(&words)?.ok()?)
    }

    /// Applies a policy text, whatever is there now.
    ///
    /// # Errors
    ///
    /// When the program cannot be started; a refusal is in [`Ran`].
    pub fn apply(&self, text: &str, why: &str) -> Result<Ran> {
        let file = self.node.write("policy.conf", text)?;
        let file = file.display().to_string();
        self.run(&["policy", "apply", &file, "-m", why])
    }

    /// The hosts, as `host list --json` tells.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn hosts(&self) -> Result<Vec<Value>> {
        self.run(&["host", "list", "--json"])?.ok()?.json_lines()
    }

    /// Waits until `count` hosts are connected and apply what they should.
    ///
    /// # Errors
    ///
    /// When they do not; the text holds the last list.
    pub fn hosts_in_sync(&self, count: usize) -> Result<()> {
        let mut last = Vec::new();
        let waited = wait::until("all hosts to be in sync", wait::SOON, || {
            last = self.hosts()?;
            Ok(last.len() == count && last.iter().all(in_sync))
        });
        match waited {
            Ok(_) => Ok(()),
            Err(error) => bail!("{error:#}; last seen: {last:#?}"),
        }
    }
}

/// As an auditor.
impl Member {
    /// Events, newest first, as `audit list --json` tells.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn audit(&self, filters: &[&str]) -> Result<Vec<Value>> {
        let mut words = vec!["audit", "list", "--json"];
        words.extend(filters);
        self.run(&words)?.ok()?.json_lines()
    }

    /// Waits until the filters find at least one event, and returns the newest.
    ///
    /// # Errors
    ///
    /// When none arrives.
    pub fn audit_until(&self, filters: &[&str]) -> Result<Value> {
        let what = format!("an event for {filters:?}");
        let (event, _) = wait::some(&what, wait::SOON, || {
            Ok(self.audit(filters)?.into_iter().next())
        })?;
        Ok(event)
    }
}

fn in_sync(host: &Value) -> bool {
    let says = |name: &str| host.get(name).and_then(Value::as_bool);
    says("connected") == Some(true) && says("in_sync") == Some(true)
}
