//! Runs commands that messages ask for (message type 0), away from the gate thread.
//!
//! No shell is involved: the text is split into words and the first one is executed. The child gives
//! up root's groups before its user, reads nothing, writes nowhere, and ends after a time limit with
//! all that it started. How many run at once is the engine's matter.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use engine::{CommandEnd, CommandLine};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Group, Pid, User};

use crate::orders::{Order, OrderSender};

/// Starts commands and reports how they ended.
#[derive(Debug)]
pub struct CommandRunner {
    orders: OrderSender,
    time_limit: Duration,
}

/// Why a command did not run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum NotRun {
    #[error("the command is empty")]
    Empty,
    #[error("a quotation mark is not closed")]
    Quote,
    #[error("there is no user {0} on this host")]
    User(String),
    #[error("there is no group {0} on this host")]
    Group(String),
    #[error("cannot be started: {0}")]
    Start(String),
}

// === impl CommandRunner ===

impl CommandRunner {
    /// How a command ended is left in the mailbox behind `orders`.
    pub fn new(orders: OrderSender, time_limit: Duration) -> Self {
        Self { orders, time_limit }
    }

    /// Runs a command on a thread of its own, at most for the time limit.
    ///
    /// # Errors
    ///
    /// Its end, when the system gives no thread.
    pub fn start(&self, command: engine::Command) -> Result<(), CommandEnd> {
        let (orders, limit) = (self.orders.clone(), self.time_limit);
        let work = move || {
            let engine::Command { id, line } = command;
            let end = run(&line, limit);
            tracing::info!(grant_id = %id, %end, "command ended");
            // Stopped: the start of the command is in the audit already.
            let _ = orders.send(Order::CommandEnded { id, end });
        };
        let started = thread::Builder::new()
            .name("command".to_owned())
            .stack_size(256 * 1024)
            .spawn(work);
        match started {
            Ok(_) => Ok(()),
            Err(cause) => {
                tracing::error!(error = %program::one_line(&cause), "cannot start a thread for a command");
                Err(CommandEnd::NotRun(
                    NotRun::Start(cause.to_string()).to_string(),
                ))
            }
        }
    }
}

fn run(line: &CommandLine, limit: Duration) -> CommandEnd {
    let CommandLine { text, user, group } = line;
    let started = prepare(text, user.as_deref(), group.as_deref()).and_then(|mut command| {
        command
            .spawn()
            .map_err(|cause| NotRun::Start(cause.to_string()))
    });
    match started.map(|child| wait(child, limit)) {
        Ok(Ok(end)) => end,
        Ok(Err(cause)) => CommandEnd::Unknown(format!("cannot be waited for: {cause}")),
        Err(cause) => CommandEnd::NotRun(cause.to_string()),
    }
}

fn prepare(text: &str, user: Option<&str>, group: Option<&str>) -> Result<Command, NotRun> {
    let words = split(text)?;
    let (program, arguments) = words.split_first().ok_or(NotRun::Empty)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    if let Some(name) = user {
        let found = User::from_name(name).ok().flatten();
        let found = found.ok_or_else(|| NotRun::User(name.to_owned()))?;
        // std drops all supplementary groups when it changes the user.
        command.uid(found.uid.as_raw()).gid(found.gid.as_raw());
    }
    if let Some(name) = group {
        let found = Group::from_name(name).ok().flatten();
        let found = found.ok_or_else(|| NotRun::Group(name.to_owned()))?;
        command.gid(found.gid.as_raw());
    }
    Ok(command)
}

/// Waits at most `limit`, then kills the child with all that it started.
fn wait(mut child: Child, limit: Duration) -> io::Result<CommandEnd> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let (ended, has_ended) = channel();
    // The zombie stays until `child.wait`, so that its number cannot belong to anyone else when it
    // is killed.
    let watcher = thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let _ = waitid(Id::Pid(pid), flags);
        let _ = ended.send(());
    });
    let timed_out = has_ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
    if timed_out {
        let _ = killpg(pid, Signal::SIGKILL);
    }
    let _ = watcher.join();
    let status = child.wait()?;
    Ok(if timed_out {
        CommandEnd::TimedOut(limit)
    } else {
        describe(status)
    })
}

fn describe(status: ExitStatus) -> CommandEnd {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => CommandEnd::Exited(code),
        (None, Some(signal)) => CommandEnd::Signalled(signal),
        (None, None) => CommandEnd::Unknown("ended".to_owned()),
    }
}

/// Splits a command into words at blanks. Quotation marks of either kind hold a word together;
/// nothing else has a meaning.
fn split(text: &str) -> Result<Vec<String>, NotRun> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(NotRun::Quote);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_without_a_shell() {
        let cases: [(&str, &[&str]); 5] = [
            ("  /bin/echo  a b ", &["/bin/echo", "a", "b"]),
            ("touch '/tmp/a b' \"c d\"e", &["touch", "/tmp/a b", "c de"]),
            (
                "echo $(id); rm -rf *",
                &["echo", "$(id);", "rm", "-rf", "*"],
            ),
            ("x ''", &["x", ""]),
            ("", &[]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).unwrap(), words);
        }
        assert_eq!(split("echo 'a"), Err(NotRun::Quote));
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_with_its_children() {
        let mut command = prepare("sh -c 'sleep 600 & sleep 600'", None, None).unwrap();
        let child = command.spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());

        let outcome = wait(child, Duration::from_millis(50)).unwrap();

        assert_eq!(outcome, CommandEnd::TimedOut(Duration::from_millis(50)));
        assert_eq!(outcome.to_string(), "killed after 0 s");
        // What is left of the group are zombies that init has not reaped yet, or nothing.
        let _ = killpg(pid, Signal::SIGKILL);
    }

    #[test]
    fn the_exit_code_is_told() {
        let child = prepare("sh -c 'exit 7'", None, None).unwrap().spawn();

        let outcome = wait(child.unwrap(), Duration::from_secs(60)).unwrap();

        assert_eq!(outcome.to_string(), "exit code 7");
    }

    #[test]
    fn a_user_that_does_not_exist_runs_nothing() {
        let refused = prepare("id", Some("no-such-user"), None).map(|_| ());

        assert_eq!(refused, Err(NotRun::User("no-such-user".to_owned())));
    }
}
