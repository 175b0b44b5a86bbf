//! The supervisor: the process that the service manager knows. It has hidden what was hidden, starts the
//! other domains, is the firewall domain from then on, and ends when one of them does.
//!
//! A domain that dies takes the agent with it, and nothing else: the rules stay, so the gate stays shut,
//! holes close by themselves in the kernel, and the service manager starts the agent anew.

mod children;
mod heartbeat;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use caps::{CapSet, Capability};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::geteuid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::capture::CaptureStart;
use super::channel::Channel;
use super::child::Started;
use super::command::CommandStart;
use super::confine::Powers;
use super::ended::{DomainEnded, HowEnded};
use super::firewall::{self as filter, FirewallService, Health};
use super::gate::{GateStart, make_folders, others_files};
use super::log_to::LogTo;
use super::pulse::Asking;
use super::spawn::Domain;
use crate::command_runner::RunnerSettings;
use crate::config::{Config, Mode, Named, RawConfig};
use crate::hide_first::HiddenFirst;
use crate::protection::ProtectionFile;
use crate::run::RunError;
use children::Children;
use heartbeat::{Heartbeat, StateDir, WhenLost};

/// How long a message to a process that has just been started may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a gate may take to end whose neighbour has ended.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why the domains of this host stay in one process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Together {
    /// It is asked for.
    Asked,
    /// Nothing is opened for real.
    DryRun,
    /// Without root there is nothing to give up.
    NotRoot,
}

impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "the configuration says so (separation)",
            Self::DryRun => "this is a dry run",
            Self::NotRoot => "it does not run as root, or without CAP_NET_ADMIN",
        })
    }
}

/// Why the domains stay in one process, if they do.
#[must_use]
pub fn together(config: &Config) -> Option<Together> {
    if !config.separation {
        return Some(Together::Asked);
    }
    if config.firewall.dry_run {
        return Some(Together::DryRun);
    }
    let has = caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN);
    let has_powers = geteuid().is_root() && has.unwrap_or(false);
    (!has_powers).then_some(Together::NotRoot)
}

/// The other domains, started, each waiting for the other end of its channels to speak.
#[derive(Debug)]
pub struct Supervisor {
    children: Children,
    signals: Signals,
    /// From the gate, about the packet filter.
    requests: Channel,
    /// To the gate, of what is found there.
    notices: Channel,
    /// To those who are asked whether they still do their work.
    asked: Vec<(Domain, Asking)>,
}

// === impl Supervisor ===

impl Supervisor {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// When the system does not: then none of them runs.
    pub fn start(
        config: &Config,
        named: &Named,
        flags: &RawConfig,
        log: &LogTo,
    ) -> io::Result<Self> {
        make_folders(config);
        // Before the first of them can end.
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD])?;
        let mut children = Children::default();
        let (to_gate, of_gate) = Channel::pair()?;
        let (requests, requests_of_gate) = Channel::pair()?;
        let (notices, notices_of_gate) = Channel::pair()?;
        let mut of_gate = vec![of_gate, requests_of_gate, notices_of_gate];

        let (to_capture, of_capture) = Channel::pair()?;
        let mut of_capture = vec![of_capture];
        for _ in 0..=config.captures.len() {
            let (gate, capture) = Channel::pair()?;
            of_gate.push(gate);
            of_capture.push(capture);
        }
        children.start(Domain::Capture, &of_capture)?;
        drop(of_capture);
        let to_command = config.gate.commands.then(Channel::pair).transpose()?;
        let to_command = match to_command {
            None => None,
            Some((to_command, of_command)) => {
                let (gate, command) = Channel::pair()?;
                of_gate.push(gate);
                children.start(Domain::Command, &[of_command, command])?;
                Some(to_command)
            }
        };
        children.start(Domain::Gate, &of_gate)?;
        drop(of_gate);
        let mut started = Self {
            children,
            signals,
            requests,
            notices,
            asked: Vec::new(),
        };
        tell(&to_capture, log, CaptureStart::of(&config.captures))?;
        started.ask(Domain::Capture, to_capture);
        if let Some(to_command) = to_command {
            let settings = RunnerSettings::of(config);
            tell(&to_command, log, CommandStart { settings })?;
            started.ask(Domain::Command, to_command);
        }
        let mut gate = GateStart::of(named, flags, config);
        gate.processes = started.children.processes();
        tell(&to_gate, log, gate)?;
        Ok(started)
    }

    fn ask(&mut self, domain: Domain, channel: Channel) {
        self.asked.push((domain, Asking::new(channel)));
    }

    /// Gives up everything but what changing the packet filter takes, and serves the gate until the
    /// end.
    ///
    /// # Errors
    ///
    /// [`RunError`] when the packet filter cannot be used, or a domain has ended that was not told
    /// to.
    pub fn run(self, config: &Config, hidden: Option<HiddenFirst>) -> Result<(), RunError> {
        let Self {
            mut children,
            mut signals,
            requests,
            notices,
            asked,
        } = self;
        let local = filter::Local::open(config, hidden)?;
        powers(others_files(std::slice::from_ref(&config.state_dir)))
            .confine()
            .log("firewall");
        let serving = FirewallService::start(config, local, requests, notices)?;
        let is_state_lost = Arc::new(AtomicBool::new(false));
        let when_lost = when_state_is_lost(config, &children, &serving.health(), &is_state_lost);
        let state = StateDir::of(&config.state_dir, when_lost);
        let heartbeat = Heartbeat::start(asked, serving.health(), state);
        let heartbeat = heartbeat.map_err(RunError::Domains)?;
        let ended = watch(&mut children, &mut signals);
        drop(heartbeat);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        children.end();
        if is_state_lost.load(Ordering::Acquire) {
            serving.leave()?;
            return Err(RunError::StateLost(config.state_dir.clone()));
        }
        match ended {
            None => Ok(serving.leave()?),
            Some(ended) => {
                // What a gate that died had opened ends by itself, and nothing else is touched.
                if ended.has_said_why() {
                    serving.leave()?;
                }
                Err(RunError::DomainEnded(ended))
            }
        }
    }
}

