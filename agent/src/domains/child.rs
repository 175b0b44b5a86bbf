//! What a process of the agent does that is not the supervisor.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::prctl::set_name;
use nix::unistd::Pid;
use program::Exit;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::capture::{self, CaptureStart};
use super::channel::{Channel, ChannelError};
use super::command::{self, CommandStart};
use super::gate::{self, GateStart};
use super::log_to::LogTo;
use super::pulse::Pulse;
use super::spawn::{self, Domain};

/// How long the supervisor may take to say what is to be done.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first message to a process, from its supervisor.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Started<T> {
    pub(super) supervisor: i32,
    pub(super) log: LogTo,
    pub(super) what: T,
}

/// Works as the domain that the words behind `domain` name, over the channels that they number.
///
/// `None` when the words are not of a supervisor: people have no use for them.
pub fn main(mut words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let domain = Domain::named(words.next()?.to_str()?)?;
    // For who lists processes; nothing depends on it.
    let _ = set_name(domain.comm());
    let number = |word: OsString| word.to_str()?.parse().ok();
    let numbers: Vec<i32> = words.map(number).collect::<Option<_>>()?;
    let mut channels = spawn::channels(&numbers).ok()?.into_iter();
    let supervisor = channels.next()?;
    let ended = match domain {
        Domain::Capture => capture(supervisor, channels.collect()),
        Domain::Command => command(supervisor, channels.next()?),
        Domain::Gate => gate(supervisor, channels.collect()),
    };
    Some(ended)
}

fn capture(mut supervisor: Channel, channels: Vec<Channel>) -> ExitCode {
    let Some(start) = begin::<CaptureStart>(&mut supervisor, &[SIGTERM, SIGINT]) else {
        return Exit::Refused.into();
    };
    let kept = start.what.confine();
    kept.log(Domain::Capture.name());
    if spawn::end_with(Pid::from_raw(start.supervisor)).is_err() {
        return Exit::Refused.into();
    }
    let served = capture::serve(&start.what, Pulse::new(supervisor), channels);
    ended(Domain::Capture, served.err())
}

fn command(mut supervisor: Channel, gate: Channel) -> ExitCode {
    let Some(start) = begin::<CommandStart>(&mut supervisor, &[SIGTERM, SIGINT]) else {
        return Exit::Refused.into();
    };
    let kept = start.what.confine();
    kept.log(Domain::Command.name());
    if spawn::end_with(Pid::from_raw(start.supervisor)).is_err() {
        return Exit::Refused.into();
    }
    let served = command::serve(start.what, Pulse::new(supervisor), gate);
    ended(Domain::Command, served.err())
}

fn gate(mut supervisor: Channel, channels: Vec<Channel>) -> ExitCode {
    // What stops it comes once it listens.
    let Some(start) = begin::<GateStart>(&mut supervisor, &[]) else {
        return Exit::Refused.into();
    };
    let pid = Pid::from_raw(start.supervisor);
    match gate::run(start.what, pid, channels) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => program::fail(&*failure),
    }
}

/// Hears what is to be done. Signals that are for the supervisor end nothing here.
fn begin<T: DeserializeOwned>(supervisor: &mut Channel, more: &[i32]) -> Option<Started<T>> {
    for &signal in [SIGHUP, SIGUSR1].iter().chain(more) {
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
    let start: Started<T> = supervisor.receive(PATIENCE).ok()?;
    start.log.begin();
    Some(start)
}

fn ended(domain: Domain, cause: Option<ChannelError>) -> ExitCode {
    match cause {
        None => ExitCode::SUCCESS,
        Some(cause) => {
            let error = program::one_line(&cause);
            tracing::error!(domain = domain.name(), %error, "cannot go on");
            Exit::Refused.into()
        }
    }
}
