//! Keeps the base rules as they should be, beside the gate thread.
//!
//! Where the host tells of changes, a glance follows each one within milliseconds; everything is
//! looked at now and then besides. Our own changes are told of too: a glance finds nothing then.
//!
//! Which ports are hidden when:
//!
//! | | the list grows | the list shrinks |
//! |---|---|---|
//! | until the agent is ready | when it is ready | at once |
//! | afterwards | at once | at once |
//!
//! So nobody is locked out by an agent that cannot let anybody in: what an earlier run hid stays
//! hidden, and a first protection waits. What is in force is remembered in a file, which the next
//! start lays before all else.

mod pace;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use spa::Service;

use super::stamina::{Stamina, Strength};
use super::{BaseRules, Hooks};
use crate::clock;
use crate::protection::ProtectionFile;
use crate::work::Work;
use pace::{Look, Pace, Repair};

/// Tasks that may wait.
const TASKS_MAX: usize = 16;

/// What is to be kept.
#[derive(Debug)]
pub struct Kept {
    /// The base rules.
    pub rules: Box<dyn BaseRules>,
    /// The ports that are hidden in them already; `None` when nothing was laid yet.
    pub hidden: Option<Vec<Service>>,
    /// Where the list in force is remembered; `None` where nothing is hidden for real.
    pub file: Option<ProtectionFile>,
    /// The lines in the owner's chains.
    pub hooks: Hooks,
    /// Where the thread says that it is at work.
    pub work: Arc<Work>,
}

/// Those who want to know.
pub trait Listener: Send {
    /// What was found to differ (it has been repaired as far as that was possible, but holes may be
    /// gone), and once `None` when all is well again.
    fn drift(&mut self, found: Option<String>);

    /// The agent does what it is told to. Called once.
    fn ready(&mut self);

    /// The base rules are laid, with all that is to be hidden. Called once.
    fn laid(&mut self);
}

/// A thread that looks at the base rules and repairs them.
#[derive(Debug)]
pub struct Monitor {
    handle: MonitorHandle,
    thread: JoinHandle<Option<Box<dyn BaseRules>>>,
}

/// Asks the monitor for something.
#[derive(Clone, Debug)]
pub struct MonitorHandle {
    tasks: SyncSender<Task>,
    bell: Arc<EventFd>,
}

#[derive(Debug)]
enum Task {
    Protect(Vec<Service>),
    Announce,
    Ready,
    Stop,
}

/// The base rules, and what is known of them.
struct Watched<L> {
    rules: Box<dyn BaseRules>,
    file: Option<ProtectionFile>,
    hooks: Hooks,
    listener: L,
    /// What is hidden; `None` before the rules were first laid.
    in_force: Option<Vec<Service>>,
    /// What is to be hidden when the agent is ready.
    wanted: Vec<Service>,
    is_ready: bool,
    is_announced: bool,
    /// Whether everything was laid since the agent was ready.
    is_laid: bool,
    /// Whether the rules differed when they were last looked at.
    drifted: bool,
    /// What another program insists on, and was said.
    yielded: Option<String>,
    /// Whether the list in force could not be laid, or not be remembered.
    unfinished: bool,
    pace: Pace,
    /// How often what others change is still told.
    stamina: Stamina,
    work: Arc<Work>,
}

// === impl Monitor ===

impl Monitor {
    /// Starts the thread. `listener` is called on it.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(kept: Kept, listener: impl Listener + 'static) -> io::Result<Self> {
        let (tasks, inbox) = sync_channel(TASKS_MAX);
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let bell = Arc::new(EventFd::from_flags(flags)?);
        let handle = MonitorHandle {
            tasks,
            bell: Arc::clone(&bell),
        };
        let watched = Watched::new(kept, listener, clock::now().steady);
        let thread = thread::Builder::new()
            .name("firewall".to_owned())
            .spawn(move || watched.keep(&inbox, &bell))?;
        Ok(Self { handle, thread })
    }

    /// For those who have something to ask of it.
    pub fn handle(&self) -> MonitorHandle {
        self.handle.clone()
    }

    /// Ends the thread and gives the base rules back, if they were ever laid.
    ///
    /// # Errors
    ///
    /// The panic of the thread, if it had panicked.
    pub fn stop(self) -> thread::Result<Option<Box<dyn BaseRules>>> {
        let _ = self.handle.tasks.send(Task::Stop);
        let _ = self.handle.bell.write(1);
        self.thread.join()
    }
}

