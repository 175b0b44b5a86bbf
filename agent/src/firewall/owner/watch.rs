//! The thread that reads the owner's rules when they change, and says what they would drop.
//!
//! It hears of changes by others within milliseconds, reads at once, and then not again for a while:
//! a storm of changes, or holes by the thousand, which are told of, too, cost it a few looks in a
//! second. What nobody tells of (routes, elements that end, the old iptables) is looked at now and
//! then. Repairs of our own rules never wait for it: they have a thread of their own.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use spa::Service;

use super::super::FirewallError;
use super::super::numbers::nf_tables as nf;
use super::super::rest::Rest;
use super::legacy;
use super::outlook::{Interest, Outlook, outlook};
use super::packet::OwnMark;
use super::read::{Ours, Reader};
use super::routes::Routes;
use super::ruleset::{Ruleset, TableFamily};
use super::tracking::{self, Tracking};
use crate::clock;
use crate::config::{BackendChoice, FirewallConfig};
use crate::netlink::{Heard, Listener};

/// Between two looks, at least.
const PAUSE: Duration = Duration::from_millis(200);
/// How much of their share of the time is saved up for when others change much at once.
const SAVED_MAX: Duration = Duration::from_secs(3);
/// Between two looks at what nobody tells of.
const POLL: Duration = Duration::from_secs(30);
const POLL_SILENT: Duration = Duration::from_secs(5);
/// How long the first outlook is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
const TASKS_MAX: usize = 16;

/// The thread, which ends with this value.
#[derive(Debug)]
pub struct OwnerWatch {
    handle: OwnerHandle,
    thread: Option<JoinHandle<()>>,
}

/// Tells the thread something.
#[derive(Clone, Debug)]
pub struct OwnerHandle {
    tasks: SyncSender<Task>,
    bell: Arc<EventFd>,
}

#[derive(Debug)]
enum Task {
    /// Our own rules are laid: look for the first time, and say when that is done.
    Begin(SyncSender<()>),
    /// What is hidden, or named by the policy.
    Concerns(Vec<Service>),
    Stop,
}

/// What the thread has.
struct Watching<T> {
    told: T,
    reader: Option<Reader>,
    listener: Option<Listener>,
    ours: Ours,
    interest: Interest,
    has_begun: bool,
    /// Whether something has changed since the last look.
    is_stale: bool,
    /// No look before; and one at the latest.
    rest: Rest,
    poll_at: Duration,
    last: Option<(Ruleset, Interest)>,
    said: Vec<String>,
    failed: bool,
}

// === impl OwnerWatch ===

impl OwnerWatch {
    /// Starts the thread, which looks for nothing before [`OwnerHandle::begin`]. `leads_on` says whether
    /// our own rules may lead packets on to other places, `in_connections` whether our bit stands in
    /// the marks of connections. `told` is called on it, at every change.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        config: &FirewallConfig,
        leads_on: bool,
        in_connections: bool,
        told: impl FnMut(Outlook) + Send + 'static,
    ) -> io::Result<Self> {
        let (tasks, inbox) = sync_channel(TASKS_MAX);
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let bell = Arc::new(EventFd::from_flags(flags)?);
        let handle = OwnerHandle {
            tasks,
            bell: Arc::clone(&bell),
        };
        let watching = Watching {
            told,
            reader: Reader::open().ok(),
            listener: Listener::netfilter(&[nf::GROUP]).ok(),
            ours: super::ours(config),
            interest: interest(config, leads_on, in_connections),
            has_begun: false,
            is_stale: false,
            rest: Rest::new(clock::now().steady, SAVED_MAX, PAUSE),
            poll_at: Duration::MAX,
            last: None,
            said: Vec::new(),
            failed: false,
        };
        let thread = thread::Builder::new()
            .name("owner".to_owned())
            .spawn(move || watching.run(&inbox, &bell))?;
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }

    /// For those who have something to tell it.
    pub fn handle(&self) -> OwnerHandle {
        self.handle.clone()
    }
}

