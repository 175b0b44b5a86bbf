//! `postern-agent run`: puts the rooms together, starts the threads, and takes them down again.
//!
//! | thread | does |
//! |---|---|
//! | `gate` | capture → gate → journal → firewall, and the audit; see `gate_thread` |
//! | `checkpointer` | moves the journal's log into its database |
//! | `firewall` | looks at the base rules every few seconds and repairs them |
//! | `signals` | SIGTERM and SIGINT stop, SIGHUP rereads the access file |
//! | tokio | the link to the controller, if there is one |
//!
//! Order matters twice. At the start, the ports are hidden before anything else is done, and what
//! an earlier run left is dealt with before the first packet is judged. At the end, the gate thread
//! stops first, with everything recorded; then the link gets a moment to push it.

mod alone;
mod claims;
mod command;
mod error;
mod events;
mod folds;
mod gate_thread;
pub mod grants;
mod inherit;
mod settle;
mod signals;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fleet::{Event, EventKind};
use gate::{Gate, Now, Settings};
use member::Membership;
use policy::Policy;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

pub use error::RunError;

use crate::capture::{self, Capture};
use crate::clock;
use crate::config::{Config, Mode};
use crate::firewall::{self, Monitor};
use crate::journal::{FloorReason, Journal, JournalOptions, JournalReader, Retention, Start};
use crate::link::{self, Link, LinkConfig};
use crate::orders::{Order, Seams, Standing, mailbox};
use crate::policies::NewPolicy;
use alone::AccessFile;
use claims::Claims;
use command::Commands;
use folds::Folds;
use gate_thread::{GateThread, Housekeeping, Limits};
use settle::protected;

/// How long the link may take at the end to push what is recorded.
const FAREWELL: Duration = Duration::from_secs(2);
/// Claims on their way to the link.
const ASKS_MAX: usize = 1024;

/// Who says what is permitted, with what that needs.
enum Authority {
    Alone(Arc<AccessFile>, Arc<Policy>),
    Joined(Box<LinkConfig>),
}

/// Everything that is to be taken down again.
struct Running {
    gate: JoinHandle<Journal>,
    signals: signal_hook::iterator::Handle,
    link: Option<(Runtime, Link)>,
    monitor: Monitor,
}

/// Runs until a signal ends it.
///
/// # Errors
///
/// [`RunError`] when it cannot start: then nothing is open that was not, and nothing protected is
/// open.
pub fn run(config: &Config) -> Result<(), RunError> {
    let now = clock::now();
    let authority = Authority::of(config)?;
    let mut start = open_journal(config, now)?;
    let policy = authority.first_policy(&start)?;
    let mut firewall = firewall::open(&config.firewall)?;
    let ports = protected(&config.firewall.protect, &policy.policy);
    firewall.base_rules.lay(&ports)?;
    let captures = open_captures(config)?;
    let grants = inherit::settle_the_past(&mut start, firewall.holes.as_mut(), config, now);

    let (orders, inbox) = mailbox().map_err(RunError::Thread)?;
    let signals = signals::watch(&orders, authority.access_file()).map_err(RunError::Thread)?;
    let drifts = orders.clone();
    let report = move |drift| {
        // A full mailbox gets the next report.
        let _ = drifts.send(Order::Drift(drift));
    };
    let monitor = Monitor::start(firewall.base_rules, report).map_err(RunError::Thread)?;
    let (asks, claims) = mpsc::channel(ASKS_MAX);
    let (standing, standing_seen) = watch::channel(Standing::default());
    let (committed, committed_seen) = watch::channel(start.journal.last_seq());
    let seams = Seams {
        orders: orders.clone(),
        claims,
        journal: JournalReader::open(start.journal.path())?,
        committed: committed_seen,
        standing: standing_seen,
    };

    let gate_thread = GateThread {
        gate: Gate::new(settings(config, &start), Arc::clone(&policy.compiled)),
        journal: start.journal,
        firewall: firewall.holes,
        captures,
        inbox,
        grants,
        claims: Claims::new(authority.is_joined().then_some(asks), first_claim(now)),
        folds: Folds::new(now.steady),
        commands: Commands::new(orders, config.command_timeout),
        monitor: Some(monitor.handle()),
        standing,
        committed,
        watchdog: sd_notify::watchdog_enabled(),
        protect: config.firewall.protect.clone(),
        limits: Limits {
            grants_max: config.grants_max,
            flush_at_exit: config.firewall.flush_at_exit,
        },
        opening: Vec::new(),
        housekeeping: Housekeeping::default(),
    };
    let running = Running {
        gate: gate_thread.start(policy, now)?,
        signals,
        link: authority.link(seams)?,
        monitor,
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        "postern-agent is ready"
    );
    running.until_stopped(config)
}

// === impl Running ===

impl Running {
    /// Waits for the gate thread to end, then takes everything else down.
    fn until_stopped(self, config: &Config) -> Result<(), RunError> {
        let journal = self.gate.join();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.signals.close();
        if let Some((runtime, link)) = self.link {
            runtime.block_on(link.finish(FAREWELL));
        }
        let left = leave(self.monitor, config);
        journal.map_err(|_| RunError::Panicked)?.close()?;
        left
    }
}

