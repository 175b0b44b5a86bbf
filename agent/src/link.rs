//! The link to the controller: everything of the agent that talks to the fleet.
//!
//! It runs on tokio beside the gate thread and never in its way. All that the gate thread gives and
//! takes goes through [`Channels`]. Losing the controller ends nothing here: every task waits for
//! the connection to come back, and the gate goes on with the policy it has.
//!
//! | task | does |
//! |---|---|
//! | `session` | keeps one stream of directives open; policies and siblings' claims → orders; what it hears of the fleet is kept in `memory` |
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
mod kept_log;
mod keys;
pub mod known;
mod memory;
mod packed;
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
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic::{Code, Status};

pub use self::kept_log::{KeptLog, LogConflict};
use self::keys::OwnKeys;
pub(crate) use self::memory::read_hostile;
pub use self::memory::{called_now, kept_log};
use self::rotation::KeyRotation;
use crate::channels::Channels;
use crate::clock;
use crate::orders::{NotTaken, Order, OrderSender};

/// For how long another certificate is waited for.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait before offering an order again to a full mailbox.
const MAILBOX_PAUSE: Duration = Duration::from_millis(10);

/// Whom the link speaks for, and where.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Who this host is.
    pub member: Membership,
    /// Dial the controller here (`host:port`) instead of where the membership says.
    pub controller: Option<String>,
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

/// Opens a channel to the controller. A function, so that tests need no certificates.
type Dial = Arc<dyn Fn() -> Dialling + Send + Sync>;

/// How the controller is reached, and with which keys.
struct Controller {
    dial: Dial,
    /// For people.
    address: String,
    keys: OwnKeys,
}

// === impl Controller ===

impl Controller {
    /// Whether this host gets another certificate, where the one that it came with counts no more: that may be of
    /// a key that another has followed.
    async fn renews(&self) -> bool {
        let Some(member) = self.keys.member() else {
            return false;
        };
        let renewal = tokio::time::timeout(RENEWAL_TIMEOUT, member.renew_at(&self.address));
        matches!(renewal.await, Ok(Ok(())))
    }

    /// Has the certificate renewed where the controller says something else of its authorities than is kept
    /// here: so they are learned. The session goes on meanwhile.
    fn learn(&self, digest: &[u8]) {
        let member = self.keys.member();
        let Some(member) = member.filter(|member| member.is_behind(digest)) else {
            return;
        };
        let address = self.address.clone();
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
    let LinkConfig { member, controller } = config;
    let address = controller.unwrap_or_else(|| member.address.clone());
    let (link, start) = Link::new(&channels);
    let state = channels.state.clone();
    state.dials(&address);
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
            address.clone(),
            state.clone(),
        ),
        &link,
    );

    let dialled = address.clone();
    let speaks = keys.clone();
    let dial: Dial = Arc::new(move || {
        let member = speaks.member().unwrap_or_else(|| member.clone());
        let address = address.clone();
        let state = state.clone();
        Box::pin(async move {
            let channel = member.channel_to(&address).await;
            state.certificate(member.expires_at_secs());
            channel
        })
    });
    let controller = Controller {
        dial,
        address: dialled,
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
