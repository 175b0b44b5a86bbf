//! Runs commands: those that messages ask for (message type 0), and those of the host's owner that
//! open and close in place of the firewall. All away from the gate thread.
//!
//! No shell is involved: the text is split into words and the first one is executed, as its user with
//! that user's groups, or by sudo. How many run at once is the engine's matter.

mod child;
mod descendants;
mod output;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, PipeReader, PipeWriter};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use engine::{CommandEnd, CommandLine, Ended};
use fleet::GrantId;
use parking_lot::Mutex;
use policy::SudoRule;
use serde::{Deserialize, Serialize};

use crate::accounts::{Identity, UnknownAccount};
use crate::clock;
use crate::config::Config;
use crate::orders::{Order, OrderSender};
use child::Running;

/// How often it is looked whether all have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Starts commands, wherever they run.
pub trait Commands: Send + fmt::Debug {
    /// Begins to run a command; its end is told later.
    ///
    /// # Errors
    ///
    /// Its end, when it cannot be begun.
    fn start(&self, command: engine::Command) -> Result<(), Ended>;

    /// Ends one that runs, as its time limit does; its end is told as that of any.
    fn end(&self, id: GrantId);

    /// Ends all that still runs, whether or not anybody hears of it, and waits for that: nothing that was started
    /// here outlives who has started it.
    fn leave(&self);
}

/// Starts commands in this process, and reports how they ended.
pub struct CommandRunner {
    tell: Arc<dyn Fn(GrantId, Ended) + Send + Sync>,
    settings: RunnerSettings,
    running: Arc<Mutex<BTreeMap<GrantId, Option<PipeWriter>>>>,
}

/// What the host's configuration says about commands.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunnerSettings {
    /// After so long a command is ended.
    pub time_limit: Duration,
    /// The program that is sudo.
    pub sudo: PathBuf,
    /// Run nothing, and only say what would run.
    pub dry_run: bool,
}

