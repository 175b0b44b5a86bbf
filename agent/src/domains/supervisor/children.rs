//! The processes that the supervisor has started.

use std::io;
use std::os::fd::AsFd as _;
use std::process::Child;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;
use crate::domains::channel::Channel;
use crate::domains::ended::HowEnded;
use crate::domains::spawn::{Domain, spawn};

/// How long those may take to end whose gate has ended.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);

/// All that were started.
#[derive(Debug, Default)]
pub(super) struct Children(Vec<Running>);

#[derive(Debug)]
struct Running {
    domain: Domain,
    child: Child,
    has_ended: bool,
}

// === impl Children ===

impl Children {
    pub(super) fn start(&mut self, domain: Domain, channels: &[Channel]) -> io::Result<()> {
        let channels: Vec<_> = channels.iter().map(|channel| channel.as_fd()).collect();
        self.0.push(Running {
            domain,
            child: spawn(domain, &channels)?,
            has_ended: false,
        });
        Ok(())
    }

    /// All of them with their numbers, and this process.
    pub(super) fn processes(&self) -> Vec<(String, i32)> {
        let me = ("firewall".to_owned(), nix::unistd::getpid().as_raw());
        let others = self.0.iter().map(|one| {
            let name = one.domain.name().to_owned();
            (name, one.pid().as_raw())
        });
        std::iter::once(me).chain(others).collect()
    }

    /// Those that have ended since this was asked last, the gate first.
    pub(super) fn ended(&mut self) -> Vec<(Domain, HowEnded)> {
        let mut ended = Vec::new();
        for one in self.0.iter_mut().filter(|one| !one.has_ended) {
            if let Ok(Some(status)) = one.child.try_wait() {
                one.has_ended = true;
                ended.push((one.domain, HowEnded::of(status)));
            }
        }
        ended.sort_by_key(|(domain, _)| *domain != Domain::Gate);
        ended
    }

    /// The number of one of them.
    pub(super) fn pid(&self, domain: Domain) -> Option<Pid> {
        let mut of = self.0.iter().filter(|one| one.domain == domain);
        of.next().map(Running::pid)
    }

    /// Sends it a signal, if it runs.
    pub(super) fn signal(&self, domain: Domain, signal: i32) {
        let running = self.0.iter().filter(|one| !one.has_ended);
        for one in running.filter(|one| one.domain == domain) {
            if let Ok(signal) = Signal::try_from(signal) {
                let _ = kill(one.pid(), signal);
            }
        }
    }

    /// Ends it after a while, unless this process has ended before.
    pub(super) fn end_later(&self, domain: Domain, after: Duration) {
        let Some(pid) = self
            .0
            .iter()
            .find(|one| one.domain == domain)
            .map(Running::pid)
        else {
            return;
        };
        // Without a thread the service manager ends it.
        let _ = thread::Builder::new()
            .name("farewell".to_owned())
            .spawn(move || {
                thread::sleep(after);
                // Nobody waits for it but who ends with it: the number is still its own.
                let _ = kill(pid, Signal::SIGKILL);
            });
    }

    /// Waits until those have ended who hear that the gate has; ends the rest.
    pub(super) fn end(&mut self) {
        let until = clock::steady() + PATIENCE;
        while clock::steady() < until && self.0.iter().any(|one| !one.has_ended) {
            self.ended();
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Children {
    /// Nothing is left running by a start that has failed. Who cannot be signalled ends with this
    /// process.
    fn drop(&mut self) {
        for one in self.0.iter_mut().filter(|one| !one.has_ended) {
            if one.child.kill().is_ok() {
                let _ = one.child.wait();
            }
        }
    }
}

// === impl Running ===

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}
