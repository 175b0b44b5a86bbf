//! Commands that messages ask for: few run at once, some wait, and the rest is refused.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use fleet::GrantId;
use gate::Grant;

use crate::settings::Limits;

/// A command to run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// Names it; its end carries the same.
    pub id: GrantId,
    /// What to run, and as whom.
    pub line: CommandLine,
}

/// What to run, and as whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommandLine {
    /// As the message gives it.
    pub text: String,
    /// Who runs it; `None` means root.
    pub user: Option<Box<str>>,
    /// In which group; `None` means the group of the user.
    pub group: Option<Box<str>>,
}

/// How a command ended. `Display` is fit for the audit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CommandEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It took longer than this and was killed.
    TimedOut(Duration),
    /// It was not run, for this reason.
    NotRun(String),
    /// It was run, and nobody knows how it ended, for this reason.
    Unknown(String),
}

/// Commands that run, that are about to, and that wait. A command that waits is not recorded yet:
/// the record says that it starts.
#[derive(Debug)]
pub(crate) struct Commands {
    running_max: usize,
    waiting_max: usize,
    waiting: VecDeque<(CommandLine, Grant)>,
    /// Recorded, or about to be; started when that is committed.
    starting: usize,
    running: BTreeMap<GrantId, Box<Grant>>,
}

// === impl CommandEnd ===

impl CommandEnd {
    /// Whether it did what it was to do, for all that its exit code says.
    #[must_use]
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

impl fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "killed after {} s", limit.as_secs()),
            Self::NotRun(reason) | Self::Unknown(reason) => f.write_str(reason),
        }
    }
}

// === impl Commands ===

impl Commands {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            running_max: limits.commands_running_max,
            waiting_max: limits.commands_waiting_max,
            waiting: VecDeque::new(),
            starting: 0,
            running: BTreeMap::new(),
        }
    }

    /// Lets a command wait for its turn, which may come at once. Gives it back when too many wait.
    pub(crate) fn enqueue(&mut self, line: CommandLine, grant: Grant) -> Result<(), Box<Grant>> {
        if self.waiting.len() >= self.waiting_max + self.free() {
            return Err(Box::new(grant));
        }
        self.waiting.push_back((line, grant));
        Ok(())
    }

    /// The next command whose turn has come. It counts as running from now on.
    pub(crate) fn take_next(&mut self) -> Option<(CommandLine, Grant)> {
        if self.free() == 0 {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.starting += 1;
        Some(next)
    }

    /// The record of one that was taken is committed: it runs.
    pub(crate) fn started(&mut self, id: GrantId, grant: Box<Grant>) {
        self.starting -= 1;
        self.running.insert(id, grant);
    }

    /// The record of one that was taken could not be committed: it does not run.
    pub(crate) fn not_started(&mut self) {
        self.starting -= 1;
    }

    /// One has ended; whose it was. `None` if it did not run.
    pub(crate) fn ended(&mut self, id: GrantId) -> Option<Box<Grant>> {
        self.running.remove(&id)
    }

    /// Takes out those that wait and that `keep` does not keep.
    pub(crate) fn give_up(&mut self, keep: impl Fn(&Grant) -> bool) -> Vec<Grant> {
        let (kept, gone) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(_, grant)| keep(grant));
        self.waiting = kept;
        gone.into_iter().map(|(_, grant)| grant).collect()
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn free(&self) -> usize {
        let taken = self.starting + self.running.len();
        self.running_max.saturating_sub(taken)
    }
}
