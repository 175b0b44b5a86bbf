//! Commands that messages ask for: few run at once, some wait, and the rest is refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use fleet::GrantId;
use gate::Grant;
use policy::CommandRule;
use serde::{Deserialize, Serialize};

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
    /// As the message gives it, or the owner of the host.
    pub text: String,
    /// As whom it runs.
    pub rule: CommandRule,
}

/// How a command ended, after which time, and what it wrote. `Display` is fit for the audit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// How.
    pub end: CommandEnd,
    /// How long it ran.
    pub took: Duration,
    /// What it wrote, in one line, without control characters and cut to a sensible length.
    pub output: String,
}

/// How a command ended. `Display` is fit for the audit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum CommandEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It took longer than this and was killed.
    TimedOut(Duration),
    /// It was ended, since the agent has stopped.
    Stopped,
    /// It was not run, since this host only says what it would do.
    DryRun,
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
    running: BTreeMap<GrantId, Whose>,
    /// Cycles whose closing command runs or is about to. They have places of their own, so that no
    /// slow command keeps anything open.
    closing: BTreeSet<GrantId>,
}

/// Whose a command is.
#[derive(Debug)]
pub(crate) enum Whose {
    /// That of a message.
    Message(Box<Grant>),
    /// It opens a cycle.
    Opening,
    /// It closes a cycle.
    Closing,
}

// === impl Ended ===

impl From<CommandEnd> for Ended {
    fn from(end: CommandEnd) -> Self {
        Self {
            end,
            took: Duration::ZERO,
            output: String::new(),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.end)?;
        if !self.took.is_zero() {
            write!(f, ", after {:.3} s", self.took.as_secs_f64())?;
        }
        if !self.output.is_empty() {
            write!(f, ", output: {}", self.output)?;
        }
        Ok(())
    }
}

// === impl CommandEnd ===

impl CommandEnd {
    /// Whether it did what it was to do, for all that its exit code says.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0) | Self::DryRun)
    }
}

impl fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "killed after {} s", limit.as_secs()),
            Self::Stopped => f.write_str("ended, since the agent has stopped"),
            Self::DryRun => f.write_str("not run: this host only says what it would do"),
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
            closing: BTreeSet::new(),
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
    pub(crate) fn started(&mut self, id: GrantId, whose: Whose) {
        self.starting -= 1;
        self.running.insert(id, whose);
    }

    /// The record of one that was taken could not be committed: it does not run.
    pub(crate) fn not_started(&mut self) {
        self.starting -= 1;
    }

    /// One has ended; whose it was. `None` if it did not run.
    pub(crate) fn ended(&mut self, id: GrantId) -> Option<Whose> {
        let mut closed = |id| self.closing.remove(id).then_some(Whose::Closing);
        self.running.remove(&id).or_else(|| closed(&id))
    }

    /// Whether there is room for one more closing command.
    pub(crate) fn may_close(&self) -> bool {
        self.closing.len() < self.running_max.max(1)
    }

    /// The closing command of this cycle is about to run.
    pub(crate) fn closes(&mut self, id: GrantId) {
        self.closing.insert(id);
    }

    /// Whether the command of a cycle runs, or is about to.
    pub(crate) fn runs_cycles(&self) -> bool {
        let opening = |whose: &Whose| matches!(whose, Whose::Opening);
        !self.closing.is_empty() || self.running.values().any(opening)
    }

    /// Those of messages that run.
    pub(crate) fn of_messages(&self) -> Vec<GrantId> {
        let of_message =
            |(id, whose): (&GrantId, &Whose)| matches!(whose, Whose::Message(_)).then_some(*id);
        self.running.iter().filter_map(of_message).collect()
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
        self.running.len() + self.closing.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn free(&self) -> usize {
        let taken = self.starting + self.running.len();
        self.running_max.saturating_sub(taken)
    }
}
