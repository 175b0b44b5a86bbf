//! The thread that tells the gate which connections begin and end.
//!
//! It hears of every connection of the host, and hands on those to ports that a hole was ever opened
//! for. What is dropped is never confirmed, so a flood at a hidden port makes no notices at all. If
//! more happens than can be told, everything is read anew: a connection is then found instead of
//! seen to begin, and counts as begun through every grant that may have let it in.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::{Connection, ConnectionChange, Rule};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use spa::Service;

use super::conntrack::{self, Notice};
use crate::netlink::{Heard, Listener, Netlink, NetlinkError, Requests};

/// Services that are told apart; beyond, all connections are followed.
const SERVICES_MAX: usize = 4_096;
/// Changes in one order.
const CHANGES_MAX: usize = 1_024;
/// Changes that wait for a gate that takes none. Beyond, everything is read anew.
const WAITING_MAX: usize = 131_072;
/// Between two readings of everything.
const READ_ANEW_EVERY: Duration = Duration::from_secs(1);

/// Hears of connections. Made before anything is opened, so that nothing is missed.
#[derive(Debug)]
pub(crate) struct Follower {
    notices: Listener,
    netlink: Netlink,
    shared: Arc<Shared>,
}

/// For the gate thread: which ports are to be followed, and what is to be looked at.
#[derive(Debug)]
pub struct ConnectionsHandle {
    /// What the thread knows already; `None` is everything.
    services: BTreeSet<Option<Service>>,
    shared: Arc<Shared>,
}

/// The thread, which ends with this value.
#[derive(Debug)]
pub(crate) struct Following {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wanted: Mutex<Wanted>,
    bell: EventFd,
}

#[derive(Debug, Default)]
struct Wanted {
    services: BTreeSet<Option<Service>>,
    look_at: Vec<Connection>,
    stop: bool,
}

/// What the thread does with what has changed, without waiting.
pub(crate) trait Told: FnMut(Vec<ConnectionChange>) -> Result<(), Untaken> + Send {}

impl<T: FnMut(Vec<ConnectionChange>) -> Result<(), Untaken> + Send> Told for T {}

/// Why changes were not taken.
#[derive(Debug)]
pub(crate) enum Untaken {
    /// Not now: they come back.
    Full(Vec<ConnectionChange>),
    /// Nobody listens any more.
    Stopped,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    GoOn,
    Stop,
}

/// What the thread has of its own.
struct Watch<T> {
    follower: Follower,
    told: T,
    requests: Requests,
    changes: VecDeque<ConnectionChange>,
    /// Something was not told.
    lost: bool,
}

// === impl ConnectionsHandle ===

impl ConnectionsHandle {
    /// Follows what begins through these rules from now on. To be called before they are opened.
    pub(crate) fn follow(&mut self, rules: impl Iterator<Item = Rule>) {
        for rule in rules {
            let mut asked = rule.asked();
            if self.services.len() >= SERVICES_MAX {
                asked = None;
            }
            if self.services.insert(asked) {
                self.shared.wanted.lock().services.insert(asked);
            }
        }
    }

    /// Asks whether these still exist. Answered with an order, for those that do not.
    pub(crate) fn look_at(&self, connections: Vec<Connection>) {
        self.shared.wanted.lock().look_at = connections;
        self.shared.ring();
    }
}

// === impl Shared ===

impl Shared {
    fn ring(&self) {
        // Fails when it rings already.
        let _ = self.bell.write(1);
    }
}

// === impl Following ===

impl Drop for Following {
    fn drop(&mut self) {
        self.shared.wanted.lock().stop = true;
        self.shared.ring();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

// === impl Follower ===

impl Follower {
    /// Begins to hear, in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// When this kernel does not tell.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            notices: Listener::netfilter(&[conntrack::GROUP_NEW, conntrack::GROUP_DESTROY])?,
            netlink: Netlink::open()?,
            shared: Arc::new(Shared {
                wanted: Mutex::default(),
                bell: EventFd::from_flags(flags)?,
            }),
        })
    }

    /// For the gate thread.
    pub(crate) fn handle(&self) -> ConnectionsHandle {
        ConnectionsHandle {
            services: BTreeSet::new(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// All connections to the ports that are followed.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub(crate) fn list(&mut self) -> Result<Vec<Connection>, NetlinkError> {
        let services = self.shared.wanted.lock().services.clone();
        let mut requests = Requests::default();
        conntrack::list(&mut requests);
        let mut found = Vec::new();
        if !services.is_empty() {
            self.netlink.dump(&mut requests, &mut |entry| {
                let connection = conntrack::connection(entry);
                found.extend(connection.filter(|connection| is_to(connection, &services)));
            })?;
        }
        Ok(found)
    }

    /// Starts the thread. `told` is called on it, at every change.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(self, told: impl Told + 'static) -> io::Result<Following> {
        let shared = Arc::clone(&self.shared);
        let watch = Watch {
            follower: self,
            told,
            requests: Requests::default(),
            changes: VecDeque::new(),
            lost: false,
        };
        let thread = thread::Builder::new()
            .name("connections".to_owned())
            .spawn(move || watch.keep())?;
        Ok(Following {
            shared,
            thread: Some(thread),
        })
    }
}