// === impl MonitorHandle ===

impl MonitorHandle {
    /// Hides these ports from now on, or from when the agent is ready on, and no others.
    pub fn protect(&self, ports: Vec<Service>) {
        if !self.leave(Task::Protect(ports)) {
            tracing::error!(
                "the thread that keeps the base rules is stuck: the protected ports are not changed"
            );
        }
    }

    /// The agent runs, and lets people in as soon as others do their part. `false` if it must be said
    /// again.
    #[must_use]
    pub fn announce(&self) -> bool {
        self.leave(Task::Announce)
    }

    /// The agent can let people in: what waits for that is hidden now. `false` if it must be said
    /// again.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.leave(Task::Ready)
    }

    fn leave(&self, task: Task) -> bool {
        let left = self.tasks.try_send(task).is_ok();
        // A bell that rings already is as good.
        let _ = self.bell.write(1);
        left
    }
}

// === impl Watched ===

impl<L: Listener> Watched<L> {
    fn new(kept: Kept, listener: L, now: Duration) -> Self {
        let Kept {
            rules,
            hidden,
            file,
            hooks,
            work,
        } = kept;
        Self {
            rules,
            file,
            hooks,
            listener,
            wanted: hidden.clone().unwrap_or_default(),
            in_force: hidden,
            is_ready: false,
            is_announced: false,
            is_laid: false,
            drifted: false,
            yielded: None,
            unfinished: false,
            pace: Pace::new(now),
            stamina: Stamina::new(now),
            work,
        }
    }

    fn keep(mut self, inbox: &Receiver<Task>, bell: &EventFd) -> Option<Box<dyn BaseRules>> {
        // Before anybody is told that all is ready.
        self.keep_hooks();
        loop {
            self.work.end();
            self.wait(bell.as_fd());
            self.work.begin();
            let _ = bell.read();
            while let Ok(task) = inbox.try_recv() {
                match task {
                    Task::Protect(ports) => {
                        self.wanted = ports;
                        self.enforce();
                    }
                    Task::Announce => self.announce(),
                    Task::Ready => {
                        self.is_ready = true;
                        self.enforce();
                    }
                    Task::Stop => return self.stop(),
                }
            }
            let now = clock::now().steady;
            if self.rules.noticed() {
                self.pace.noticed(now);
            }
            match self.pace.due(now, self.rules.notices().is_some()) {
                Look::None => {}
                look @ (Look::Glance | Look::All) => self.look(look, now),
            }
            self.keep_hooks();
        }
    }

    /// The base rules, if they were ever laid.
    fn stop(mut self) -> Option<Box<dyn BaseRules>> {
        if self.in_force.is_some() {
            return Some(self.rules);
        }
        if let Err(cause) = self.rules.leave() {
            tracing::warn!(error = %program::one_line(&cause), "what was made ready stays as it is");
        }
        None
    }

    /// After the base rules: a line more or less in the owner's chains hides nothing.
    fn keep_hooks(&mut self) {
        if let Some(undone) = self.hooks.keep() {
            tracing::error!("{undone}");
            self.listener.drift(Some(undone));
        }
    }

    /// Sleeps until somebody asks for something, the host tells of a change, or it is time to look.
    fn wait(&self, bell: BorrowedFd<'_>) {
        let now = clock::now().steady;
        let sleep = self.pace.sleep(now);
        let sleep = self
            .hooks
            .sleep(now)
            .map_or(sleep, |hooks| hooks.min(sleep));
        let millis = sleep.as_micros().div_ceil(1_000);
        let millis = u16::try_from(millis).unwrap_or(u16::MAX);
        let fds = [Some(bell), self.rules.notices(), self.hooks.notices()];
        let mut fds: Vec<_> = fds
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // A signal is as good as an event: the loop looks again.
        let _ = poll(&mut fds, PollTimeout::from(millis));
    }

