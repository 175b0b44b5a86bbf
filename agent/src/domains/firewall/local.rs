//! The packet filter and what looks after it, in this process.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;

use engine::{Connection, Hole, Rule};
use spa::Service;

use super::{Domain, Facts, FirewallEnds, Running, Tell, Untold};
use crate::config::{Config, FirewallConfig};
use crate::connections::{ConnectionsHandle, Follower, Following, Untaken};
use crate::firewall::{
    self, Backend, Control, FirewallError, Holes, Hooks, Kept, Listener, Monitor, MonitorHandle,
    Notice, OwnerHandle, OwnerWatch,
};
use crate::hide_first::HiddenFirst;
use crate::orders::OrderSender;
use crate::protection::ProtectionFile;
use crate::work::Work;

/// The packet filter of this host, opened.
#[derive(Debug)]
pub struct Local {
    backend: Backend,
    facts: Facts,
    config: FirewallConfig,
    /// Whether packets may be led on to other hosts.
    leads_on: bool,
    file: Option<ProtectionFile>,
    follower: Option<Follower>,
    /// Of the thread that keeps the base rules.
    work: Arc<Work>,
}

/// What its threads are told.
#[derive(Debug)]
struct LocalControl {
    /// `None` where this kernel does not show connections.
    connections: Option<ConnectionsHandle>,
    /// `None` where nothing is opened for real.
    owner: Option<OwnerHandle>,
    monitor: MonitorHandle,
}

/// Its threads.
#[derive(Debug)]
struct LocalRunning {
    config: FirewallConfig,
    following: Option<Following>,
    owner: Option<OwnerWatch>,
    monitor: Monitor,
}

/// Tells others what the thread that looks after the base rules has to tell.
struct Told {
    tell: Tell,
    owner: Option<OwnerHandle>,
}

// === impl Local ===

impl Local {
    /// Opens the packet filter, unless something was hidden in it already.
    ///
    /// # Errors
    ///
    /// As [`firewall::open`].
    pub fn open(config: &Config, hidden: Option<HiddenFirst>) -> Result<Self, FirewallError> {
        let (backend, hidden) = match hidden {
            Some(HiddenFirst {
                firewall,
                ports,
                chain: _,
            }) => (firewall, Some(ports)),
            None => (firewall::open(&config.firewall)?, None),
        };
        let file = ProtectionFile::new(&config.state_dir, &config.firewall.chain);
        Ok(Self {
            facts: Facts {
                backend: backend.name,
                why: backend.why.clone(),
                capabilities: backend.holes.capabilities(),
                hidden,
                watchdog: sd_notify::watchdog_enabled(),
            },
            backend,
            config: config.firewall.clone(),
            leads_on: config.nat.forward,
            // Only what is hidden for real is remembered.
            file: (!config.firewall.dry_run).then_some(file),
            follower: None,
            work: Arc::default(),
        })
    }

    /// What the thread that keeps the base rules will do.
    #[must_use]
    pub fn work(&self) -> Arc<Work> {
        Arc::clone(&self.work)
    }

    /// Begins to hear, and then looks what there is already.
    fn follow(&mut self, rules: &[Rule]) -> Result<Vec<Connection>, FirewallError> {
        if self.config.dry_run || !self.facts.capabilities.connections {
            return Ok(Vec::new());
        }
        let cannot = |cause: io::Error| FirewallError::Connections(cause.to_string());
        let follower = self.follower.insert(Follower::open().map_err(cannot)?);
        follower.handle().follow(rules.iter().copied());
        Ok(follower.list().unwrap_or_else(|cause| {
            let error = program::one_line(&cause);
            tracing::error!(%error, "cannot see which connections there are");
            Vec::new()
        }))
    }

