//! The process of a command: what it is, what it has, and how it ends.

use std::io::{self, PipeReader};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use engine::CommandEnd;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_child_subreaper, set_no_new_privs, set_pdeathsig};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, setgid, setgroups, setuid};

use super::descendants::Descendants;
use super::output::Output;
use crate::accounts::Identity;
use crate::clock;
use crate::descriptors::close_at_exec;

/// All that a command finds in its environment.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a command may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel may take to end what was killed.
const KILLED: Duration = Duration::from_secs(5);
/// Whatever runs has ended within this after it was told to.
pub(super) const ENDS_WITHIN: Duration = GRACE.saturating_add(KILLED);
/// How often it is looked what a command that was told to end has started meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So often what is left is killed: each time less, unless it multiplies.
const KILLS_MAX: u32 = 40;

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    output: Output,
}

/// What is done about a command that takes too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Patience {
    /// It may run.
    Runs,
    /// It was told to end.
    Told,
    /// It was killed.
    Killed,
}

// === impl Running ===

impl Running {
    /// Starts these words as this identity: without a shell, in `/`, with nothing to read, nothing
    /// inherited but its output, and in a process group of its own. `may_gain` lets it become more
    /// than it is, as sudo does.
    pub(super) fn start(
        words: &[String],
        identity: Option<Identity>,
        may_gain: bool,
    ) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        confine(&mut command, identity, may_gain);
        let child = command.spawn()?;
        // Its end of the output is the only one from here on.
        drop(command);
        Ok(Self {
            child,
            output: Output::of(reader)?,
        })
    }

    /// Waits at most `limit`, or until the other end of `told` closes; then the command and all that it has started are told to end, and are
    /// killed, whatever sessions and groups of their own they have made. What a command that ends by
    /// itself leaves behind goes on, as a daemon does that it has restarted.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for, or does not end though it was killed.
    pub(super) fn wait(
        mut self,
        limit: Duration,
        told: &PipeReader,
    ) -> io::Result<(CommandEnd, String)> {
        let group = Pid::from_raw(self.child.id().cast_signed());
        let ended = watch(group)?;
        let mut started = Descendants::of(group);
        let waiting = (&ended, told);
        let waited = wait_until_ended(waiting, &mut self.output, (group, &mut started), limit);
        let is_late = waited.as_ref().map_or(true, Option::is_some);
        if is_late {
            // Whoever of the group is left. The zombie keeps its number until it is waited for.
            let _ = killpg(group, Signal::SIGKILL);
            end_all(&mut started);
        }
        let waited = waited?;
        let status = self.child.wait()?;
        self.output.read();
        let end = waited.unwrap_or_else(|| describe(status));
        Ok((end, self.output.text()))
    }
}

/// Gives up, between fork and exec, what the command is not to have. Nothing here allocates.
#[expect(
    unsafe_code,
    reason = "std cannot set supplementary groups; only system calls are made, as pre_exec wants"
)]
fn confine(command: &mut Command, identity: Option<Identity>, may_gain: bool) {
    let confined = move || -> io::Result<()> {
        if let Some(Identity { uid, gid, groups }) = &identity {
            setgroups(groups)?;
            setgid(*gid)?;
            setuid(*uid)?;
        }
        if !may_gain {
            set_no_new_privs()?;
        }
        // Whoever runs it was killed: nobody would end it any more. Not of what sudo has made another user's.
        set_pdeathsig(Signal::SIGKILL)?;
        // What it starts can be found, whatever becomes of the processes in between.
        set_child_subreaper(true)?;
        close_at_exec();
        Ok(())
    };
    // SAFETY: the closure makes system calls on values that it owns, takes no lock and allocates
    // nothing.
    unsafe {
        command.pre_exec(confined);
    }
}

/// Hangs up when the child has ended. It stays a zombie, so that its number belongs to nobody else
/// when its group is killed.
fn watch(child: Pid) -> io::Result<PipeReader> {
    let (ended, held) = io::pipe()?;
    thread::Builder::new()
        .name("command-wait".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(child), flags) == Err(Errno::EINTR) {}
            drop(held);
        })?;
    Ok(ended)
}

/// Kills what is left of a command that has ended, and what that has started meanwhile.
fn end_all(started: &mut Descendants) {
    for _ in 0..KILLS_MAX {
        if !started.look() {
            return;
        }
        started.signal(Signal::SIGKILL);
        thread::sleep(LOOK_EVERY / 5);
    }
    tracing::error!("not everything that a command has started could be ended");
}

