//! Starting a process of the agent, and being one.
//!
//! It is this program once more, from `/proc/self/exe`, so that it has addresses of its own and nothing
//! of the memory of who started it. It gets its channels, standard error, the variables that it is
//! configured and logs by, and nothing else.

use std::env;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use super::channel::Channel;
use crate::descriptors::close_at_exec;

/// What a process of the agent is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Domain {
    /// Reads packets.
    Capture,
    /// Decides.
    Gate,
    /// Runs commands.
    Command,
}

/// The hidden subcommand, in front of the domain's name and the numbers of its channels.
pub const SUBCOMMAND: &str = "domain";

/// What `join` may have been given: no part of a running agent has a use for it.
const TOKEN: &str = "POSTERN_TOKEN";
/// Variables of these names are handed on, and those that begin with the first.
const VARIABLES: [&str; 5] = [
    "POSTERN_",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "RUST_BACKTRACE",
    "TZ",
];

// === impl Domain ===

impl Domain {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Capture, Self::Gate, Self::Command];

    /// On the command line, and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Gate => "gate",
            Self::Command => "command",
        }
    }

    /// What the kernel calls its process, in at most 15 bytes: it would have it from `/proc/self/exe`.
    #[must_use]
    pub const fn comm(self) -> &'static CStr {
        match self {
            Self::Capture => c"postern-capture",
            Self::Gate => c"postern-gate",
            Self::Command => c"postern-command",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|domain| domain.name() == name)
    }
}

/// Starts a process of the agent with these channels, in this order.
///
/// # Errors
///
/// When the system starts none.
pub fn spawn(domain: Domain, channels: &[BorrowedFd<'_>]) -> io::Result<Child> {
    let numbers: Vec<RawFd> = channels.iter().map(|fd| fd.as_raw_fd()).collect();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("postern-agent")
        .args([SUBCOMMAND, domain.name()])
        .args(numbers.iter().map(RawFd::to_string))
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| is_handed_on(name)))
        .stdin(Stdio::null());
    hand_on(&mut command, numbers);
    command.spawn()
}

/// The channels that this process was started with, by their numbers.
///
/// # Errors
///
/// When one of them is none.
pub fn channels(numbers: &[RawFd]) -> io::Result<Vec<Channel>> {
    numbers.iter().map(|&number| inherited(number)).collect()
}

/// Ends with whoever started this process: at once, and whatever it is doing. To be called when no
/// power is given up any more, which would take it back.
///
/// # Errors
///
/// When that one has ended already.
pub fn end_with(starter: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == starter {
        Ok(())
    } else {
        Err(io::Error::other(
            "whoever has started this process has ended",
        ))
    }
}

fn is_handed_on(name: &OsStr) -> bool {
    let [ours, others @ ..] = VARIABLES;
    name.to_str()
        .is_some_and(|name| name != TOKEN && (name.starts_with(ours) || others.contains(&name)))
}

/// Between fork and exec: everything is closed but standard error and these. Nothing here allocates.
#[expect(
    unsafe_code,
    reason = "std hands on no descriptor by its number; only system calls are made, as pre_exec wants"
)]
fn hand_on(command: &mut Command, numbers: Vec<RawFd>) {
    let prepare = move || -> io::Result<()> {
        close_at_exec();
        for &number in &numbers {
            // SAFETY: sets a flag of a descriptor that the parent holds open.
            Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls on values that it owns, takes no lock and allocates
    // nothing.
    unsafe {
        command.pre_exec(prepare);
    }
}

#[expect(
    unsafe_code,
    reason = "a descriptor that was inherited is known by its number only"
)]
fn inherited(number: RawFd) -> io::Result<Channel> {
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only asks whether this is an open descriptor.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is open, and whoever started this process left it to us alone: nothing else in this
    // process has been opened under numbers that came on the command line.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Channel::of(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_environment_only_what_configures_and_what_logs_is_handed_on() {
        let handed_on = |name: &str| is_handed_on(OsStr::new(name));

        assert!(["POSTERN_LOG", "POSTERN_AGENT_CHAIN", "TZ"].map(handed_on) == [true; 3]);
        assert!(
            [
                "LD_PRELOAD",
                "NOTIFY_SOCKET",
                "PATH",
                "TZDIR",
                "HOME",
                "POSTERN_TOKEN"
            ]
            .map(handed_on)
                == [false; 6]
        );
    }

    #[test]
    fn the_kernel_calls_each_process_by_its_whole_name() {
        for domain in Domain::ALL {
            nix::sys::prctl::set_name(domain.comm()).unwrap();
            let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            assert_eq!(comm.trim_end(), format!("postern-{}", domain.name()));
        }
    }

    #[test]
    fn standard_error_and_what_is_not_open_are_no_channels() {
        assert!(channels(&[2]).is_err());
        assert!(channels(&[9_999]).is_err());
        assert!(channels(&[-1]).is_err());
    }
}
