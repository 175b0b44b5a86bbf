//! The gate thread: from what has arrived to what is open, one turn after the other.
//!
//! Everything is decided by the [`Engine`]; here it is told what happens, and what it wants done is
//! done. A turn has five steps:
//!
//! | step | what |
//! |--:|---|
//! | 1 | orders: what others want of this thread |
//! | 2 | packets: a bounded batch of each capture is judged |
//! | 3 | due: what ends or is tried again because time has passed |
//! | 4 | commit: the records of the turn, one transaction, synced |
//! | 5 | effects: what the records permit; the results make new records, and 4 comes again |
//!
//! Everything that can wait (signals, parsing, repairs, the controller) is done by others.

mod effects;
mod filter;
mod floor;
mod log;
mod nat;
mod report;
mod syns;

#[cfg(test)]
mod tests;

pub(crate) use nat::cannot_lead;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use engine::{Adoption, Batch, Change, CycleStage, Engine, Forwards, Rejected, Status};
use gate::Now;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use policy::OsSignatures;
use spa::Service;
use tokio::sync::{mpsc, watch};

use crate::capture::{Arrival, Capture, Syns};
use crate::clock;
use crate::clock_evidence::ClockEvidence;
use crate::command_runner::Commands;
use crate::firewall::{Control, Holes, Notice};
use crate::journal::{FloorReason, Journal, JournalError, LiveGrant};
use crate::network::{Changes, Network};
use crate::orders::{Next, Order, OrderInbox};
use crate::policies::{AdoptedPolicy, Origin};
use crate::report::{DomainReport, FirewallReport, Latency};
use crate::resolver::Resolver;

/// Packets of one capture that are judged before the batch is committed. Large enough to share one
/// sync under load, small enough that the first of them does not wait for long.
const BATCH_MAX: usize = 256;
/// The longest sleep: tidying, and the watchdog, need no more.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Between two tidyings of the journal.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How long the end of the agent waits for commands that open or close.
const COMMANDS_WAIT: Duration = Duration::from_secs(3);

/// What the thread has for itself alone.
#[derive(Debug)]
pub struct Host {
    pub journal: Journal,
    pub holes: Box<dyn Holes>,
    pub captures: Vec<Box<dyn Capture>>,
    /// What shows SYNs, while a stanza asks for them.
    pub syns: Box<dyn Syns>,
    /// What they are compared with; the engine has them, too.
    pub os_signatures: Arc<OsSignatures>,
    /// This host's addresses; `None` where nothing comes off a wire.
    pub network: Option<Network>,
    pub commands: Box<dyn Commands>,
    /// Looks host names up.
    pub names: Resolver,
    /// Whether packets may be led on to other hosts, so that the kernel must forward them.
    pub leads_on: bool,
    /// What of that the packet filter cannot do, for people.
    pub cannot_lead: Option<String>,
    /// Those who look after the packet filter; `None` where there is nothing to look after.
    pub control: Option<Box<dyn Control>>,
    /// Which back end opens, and why that one.
    pub backend: (&'static str, String),
    /// Ports hidden by the configuration, whatever the policy says.
    pub protect: Vec<Service>,
    /// Ports that were hidden at the start: they stay so until there is a policy.
    pub hidden_before: Vec<Service>,
    /// Whether stopping closes what is open.
    pub flush_at_exit: bool,
    /// How often systemd wants to hear that all is well.
    pub watchdog: Option<Duration>,
    /// The processes of the agent; none where it is one.
    pub domains: Vec<DomainReport>,
}

/// What connects the thread with others.
#[derive(Debug)]
pub struct Ends {
    pub inbox: OrderInbox,
    /// Leads to the link; `None` where nobody can be asked.
    pub claims: Option<mpsc::Sender<engine::ClaimAsk>>,
    pub status: watch::Sender<Status>,
    /// The last event committed.
    pub committed: watch::Sender<u64>,
}

/// The gate thread.
#[derive(Debug)]
pub struct GateThread {
    engine: Engine,
    host: Host,
    ends: Ends,
    /// Room for orders that wait.
    orders: VecDeque<Order>,
    /// What is known of the owner's rules, for those who ask.
    firewall: FirewallReport,
    /// How long grants took from being read to being open.
    latency: Latency,
    /// The processes of the agent that do not answer, by the word of their supervisor.
    silent: Vec<String>,
    /// What a person should know of the packet filter.
    warnings: Vec<String>,
    regular: Regular,
}

/// When the small regular things are due, and what of them was last seen.
#[derive(Clone, Copy, Debug, Default)]
struct Regular {
    tidy_at: Duration,
    watchdog_at: Duration,
    /// The minute for which there is nothing left to compute ahead.
    precomputed_minute: u64,
    commit_fails: bool,
    /// What vouches for the clock.
    clock: ClockEvidence,
    clock_is_proven: bool,
    /// Wall time in seconds at which the policy in force was adopted.
    policy_since_secs: u64,
    /// Wall time in seconds at which it ends; 0 for never.
    policy_not_after_secs: u64,
    /// Whether the monitor was told that packets come from somewhere and can be recorded.
    is_ready: bool,
    /// Whether it was told that the agent runs, though nothing comes yet.
    is_announced: bool,
    /// Whether the base rules are laid, so that what is opened is open.
    is_laid: bool,
    /// What the kernel forwards, once it was looked at.
    forwards: Option<Forwards>,
    /// When whoever changes the packet filter is asked again whether he still does.
    reach_at: Duration,
    /// Whether he did not answer the last time.
    is_out_of_reach: bool,
}

// === impl GateThread ===

impl GateThread {
    /// Puts the first policy in force and says so in the audit. What cannot be recorded now is
    /// recorded as soon as the disk allows it.
    pub fn new(engine: Engine, host: Host, ends: Ends, policy: AdoptedPolicy, now: Now) -> Self {
        let mut thread = Self {
            engine,
            host,
            ends,
            orders: VecDeque::new(),
            firewall: FirewallReport::default(),
            latency: Latency::default(),
            silent: Vec::new(),
            warnings: Vec::new(),
            regular: Regular::default(),
        };
        thread.regular.is_laid = thread.host.control.is_none();
        thread.engine.start(env!("CARGO_PKG_VERSION"), now);
        thread.replace_policy(policy, now);
        thread.commit_and_carry_out(now);
        thread
    }

