//! The link to the controller: everything of the agent that talks to the fleet.
//!
//! It runs on tokio beside the gate thread and never in its way. All that the gate thread gives and
//! takes goes through [`Channels`]. Losing the controller ends nothing here: every task waits for
//! the connection to come back, and the gate goes on with the policy it has.
//!
//! | task | does |
//! |---|---|
//! | `session` | keeps one stream of directives open, at one of the `places` where controllers are; policies and siblings' claims → orders; what it hears of the fleet is kept in `memory` |
//! | `home` | nothing by itself: when `session` goes back to an earlier controller (pure) |
//! | `report` | acknowledges what is in force, at every change and every 30 s |
//! | `claims` | asks for claims, and answers at once when the connection is down |
//! | `events` | pushes the journal's spool; nothing lost, nothing twice |
//! | `renewal` | a fresh certificate at half life |
//! | `known` | nothing by itself: commands ask whether the controller still knows this host |
//! | `rotation` | other keys in the place of this host's, when somebody asks for them; `keys` has those that are used |
//!
//! Only `session` decides whether the connection is up; the others follow its [`Connection`].

mod backoff;
mod claims;
mod events;
mod heard;
mod home;
mod kept_log;
mod keys;
pub mod known;
mod memory;
mod opening;
mod packed;
mod places;
mod renewal;
mod report;
mod rotation;
mod session;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fleet::Contract;
use member::{ConnectError, Membership};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic::{Code, Status};

use self::home::Home;
pub use self::kept_log::{KeptLog, LogConflict};
use self::keys::OwnKeys;
pub(crate) use self::memory::read_hostile;
pub use self::memory::{called_now, kept_log};
use self::places::{Ended, Next, Places};
use self::rotation::KeyRotation;
use crate::channels::Channels;
use crate::clock;
use crate::link_state::LinkState;
use crate::orders::{NotTaken, Order, OrderSender};

/// For how long another certificate is waited for.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked whether it is time to go back to an earlier controller.
const LOOK_HOME: Duration = Duration::from_secs(5);
/// How long to wait before offering an order again to a full mailbox.
const MAILBOX_PAUSE: Duration = Duration::from_millis(10);

/// Whom the link speaks for, and where.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Who this host is.
    pub member: Membership,
    /// Dial controllers here (each `host:port`) before, and instead of, where this host has joined.
    pub controllers: Vec<String>,
    /// A host that is not at the first of them goes back after once to three times as long.
    pub return_after: Duration,
}

/// A running link. Dropping it leaves it running; [`finish`](Self::finish) ends it.
#[derive(Debug)]
pub struct Link {
    tasks: TaskTracker,
    stop: CancellationToken,
    connection: watch::Receiver<Connection>,
    committed: watch::Receiver<u64>,
    pushed: watch::Receiver<u64>,
}

/// Whether the controller can be spoken to now.
#[derive(Clone, Debug)]
enum Connection {
    /// The first attempt is still under way.
    Starting,
    Up(Peer),
    Down,
}

/// A controller that can be spoken to, and how.
#[derive(Clone, Debug)]
struct Peer {
    channel: Channel,
    contract: Contract,
}

/// The gate thread has stopped, so there is nobody left to work for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct GateStopped;

/// What a call that failed is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trouble {
    /// The controller cannot be reached, or is busy: it passes.
    Passing,
    /// Something is wrong with the controller itself: it may pass, and a person should look.
    Broken,
    /// It does not want what we ask: that does not change by asking again.
    Refused,
}

type Dialling = Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send>>;

/// Opens a channel to the controller at an address. A function, so that tests need no certificates.
type Dial = Arc<dyn Fn(String) -> Dialling + Send + Sync>;

/// How the controller is reached, and with which keys.
#[derive(Clone)]
struct Controller {
    dial: Dial,
    addresses: Addresses,
    keys: OwnKeys,
}

