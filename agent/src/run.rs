//! `postern-agent run`: puts the parts together, starts the threads, and takes them down again.
//!
//! | thread | does |
//! |---|---|
//! | `gate` | capture → engine → journal → firewall; see [`turn`](crate::turn) |
//! | `checkpointer` | moves the journal's log into its database |
//! | `connections` | hears which connections begin and end |
//! | `owner` | reads the rules of the host's owner when they change |
//! | `firewall` | looks at the base rules every few seconds and repairs them |
//! | `signals` | SIGTERM, SIGINT stop; SIGHUP rereads the access file; SIGUSR1 logs the counters |
//! | `status` | answers `postern-agent status` |
//! | `control` | takes an operator's word: `floor reset`, `reload` |
//! | `metrics` | answers Prometheus, where an address is configured |
//! | `command` | runs one permitted command, while it runs |
//! | tokio | the link to the controller, if there is one |
//!
//! Order matters three times. At the start, the ports that were hidden are hidden again before
//! anything else is done ([`hide_first`](crate::hide_first), which the program calls
//! before it knows its configuration), and what an earlier run left is dealt with before the first
//! packet is judged. What was never hidden is hidden last: when the gate thread runs, packets come
//! from somewhere and can be recorded ([`firewall::Monitor`]). At the end, the gate thread
//! stops first, with everything recorded; then the link gets a moment to push it.

mod authority;
mod control;
mod error;
mod floor;
#[cfg_attr(not(feature = "link"), path = "run/joined_absent.rs")]
mod joined;
mod local_socket;
#[cfg_attr(not(feature = "metrics"), path = "run/metrics_absent.rs")]
mod metrics;
mod recovery;
mod reload;
mod signals;
mod status;

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::{Capabilities, Engine, Limits, Settings, Status};
use gate::{Now, SeenTexts};
use policy::{CollectMode, NatSettings};
use tokio::sync::{mpsc, watch};

pub use error::RunError;

use crate::capture::{self, Capture, CaptureConfig, CaptureSource, SynCaptures};
use crate::channels::Channels;
use crate::clock;
use crate::command_runner::{CommandRunner, RunnerSettings};
use crate::config::{Config, ConfigSource, Mode};
use crate::domains::firewall::{self as filter, Domain, FirewallEnds};
use crate::firewall::FirewallError;
use crate::fwknopd::digests;
use crate::hide_first::HiddenFirst;
use crate::journal::{Journal, JournalOptions, JournalReader, Retention, Start};
use crate::kernel_switches;
use crate::link_state::LinkState;
use crate::network::Network;
use crate::orders::mailbox;
use crate::resolver::Resolver;
use crate::turn::{Ends, GateThread, Host};
use authority::Authority;
use joined::RunningLink;
use local_socket::LocalSocket;
use metrics::Metrics;
use reload::Reload;
use status::Reporter;

/// How long the link may take at the end to push what is recorded.
const FAREWELL: Duration = Duration::from_secs(2);
/// Claims on their way to the link.
const ASKS_MAX: usize = 1024;

/// Everything that is to be taken down again.
struct Running {
    gate: JoinHandle<Journal>,
    signals: signal_hook::iterator::Handle,
    status: LocalSocket,
    control: LocalSocket,
    link: Option<RunningLink>,
    filter: Box<dyn filter::Running>,
    metrics: Option<Metrics>,
}