// === impl Authority ===

impl Authority {
    fn of(config: &Config) -> Result<Self, RunError> {
        match &config.mode {
            Mode::Alone { access_file } => {
                let (file, policy) = AccessFile::open(access_file.clone())?;
                Ok(Self::Alone(Arc::new(file), policy))
            }
            Mode::Joined { controller } => {
                let member = Membership::load(&config.state_dir)?;
                Ok(Self::Joined(Box::new(LinkConfig {
                    member,
                    controller: controller.clone(),
                })))
            }
        }
    }

    fn is_joined(&self) -> bool {
        matches!(self, Self::Joined(_))
    }

    fn access_file(&self) -> Option<Arc<AccessFile>> {
        match self {
            Self::Alone(file, _) => Some(Arc::clone(file)),
            Self::Joined(_) => None,
        }
    }

    /// The policy to begin with: the access file, or what was last adopted, or one that permits
    /// nothing.
    fn first_policy(&self, start: &Start) -> Result<NewPolicy, RunError> {
        match (self, &start.policy) {
            (Self::Alone(file, policy), _) => {
                Ok(file.first(Arc::clone(policy), start.access_file)?)
            }
            (Self::Joined(link), Some(saved)) => {
                match link::compile(saved.clone(), link.member.exchange()) {
                    Ok(policy) => Ok(policy),
                    Err(reasons) => {
                        tracing::error!(?reasons, "the saved policy cannot be enforced");
                        Ok(NewPolicy::nothing()?)
                    }
                }
            }
            (Self::Joined(_), None) => Ok(NewPolicy::nothing()?),
        }
    }

    /// Starts the link, on a runtime of its own.
    fn link(self, seams: Seams) -> Result<Option<(Runtime, Link)>, RunError> {
        let Self::Joined(config) = self else {
            return Ok(None);
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("link")
            .enable_all()
            .build()
            .map_err(RunError::Thread)?;
        let link = link::spawn(runtime.handle(), *config, seams);
        Ok(Some((runtime, link)))
    }
}

/// Takes down what must not stay. A port is never opened by leaving: where something is protected,
/// the base rules stay, without a hole.
fn leave(monitor: Monitor, config: &Config) -> Result<(), RunError> {
    let Some(mut base_rules) = monitor.stop() else {
        return Err(RunError::Panicked);
    };
    if config.firewall.flush_at_exit && base_rules.protected().is_empty() {
        base_rules.remove()?;
    }
    Ok(())
}

fn open_journal(config: &Config, now: Now) -> Result<Start, RunError> {
    let options = JournalOptions {
        state_dir: config.state_dir.clone(),
        retention: match config.mode {
            Mode::Alone { .. } => Retention::Days(config.audit_days),
            Mode::Joined { .. } => Retention::UntilAcknowledged,
        },
        window: config.gate.ageing,
    };
    let start = Journal::open(&options, now.wall_secs)?;
    let before = start.floor.not_before_secs;
    match start.floor.why {
        FloorReason::Known => {}
        FloorReason::New => {
            tracing::info!(
                before,
                "a new journal: packets dated before now are refused"
            );
        }
        FloorReason::Lost => tracing::warn!(
            before,
            "the journal that was here is gone: packets dated before now are refused"
        ),
        FloorReason::Widened => tracing::warn!(
            before,
            "older packets are allowed than before: those dated before now are refused"
        ),
        FloorReason::Unguarded => tracing::warn!(
            "a new journal and no ageing: every packet that was ever captured is good once"
        ),
    }
    Ok(start)
}

fn open_captures(config: &Config) -> Result<Vec<Box<dyn Capture>>, RunError> {
    let opened = config.captures.iter().map(capture::open);
    Ok(opened.collect::<Result<_, _>>()?)
}

fn settings(config: &Config, start: &Start) -> Settings {
    Settings {
        ageing: config.gate.ageing,
        not_before_secs: start.floor.not_before_secs,
        spa_over_http: config.gate.spa_over_http,
        x_forwarded_for: config.gate.x_forwarded_for,
        commands: config.gate.commands,
        ..Settings::default()
    }
}

/// Numbers of claims must not come twice in the life of a host; no host claims a million a second.
fn first_claim(now: Now) -> u64 {
    now.wall_secs.saturating_mul(1_000_000) + u64::from(now.wall_nanos / 1_000)
}

// === impl GateThread ===

impl GateThread {
    /// Puts the first policy in force, says so in the audit, and starts to work. What cannot be
    /// recorded now is recorded as soon as the disk allows it.
    fn start(mut self, policy: NewPolicy, now: Now) -> Result<JoinHandle<Journal>, RunError> {
        let mut event = Event::new(EventKind::AgentStarted, now.wall_ms());
        event.generation = policy.generation;
        event.reason = concat!("version ", env!("CARGO_PKG_VERSION")).to_owned();
        self.journal.stage(event);
        self.replace_policy(policy, now);
        thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || self.run())
            .map_err(RunError::Thread)
    }
}