    /// Makes true what is to be hidden now.
    fn enforce(&mut self) {
        let target = match &self.in_force {
            _ if self.is_ready => self.wanted.clone(),
            None => return,
            Some(hidden) => {
                let still = hidden.iter().filter(|port| self.wanted.contains(port));
                still.copied().collect()
            }
        };
        self.unfinished = false;
        if self.in_force.as_ref() != Some(&target) {
            if let Err(cause) = self.rules.lay(&target) {
                let error = program::one_line(&cause);
                tracing::error!(%error, "cannot change the protected ports; it is tried again");
                self.unfinished = true;
                self.listener.drift(Some(cause.to_string()));
                return;
            }
            self.in_force = Some(target.clone());
        }
        self.remember(&target);
        if self.is_ready {
            self.announce();
            if !std::mem::replace(&mut self.is_laid, true) {
                self.listener.laid();
            }
        }
    }

    fn announce(&mut self) {
        if !std::mem::replace(&mut self.is_announced, true) {
            self.listener.ready();
        }
    }

    /// Remembers what is hidden, for the next start.
    fn remember(&mut self, hidden: &[Service]) {
        let Some(file) = &self.file else {
            return;
        };
        if let Err(cause) = file.write(hidden) {
            let (file, error) = (file.path().display(), program::one_line(&cause));
            tracing::error!(%file, %error, "cannot remember which ports are hidden; it is tried again");
            self.unfinished = true;
        }
    }

    /// Looks and repairs. Reports what was found, and once when all is well again.
    fn look(&mut self, look: Look, now: Duration) {
        self.look_once(look, now);
        let yielded = self.rules.yielded();
        if yielded == self.yielded {
            return;
        }
        self.yielded.clone_from(&yielded);
        if let Some(yielded) = yielded {
            tracing::error!("{yielded}");
            self.drifted = true;
            self.listener.drift(Some(yielded));
        }
    }

    fn look_once(&mut self, look: Look, now: Duration) {
        if self.unfinished {
            return self.enforce();
        }
        if self.in_force.is_none() {
            return;
        }
        let checked = match look {
            Look::None | Look::Glance => self.rules.glance(),
            Look::All => self.rules.check(),
        };
        let found = match checked {
            Ok(None) => {
                // Who undoes it again and again is said to do so until it is quiet for long.
                let is_quiet = !self.stamina.is_spent() && self.rules.yielded().is_none();
                let is_well = look == Look::All && is_quiet;
                if is_well && std::mem::take(&mut self.drifted) {
                    self.listener.drift(None);
                }
                return;
            }
            Ok(Some(drift)) => drift.to_string(),
            Err(cause) => cause.to_string(),
        };
        match self.pace.repair(now) {
            Repair::Now => self.repair(found, now),
            Repair::Later => {}
        }
    }

    fn repair(&mut self, found: String, now: Duration) {
        let told = match self.stamina.spend(now) {
            Strength::Left => Some(found),
            Strength::Spent { is_news: true } => {
                tracing::error!(found, "{FOUGHT}");
                Some(FOUGHT.to_owned())
            }
            Strength::Spent { is_news: false } => None,
        };
        match (self.rules.repair(), &told) {
            (Ok(()), Some(found)) => {
                tracing::warn!(found, "the firewall was changed by someone else; repaired");
            }
            (Ok(()), None) => {}
            (Err(cause), _) => {
                tracing::error!(error = %program::one_line(&cause), "the firewall cannot be repaired");
            }
        }
        self.drifted = true;
        if told.is_some() {
            self.listener.drift(told);
        }
    }
}

/// What is said of somebody who will not stop.
const FOUGHT: &str = "another program undoes every repair of the firewall; it is repaired each time, \
                      once a second at most, and not told any more";

#[cfg(test)]
mod tests;