/// Where controllers are dialled, as all tasks of the link know it. Its copies are one.
#[derive(Clone)]
struct Addresses {
    places: Arc<Mutex<Places>>,
    /// What the host's owner says, which comes first.
    own: Arc<[String]>,
    state: LinkState,
}

// === impl Addresses ===

impl Addresses {
    fn new((own, known): (&[String], Vec<String>), home: Home, state: LinkState) -> Self {
        let places = Places::new(laid_over(own, known), home);
        let addresses = Self {
            places: Arc::new(Mutex::new(places)),
            own: own.into(),
            state,
        };
        addresses.show();
        addresses
    }

    /// The one in use, or tried last.
    fn current(&self) -> String {
        self.places.lock().current().to_owned()
    }

    fn next(&self) -> Next {
        let next = self.places.lock().next(clock::now().steady);
        self.show();
        next
    }

    fn ended(&self, how: Ended) {
        self.places.lock().ended(how, clock::now().steady, share());
        self.show();
    }

    fn know(&self, known: Vec<String>) {
        let mut places = self.places.lock();
        places.know(laid_over(&self.own, known));
        places.reordered(clock::now().steady, share());
        drop(places);
        self.show();
    }

    /// A session was opened at the one in use.
    fn opened(&self) {
        self.places.lock().opened(clock::now().steady, share());
        self.show();
    }

    /// Waits until an earlier one than that in use is to be tried, and gives its address. Not by one long timer, since the
    /// order may change.
    async fn time_to_go_home(&self) -> String {
        loop {
            let left = match self.earlier() {
                Ok(address) => return address,
                Err(left) => left,
            };
            tokio::time::sleep(left.min(LOOK_HOME)).await;
        }
    }

    /// The address to try now, or how long that has time.
    fn earlier(&self) -> Result<String, Duration> {
        let now = clock::now().steady;
        let mut places = self.places.lock();
        if places.goes_home_at().is_some_and(|due| due <= now) {
            if let Some(address) = places.earlier(now) {
                return Ok(address);
            }
            places.stays(now, share());
        }
        let due = places.goes_home_at();
        drop(places);
        self.show();
        Err(due.map_or(LOOK_HOME, |due| due.saturating_sub(now)))
    }

    fn went_home(&self, address: &str) {
        let now = clock::now().steady;
        self.places.lock().went_home(address, now, share());
        self.show();
    }

    fn stays(&self) {
        self.places.lock().stays(clock::now().steady, share());
        self.show();
    }

    fn show(&self) {
        let places = self.places.lock();
        let all = places.all().map(str::to_owned).collect();
        self.state.dials(places.current(), all);
        self.state.goes_home_at(places.goes_home_at());
    }
}

/// What of a wait is chance, from 0 to 1. Without randomness this host does not wait for others.
fn share() -> f64 {
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    f64::from(u8::from_ne_bytes(byte)) / f64::from(u8::MAX)
}

/// Where controllers are dialled, in this order: where the host's owner says, and then what the fleet has said. While it
/// has said nothing, the owner's are instead of the one that was joined at.
fn laid_over(own: &[String], known: Vec<String>) -> Vec<String> {
    let mut all = own.to_vec();
    if own.is_empty() || known.len() > 1 {
        all.extend(known);
    }
    all
}

/// Where the link of this member dials controllers, in this order; `own` is what the host's owner says.
pub(crate) fn addresses(member: &Membership, own: &[String]) -> Vec<String> {
    laid_over(&member.spread(own.to_vec()), member.controllers())
}

// === impl Controller ===

impl Controller {
    /// Whether this host gets another certificate, where the one that it came with counts no more: that may be of
    /// a key that another has followed.
    async fn renews(&self) -> bool {
        let Some(member) = self.keys.member() else {
            return false;
        };
        let address = self.addresses.current();
        let renewal = tokio::time::timeout(RENEWAL_TIMEOUT, member.renew_at(&address));
        matches!(renewal.await, Ok(Ok(())))
    }

