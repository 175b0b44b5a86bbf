//! The packet filter for a gate in another process, which is trusted in nothing.
//!
//! | thread | does |
//! |---|---|
//! | `requests` | takes one request after the other, asks the [`Checks`], carries it out, answers |
//! | `wishes` | what is not answered: ports to hide, connections to look at |
//! | `notices` | says what the threads that look after the packet filter have found |
//!
//! Those threads never wait for the gate: what it does not take is kept as long as there is room.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::{Hole, Rule};
use parking_lot::Mutex;
use spa::Service;

use super::limits::{Checks, Limits, ToHide};
use super::link::{Incoming, Link, Outgoing};
use super::local::Local;
use super::message::{Answered, Asked, Done, Hello, Request, Wish};
use super::{Domain, Facts, FirewallEnds, Running, Tell, Untold};
use crate::clock;
use crate::config::Config;
use crate::domains::channel::{Channel, ChannelError};
use crate::firewall::{Control, FirewallError, Holes, Notice};
use crate::work::Work;

/// Notices that wait for a gate that takes none.
const NOTICES_MAX: usize = 1_024;
/// The gate says that it goes on twice in this time.
const ALIVE_WITHIN: Duration = Duration::from_secs(8);
/// Before another attempt at what a thread could not take.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// The packet filter, served until the gate ends.
#[derive(Debug)]
pub struct FirewallService {
    thread: JoinHandle<Option<Box<dyn Running>>>,
    health: Health,
}

/// What others of this process see of the service.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// The gate goes on: counted each time that it says so.
    pub gate: Arc<Work>,
    /// Of the thread that carries out requests.
    pub requests: Arc<Work>,
    /// Of the thread that keeps the base rules.
    pub monitor: Arc<Work>,
    /// To the gate, once it listens.
    tell: Arc<Mutex<Option<Tell>>>,
    /// What is to be hidden.
    hidden: Arc<Mutex<Vec<Service>>>,
}

/// What is done with requests.
pub(super) struct Serving {
    facts: Facts,
    stage: Stage,
    shared: Arc<Mutex<Shared>>,
    health: Health,
    denied: u64,
}

/// How far it is.
enum Stage {
    Opened(Box<Local>, Link),
    Started {
        holes: Box<dyn Holes>,
        /// `None` where nothing looks after them.
        running: Option<Box<dyn Running>>,
    },
    /// It could not start: nothing more is done.
    Failed,
}

/// What requests and wishes both need.
struct Shared {
    checks: Checks,
    /// `None` before the start.
    control: Option<Box<dyn Control>>,
}

// === impl FirewallService ===

impl FirewallService {
    /// Serves the gate at the other ends of these channels, that of requests and that of notices.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        config: &Config,
        local: Local,
        requests: Channel,
        notices: Channel,
    ) -> Result<Self, FirewallError> {
        let cannot = |cause: std::io::Error| FirewallError::Thread(cause.to_string());
        let (requests, notices) = (Link::of(requests), Link::of(notices));
        let (requests, notices) = (requests.map_err(cannot)?, notices.map_err(cannot)?);
        let serving = Serving::new(config, Box::new(local), notices);
        let health = serving.health.clone();
        let thread = serving.start(requests)?;
        Ok(Self { thread, health })
    }

    /// For who watches over it.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Waits until the gate has ended, and takes down what must not stay.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    ///
    /// # Panics
    ///
    /// When one of the threads has panicked.
    pub fn leave(self) -> Result<(), FirewallError> {
        let running = self.thread.join();
        let running = running.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        running.map_or(Ok(()), Running::leave)
    }
}

// === impl Health ===

impl Health {
    /// What is to be hidden, by the last word of the gate and by the configuration.
    #[must_use]
    pub fn hidden(&self) -> Vec<Service> {
        self.hidden.lock().clone()
    }

    /// Whether the gate listens.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.tell.lock().is_some()
    }

    /// Tells the gate which processes do not answer. `false` when it is to be told again.
    #[must_use]
    pub fn tell_silent(&self, names: &[&str]) -> bool {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let tell = self.tell.lock();
        let told = tell.as_ref().map(|tell| tell.tell(Notice::Silent(names)));
        told.is_none_or(|told| !matches!(told, Err(Untold::Full(_))))
    }
}

// === impl Serving ===

impl Serving {
    fn new(config: &Config, local: Box<Local>, notices: Link) -> Self {
        let limits = Limits {
            capabilities: local.facts().capabilities,
            nat: config.nat,
            grants_max: config.grants_max,
            protect: config.firewall.protect.clone(),
        };
        let monitor = local.work();
        let mut facts = local.facts().clone();
        // The gate says that it goes on whether or not systemd wants to know.
        let every = facts.watchdog.unwrap_or(ALIVE_WITHIN);
        facts.watchdog = Some(every.min(ALIVE_WITHIN));
        let serving = Self::at(Stage::Opened(local, notices), facts, limits);
        let health = Health {
            monitor,
            ..serving.health.clone()
        };
        Self { health, ..serving }
    }