/// An agent that stands alone ends, and the next start makes a directory in which it can write. One of a
/// fleet has lost its membership with it, which no start brings back: it goes on, and its controller sees.
fn when_state_is_lost(
    config: &Config,
    children: &Children,
    health: &Health,
    is_lost: &Arc<AtomicBool>,
) -> WhenLost {
    if matches!(config.mode, Mode::Joined { .. }) {
        return Box::new(|| ());
    }
    let (config, health, is_lost) = (config.clone(), health.clone(), Arc::clone(is_lost));
    let gate = children.pid(Domain::Gate);
    Box::new(move || {
        make_folders(&config);
        // What is hidden is hidden at the next start before all else.
        let file = ProtectionFile::new(&config.state_dir, &config.firewall.chain);
        if let Err(cause) = file.write(&health.hidden()) {
            let error = program::one_line(&cause);
            tracing::error!(%error, "cannot remember which ports are hidden");
        }
        is_lost.store(true, Ordering::Release);
        if let Some(gate) = gate {
            let _ = kill(gate, Signal::SIGTERM);
        }
    })
}

/// Until one of them has ended; says what was wrong with that.
fn watch(children: &mut Children, signals: &mut Signals) -> Option<DomainEnded> {
    let mut is_stopping = false;
    let mut lost = None;
    for signal in signals.forever() {
        match signal {
            SIGCHLD => {
                for (domain, how) in children.ended() {
                    if domain == Domain::Gate {
                        return match how {
                            HowEnded::Code(0) => lost,
                            // Told to stop before it listened.
                            HowEnded::Signal(SIGTERM) if is_stopping => lost,
                            HowEnded::Code(_) | HowEnded::Signal(_) => {
                                lost.or_else(|| Some(note(domain, how)))
                            }
                        };
                    }
                    if lost.is_none() && !(is_stopping && how == HowEnded::Code(0)) {
                        lost = after_one(children, domain, how);
                    }
                }
            }
            SIGTERM | SIGINT => {
                is_stopping = true;
                children.signal(Domain::Gate, SIGTERM);
            }
            other => children.signal(Domain::Gate, other),
        }
    }
    lost
}

/// One that ends well has heard that the gate has closed its end: the gate is about to end, too. If it
/// does not, it is told to.
fn after_one(children: &Children, domain: Domain, how: HowEnded) -> Option<DomainEnded> {
    if how == HowEnded::Code(0) {
        children.end_later(Domain::Gate, FAREWELL);
        return None;
    }
    children.signal(Domain::Gate, SIGTERM);
    children.end_later(Domain::Gate, FAREWELL);
    Some(note(domain, how))
}

fn note(domain: Domain, how: HowEnded) -> DomainEnded {
    let ended = DomainEnded {
        domain: domain.name(),
        how,
    };
    if !ended.has_said_why() {
        let domain = ended.domain;
        tracing::error!(domain, %how, "a domain has ended: the agent ends, and what is hidden stays hidden");
    }
    ended
}

/// Tells a process what it is to do.
fn tell<T: serde::Serialize>(channel: &Channel, log: &LogTo, what: T) -> io::Result<()> {
    let start = Started {
        supervisor: nix::unistd::getpid().as_raw(),
        log: log.clone(),
        what,
    };
    channel.send(&start, PATIENCE).map_err(io::Error::other)
}

/// What changing the packet filter takes. iptables is a program, and its older form a raw socket.
fn powers(mut capabilities: Vec<Capability>) -> Powers {
    capabilities.extend([Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW]);
    Powers {
        capabilities,
        user: None,
        files: None,
        families: vec![
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
        ],
        runs_programs: true,
    }
}