    /// Keeps where the fleet's controllers are, as one of them says.
    async fn hear(&self, said: Vec<String>) {
        if said.is_empty() {
            return;
        }
        let Some(member) = self.keys.member() else {
            self.addresses.know(fleet::controllers_of(&said));
            return;
        };
        let heard = tokio::task::spawn_blocking(move || {
            let kept = member.hear_controllers(&said);
            (kept, member.controllers())
        });
        match heard.await {
            Ok((Ok(false), _)) => {}
            Ok((kept, controllers)) => {
                tracing::info!(?controllers, "the fleet has these controllers");
                if let Err(error) = kept {
                    let error = program::one_line(&error);
                    tracing::warn!(%error, "where the controllers are is not kept");
                }
                self.addresses.know(controllers);
            }
            Err(error) => tracing::warn!(%error, "where the controllers are is not kept"),
        }
    }

    /// Has the certificate renewed where the controller says something else of its authorities than is kept
    /// here: so they are learned. The session goes on meanwhile.
    fn learn(&self, digest: &[u8]) {
        let member = self.keys.member();
        let Some(member) = member.filter(|member| member.is_behind(digest)) else {
            return;
        };
        let address = self.addresses.current();
        tokio::spawn(async move {
            if let Err(error) = member.renew_at(&address).await {
                let error = program::one_line(&error);
                tracing::warn!(%error, "the fleet's authorities are others now, and are not learned yet");
            }
        });
    }
}

/// Starts the link. If the gate enforces no policy yet, the one saved in the journal is ordered
/// first, without waiting for the controller.
#[must_use]
pub fn spawn(runtime: &Handle, config: LinkConfig, channels: Channels) -> Link {
    let LinkConfig {
        member,
        controllers,
        return_after,
    } = config;
    let (link, start) = Link::new(&channels);
    let state = channels.state.clone();
    let addresses = Addresses::new(
        (&member.spread(controllers), member.controllers()),
        Home::new(return_after),
        state.clone(),
    );
    let called = called_now(member.dir(), &member.name);
    state.named(&member.name, called.as_deref().unwrap_or(&member.name));
    state.certificate(member.expires_at_secs());
    // A host has its keys in the file that it was loaded from, so this is no error here.
    let secrets = member.exchanges(clock::now().wall_secs).unwrap_or_default();
    let keys = OwnKeys::new(Some(member.clone()), secrets);
    start.spawn(
        runtime,
        renewal::keep(
            (member.clone(), keys.clone()),
            addresses.clone(),
            state.clone(),
        ),
        &link,
    );

    let speaks = keys.clone();
    let dial: Dial = Arc::new(move |address: String| {
        let member = speaks.member().unwrap_or_else(|| member.clone());
        let state = state.clone();
        Box::pin(async move {
            let channel = member.channel_to(&address).await;
            state.certificate(member.expires_at_secs());
            channel
        })
    });
    let controller = Controller {
        dial,
        addresses,
        keys,
    };
    start.run(runtime, &link, controller, channels);
    link
}

/// The sending ends that the tasks get.
struct Start {
    connection: watch::Sender<Connection>,
    pushed: watch::Sender<u64>,
    /// Why the controller does not take our events; empty when it does.
    audit_fault: watch::Sender<String>,
}

// === impl Trouble ===

impl Trouble {
    fn of(status: &Status) -> Self {
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::ResourceExhausted => Self::Passing,
            Code::Internal => Self::Broken,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => Self::Refused,
        }
    }
}

// === impl Start ===

impl Start {
    fn spawn(
        &self,
        runtime: &Handle,
        task: impl Future<Output = ()> + Send + 'static,
        link: &Link,
    ) {
        let stop = link.stop.clone();
        let task = async move {
            stop.run_until_cancelled(task).await;
        };
        link.tasks.spawn_on(task, runtime);
    }