    /// Works until it is told to stop. Gives the journal back, everything in it committed if the
    /// disk allowed it.
    pub fn run(mut self) -> Journal {
        loop {
            self.wait();
            match self.turn(clock::now()) {
                Next::GoOn => {}
                Next::Stop => return self.host.journal,
            }
        }
    }

    /// One turn.
    pub(crate) fn turn(&mut self, now: Now) -> Next {
        // 1. Orders.
        let next = self.take_orders(now);
        // 2. Packets, at the addresses that the host has now.
        self.follow_network();
        self.judge_arrivals(now);
        // 3. Due.
        self.engine.due(now);
        self.do_regular_things(now);
        // 4. and 5. Commit, effects.
        self.commit_and_carry_out(now);
        self.note_ready();
        if next == Next::Stop {
            self.stop(now);
        }
        next
    }

    /// Commits what is to be recorded and carries out what that permits, alternately, until nothing
    /// is left. What needs no record comes first: claims are under way while the disk writes.
    fn commit_and_carry_out(&mut self, now: Now) {
        loop {
            self.carry_out_effects(now);
            if !self.engine.has_records() && !self.host.journal.has_staged() {
                return;
            }
            let batch = self.engine.take_batch();
            let journal = &mut self.host.journal;
            let written = batch.commit(|batch| {
                journal.mend(now.wall_secs)?;
                write(journal, batch)
            });
            match written {
                Ok(committed) => {
                    self.note_commit();
                    committed.new_records().for_each(log::record);
                    self.engine.committed(committed, now);
                }
                Err((not_committed, cause)) => {
                    self.note_failed_commit(&cause, not_committed.grants());
                    not_committed.new_records().for_each(log::record);
                    self.engine.not_committed(not_committed, now);
                    // The next turn tries again.
                    self.carry_out_effects(now);
                    return;
                }
            }
        }
    }

    fn take_orders(&mut self, now: Now) -> Next {
        let mut orders = std::mem::take(&mut self.orders);
        let next = self.ends.inbox.take(&mut orders);
        for order in orders.drain(..) {
            self.take_order(order, now);
        }
        self.orders = orders;
        next
    }

