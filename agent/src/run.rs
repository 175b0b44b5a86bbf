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
//! | `control` | takes an operator's word: `floor reset`, `reload`, `rotate-keys` |
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
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::{Capabilities, Engine, Limits, Settings, Status};
use fleet::Event;
use gate::{Now, SeenTexts};
use policy::{CollectMode, NatSettings, OsSignatures};
use tokio::sync::{mpsc, watch};

pub use error::RunError;

use crate::capture::{Capture, CaptureConfig, CaptureSource};
use crate::channels::Channels;
use crate::clock;
use crate::config::{Config, ConfigSource, Mode};
use crate::domains::firewall::{self as filter, Facts};
use crate::domains::parts::Parts;
use crate::firewall::{Control, Holes};
use crate::fwknopd::digests;
use crate::journal::{Journal, JournalOptions, JournalReader, Retention, Start};
use crate::kernel_switches;
use crate::link_state::LinkState;
use crate::network::Network;
use crate::orders::{OrderSender, mailbox};
use crate::policies::AdoptedPolicy;
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
    listening: Listening,
    link: Option<RunningLink>,
    filter: Box<dyn filter::Running>,
}

/// What comes from outside, and what it is compared with.
struct Sources {
    captures: Vec<Box<dyn Capture>>,
    network: Option<Network>,
    os_signatures: Arc<OsSignatures>,
}

/// Those who take signals and words of people and of programs.
struct Listening {
    signals: signal_hook::iterator::Handle,
    status: LocalSocket,
    metrics: Option<Metrics>,
    control: LocalSocket,
}

/// Commands that an earlier run has started and not seen end; none where that cannot be read, which is no reason
/// not to start.
fn unfinished_commands(journal: &Path) -> Vec<Event> {
    let read = JournalReader::open(journal).and_then(|reader| reader.unfinished_commands());
    read.unwrap_or_else(|cause| {
        tracing::warn!(error = %program::one_line(&cause), "which commands an earlier run did not see end is not known");
        Vec::new()
    })
}