    /// Starts what looks after the packet filter.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(self, tell: &Tell) -> Result<FirewallEnds, FirewallError> {
        let no_thread = |cause: io::Error| FirewallError::Thread(cause.to_string());
        let watch = || {
            let (tell, in_connections) = (tell.clone(), self.backend.marks_connections);
            // A gate that has stopped grants nothing more.
            let told = move |outlook| tell.deliver(Notice::Outlook(Box::new(outlook)));
            OwnerWatch::start(&self.config, self.leads_on, in_connections, told)
        };
        let owner = (!self.config.dry_run).then(watch).transpose();
        let owner = owner.map_err(no_thread)?;
        let kept = Kept {
            rules: self.backend.base_rules,
            hidden: self.facts.hidden,
            file: self.file,
            hooks: Hooks::new(&self.config),
            work: self.work,
        };
        let told = Told {
            tell: tell.clone(),
            owner: owner.as_ref().map(OwnerWatch::handle),
        };
        let monitor = Monitor::start(kept, told).map_err(no_thread)?;
        let control = LocalControl {
            connections: self.follower.as_ref().map(Follower::handle),
            owner: owner.as_ref().map(OwnerWatch::handle),
            monitor: monitor.handle(),
        };
        let following = self.follower.map(|follower| {
            let tell = tell.clone();
            follower.start(move |changes| hand_on(&tell, changes))
        });
        let running = LocalRunning {
            config: self.config,
            following: following.transpose().map_err(no_thread)?,
            owner,
            monitor,
        };
        Ok(FirewallEnds {
            holes: self.backend.holes,
            control: Box::new(control),
            running: Box::new(running),
        })
    }
}

impl Domain for Local {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn begin(&mut self, rules: &[Rule]) -> Result<Vec<Connection>, FirewallError> {
        self.backend.base_rules.prepare()?;
        self.follow(rules)
    }

    fn holes(&mut self) -> &mut dyn Holes {
        &mut *self.backend.holes
    }

    fn start(self: Box<Self>, orders: &OrderSender) -> Result<FirewallEnds, FirewallError> {
        (*self).start(&Tell::orders(orders))
    }
}

fn hand_on(tell: &Tell, changes: Vec<engine::ConnectionChange>) -> Result<(), Untaken> {
    match tell.tell(Notice::Connections(changes)) {
        Err(Untold::Full(Notice::Connections(changes))) => Err(Untaken::Full(changes)),
        Err(Untold::Full(_) | Untold::Stopped) => Err(Untaken::Stopped),
        Ok(()) => Ok(()),
    }
}

// === impl LocalControl ===

impl Control for LocalControl {
    fn follow(&mut self, holes: &[Hole]) {
        if let Some(connections) = &mut self.connections {
            connections.follow(holes.iter().map(|hole| hole.rule));
        }
    }

    fn look_at(&mut self, of: Vec<Connection>) {
        if let Some(connections) = &self.connections {
            connections.look_at(of);
        }
    }

    fn protect(&mut self, ports: Vec<Service>) {
        if let Some(owner) = &self.owner {
            owner.concerns(ports.clone());
        }
        self.monitor.protect(ports);
    }

    fn announce(&mut self) -> bool {
        self.monitor.announce()
    }

    fn ready(&mut self) -> bool {
        self.monitor.ready()
    }

    fn alive(&mut self) {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}

// === impl LocalRunning ===

impl Running for LocalRunning {
    fn leave(self: Box<Self>) -> Result<(), FirewallError> {
        let Self {
            config,
            following,
            owner,
            monitor,
        } = *self;
        drop(following);
        drop(owner);
        let base_rules = monitor.stop().unwrap_or_else(|panic| resume_unwind(panic));
        match base_rules {
            Some(mut rules) if config.flush_at_exit && rules.protected().is_empty() => {
                rules.remove()?;
                Hooks::remove(&config)
            }
            Some(mut rules) => rules.leave(),
            None => Ok(()),
        }
    }
}

// === impl Told ===

impl Listener for Told {
    fn drift(&mut self, found: Option<String>) {
        // A full mailbox gets the next report.
        let _ = self.tell.tell(Notice::Drift(found));
    }

    fn ready(&mut self) {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            "postern-agent is ready"
        );
    }

    fn laid(&mut self) {
        // What would be dropped is known before the first packet is judged.
        if let Some(owner) = &self.owner {
            owner.begin();
        }
        self.tell.deliver(Notice::Laid);
    }
}