    /// Serves these holes, and nothing that looks after them.
    pub(super) fn of_holes(holes: Box<dyn Holes>, facts: Facts, limits: Limits) -> Self {
        let running = None;
        Self::at(Stage::Started { holes, running }, facts, limits)
    }

    fn at(stage: Stage, facts: Facts, limits: Limits) -> Self {
        let hidden = facts.hidden.as_deref().unwrap_or_default();
        let health = Health::default();
        *health.hidden.lock() = hidden.to_vec();
        let checks = Checks::new(limits, hidden);
        let control = None;
        Self {
            facts,
            stage,
            shared: Arc::new(Mutex::new(Shared { checks, control })),
            health,
            denied: 0,
        }
    }

    pub(super) fn start(
        self,
        link: Link,
    ) -> Result<JoinHandle<Option<Box<dyn Running>>>, FirewallError> {
        let thread = thread::Builder::new().name("requests".to_owned());
        let thread = thread.spawn(move || self.run(link));
        thread.map_err(|cause| FirewallError::Thread(cause.to_string()))
    }

    /// What looks after the packet filter, if it was started, when the gate has ended.
    fn run(mut self, mut link: Link) -> Option<Box<dyn Running>> {
        match self.serve(&mut link) {
            ChannelError::Gone => tracing::debug!("the gate has ended"),
            cause @ (ChannelError::Malformed | ChannelError::Silent | ChannelError::Io(_)) => {
                let error = program::one_line(&cause);
                tracing::error!(%error, "the gate is not listened to any more");
            }
        }
        match self.stage {
            Stage::Started { running, holes: _ } => running,
            Stage::Opened(..) | Stage::Failed => None,
        }
    }

    /// Serves until that cannot go on.
    fn serve(&mut self, link: &mut Link) -> ChannelError {
        if let Err(cause) = link.outgoing.send(&hello(&self.facts)) {
            return cause;
        }
        loop {
            let answered = match link.incoming.receive() {
                Ok(Asked {
                    number,
                    until,
                    request,
                }) => {
                    let requests = Arc::clone(&self.health.requests);
                    let result = requests.piece(|| self.answer(request, until));
                    Answered { number, result }
                }
                Err(cause) => return cause,
            };
            if let Err(cause) = link.outgoing.send(&answered) {
                return cause;
            }
        }
    }

    fn answer(&mut self, mut request: Request<'_>, until: Duration) -> Result<Done, FirewallError> {
        // Who asked is told no already, and so is everybody whom it was for.
        if matches!(request, Request::Open(_)) && until < clock::since_boot() {
            return Err(FirewallError::Silent);
        }
        {
            let mut shared = self.shared.lock();
            if let Err(denied) = shared.checks.check(&mut request, clock::steady()) {
                drop(shared);
                return Err(self.deny(request.name(), &denied.to_string()));
            }
            if let (Request::Open(holes), Some(control)) = (&request, &mut shared.control) {
                control.follow(holes);
            }
        }
        match &request {
            Request::Begin(rules) => self.begin(rules),
            Request::Start => self.look_after(),
            Request::Open(holes) => {
                for hole in holes.iter() {
                    tracing::debug!(rule = %hole.rule, secs = hole.timeout.secs(), "opened");
                }
                self.holes()?.open(holes).map(|()| Done::Nothing)
            }
            Request::Close(rules, connections) if rules.is_empty() && connections.is_empty() => {
                Ok(Done::Nothing)
            }
            Request::Close(rules, connections) => {
                self.holes()?.close(rules, connections)?;
                self.shared.lock().checks.closed(rules, clock::steady());
                Ok(Done::Nothing)
            }
            Request::End(rules) if rules.is_empty() => Ok(Done::Nothing),
            Request::End(rules) => {
                self.holes()?.end(rules)?;
                self.shared.lock().checks.closed(rules, clock::steady());
                Ok(Done::Nothing)
            }
            Request::Beat => Ok(Done::Nothing),
            Request::List => self.list().map(Done::Holes),
            Request::Flush => {
                self.holes()?.flush()?;
                self.shared.lock().checks.flushed(clock::steady());
                Ok(Done::Nothing)
            }
        }
    }

    /// Said the first time, and then less and less often: whoever asks does not fill a log.
    fn deny(&mut self, request: &str, why: &str) -> FirewallError {
        self.denied += 1;
        if self.denied.is_power_of_two() {
            let denied = self.denied;
            tracing::error!(
                request,
                why,
                denied,
                "the gate asks for what it may not have; it is refused"
            );
        }
        FirewallError::Denied(why.to_owned())
    }

