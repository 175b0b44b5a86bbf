//! The command domain: what runs commands, in a process that knows no key.
//!
//! It holds what the service was left, since a command may need it; which commands those are is decided
//! and recorded by the gate. It is there only where commands are on.

mod message;

use std::io;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use engine::{Command, CommandEnd, Ended};
use fleet::GrantId;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::channel::{Channel, ChannelError, decode};
use super::confine::Kept;
use super::pulse::Pulse;
use crate::command_runner::{CommandRunner, Commands, RunnerSettings};
use crate::orders::{Order, OrderSender};
use message::{Asked, CommandMessage, EndMessage};

/// How long the other side may take to make room for a message.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the domain is started with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CommandStart {
    /// How commands are run.
    pub settings: RunnerSettings,
}

// === impl CommandStart ===

impl CommandStart {
    /// Gives up nothing that a command may need: commands ran with these powers before. Nobody reads
    /// its memory.
    pub fn confine(&self) -> Kept {
        Kept::of(
            "not dumpable",
            nix::sys::prctl::set_dumpable(false).map_err(Into::into),
        )
    }
}

/// The gate's side.
#[derive(Debug)]
pub struct RemoteCommands(Channel);

// === impl RemoteCommands ===

impl RemoteCommands {
    /// How a command ended is left in the mailbox behind `orders`.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(channel: Channel, orders: OrderSender) -> io::Result<Self> {
        let mut ear = channel.try_clone()?;
        thread::Builder::new()
            .name("commands".to_owned())
            .spawn(move || {
                let heard = hear(&mut ear, &orders);
                tracing::debug!(?heard, "nothing more is heard of commands");
            })?;
        Ok(Self(channel))
    }
}

impl Commands for RemoteCommands {
    fn start(&self, command: Command) -> Result<(), Ended> {
        let message = Asked::Run(CommandMessage::from(command));
        let sent = self.0.send(&message, PATIENCE);
        sent.map_err(|cause| CommandEnd::NotRun(cause.to_string()).into())
    }

    fn end(&self, id: GrantId) {
        if let Err(cause) = self.0.send(&Asked::End(id.0), PATIENCE) {
            let error = program::one_line(&cause);
            tracing::warn!(%error, "a command is not told to end; it ends with the process that runs it");
        }
    }

    /// Over there all ends as soon as nobody asks any more.
    fn leave(&self) {}
}

/// Hands on each end of a command, until no more comes.
fn hear(channel: &mut Channel, orders: &OrderSender) -> Result<(), ChannelError> {
    loop {
        let end: EndMessage = channel.receive_next()?;
        let (id, ended) = end.into();
        if orders.send(Order::CommandEnded { id, ended }).is_err() {
            return Ok(());
        }
    }
}

/// Works until the gate has ended. What runs then is ended, as by its time limit.
///
/// # Errors
///
/// [`ChannelError`] when the gate asks for what is nothing.
pub fn serve(
    start: CommandStart,
    mut pulse: Pulse,
    mut channel: Channel,
) -> Result<(), ChannelError> {
    let told = channel.try_clone().map_err(ChannelError::Io)?;
    let tell = move |id, ended| {
        if let Err(cause) = told.send(&EndMessage::of(id, ended), PATIENCE) {
            let error = program::one_line(&cause);
            tracing::warn!(%error, "the gate does not hear how a command ended");
        }
    };
    let runner = CommandRunner::telling(tell, start.settings);
    loop {
        match turn(&runner, &mut pulse, &mut channel) {
            Ok(()) => {}
            Err(cause) => {
                runner.leave();
                return match cause {
                    ChannelError::Gone => Ok(()),
                    cause @ (ChannelError::Silent
                    | ChannelError::Malformed
                    | ChannelError::Io(_)) => Err(cause),
                };
            }
        }
        let fds = [pulse.as_fd(), channel.as_fd()];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // A signal is as good as a message: the loop looks.
        let _ = poll(&mut fds, PollTimeout::NONE);
    }
}

/// Starts what has come, and answers who asks whether it still does.
fn turn(
    runner: &CommandRunner,
    pulse: &mut Pulse,
    channel: &mut Channel,
) -> Result<(), ChannelError> {
    while let Some(message) = channel.receive_bytes()? {
        let command: Command = match decode::<Asked>(message)? {
            Asked::Run(message) => message.into(),
            Asked::End(id) => {
                runner.end(GrantId(id));
                continue;
            }
        };
        let id = command.id;
        if let Err(ended) = runner.start(command) {
            runner.tell(id, ended);
        }
    }
    pulse.answer()
}

#[cfg(test)]
mod tests {
    use engine::CommandLine;
    use policy::CommandRule;

    use super::*;
    use crate::orders::mailbox;

    #[test]
    fn a_command_runs_over_there_and_its_end_is_heard_here() {
        let (gate, domain) = Channel::pair().unwrap();
        let settings = RunnerSettings {
            time_limit: Duration::from_secs(60),
            sudo: "/bin/echo".into(),
            dry_run: false,
        };
        let (_supervisor, pulse) = Channel::pair().unwrap();
        let pulse = Pulse::new(pulse);
        let served = thread::spawn(move || serve(CommandStart { settings }, pulse, domain));
        let (orders, inbox) = mailbox().unwrap();
        let commands = RemoteCommands::start(gate, orders).unwrap();
        let id = GrantId([7; 16]);
        let line = CommandLine {
            text: "/bin/sh -c 'echo out; exit 3'".to_owned(),
            rule: CommandRule::default(),
        };

        commands.start(Command { id, line }).unwrap();

        let mut bell = [PollFd::new(inbox.bell(), PollFlags::POLLIN)];
        poll(&mut bell, PollTimeout::from(10_000_u16)).unwrap();
        let mut waiting = std::collections::VecDeque::new();
        let _ = inbox.take(&mut waiting);
        let Some(Order::CommandEnded { id: of, ended }) = waiting.pop_front() else {
            panic!("{waiting:?}");
        };
        assert_eq!((of, ended.end), (id, CommandEnd::Exited(3)));
        assert_eq!(ended.output, "out");
        // A gate that ends is the end over there.
        drop(commands);
        drop(inbox);
        drop(served);
    }

    #[test]
    fn where_nobody_runs_commands_any_more_a_command_is_not_run_and_that_is_its_end() {
        let (gate, domain) = Channel::pair().unwrap();
        let (orders, _inbox) = mailbox().unwrap();
        let commands = RemoteCommands::start(gate, orders).unwrap();
        drop(domain);
        let line = CommandLine {
            text: "id".to_owned(),
            rule: CommandRule::default(),
        };

        let id = GrantId([7; 16]);
        let ended = commands.start(Command { id, line }).unwrap_err();

        let reason = "the other process has ended".to_owned();
        assert_eq!(ended.end, CommandEnd::NotRun(reason));
    }
}