    fn take_order(&mut self, order: Order, now: Now) {
        match order {
            Order::ReplacePolicy(policy) => self.replace_policy(*policy, now),
            Order::PolicyRejected(rejected) => self.reject_policy(rejected, now),
            Order::ClaimAnswer { seq, answer } => self.engine.claim_answered(seq, &answer, now),
            Order::EventsAcknowledged { epoch, seq } => self.host.journal.acknowledged(&epoch, seq),
            Order::UseChainVersion(version) => self.host.journal.use_chain_version(version),
            Order::ClockOffset(ms) => {
                self.regular.clock.note_offset(ms, now);
                self.engine.note_clock_offset(ms);
            }
            Order::LogConflict(reason) => self.engine.log_conflict(&reason, now),
            Order::ResetFloor(answer) => self.reset_floor(&answer, now),
            Order::Claimed(digests) => {
                for claimed in digests {
                    let until = claimed.forget_after_secs;
                    self.host.journal.remember_claimed(claimed.digest, until);
                }
            }
            Order::Firewall(notice) => self.take_notice(notice, now),
            Order::Lock(reason) => self.lock(reason, now),
            Order::Unlock => self.unlock(now),
            Order::RaiseFloor(secs) => {
                let journal = &mut self.host.journal;
                journal.raise_floor(secs, FloorReason::Ordered, now.wall_secs);
            }
            Order::JournalKnown { epoch, seq, chain } => {
                self.prove_journal((&epoch, seq, &chain), now);
            }
            // Whoever asked may have gone.
            Order::BeginJournal(done) => drop(done.send(self.begin_journal())),
            Order::NameAnswered { seq, answer } => self.name_answered(seq, &answer, now),
            Order::UseOsSignatures(signatures) => self.use_os_signatures(signatures),
            Order::CommandEnded { id, ended } => self.engine.command_ended(id, &ended, now),
            Order::LogCounters => log::counters(&self.engine.counters()),
            Order::Confirm(answer) => self.confirm(&answer),
            // Whoever asked may have given up.
            Order::Report(answer) => drop(answer.send(self.report(now))),
        }
    }

    fn take_notice(&mut self, notice: Notice, now: Now) {
        match notice {
            Notice::Laid => self.regular.is_laid = true,
            Notice::Drift(drift) => self.engine.firewall_drifted(drift, now),
            Notice::Outlook(outlook) => self.note_outlook(*outlook),
            Notice::Connections(changes) => self.engine.connections_changed(changes, now),
            Notice::Silent(names) => {
                self.silent = names;
                self.note_warnings();
            }
        }
    }

    /// What was acknowledged counts before the rest is carried over.
    fn begin_journal(&mut self) -> bool {
        let journal = &mut self.host.journal;
        match journal.commit().and_then(|_| journal.begin_epoch()) {
            Ok(()) => {
                self.note_commit();
                true
            }
            Err(cause) => {
                let error = program::one_line(&cause);
                tracing::error!(%error, "no new journal was begun");
                false
            }
        }
    }

    fn replace_policy(&mut self, policy: AdoptedPolicy, now: Now) {
        let AdoptedPolicy {
            version,
            origin,
            compiled,
        } = policy;
        let generation = version.generation;
        match self.engine.replace_policy(compiled, version.digest, now) {
            Adoption::Older { current } => {
                tracing::warn!(generation, current, "an older policy is ignored");
                return;
            }
            Adoption::Applied => self.regular.policy_since_secs = now.wall_secs,
            Adoption::Unchanged if generation > 0 => {
                tracing::info!(generation, "policy read again, unchanged");
            }
            Adoption::Unchanged => {}
        }
        self.regular.policy_not_after_secs = version.not_after_secs;
        // Acknowledged when it is saved. If the disk is full it is enforced nevertheless.
        let journal = &mut self.host.journal;
        match origin {
            Origin::Nowhere => {}
            Origin::AccessFile => journal.stage_access_file(generation, version.digest),
            Origin::Controller(text) => journal.stage_policy(text),
        }
    }

    /// Durable, so that a start without controller is locked, too.
    fn lock(&mut self, reason: String, now: Now) {
        if self.engine.status().locked.as_ref() != Some(&reason) {
            tracing::error!(
                reason,
                "the controller has locked this host: nothing is granted"
            );
            self.engine.lock(&reason, now);
            self.host.journal.stage_lock(Some(reason));
        }
    }