    fn holes(&mut self) -> Result<&mut dyn Holes, FirewallError> {
        match &mut self.stage {
            Stage::Opened(local, _) => Ok(local.holes()),
            Stage::Started { holes, running: _ } => Ok(&mut **holes),
            Stage::Failed => Err(FirewallError::Lost),
        }
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        let open = self.holes()?.list()?;
        self.shared.lock().checks.found(&open, clock::steady());
        Ok(open)
    }

    fn begin(&mut self, rules: &[Rule]) -> Result<Done, FirewallError> {
        let connections = match &mut self.stage {
            Stage::Opened(local, _) => local.begin(rules)?,
            Stage::Started { .. } | Stage::Failed => return Err(FirewallError::Lost),
        };
        // What an earlier run opened counts, and may be closed.
        if let Err(cause) = self.list() {
            let error = program::one_line(&cause);
            tracing::warn!(%error, "cannot see what an earlier run left open");
        }
        Ok(Done::Connections(connections))
    }

    fn look_after(&mut self) -> Result<Done, FirewallError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Failed);
        let Stage::Opened(local, Link { outgoing, incoming }) = stage else {
            return Err(FirewallError::Lost);
        };
        let (sender, notices) = sync_channel(NOTICES_MAX);
        spawn("notices", move || hand_on(&notices, outgoing))?;
        let tell = Tell::by(move |notice| leave(&sender, notice));
        *self.health.tell.lock() = Some(tell.clone());
        let FirewallEnds {
            holes,
            control,
            running,
        } = Local::start(*local, &tell)?;
        let running = Some(running);
        self.stage = Stage::Started { holes, running };
        self.shared.lock().control = Some(control);
        let shared = Arc::clone(&self.shared);
        let health = self.health.clone();
        spawn("wishes", move || grant_wishes(incoming, &shared, &health))?;
        Ok(Done::Nothing)
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), FirewallError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    match thread {
        // It ends with its channel.
        Ok(_) => Ok(()),
        Err(cause) => Err(FirewallError::Thread(cause.to_string())),
    }
}

fn hello(facts: &Facts) -> Hello {
    let Facts {
        backend,
        why,
        capabilities,
        hidden,
        watchdog,
    } = facts;
    Hello {
        backend: (*backend).to_owned(),
        why: why.clone(),
        capabilities: *capabilities,
        hidden: hidden.clone(),
        watchdog: *watchdog,
    }
}

fn leave(sender: &SyncSender<Notice>, notice: Notice) -> Result<(), Untold> {
    sender.try_send(notice).map_err(|untold| match untold {
        TrySendError::Full(notice) => Untold::Full(notice),
        TrySendError::Disconnected(_) => Untold::Stopped,
    })
}

/// Says what was found, until nobody hears it.
fn hand_on(notices: &Receiver<Notice>, mut outgoing: Outgoing) {
    while let Ok(notice) = notices.recv() {
        if outgoing.send(&notice).is_err() {
            return;
        }
    }
}

fn grant_wishes(mut incoming: Incoming, shared: &Mutex<Shared>, health: &Health) {
    let cause = loop {
        match incoming.receive() {
            // Who watches over all of them tells systemd.
            Ok(Wish::Alive) => health.gate.goes_on(),
            Ok(wish) => grant(wish, shared, health),
            Err(cause) => break cause,
        }
    };
    if !matches!(cause, ChannelError::Gone) {
        let error = program::one_line(&cause);
        tracing::error!(%error, "the gate is not listened to any more");
    }
    // A gate that is in order ends then.
    incoming.hang_up();
}

fn grant(wish: Wish<'_>, shared: &Mutex<Shared>, health: &Health) {
    match wish {
        Wish::Protect(ports) => {
            let mut shared = shared.lock();
            let ToHide { ports, fewer } = shared.checks.protect(&ports);
            if !fewer.is_empty() {
                tracing::warn!(%fewer, "ports are not to be hidden any more");
            }
            health.hidden.lock().clone_from(&ports);
            if let Some(control) = &mut shared.control {
                control.protect(ports);
            }
        }
        Wish::LookAt(connections) => {
            if let Some(control) = &mut shared.lock().control {
                control.look_at(connections.into_owned());
            }
        }
        Wish::Announce => until_taken(shared, |control| control.announce()),
        Wish::Ready => until_taken(shared, |control| control.ready()),
        Wish::Alive => {}
    }
}

fn until_taken(shared: &Mutex<Shared>, mut wish: impl FnMut(&mut Box<dyn Control>) -> bool) {
    while !shared.lock().control.as_mut().is_none_or(&mut wish) {
        thread::sleep(FULL_PAUSE);
    }
}