/// Runs until a signal ends it. `source` is where the configuration comes from, `parts` what is asked
/// of other domains.
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
pub fn run(config: &Config, source: ConfigSource, parts: &mut dyn Parts) -> Result<(), RunError> {
    let now = clock::now();
    let authority = Authority::of(config)?;
    let mut start = open_journal(config, now)?;
    let policy = authority.first_policy(&start, now)?;
    note_collect_mode(config, policy.compiled.policy().collect_mode);
    let mut filter = parts.filter(config)?;
    let sources = Sources::open(config, parts)?;
    let found = std::mem::take(&mut start.open_grants);
    let rules = found.iter().flat_map(|found| &found.grant.rules);
    let connections = filter.begin(&rules.copied().collect::<Vec<_>>())?;
    let facts = filter.facts().clone();
    let mut engine = sources.engine(config, &start, &policy, facts.capabilities, now)?;
    let flush = config.firewall.flush_at_start;
    floor::record(&mut engine, &start, now);
    recovery::recover(&mut engine, found, filter.holes(), flush, &connections, now);
    engine.recover_commands(unfinished_commands(start.journal.path()), now);

    let (orders, inbox) = mailbox().map_err(RunError::Thread)?;
    let state = LinkState::default();
    let journal = start.journal.path().to_owned();
    let told = (&authority, &*journal);
    let listening = Listening::open(config, source, told, &orders, &state)?;
    let started = filter.start(&orders)?;
    let (claims, claims_asked) = mpsc::channel(ASKS_MAX);
    let (status_sender, status_seen) = watch::channel(Status::default());
    let (committed, committed_seen) = watch::channel(start.journal.last_seq());
    let channels = Channels {
        backend: facts.backend,
        state,
        orders: orders.clone(),
        claims: claims_asked,
        journal: JournalReader::open(&journal)?,
        committed: committed_seen,
        status: status_seen,
    };
    let ends = Ends {
        inbox,
        claims: authority.is_joined().then_some(claims),
        status: status_sender,
        committed,
    };
    let beside = (started.holes, started.control);
    let host = host(config, start.journal, sources, facts, beside, parts, orders)?;
    let thread = GateThread::new(engine, host, ends, policy, now);
    let running = Running {
        link: authority.link(channels)?,
        listening,
        filter: started.running,
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
        self.listening.close();
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

// === impl Sources ===

impl Sources {
    fn open(config: &Config, parts: &mut dyn Parts) -> Result<Self, RunError> {
        Ok(Self {
            os_signatures: config.os_signatures.read()?,
            captures: open_captures(config, parts)?,
            network: follow_network(config)?,
        })
    }

    /// An engine that knows what is known of them.
    fn engine(
        &self,
        config: &Config,
        start: &Start,
        policy: &AdoptedPolicy,
        capabilities: Capabilities,
        now: Now,
    ) -> Result<Engine, RunError> {
        let random = (random_prefix()?, seen_by_fwknopd(config, now)?);
        let settings = settings(config, start, capabilities, random, now);
        let mut engine = Engine::new(settings, Arc::clone(&policy.compiled), now);
        engine.set_os_signatures(Arc::clone(&self.os_signatures));
        if let Some(network) = &self.network {
            engine.set_addressees(network.addressees());
            engine.set_own_addresses(network.own());
        }
        Ok(engine)
    }
}

// === impl Listening ===

impl Listening {
    fn open(
        config: &Config,
        source: ConfigSource,
        (authority, journal): (&Authority, &Path),
        orders: &OrderSender,
        state: &LinkState,
    ) -> Result<Self, RunError> {
        let files = (authority.access_file(), config.os_signatures.clone());
        let reload = Reload::new(files, source, orders.clone());
        let link = authority.is_joined().then(|| state.clone());
        let reporter = || -> Result<Reporter, RunError> {
            Ok(Reporter {
                orders: orders.clone(),
                journal: JournalReader::open(journal)?,
                link: link.clone(),
                access_file: authority.access_file().map(|file| file.path()),
            })
        };
        Ok(Self {
            signals: signals::watch(orders, reload.clone()).map_err(RunError::Thread)?,
            status: status::open(&config.state_dir, reporter()?).map_err(RunError::Status)?,
            metrics: metrics::start(config.metrics_listen, reporter)?,
            control: control::open(&config.state_dir, orders, (reload, link))
                .map_err(RunError::Status)?,
        })
    }

    fn close(self) {
        self.signals.close();
        drop(self.status);
        drop(self.control);
        drop(self.metrics);
    }
}

/// What the gate thread has for itself alone.
fn host(
    config: &Config,
    journal: Journal,
    sources: Sources,
    facts: Facts,
    (holes, control): (Box<dyn Holes>, Box<dyn Control>),
    parts: &mut dyn Parts,
    orders: OrderSender,
) -> Result<Host, RunError> {
    let Sources {
        captures,
        network,
        os_signatures,
    } = sources;
    Ok(Host {
        journal,
        holes,
        captures,
        syns: parts.syns(config),
        os_signatures,
        network,
        names: Resolver::new(orders.clone()),
        leads_on: config.nat.forward,
        cannot_lead: cannot_lead(config, facts.backend, facts.capabilities),
        commands: parts.commands(config, orders).map_err(RunError::Thread)?,
        control: Some(control),
        backend: (facts.backend, facts.why),
        protect: config.firewall.protect.clone(),
        hidden_before: facts.hidden.unwrap_or_default(),
        flush_at_exit: config.firewall.flush_at_exit,
        watchdog: facts.watchdog,
        domains: parts.domains(),
    })
}

fn start_gate(thread: GateThread) -> Result<JoinHandle<Journal>, RunError> {
    thread::Builder::new()
        .name("gate".to_owned())
        .spawn(move || thread.run())
        .map_err(RunError::Thread)
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

fn open_captures(
    config: &Config,
    parts: &mut dyn Parts,
) -> Result<Vec<Box<dyn Capture>>, RunError> {
    let captures = parts.captures(config)?;
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