    fn unlock(&mut self, now: Now) {
        if self.engine.status().locked.is_some() {
            tracing::info!("the controller has unlocked this host");
            self.engine.unlock(now);
            self.host.journal.stage_lock(None);
        }
    }

    fn reject_policy(&mut self, rejected: Rejected, now: Now) {
        let generation = rejected.generation;
        for reason in &rejected.reasons {
            tracing::error!(
                generation,
                reason,
                "policy rejected; the old one stays in force"
            );
        }
        self.engine.reject_policy(rejected, now);
    }

    fn follow_network(&mut self) {
        let Some(network) = &mut self.host.network else {
            return;
        };
        match network.changes() {
            Ok(Changes { addressees, links }) => {
                if let Some((addressees, own)) = addressees {
                    self.engine.set_own_addresses(own);
                    self.engine.set_addressees(addressees);
                }
                if links {
                    for capture in &mut self.host.captures {
                        capture.links_changed(network.links());
                    }
                    self.host.syns.links_changed(network.links());
                }
            }
            Err(cause) => {
                let error = program::one_line(&cause);
                tracing::error!(%error, "cannot follow this host's addresses; it is tried again");
            }
        }
    }

    fn judge_arrivals(&mut self, now: Now) {
        self.look_at_syns(now);
        let (engine, journal) = (&mut self.engine, &mut self.host.journal);
        // Packets wait in the kernel until what is opened for them would be open.
        let max = if self.regular.is_laid { BATCH_MAX } else { 0 };
        for capture in &mut self.host.captures {
            let judged = capture.next_batch(max, now.steady, &mut |arrival| match arrival {
                Arrival::Frame(link, frame) => engine.frame(frame, link, now, journal),
                Arrival::Seen(link, frame) => engine.seen_frame(frame, link, now, journal),
                Arrival::Datagram(datagram) => engine.datagram(&datagram, now, journal),
            });
            if let Err(cause) = judged {
                let error = program::one_line(&cause);
                tracing::error!(%error, "a capture went down; it is tried again");
            }
        }
    }

    fn do_regular_things(&mut self, now: Now) {
        if self.regular.tidy_at <= now.steady {
            self.regular.tidy_at = now.steady + TIDY_EVERY;
            self.tidy_journal(now);
            self.look_at_forwarding();
            let lost = self.host.captures.iter_mut().map(|c| c.dropped()).sum();
            self.engine.packets_lost(lost);
        }
        self.look_at_filter(now);
        if let Some(every) = self.host.watchdog
            && self.regular.watchdog_at <= now.steady
        {
            self.regular.watchdog_at = now.steady + every / 2;
            if let Some(control) = &mut self.host.control {
                control.alive();
            }
        }
    }

    /// Once packets come from somewhere and can be recorded, people can be let in, and so ports be
    /// hidden.
    fn note_ready(&mut self) {
        let (regular, captures) = (&mut self.regular, &self.host.captures);
        let Some(control) = self.host.control.as_mut().filter(|_| !regular.is_ready) else {
            return;
        };
        if captures.iter().any(|capture| capture.down().is_none()) {
            regular.is_ready = !regular.commit_fails && control.ready();
        } else if !regular.is_announced && captures.iter().any(|c| c.may_begin_later()) {
            regular.is_announced = control.announce();
        }
    }

    fn note_commit(&mut self) {
        if std::mem::take(&mut self.regular.commit_fails) {
            tracing::info!("the journal can be written again");
            self.note_warnings();
        }
        let last = self.host.journal.last_seq();
        self.ends.committed.send_if_modified(|seq| {
            let grown = *seq != last;
            *seq = last;
            grown
        });
    }

    /// Once per trouble and once per grant it costs; not once per turn.
    fn note_failed_commit(&mut self, cause: &JournalError, refused: usize) {
        if !self.regular.commit_fails || refused > 0 {
            let error = program::one_line(cause);
            tracing::error!(%error, refused, "nothing opens without its record");
        }
        if !std::mem::replace(&mut self.regular.commit_fails, true) {
            self.note_warnings();
        }
    }

    /// The end: closes what is open, if it is to be closed, and says so.
    fn stop(&mut self, now: Now) {
        self.ends.claims = None;
        self.engine.stop(self.host.flush_at_exit, now);
        self.commit_and_carry_out(now);
        let ended = self.engine.message_commands().into_iter();
        ended.for_each(|id| self.host.commands.end(id));
        self.await_commands();
        self.host.commands.leave();
    }