/// Runs until a signal ends it. `source` is where the configuration comes from.
///
/// # Errors
///
/// [`RunError`] when it cannot start: then nothing is open that was not, and nothing protected is
/// open.
///
/// # Panics
///
/// When one of its threads has panicked, after the others have been taken down. What is open then
/// ends by itself.
pub fn run(
    config: &Config,
    source: ConfigSource,
    hidden: Result<Option<HiddenFirst>, FirewallError>,
) -> Result<(), RunError> {
    let hidden = hidden?;
    let now = clock::now();
    let authority = Authority::of(config)?;
    let mut start = open_journal(config, now)?;
    let policy = authority.first_policy(&start, now)?;
    note_collect_mode(config, policy.compiled.policy().collect_mode);
    let mut filter: Box<dyn Domain> = Box::new(filter::Local::open(config, hidden)?);
    let os_signatures = config.os_signatures.read()?;
    let captures = open_captures(config)?;
    let network = follow_network(config)?;
    let found = std::mem::take(&mut start.open_grants);
    let rules = found.iter().flat_map(|found| &found.grant.rules);
    let connections = filter.begin(&rules.copied().collect::<Vec<_>>())?;
    let facts = filter.facts().clone();
    let capabilities = facts.capabilities;
    let seen_texts = seen_by_fwknopd(config, now)?;
    let settings = settings(
        config,
        &start,
        capabilities,
        (random_prefix()?, seen_texts),
        now,
    );
    let mut engine = Engine::new(settings, Arc::clone(&policy.compiled), now);
    engine.set_os_signatures(Arc::clone(&os_signatures));
    if let Some(network) = &network {
        engine.set_addressees(network.addressees());
        engine.set_own_addresses(network.own());
    }
    let flush = config.firewall.flush_at_start;
    floor::record(&mut engine, &start, now);
    recovery::recover(&mut engine, found, filter.holes(), flush, &connections, now);

    let (orders, inbox) = mailbox().map_err(RunError::Thread)?;
    let files = (authority.access_file(), config.os_signatures.clone());
    let reload = Reload::new(files, source, orders.clone());
    let signals = signals::watch(&orders, reload.clone()).map_err(RunError::Thread)?;
    let state = LinkState::default();
    let reporter = || -> Result<Reporter, RunError> {
        Ok(Reporter {
            orders: orders.clone(),
            journal: JournalReader::open(start.journal.path())?,
            link: authority.is_joined().then(|| state.clone()),
            access_file: authority.access_file().map(|file| file.path()),
        })
    };
    let status = status::open(&config.state_dir, reporter()?).map_err(RunError::Status)?;
    let metrics = metrics::start(config.metrics_listen, reporter)?;
    let control = control::open(&config.state_dir, &orders, reload).map_err(RunError::Status)?;
    let FirewallEnds {
        holes,
        control: filter_control,
        running: filter,
    } = filter.start(&orders)?;
    let (claims, claims_asked) = mpsc::channel(ASKS_MAX);
    let (status_sender, status_seen) = watch::channel(Status::default());
    let (committed, committed_seen) = watch::channel(start.journal.last_seq());
    let channels = Channels {
        backend: facts.backend,
        state: state.clone(),
        orders: orders.clone(),
        claims: claims_asked,
        journal: JournalReader::open(start.journal.path())?,
        committed: committed_seen,
        status: status_seen,
    };
    let ends = Ends {
        inbox,
        claims: authority.is_joined().then_some(claims),
        status: status_sender,
        committed,
    };
    let host = Host {
        journal: start.journal,
        holes,
        captures,
        syns: SynCaptures::of(&config.captures),
        os_signatures,
        network,
        names: Resolver::new(orders.clone()),
        leads_on: config.nat.forward,
        cannot_lead: cannot_lead(config, facts.backend, capabilities),
        commands: CommandRunner::new(orders, runner_settings(config)),
        control: Some(filter_control),
        backend: (facts.backend, facts.why),
        protect: config.firewall.protect.clone(),
        hidden_before: facts.hidden.unwrap_or_default(),
        flush_at_exit: config.firewall.flush_at_exit,
        watchdog: facts.watchdog,
    };
    let thread = GateThread::new(engine, host, ends, policy, now);
    let running = Running {
        link: authority.link(channels)?,
        signals,
        status,
        control,
        filter,
        metrics,
        // Last: from now on nothing can fail, and ports may be hidden that never were.
        gate: start_gate(thread)?,
    };
    running.until_stopped()
}

// === impl Running ===

impl Running {
    /// Waits for the gate thread to end, then takes everything else down.
    fn until_stopped(self) -> Result<(), RunError> {
        let journal = self.gate.join();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.signals.close();
        drop(self.status);
        drop(self.control);
        drop(self.metrics);
        if let Some(link) = self.link {
            link.finish(FAREWELL);
        }
        let left = self.filter.leave();
        match journal {
            Ok(journal) => journal.close()?,
            Err(panic) => resume_unwind(panic),
        }
        Ok(left?)
    }
}

fn start_gate(thread: GateThread) -> Result<JoinHandle<Journal>, RunError> {
    thread::Builder::new()
        .name("gate".to_owned())
        .spawn(move || thread.run())
        .map_err(RunError::Thread)
}

fn runner_settings(config: &Config) -> RunnerSettings {
    RunnerSettings {
        time_limit: config.command_timeout,
        sudo: config.sudo_exe.clone(),
        dry_run: config.firewall.dry_run,
    }
}

/// What the configuration wants led on and the packet filter cannot lead; says so.
fn cannot_lead(config: &Config, backend: &str, can: Capabilities) -> Option<String> {
    let fault = crate::turn::cannot_lead(&config.nat, backend, can.forward);
    if let Some(fault) = &fault {
        tracing::warn!("{fault}");
    }
    fault
}