/// Why a command did not run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum NotRun {
    #[error("the command is empty")]
    Empty,
    #[error(transparent)]
    Quote(#[from] words::OpenQuote),
    #[error(transparent)]
    Account(#[from] UnknownAccount),
    #[error("cannot be started: {0}")]
    Start(String),
}

// === impl CommandRunner ===

impl CommandRunner {
    /// How a command ended is left in the mailbox behind `orders`.
    pub fn new(orders: OrderSender, settings: RunnerSettings) -> Self {
        let tell = move |id, ended| {
            // Stopped: the start of the command is in the audit already.
            let _ = orders.send(Order::CommandEnded { id, ended });
        };
        Self::telling(tell, settings)
    }

    /// Does this with each end of a command.
    pub fn telling(
        tell: impl Fn(GrantId, Ended) + Send + Sync + 'static,
        settings: RunnerSettings,
    ) -> Self {
        Self {
            tell: Arc::new(tell),
            settings,
            running: Arc::default(),
        }
    }

    /// Tells how a command ended.
    pub fn tell(&self, id: GrantId, ended: Ended) {
        (self.tell)(id, ended);
    }
}

impl Commands for CommandRunner {
    /// On a thread of its own, at most for the time limit.
    fn start(&self, command: engine::Command) -> Result<(), Ended> {
        let (tell, settings) = (Arc::clone(&self.tell), self.settings.clone());
        let not_started = |cause: io::Error| {
            tracing::error!(error = %program::one_line(&cause), "a command cannot be started");
            let reason = NotRun::Start(cause.to_string()).to_string();
            Ended::from(CommandEnd::NotRun(reason))
        };
        let (told, teller) = io::pipe().map_err(not_started)?;
        let id = command.id;
        self.running.lock().insert(id, Some(teller));
        let running = Arc::clone(&self.running);
        let work = move || {
            let engine::Command { id, line } = command;
            let began = clock::now().steady;
            let (end, output) = settings.run(&line, &told);
            running.lock().remove(&id);
            let took = match end {
                CommandEnd::DryRun | CommandEnd::NotRun(_) => Duration::ZERO,
                CommandEnd::Exited(_)
                | CommandEnd::Signalled(_)
                | CommandEnd::TimedOut(_)
                | CommandEnd::Stopped
                | CommandEnd::Unknown(_) => clock::now().steady.saturating_sub(began),
            };
            let ended = Ended { end, took, output };
            tracing::info!(grant_id = %id, end = %ended, "command ended");
            tell(id, ended);
        };
        let started = thread::Builder::new()
            .name("command".to_owned())
            .stack_size(256 * 1024)
            .spawn(work);
        started.map(drop).map_err(|cause| {
            self.running.lock().remove(&id);
            not_started(cause)
        })
    }

    fn end(&self, id: GrantId) {
        if let Some(teller) = self.running.lock().get_mut(&id) {
            *teller = None;
        }
    }

    fn leave(&self) {
        self.running
            .lock()
            .values_mut()
            .for_each(|teller| *teller = None);
        let until = clock::now().steady + child::ENDS_WITHIN;
        while !self.running.lock().is_empty() && clock::now().steady < until {
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl fmt::Debug for CommandRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandRunner")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

// === impl RunnerSettings ===

impl RunnerSettings {
    /// As the configuration has it.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            time_limit: config.command_timeout,
            sudo: config.sudo_exe.clone(),
            dry_run: config.firewall.dry_run,
        }
    }

    /// How it ended, and what it wrote.
    ///
    /// It is ended before its time where the other end of `told` closes.
    fn run(&self, line: &CommandLine, told: &PipeReader) -> (CommandEnd, String) {
        if self.dry_run {
            return (CommandEnd::DryRun, String::new());
        }
        let running = match self.begin(line) {
            Ok(running) => running,
            Err(cause) => return (CommandEnd::NotRun(cause.to_string()), String::new()),
        };
        running.wait(self.time_limit, told).unwrap_or_else(|cause| {
            let end = CommandEnd::Unknown(format!("cannot be waited for: {cause}"));
            (end, String::new())
        })
    }

    fn begin(&self, line: &CommandLine) -> Result<Running, NotRun> {
        let mut words = words::split(&line.text)?;
        if words.is_empty() {
            return Err(NotRun::Empty);
        }
        let identity = Identity::of(&line.rule)?;
        let sudo = line.rule.sudo.as_ref();
        if let Some(sudo) = sudo {
            words.splice(..0, self.sudo_words(sudo));
        }
        let changes_user = identity.is_some();
        Running::start(&words, identity, sudo.is_some())
            .map_err(|cause| NotRun::Start(start_error(&cause, changes_user)))
    }

    /// What stands before a command that sudo runs. Behind `--` nothing is an option of sudo, nor a
    /// variable that it sets.
    fn sudo_words(&self, rule: &SudoRule) -> Vec<String> {
        let mut words = vec![self.sudo.to_string_lossy().into_owned(), "-n".to_owned()];
        for (option, name) in [("-u", &rule.user), ("-g", &rule.group)] {
            if let Some(name) = name {
                words.push(option.to_owned());
                words.push(numbered(name));
            }
        }
        words.push("--".to_owned());
        words
    }
}

/// A number among names, as sudo writes it.
fn numbered(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("#{name}")
    } else {
        name.to_owned()
    }
}

fn start_error(cause: &io::Error, changes_user: bool) -> String {
    if changes_user && cause.kind() == io::ErrorKind::PermissionDenied {
        return format!(
            "{cause}; the service may need CAP_SETUID and CAP_SETGID to change the user"
        );
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use policy::CommandRule;

    use super::*;

    fn settings() -> RunnerSettings {
        RunnerSettings {
            time_limit: Duration::from_secs(60),
            sudo: "/bin/echo".into(),
            dry_run: false,
        }
    }

    fn line(text: &str, rule: CommandRule) -> CommandLine {
        CommandLine {
            text: text.to_owned(),
            rule,
        }
    }

    fn run(settings: &RunnerSettings, line: &CommandLine) -> (CommandEnd, String) {
        let (told, _teller) = io::pipe().unwrap();
        settings.run(line, &told)
    }

    #[test]
    fn who_leaves_ends_what_runs_with_all_that_it_has_started_and_tells_that_it_was_ended() {
        let (sender, ends) = std::sync::mpsc::channel();
        let tell = move |id, ended: Ended| drop(sender.send((id, ended)));
        let runner = CommandRunner::telling(tell, settings());
        // A number that no other test sleeps for.
        const MARK: &[u8] = b"sleep\x00617\x00";
        let text = "/bin/sh -c 'setsid sleep 600 & echo $!; sleep 617'";
        let start = |number| {
            let id = GrantId([number; 16]);
            let line = line(text, CommandRule::default());
            runner.start(engine::Command { id, line }).unwrap();
            id
        };
        let (one, other) = (start(1), start(2));
        // What each says, it has said before it waits: so both run when there are two that do.
        harness::wait::until("both to run", harness::wait::SOON, || {
            let mut found = 0;
            for entry in std::fs::read_dir("/proc")?.flatten() {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found += usize::from(line == MARK);
            }
            Ok(found >= 2)
        })
        .unwrap();

        runner.end(one);
        let (id, ended) = ends.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((id, ended.end), (one, CommandEnd::Stopped));
        runner.leave();

        let (id, ended) = ends.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((id, &ended.end), (other, &CommandEnd::Stopped));
        let started: i32 = ended.output.parse().unwrap();
        let state = std::fs::read_to_string(format!("/proc/{started}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
        assert!(runner.running.lock().is_empty());
    }

    #[test]
    fn a_user_that_does_not_exist_runs_nothing() {
        let rule = CommandRule {
            user: Some("no-such-user".into()),
            ..CommandRule::default()
        };

        let (end, _) = run(&settings(), &line("id", rule));

        let reason = "there is no user no-such-user on this host".to_owned();
        assert_eq!(end, CommandEnd::NotRun(reason));
    }

    #[test]
    fn sudo_gets_user_and_group_each_for_itself_and_no_option_of_the_message() {
        let sudo = |user: Option<&str>, group: Option<&str>| SudoRule {
            user: user.map(Box::from),
            group: group.map(Box::from),
        };
        let words = |rule: SudoRule| settings().sudo_words(&rule).join(" ");

        assert_eq!(words(sudo(None, None)), "/bin/echo -n --");
        assert_eq!(words(sudo(None, Some("adm"))), "/bin/echo -n -g adm --");
        assert_eq!(
            words(sudo(Some("www-data"), Some("4"))),
            "/bin/echo -n -u www-data -g #4 --"
        );
        // The first option is echo's.
        let rule = CommandRule {
            sudo: Some(SudoRule::default()),
            ..CommandRule::default()
        };
        assert_eq!(
            run(&settings(), &line("-u root id", rule)).1,
            "-- -u root id"
        );
    }

    #[test]
    fn a_dry_run_runs_nothing() {
        let dry = RunnerSettings {
            dry_run: true,
            ..settings()
        };

        let ended = run(&dry, &line("false", CommandRule::default()));

        assert_eq!(ended, (CommandEnd::DryRun, String::new()));
    }
}