    /// Hears how commands end: those of messages, which were told to, and those that open or close, if they do
    /// soon. What of these is not heard of runs again after the next start.
    fn await_commands(&mut self) {
        let until = clock::now().steady + COMMANDS_WAIT;
        while self.engine.runs_cycles() || !self.engine.message_commands().is_empty() {
            let now = clock::now();
            if now.steady >= until {
                return;
            }
            let mut bell = [PollFd::new(self.ends.inbox.bell(), PollFlags::POLLIN)];
            let left = u16::try_from((until - now.steady).as_millis()).unwrap_or(u16::MAX);
            let _ = poll(&mut bell, PollTimeout::from(left.max(1)));
            // Told to stop already.
            let _ = self.take_orders(now);
            self.commit_and_carry_out(now);
        }
    }

    /// Sleeps until there is something to do. When nothing has arrived, and the next minute's tags
    /// are not made yet, makes a slice of them instead of sleeping.
    fn wait(&mut self) {
        let now = clock::now();
        let minute = now.wall_secs / 60;
        let is_precomputed = self.regular.precomputed_minute == minute;
        let sleep = if is_precomputed {
            self.sleep(now)
        } else {
            Duration::ZERO
        };
        if !self.poll(sleep) && !is_precomputed && self.engine.precompute(now) {
            self.regular.precomputed_minute = minute;
        }
    }

    /// Whether packets or orders arrived within `timeout`.
    fn poll(&self, timeout: Duration) -> bool {
        let mut fds = Vec::with_capacity(self.host.captures.len() + 2);
        for capture in &self.host.captures {
            // One that is down says so when it comes.
            if self.regular.is_laid || capture.down().is_some() {
                capture.poll_fds(&mut fds);
            }
        }
        self.host.syns.poll_fds(&mut fds);
        let network = self.host.network.iter().map(AsFd::as_fd);
        let others = network.chain([self.ends.inbox.bell()]);
        fds.extend(others.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // Rounded up: waking just before a deadline would be waking twice.
        let millis = timeout.as_micros().div_ceil(1_000);
        let millis = u16::try_from(millis).unwrap_or(u16::MAX);
        // A signal is as good as an arrival: the loop looks again.
        poll(&mut fds, PollTimeout::from(millis)).is_ok_and(|ready| ready > 0)
    }

    fn sleep(&self, now: Now) -> Duration {
        let steady = now.steady;
        let deadlines = [
            self.engine.deadline(),
            Some(self.regular.tidy_at),
            self.host.watchdog.map(|_| self.regular.watchdog_at),
        ];
        let (captures, is_laid) = (self.host.captures.iter(), self.regular.is_laid);
        let captures = captures.filter(|capture| is_laid || capture.down().is_some());
        let retries = captures.filter_map(|capture| capture.retry_in(steady));
        let waits = deadlines.into_iter().flatten();
        let waits = waits.map(|at| at.saturating_sub(steady)).chain(retries);
        let waits = waits.chain(self.host.syns.retry_in(steady));
        waits.min().unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }
}

/// Writes records and everything else that is staged, in one transaction.
fn write(journal: &mut Journal, batch: &Batch) -> Result<(), JournalError> {
    for record in batch.records() {
        let event = record.event().clone();
        match record.change() {
            Change::None => {
                journal.stage(event);
            }
            Change::Opens { id, rules } => {
                let until_ms = event.until_ms;
                let live = LiveGrant {
                    id: *id,
                    until_ms,
                    rules: rules.clone(),
                };
                journal.stage_opened(live, event);
            }
            Change::CycleOpens { id, close } => {
                journal.stage_cycle(*id, close.clone(), event);
            }
            Change::CycleStands(id) => journal.stage_cycle_stage(*id, CycleStage::Open, event),
            Change::CycleCloses(id) => journal.stage_cycle_stage(*id, CycleStage::Closing, event),
            Change::Extends(id) => journal.stage_extended(*id, event),
            Change::LivesOn(id) => journal.stage_living_on(*id, event),
            Change::Ends(id) => journal.stage_closed(*id, event),
        }
    }
    journal.commit().map(|_| ())
}