fn open_journal(config: &Config, now: Now) -> Result<Start, RunError> {
    let options = JournalOptions {
        state_dir: config.state_dir.clone(),
        retention: match config.mode {
            Mode::Alone { .. } => Retention::Days(config.audit_days),
            Mode::Joined { .. } => Retention::UntilAcknowledged,
        },
        window: config.gate.ageing,
        max_future: config.gate.max_future,
        witness_dir: Some(config.witness_dir.clone()),
    };
    let start = Journal::open_or_begin_anew(&options, now.wall_secs)?;
    floor::log(&start, config.gate.max_future);
    Ok(start)
}

fn open_captures(config: &Config) -> Result<Vec<Box<dyn Capture>>, RunError> {
    let opened = config.captures.iter().map(capture::open);
    let captures = opened.collect::<Result<Vec<_>, _>>()?;
    if captures.iter().all(|capture| capture.down().is_some()) {
        tracing::warn!(
            "no packets come from anywhere yet: what was never hidden is not hidden now"
        );
    }
    Ok(captures)
}

/// Says so where an access file has it that packets come out of a file, and the configuration names
/// none.
fn note_collect_mode(config: &Config, mode: Option<CollectMode>) {
    let is_file = |capture: &CaptureConfig| matches!(capture.source, CaptureSource::File { .. });
    match mode {
        Some(mode @ (CollectMode::FilePcap | CollectMode::UlogPcap))
            if !config.captures.iter().any(is_file) =>
        {
            tracing::warn!(
                "the access file says DATA_COLLECT_MODE {}, and no capture file is named: \
                 pcap_file and follow (PCAP_FILE in fwknopd.conf) say which",
                mode.name()
            );
        }
        Some(CollectMode::Pcap | CollectMode::FilePcap | CollectMode::UlogPcap) | None => {}
    }
}

/// Follows this host's addresses, where packets come that may have been sent to others: off a wire,
/// or to a socket, which receives what is sent to many.
fn follow_network(config: &Config) -> Result<Option<Network>, RunError> {
    let is_live = |capture: &CaptureConfig| match capture.source {
        CaptureSource::Interface(_)
        | CaptureSource::Nflog(_)
        | CaptureSource::Socket(_)
        | CaptureSource::TcpServer(_) => true,
        CaptureSource::File { .. } => false,
    };
    if !config.captures.iter().any(is_live) {
        return Ok(None);
    }
    let network = Network::follow(config.accept_destinations.clone()).map_err(RunError::Network)?;
    Ok(Some(network))
}

/// What fwknopd has seen on this host, where it ran before.
fn seen_by_fwknopd(config: &Config, now: Now) -> Result<SeenTexts, RunError> {
    let ageing = config
        .gate
        .ageing
        .map(|age| age.max(config.gate.max_future));
    digests::take_over(
        config.digest_cache.as_deref(),
        &config.state_dir,
        ageing.map(|age| age.as_secs()),
        now.wall_secs,
    )
    .map_err(RunError::Digests)
}

fn settings(
    config: &Config,
    start: &Start,
    capabilities: Capabilities,
    (grant_prefix, seen_texts): ([u8; 8], SeenTexts),
    now: Now,
) -> Settings {
    Settings {
        gate: gate::Settings {
            ageing: config.gate.ageing,
            max_future: config.gate.max_future,
            spa_over_http: config.gate.spa_over_http,
            any_user_agent: config.gate.any_user_agent,
            x_forwarded_for: config.gate.x_forwarded_for,
            commands: config.gate.commands,
            seen_texts,
            nat: NatSettings {
                reaches_loopback: kernel_switches::reaches_loopback(),
                ..config.nat
            },
            ..gate::Settings::default()
        },
        limits: Limits {
            grants_max: config.grants_max,
            commands_running_max: config.commands_running_max,
            commands_waiting_max: config.commands_waiting_max,
        },
        capabilities,
        grant_prefix,
        first_claim: first_claim(now),
        locked: start.locked.clone(),
    }
}

/// What tells the grants of this run from all others of the fleet.
fn random_prefix() -> Result<[u8; 8], RunError> {
    let mut prefix = [0; 8];
    getrandom::fill(&mut prefix).map_err(|cause| RunError::Random(io::Error::other(cause)))?;
    Ok(prefix)
}

/// Numbers of claims must not come twice in the life of a host; no host claims a million a second.
fn first_claim(now: Now) -> u64 {
    now.wall_secs.saturating_mul(1_000_000) + u64::from(now.wall_nanos / 1_000)
}