impl Drop for OwnerWatch {
    fn drop(&mut self) {
        let _ = self.handle.tasks.send(Task::Stop);
        let _ = self.handle.bell.write(1);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

// === impl OwnerHandle ===

impl OwnerHandle {
    /// Our own rules are laid. Returns when the first outlook was told, or a second has passed.
    pub fn begin(&self) {
        let (done, wait) = sync_channel(1);
        if self.leave(Task::Begin(done)) {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }

    /// What is hidden or named by the policy: what stands in its way is worth a warning.
    pub fn concerns(&self, services: Vec<Service>) {
        // A thread that has so much to do is told the next time.
        let _ = self.leave(Task::Concerns(services));
    }

    fn leave(&self, task: Task) -> bool {
        let left = self.tasks.try_send(task).is_ok();
        // A bell that rings already is as good.
        let _ = self.bell.write(1);
        left
    }
}

// === impl Watching ===

impl<T: FnMut(Outlook)> Watching<T> {
    fn run(mut self, inbox: &Receiver<Task>, bell: &EventFd) {
        loop {
            self.wait(bell.as_fd());
            let _ = bell.read();
            let mut begun = Vec::new();
            while let Ok(task) = inbox.try_recv() {
                match task {
                    Task::Begin(done) => {
                        self.has_begun = true;
                        self.is_stale = true;
                        begun.push(done);
                    }
                    Task::Concerns(services) => {
                        self.interest.services = services;
                        self.is_stale |= self.last.is_some();
                    }
                    Task::Stop => return,
                }
            }
            let now = clock::now().steady;
            self.hear(now);
            let is_due = self.is_stale && now >= self.rest.until() || now >= self.poll_at;
            if self.has_begun && is_due {
                self.look();
            }
            // Whoever waited may have gone.
            for done in begun {
                let _ = done.send(());
            }
        }
    }

    /// Sleeps until there is something to do. While it rests, it hears nothing.
    fn wait(&self, bell: BorrowedFd<'_>) {
        let now = clock::now().steady;
        let (until, listener) = if self.is_stale && self.has_begun {
            (self.rest.until().min(self.poll_at), None)
        } else if now < self.rest.until() {
            (self.rest.until(), None)
        } else {
            (self.poll_at, self.listener.as_ref())
        };
        let sleep = until.saturating_sub(now).min(POLL);
        let millis = sleep.as_micros().div_ceil(1_000);
        let millis = u16::try_from(millis).unwrap_or(u16::MAX);
        let fds = [Some(bell), listener.map(|listener| listener.as_fd())];
        let mut fds: Vec<_> = fds
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // A signal is as good as an event: the loop looks again.
        let _ = poll(&mut fds, PollTimeout::from(millis));
    }

    /// Takes what the kernel tells, once it has rested.
    fn hear(&mut self, now: Duration) {
        if now < self.rest.until() {
            return;
        }
        let (ours, mut concerned) = (&self.ours, false);
        if let Some(listener) = &mut self.listener {
            let heard = listener.drain(&mut |notice| {
                let [message, subsystem] = notice.kind.to_le_bytes();
                if subsystem != nf::SUBSYSTEM || message == nf::NEWGEN {
                    return;
                }
                let family = notice.body.first().copied();
                let table = notice.attributes(nf::HEADER_LEN).find(nf::TABLE_NAME);
                let table = table.map(super::decode::text);
                let is_ours = family == Some(nf::NFPROTO_INET) && table == Some(&*ours.table);
                concerned |= !is_ours;
            });
            self.is_stale |= concerned || !matches!(heard, Ok(Heard::All));
        }
    }

    fn look(&mut self) {
        let (begin, worked) = (clock::steady(), clock::worked());
        self.is_stale = false;
        let read = self.read();
        match read {
            Ok(ruleset) => {
                let silent = ruleset.has_legacy || ruleset.has_ipsets;
                let soon = ruleset.changes_in.map_or(POLL, |ends| ends + PAUSE);
                let poll = if silent { POLL_SILENT } else { POLL };
                self.poll_at = begin + soon.min(poll);
                self.tell(ruleset);
            }
            Err(cause) => {
                self.poll_at = begin + POLL_SILENT;
                if !std::mem::replace(&mut self.failed, true) {
                    let error = program::one_line(&cause);
                    tracing::warn!(%error, "cannot see what the host's own rules drop; it is tried again");
                }
            }
        }
        let worked = clock::worked().saturating_sub(worked);
        self.rest.looked(begin, clock::steady(), worked);
    }

    fn read(&mut self) -> Result<Ruleset, FirewallError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            slot @ None => slot.insert(Reader::open()?),
        };
        read(reader, &self.ours)
    }

    /// Says what is so, if it is news.
    fn tell(&mut self, ruleset: Ruleset) {
        self.failed = false;
        let ruleset = Ruleset {
            changes_in: None,
            ..ruleset
        };
        let known = (ruleset, self.interest.clone());
        if self.last.as_ref() == Some(&known) {
            return;
        }
        let outlook = outlook(&known.0, &known.1);
        self.last = Some(known);
        for warning in &outlook.warnings {
            if !self.said.contains(warning) {
                tracing::warn!("{warning}; `postern-agent status` says what to do");
            }
        }
        for before in &self.said {
            if !outlook.warnings.contains(before) {
                tracing::info!("no more: {before}");
            }
        }
        self.said.clone_from(&outlook.warnings);
        (self.told)(outlook);
    }
}

/// What would drop what a grant opens on this host now.
///
/// # Errors
///
/// When the kernel cannot be asked.
pub fn look(config: &FirewallConfig) -> Result<Outlook, FirewallError> {
    let ruleset = read(&mut Reader::open()?, &super::ours(config))?;
    let with_iptables = config.backend == BackendChoice::Iptables;
    Ok(outlook(&ruleset, &interest(config, true, with_iptables)))
}

/// What the owner's rules tell connection tracking; nothing where they cannot be read.
pub(in crate::firewall) fn tracking() -> Tracking {
    let ours = Ours::default();
    let ruleset = Reader::open().and_then(|mut reader| reader.ruleset(&ours));
    let mut ruleset = ruleset.unwrap_or_default();
    read_legacy(&mut ruleset, &ours);
    tracking::of(&ruleset)
}

fn interest(config: &FirewallConfig, leads_on: bool, with_iptables: bool) -> Interest {
    Interest {
        mark: OwnMark {
            bit: config.mark,
            on_answers: config.answers,
        },
        in_connections: with_iptables,
        leads_on,
        services: config.protect.clone(),
    }
}

/// Reads everything, in the network namespace of the calling thread.
fn read(reader: &mut Reader, ours: &Ours) -> Result<Ruleset, FirewallError> {
    let mut ruleset = reader.ruleset(ours)?;
    read_legacy(&mut ruleset, ours);
    super::ipsets::resolve(&mut ruleset);
    ruleset.marks_asked = super::routing::marks_asked();
    let proc = |file: &str| {
        fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default()
    };
    let index = |name: &str| nix::net::if_::if_nametoindex(name).unwrap_or_default();
    ruleset.routes = Routes::read(&proc("route"), &proc("ipv6_route"), &index);
    ruleset.own = own_addresses();
    Ok(ruleset)
}

/// Adds the tables of the old iptables, if the kernel has some.
fn read_legacy(ruleset: &mut Ruleset, ours: &Ours) {
    let kinds = [
        (TableFamily::Ip, "ip_tables_names", "iptables-legacy-save"),
        (
            TableFamily::Ip6,
            "ip6_tables_names",
            "ip6tables-legacy-save",
        ),
    ];
    for (family, names, program) in kinds {
        let path = format!("/proc/thread-self/net/{names}");
        let has_tables = fs::read_to_string(path).is_ok_and(|names| !names.trim().is_empty());
        if !has_tables {
            continue;
        }
        ruleset.has_legacy = true;
        let output = Command::new(program)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let text = String::from_utf8_lossy(&output.stdout);
                ruleset.tables.extend(legacy::tables(&text, family, ours));
            }
            Ok(_) | Err(_) => ruleset.unread.push(format!(
                "the kernel has tables of the old iptables, and {program} does not list them"
            )),
        }
    }
}

fn own_addresses() -> Vec<IpAddr> {
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = addresses.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    let mut addresses: Vec<IpAddr> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