// === impl Watch ===

impl<T: Told> Watch<T> {
    fn keep(mut self) {
        loop {
            self.wait();
            let look_at = {
                let mut wanted = self.follower.shared.wanted.lock();
                if wanted.stop {
                    return;
                }
                std::mem::take(&mut wanted.look_at)
            };
            if let Err(cause) = self.hear() {
                let error = program::one_line(&cause);
                tracing::error!(%error, "connections cannot be followed; all are read anew");
                self.lost = true;
                thread::sleep(READ_ANEW_EVERY);
            }
            self.look(look_at);
            if self.lost {
                self.read_anew();
            }
            if self.hand_on() == Next::Stop {
                return;
            }
        }
    }

    fn wait(&self) {
        let mut fds = [
            PollFd::new(self.follower.notices.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.follower.shared.bell.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = if self.lost || !self.changes.is_empty() {
            PollTimeout::from(10_u16)
        } else {
            PollTimeout::NONE
        };
        // A signal is as good as a notice: the loop looks.
        let _ = poll(&mut fds, timeout);
        let _ = self.follower.shared.bell.read();
    }

    fn hear(&mut self) -> io::Result<()> {
        let services = self.follower.shared.wanted.lock().services.clone();
        let changes = &mut self.changes;
        let mut dropped = false;
        let heard = self.follower.notices.drain(&mut |notice| {
            let entry = notice.attributes(conntrack::HEADER_LEN);
            let change = match conntrack::notice(notice.kind, entry) {
                Some(Notice::Began(connection)) if is_to(&connection, &services) => {
                    ConnectionChange::Began(connection)
                }
                Some(Notice::Ended(connection)) if is_to(&connection, &services) => {
                    ConnectionChange::Ended(connection)
                }
                Some(Notice::Began(_) | Notice::Ended(_)) | None => return,
            };
            dropped |= changes.len() >= WAITING_MAX;
            if !dropped {
                changes.push_back(change);
            }
        })?;
        self.lost |= dropped || heard == Heard::Lost;
        Ok(())
    }

    /// Tells which of these are over: the kernel does not say it of those that began before anybody
    /// listened.
    fn look(&mut self, connections: Vec<Connection>) {
        for connection in connections {
            self.requests.clear();
            conntrack::get(&mut self.requests, &connection);
            match self.follower.netlink.dump(&mut self.requests, &mut |_| ()) {
                Err(NetlinkError::Kernel(errno)) if errno.code == conntrack::ENOENT => {
                    self.changes.push_back(ConnectionChange::Ended(connection));
                }
                // On doubt it exists.
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn read_anew(&mut self) {
        match self.follower.list() {
            Ok(found) => {
                self.lost = false;
                let found = found.into_iter().map(ConnectionChange::Found);
                self.changes.extend(found);
            }
            Err(cause) => {
                let error = program::one_line(&cause);
                tracing::error!(%error, "connections cannot be listed; it is tried again");
            }
        }
        // However much happens, not more often than this.
        thread::sleep(READ_ANEW_EVERY);
    }

    /// Tells what has changed; what is not taken waits.
    fn hand_on(&mut self) -> Next {
        while !self.changes.is_empty() {
            let count = self.changes.len().min(CHANGES_MAX);
            let changes: Vec<_> = self.changes.drain(..count).collect();
            match (self.told)(changes) {
                Ok(()) => {}
                Err(Untaken::Full(changes)) => {
                    for change in changes.into_iter().rev() {
                        self.changes.push_front(change);
                    }
                    return Next::GoOn;
                }
                Err(Untaken::Stopped) => return Next::Stop,
            }
        }
        Next::GoOn
    }
}

fn is_to(connection: &Connection, services: &BTreeSet<Option<Service>>) -> bool {
    let Some(port) = connection.asked() else {
        return false;
    };
    services.contains(&Some(port.into()))
        || services
            .iter()
            .any(|service| service.is_none_or(|service| service.contains(port)))
}