    fn run(self, runtime: &Handle, link: &Link, controller: Controller, channels: Channels) {
        let Channels {
            backend,
            state,
            orders,
            claims,
            journal,
            committed,
            status,
        } = channels;
        let connection = || link.connection.clone();
        let journal = events::Spool::new(journal);

        let audit_fault = self.audit_fault.subscribe();
        let heard = report::Heard {
            orders: orders.clone(),
            state: state.clone(),
            offset_ms: None,
        };
        let told = report::Told {
            status: status.clone(),
            audit_fault,
            backend,
            spool: journal.clone(),
        };
        let report = report::keep(connection(), told, heard);
        self.spawn(runtime, report, link);
        let newest_claimed = Arc::new(AtomicU64::new(0));
        let newest = Arc::clone(&newest_claimed);
        let claims = claims::Claims {
            connection: connection(),
            orders: orders.clone(),
            newest,
            state: state.clone(),
        }
        .answer(claims);
        self.spawn(runtime, claims, link);
        let quiet = events::Quiet::default();
        let push = events::Push {
            spool: journal.clone(),
            quiet: Arc::clone(&quiet),
            orders: orders.clone(),
            pushed: self.pushed.clone(),
            audit_fault: self.audit_fault.clone(),
        };
        self.spawn(runtime, push.run(committed, connection()), link);
        let rotation =
            KeyRotation::new(&controller, orders.clone(), journal.clone(), state.clone());
        self.spawn(runtime, rotation.keep(), link);
        let session = session::Session {
            controller,
            orders,
            status,
            connection: self.connection.clone(),
            spool: journal,
            quiet,
            newest_claimed,
            state,
            run_id: run_id(),
        };
        self.spawn(runtime, session.keep(), link);
    }
}

// === impl Link ===

impl Link {
    fn new(channels: &Channels) -> (Self, Start) {
        let (connection_sender, connection) = watch::channel(Connection::Starting);
        let (pushed_sender, pushed) = watch::channel(0);
        let link = Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            connection,
            committed: channels.committed.clone(),
            pushed,
        };
        let start = Start {
            connection: connection_sender,
            pushed: pushed_sender,
            audit_fault: watch::Sender::new(String::new()),
        };
        (link, start)
    }

    /// Ends the link: gives the events committed so far `patience` to reach the controller, if the
    /// connection is up, and then stops every task. What was not pushed stays in the journal.
    pub async fn finish(mut self, patience: Duration) {
        if matches!(*self.connection.borrow(), Connection::Up(_)) {
            let last = *self.committed.borrow();
            let drained = self.pushed.wait_for(|pushed| *pushed >= last);
            if tokio::time::timeout(patience, drained).await.is_err() {
                tracing::info!("some events are not pushed yet; they stay in the journal");
            }
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Names this run of the agent. Without randomness it has no name, which costs the controller a way
/// to tell two machines apart that use one state directory.
fn run_id() -> Vec<u8> {
    let mut name = [0; 16];
    match getrandom::fill(&mut name) {
        Ok(()) => name.to_vec(),
        Err(_) => Vec::new(),
    }
}

/// Waits until the connection is up and gives the peer; `None` when the link is over.
async fn up(connection: &mut watch::Receiver<Connection>) -> Option<Peer> {
    let state = connection
        .wait_for(|connection| matches!(connection, Connection::Up(_)))
        .await;
    match &*state.ok()? {
        Connection::Up(peer) => Some(peer.clone()),
        Connection::Starting | Connection::Down => None,
    }
}

/// Leaves an order, waiting while the mailbox is full.
async fn deliver(orders: &OrderSender, order: Order) -> Result<(), GateStopped> {
    let mut order = order;
    loop {
        match orders.send(order) {
            Ok(()) => return Ok(()),
            Err(NotTaken::Stopped) => return Err(GateStopped),
            Err(NotTaken::Full(back)) => order = *back,
        }
        tokio::time::sleep(MAILBOX_PAUSE).await;
    }
}