/// Its end where that was not its own: it took longer than `limit`, or was told to end.
fn wait_until_ended(
    (ended, told): (&PipeReader, &PipeReader),
    output: &mut Output,
    (group, started): (Pid, &mut Descendants),
    limit: Duration,
) -> io::Result<Option<CommandEnd>> {
    let mut patience = Patience::Runs;
    let mut end = CommandEnd::TimedOut(limit);
    let mut until = clock::now().steady + limit;
    loop {
        let left = until.saturating_sub(clock::now().steady);
        if left.is_zero() {
            let (next, signal, more) = match patience {
                Patience::Runs => (Patience::Told, Signal::SIGTERM, GRACE),
                Patience::Told => (Patience::Killed, Signal::SIGKILL, KILLED),
                Patience::Killed => {
                    return Err(io::Error::other("it was killed, and does not end"));
                }
            };
            started.look();
            let _ = killpg(group, signal);
            started.signal(signal);
            (patience, until) = (next, clock::now().steady + more);
            continue;
        }
        let mut fds = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        if patience == Patience::Runs {
            fds.push(PollFd::new(told.as_fd(), PollFlags::POLLIN));
        }
        fds.extend(output.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let sleep = if patience == Patience::Runs {
            left
        } else {
            started.look();
            left.min(LOOK_EVERY)
        };
        let millis = sleep.as_micros().div_ceil(1_000);
        let millis = u16::try_from(millis).unwrap_or(u16::MAX);
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(cause) => return Err(cause.into()),
        }
        let hung_up = |at: usize| fds.get(at).is_some_and(|fd| fd.any() == Some(true));
        let (has_ended, is_told) = (hung_up(0), patience == Patience::Runs && hung_up(1));
        output.read();
        if has_ended {
            return Ok((patience != Patience::Runs).then_some(end));
        }
        if is_told {
            (until, end) = (clock::now().steady, CommandEnd::Stopped);
        }
    }
}

fn describe(status: ExitStatus) -> CommandEnd {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => CommandEnd::Exited(code),
        (None, Some(signal)) => CommandEnd::Signalled(signal),
        (None, None) => CommandEnd::Unknown("ended".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Who never tells a command to end.
    fn nobody() -> PipeReader {
        let (told, teller) = io::pipe().unwrap();
        std::mem::forget(teller);
        told
    }

    fn sh(script: &str) -> Running {
        let words = ["sh", "-c", script].map(str::to_owned);
        Running::start(&words, None, false).unwrap()
    }

    #[test]
    fn the_exit_code_and_both_outputs_are_told() {
        let (end, output) = sh("echo out; echo err >&2; exit 7")
            .wait(LONG, &nobody())
            .unwrap();

        assert_eq!(end, CommandEnd::Exited(7));
        assert_eq!(output, "out | err");
    }

    #[test]
    fn a_command_that_does_not_end_is_told_to_and_ends_itself() {
        let running = sh("trap 'echo told; exit 3' TERM; echo begun; sleep 600 & wait");

        let (end, output) = running.wait(Duration::from_millis(300), &nobody()).unwrap();

        assert_eq!(end, CommandEnd::TimedOut(Duration::from_millis(300)));
        assert_eq!(end.to_string(), "killed after 0 s");
        assert_eq!(output, "begun | told");
    }

    #[test]
    fn a_command_that_does_not_hear_is_killed_with_its_children() {
        let running = sh("trap '' TERM; (trap '' TERM; sleep 600) & echo $!; sleep 600");
        let group = Pid::from_raw(running.child.id().cast_signed());

        let (end, output) = running.wait(Duration::from_millis(300), &nobody()).unwrap();

        assert_eq!(end, CommandEnd::TimedOut(Duration::from_millis(300)));
        let child: i32 = output.parse().unwrap();
        // Killed is what it is; the kernel may take its time with it.
        harness::wait::until("the end of the child", harness::wait::SOON, || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            Ok(state.is_empty() || state.contains(") Z "))
        })
        .unwrap();
        // What is left of the group are zombies that init has not reaped yet, or nothing.
        let _ = killpg(group, Signal::SIGKILL);
    }

    #[test]
    fn what_a_command_has_started_ends_with_it_also_in_a_session_of_its_own() {
        // Into a session of its own; and into one whose parent ends at once, deaf to being told.
        let running = sh("setsid sh -c 'echo $$; sleep 600' & \
             (setsid sh -c \"trap '' TERM; echo \\$\\$; while :; do sleep 600; done\" &); sleep 600");

        let (end, output) = running.wait(Duration::from_millis(500), &nobody()).unwrap();

        assert_eq!(end, CommandEnd::TimedOut(Duration::from_millis(500)));
        let started: Vec<i32> = output
            .split(" | ")
            .map(|pid| pid.parse().unwrap())
            .collect();
        assert_eq!(started.len(), 2, "{output}");
        for pid in started {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(state.is_empty() || state.contains(") Z "), "{state}");
        }
    }

    #[test]
    fn a_program_left_behind_with_the_output_does_not_keep_a_command_from_ending() {
        let (end, output) = sh("sleep 20 & echo $!").wait(LONG, &nobody()).unwrap();

        assert_eq!(end, CommandEnd::Exited(0));
        let _ = nix::sys::signal::kill(Pid::from_raw(output.parse().unwrap()), Signal::SIGKILL);
    }

    #[test]
    fn a_child_has_an_empty_environment_no_descriptors_and_no_way_to_gain_privileges() {
        let script = "env | grep -v '^PWD\\|^SHLVL\\|^_=\\|^OLDPWD'; pwd; ls /proc/self/fd | wc -l; \
            grep NoNewPrivs /proc/self/status; cat";

        let (_, output) = sh(script).wait(LONG, &nobody()).unwrap();

        // 0, 1, 2, and that of `ls`.
        let expected = format!("PATH={SEARCH_PATH} | / | 4 | NoNewPrivs:#0111");
        assert_eq!(output, expected);
    }
}
