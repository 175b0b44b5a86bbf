//! `postern run`

use std::ffi::OsString;
use std::future;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal as Named, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::knock::args::{Access, KnockArgs};
use crate::knock::attempt::Knock;
use crate::knock::reach::{ReachArgs, reach};

/// For how long a port stays open where neither the host's record nor -f says.
const LIFE_DEFAULT: Duration = Duration::from_secs(30);
/// Knocks are not nearer to each other than this.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Knock at a host, wait until it is open, and keep it open while a command runs
///
/// It is knocked again each time before the port closes, so that the command may connect at any time.
/// A host that moves, or joins anew, is knocked at where it is then. When the first knock does not open it,
/// it is said why and the command is not started: exit code 1. Else the exit code is that of the command;
/// 127 where there is no such command, and 126 where it may not be executed, as shells have it.
///
/// SIGTERM is passed on. The command is not ended when this program is killed: what it has connected goes
/// on, and the port closes by itself.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern run web-1 -A tcp/443 -- ./deploy.sh
  postern run db-1 -A tcp/5432 -f 60 -- psql -h db-1
  postern run -n office -A tcp/443 -- ./deploy.sh      a stanza of ~/.fwknoprc")]
pub(crate) struct RunArgs {
    /// Host: a name of the directory, or outside of a fleet an address or name; with -n STANZA its
    /// SPA_SERVER
    #[arg(required_unless_present = "named_config")]
    host: Option<String>,

    /// Ports to open, as tcp/22,tcp/443; in a fleet the one port that the directory names
    #[arg(short = 'A', long, value_name = "PORTS")]
    access: Option<Access>,

    #[command(flatten)]
    reach: ReachArgs,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(context: &Context, args: RunArgs) -> Result {
    let RunArgs {
        host,
        access,
        reach: options,
        command,
    } = args;
    let stated = options.timeout_secs();
    let args = options.into_knock(host, access);
    let reached = reach(context, &args).await?;
    let mut knock = reached.knock;
    drop(reached.stream);
    let pause = pause(life(&mut knock, stated).await);
    let child = start(context, &command)?;
    let status = keep_open(context, (&mut knock, &args), child, pause).await?;
    ended(&command, status)
}

/// For how long the host keeps it open: as it recorded, else as was asked for.
async fn life(knock: &mut Knock, stated_secs: Option<u32>) -> Duration {
    let recorded = knock.record().await;
    let recorded = recorded.and_then(|event| event.until_ms.checked_sub(event.at_ms));
    let stated = stated_secs.map_or(LIFE_DEFAULT, |secs| Duration::from_secs(secs.into()));
    match recorded {
        Some(ms) if ms > 0 => Duration::from_millis(ms),
        // The host may allow less than was asked for.
        Some(_) | None => stated.min(LIFE_DEFAULT),
    }
}

/// When to knock again: early enough that one packet may be lost.
fn pause(life: Duration) -> Duration {
    (life * 2 / 5).max(PAUSE_MIN)
}

/// The codes by which shells say that there is no such command, and that it cannot be executed: a
/// script tells them from a port that did not open.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

fn start(context: &Context, command: &[OsString]) -> Result<Child> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(CommandError::usage("which command?"));
    };
    let started = Command::new(program).args(arguments).spawn();
    started.map_err(|cause| {
        let name = program.display();
        let (code, error) = if cause.kind() == ErrorKind::NotFound {
            let none = format!("there is no command {name}");
            (NOT_FOUND, CommandError::refused(none))
        } else {
            let failed = CommandError::failed(format!("cannot start {name}"), cause);
            (NOT_EXECUTABLE, failed)
        };
        context.ui.error(&error);
        CommandError::ended(code, error.to_string())
    })
}

/// Knocks again and again until the command has ended.
async fn keep_open(
    context: &Context,
    (knock, args): (&mut Knock, &KnockArgs),
    mut child: Child,
    pause: Duration,
) -> Result<ExitStatus> {
    // ^C is for the command, which is in the same group; it says when it is done.
    let mut interrupt = signal(SignalKind::interrupt()).ok();
    let mut terminate = signal(SignalKind::terminate()).ok();
    let pid = child.id();
    let mut is_known_to_fail = false;
    loop {
        tokio::select! {
            ended = child.wait() => {
                return ended.map_err(|cause| CommandError::failed("cannot wait for the command", cause));
            }
            () = tokio::time::sleep(pause) => {
                let sent = knock.again(context, args).await;
                if let Err(error) = &sent && !is_known_to_fail {
                    context.ui.warn(format_args!("the port may close: {error}"));
                }
                is_known_to_fail = sent.is_err();
            }
            () = next(&mut interrupt) => {}
            () = next(&mut terminate) => forward(pid),
        }
    }
}

/// The next signal; never, where signals cannot be heard.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => future::pending().await,
    }
}

fn forward(pid: Option<u32>) {
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Named::SIGTERM);
    }
}

/// Ends as the command ended.
fn ended(command: &[OsString], status: ExitStatus) -> Result {
    if status.success() {
        return Ok(());
    }
    let name = command.first().map(|name| name.display().to_string());
    let name = name.unwrap_or_default();
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(CommandError::ended(
        code,
        format!("{name} ended with {status}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_knocked_twice_before_the_port_closes_and_never_without_a_pause() {
        assert_eq!(pause(Duration::from_secs(30)), Duration::from_secs(12));
        assert_eq!(pause(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
