//! Hosts: what operators see of them, and what they say of themselves.

use std::sync::Arc;
use std::time::Duration;

use fleet::{Capability, EventKind, Role};
use spa::Service;
use tokio::sync::mpsc;

use super::{agent_age, check, claims, controllers, events, identity_age, near};
use crate::access::caller::Caller;
use crate::audit::{Keeper, Shown};
use crate::context::Context;
use crate::error::Error;
use crate::sessions::heard::{Hearing, Word};
use crate::sessions::session::{self, Directive, Passes, Session, Timers};
use crate::sessions::validity::Validity;
use crate::store::model::Claim;
use crate::store::model::{
    Acknowledgement, Alarm, Begun, Change, HostState, HostWord, Lock, Member, Opening, Origin, Whom,
};
use crate::timestamp::Timestamp;

/// Reasons for a rejection that are kept.
const REJECTED_MAX: usize = 100;
/// Hidden ports that are kept; a host may have them all.
const PORTS_MAX: usize = 2 * 65_535;
const WARNINGS_MAX: usize = 32;
const REASON_BYTES_MAX: usize = 1_024;
const VERSION_BYTES_MAX: usize = 128;
const CONTRACT_BYTES_MAX: usize = 4_096;
/// Clocks that differ by more, in milliseconds, are recorded: what a fleet's packet may come from
/// the future.
const CLOCK_OFF_MS: u64 = 30_000;
const RUN_BYTES_MAX: usize = 64;
/// For how long something that was found wrong with a host is shown with it.
const ALARM_SHOWN_MS: u64 = 7 * 24 * 3_600_000;

/// A host as an operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct HostView {
    pub(crate) member: Member,
    pub(crate) state: HostState,
    /// It has a session now.
    pub(crate) connected: bool,
    /// At which controller, where members dial that.
    pub(crate) controller: Option<String>,
    /// It enforces what it should.
    pub(crate) in_sync: bool,
    /// The generation at which its text last changed; 0 before the first.
    pub(crate) target_generation: u64,
    /// Stanzas of that text.
    pub(crate) stanzas: u32,
    /// What is to be looked at, one sentence each.
    pub(crate) warnings: Vec<String>,
    /// Its agent is older than this program.
    pub(crate) agent_old: bool,
}

/// What a host says when it opens its session.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    /// SHA-256 of the text it has; empty for none.
    pub(crate) policy_digest: Vec<u8>,
    /// Until when that is good, seconds since the Unix epoch, 0 for ever; `None` when it does not say.
    pub(crate) policy_until_secs: Option<u64>,
    /// It takes packed policies, and word of those that it has.
    pub(crate) packs: bool,
    /// The last checkpoint of the fleet's log that it was given, a signed note; empty for none.
    pub(crate) audit_checkpoint: String,
    /// What is compared with what is known.
    pub(crate) opening: Opening,
}

/// A session that is open, and what is to be said in it first.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: Session,
    pub(crate) known_claims: Vec<Claim>,
    /// Where the session's directives arrive.
    pub(crate) directives: mpsc::Receiver<Box<Directive>>,
}

/// Every host that the caller is to see, locked ones too, by name.
pub(crate) async fn list(
    context: &Context,
    caller: &Caller,
    now: Timestamp,
) -> Result<Vec<HostView>, Error> {
    let mut hosts = all(context, now).await?;
    hosts.retain(|host| caller.may_see(&host.member));
    Ok(hosts)
}

/// Every host, for whoever counts them.
pub(crate) async fn all(context: &Context, now: Timestamp) -> Result<Vec<HostView>, Error> {
    let (hosts, mut states) = context.store.hosts().await?;
    let mut alarms = context.store.alarms(alarms_since_ms(now)).await?;
    let view = |member: Member| {
        let state = states.remove(&member.id).unwrap_or_default();
        let alarms = alarms.remove(&member.id).unwrap_or_default();
        view(context, member, (state, alarms), now)
    };
    Ok(hosts.into_iter().map(view).collect())
}

fn alarms_since_ms(now: Timestamp) -> u64 {
    now.ms().saturating_sub(ALARM_SHOWN_MS)
}

/// One host.
pub(crate) async fn show(
    context: &Context,
    caller: &Caller,
    name: &str,
    now: Timestamp,
) -> Result<HostView, Error> {
    let host = near::host(context, caller, name)?;
    let found = context.store.host(host.id, alarms_since_ms(now)).await?;
    // Its name and labels may have changed meanwhile.
    let found = found.filter(|(member, ..)| member.name == name && caller.may_see(member));
    let found = found.map(|(member, state, alarms)| view(context, member, (state, alarms), now));
    found.ok_or_else(|| near::no_host_of_now(context, &caller.scope, name))
}

/// Opens the session of the host that calls; an older one ends. `clock` is asked whenever a policy
/// is sent.
pub(crate) async fn open_session(
    context: &Context,
    caller: &Caller,
    hello: Hello,
    now: Timestamp,
    clock: fn() -> Timestamp,
) -> Result<Opened, Error> {
    let Hello {
        policy_digest,
        policy_until_secs,
        packs,
        audit_checkpoint,
        mut opening,
    } = hello;
    check_opening(&opening)?;
    let target = || context.rollout.target(&caller.name);
    let subscription = context.sessions.subscribe(&caller.name, target);
    // A lock between authorization and subscription would otherwise be missed.
    let member = context.roster.find(Role::Host, &caller.name);
    let member = member.filter(|member| member.id == caller.id);
    let member = member.ok_or(Error::NotMember)?;
    let keeps_passes = opening.keeps_passes;
    opening.is_locked = member.lock.is_some();
    if let Some(lock) = &member.lock {
        // Whoever keeps passes also knows what it is to be locked.
        if !keeps_passes {
            return Err(Error::locked(&member, ""));
        }
        context.sessions.lock(&caller.name, &lock.reason);
    }
    let follows_keys = opening
        .contract
        .as_ref()
        .is_some_and(|contract| contract.can(Capability::AuditSuccession));
    let (begun, shown) = begin(context, caller, (opening, &audit_checkpoint), now).await?;
    let (audit, only_key) = shown_to(shown, follows_keys);
    let lease = begun.lease.map(Validity::from);
    let passes = keeps_passes.then(|| Passes {
        store: context.store.clone(),
        checkpoints: Arc::clone(&context.checkpoints),
        audit,
        only_key,
        member: caller.id,
        first: begun.pass,
        acknowledged: begun.acknowledged,
        new_journal: begun.new_journal,
    });
    let known_claims = claims::known(context, caller, now).await?;
    let (sender, directives) = mpsc::channel(session::QUEUE_MAX);
    let session = Session {
        host: caller.name.clone(),
        registry: Arc::clone(&context.sessions),
        subscription,
        directives: sender,
        policy_valid: context.settings.policy_valid,
        fleet: context.fleet.subscribe(),
        passes,
        packs,
        said: policy_until_secs.and_then(|until_secs| Validity::said(&policy_digest, until_secs)),
        has_digest: policy_digest,
        in_step: false,
        waiting: None,
        timers: Timers::default(),
        lease,
        now: clock,
    };
    Ok(Opened {
        session,
        known_claims,
        directives,
    })
}

fn check_opening(opening: &Opening) -> Result<(), Error> {
    check::at_most("agent_version", &opening.agent_version, VERSION_BYTES_MAX)?;
    let contract = opening.contract.as_ref().map(ToString::to_string);
    check::at_most(
        "contract",
        &contract.unwrap_or_default(),
        CONTRACT_BYTES_MAX,
    )?;
    check::at_most("run_id", &opening.run, RUN_BYTES_MAX)?;
    match &opening.journal {
        Some(journal) => events::check_epoch(&journal.epoch),
        None => Ok(()),
    }
}

/// Who presents what a host keeps of the fleet's log.
fn keeper(caller: &Caller) -> Keeper {
    Keeper {
        name: format!("host {}", caller.name),
        host: Some(caller.id),
        origin: Origin::controller(caller.request.to_string()),
    }
}

/// What a host is shown of the fleet's log, and the only key that it may be told of where its program does not know that
/// another may follow.
fn shown_to(shown: Shown, follows_keys: bool) -> (Shown, Option<String>) {
    if follows_keys {
        return (shown, None);
    }
    let shown = shown.for_who_cannot_follow();
    let only_key = shown.key.clone();
    (shown, Some(only_key))
}

/// Two machines use one state directory: both are told that they may do nothing, until an operator
/// has dealt with it.
async fn lock_cloned(
    context: &Context,
    caller: &Caller,
    reason: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let change = Change {
        whom: Whom {
            role: Role::Host,
            name: caller.name.clone(),
            key: None,
        },
        reason: reason.to_owned(),
        origin: Origin::controller(caller.request.to_string()),
        at_ms: now.ms(),
    };
    context.store.lock(change, EventKind::Locked).await?;
    context
        .roster
        .refresh(&context.store, Role::Host, &caller.name)
        .await?;
    context.sessions.lock(&caller.name, reason);
    Ok(())
}

/// Compares what a host says with what is known, and does what follows from it for the fleet; and what it keeps of the
/// fleet's log with that.
async fn begin(
    context: &Context,
    caller: &Caller,
    (mut opening, kept): (Opening, &str),
    now: Timestamp,
) -> Result<(Begun, Shown), Error> {
    let presented = context.checkpoints.open(keeper(caller), kept);
    opening.checkpoint = presented.size();
    let host = (caller.id, caller.name.clone());
    let found = Origin::controller(caller.request.to_string());
    let begun = context
        .store
        .begin_session(host, opening, found, now.ms())
        .await?;
    for found in &begun.found {
        tracing::error!(
            host = caller.name,
            found,
            "found at the beginning of a session"
        );
    }
    if let Some(reason) = &begun.cloned {
        lock_cloned(context, caller, reason, now).await?;
    }
    if begun.fleet_changed {
        context.refresh_fleet_state().await?;
        context.rollout.renumber().await?;
    }
    let shown = presented.compare(&context.store, begun.root, now);
    Ok((begun, shown.await?))
}

/// Notes that a host was there until now.
pub(crate) async fn note_seen(
    context: &Context,
    caller: &Caller,
    now: Timestamp,
) -> Result<(), Error> {
    Ok(context.store.host_seen(caller.id, now.ms()).await?)
}

/// What the host that calls says of the policy it was sent.
pub(crate) async fn acknowledge(
    context: &Context,
    caller: &Caller,
    acknowledgement: Acknowledgement,
    now: Timestamp,
) -> Result<(), Error> {
    let acknowledgement = checked(acknowledgement)?;
    if let Some(offset_ms) = acknowledgement.word.clock_offset_ms {
        note_clock(context, caller, offset_ms, now).await?;
    }
    let (generation, digest) = (acknowledgement.generation, acknowledgement.digest.clone());
    let applied = acknowledgement.rejected.is_empty();
    let word = Word::of(&acknowledgement);
    let said = (&word, &*digest);
    let hearing = context
        .sessions
        .hear((&caller.name, caller.id), said, now.ms());
    let Hearing::News(news) = hearing else {
        return Ok(());
    };
    let lease = news.filter(|_| applied).map(Validity::lease);
    context
        .store
        .acknowledge(caller.id, (acknowledgement, lease), now.ms())
        .await?;
    if applied {
        context.sessions.note_applied(&caller.name, &digest);
    } else {
        context.sessions.let_others_go(&caller.name);
        tracing::warn!(
            host = caller.name,
            generation,
            "policy rejected by its host"
        );
    }
    context.sessions.note_stored(&caller.name, &word);
    Ok(())
}

/// Stores when hosts were heard that had nothing new to say: many at once, not each with its word.
pub(crate) async fn store_seen(context: &Context) -> Result<(), Error> {
    let seen = context.sessions.take_seen();
    if seen.is_empty() {
        return Ok(());
    }
    let stored = context.store.hosts_seen(seen.clone()).await;
    if stored.is_err() {
        context.sessions.put_back_seen(seen);
    }
    Ok(stored?)
}

/// Records when a host's clock begins to differ by more than its messages may, and when it no
/// longer does. `offset_ms` is how far it is ahead of ours.
async fn note_clock(
    context: &Context,
    caller: &Caller,
    offset_ms: i64,
    now: Timestamp,
) -> Result<(), Error> {
    let is_off = offset_ms.unsigned_abs() > CLOCK_OFF_MS;
    if !context.sessions.note_clock(&caller.name, is_off) {
        return Ok(());
    }
    let secs = offset_ms.unsigned_abs() / 1_000;
    let apart = humantime::format_duration(Duration::from_secs(secs));
    let direction = if offset_ms > 0 { "ahead of" } else { "behind" };
    let host = &caller.name;
    let reason = if is_off {
        format!("the clock of host {host} is {apart} {direction} the controller's")
    } else {
        format!("the clock of host {host} agrees with the controller's again")
    };
    tracing::warn!(host, offset_ms, "{reason}");
    let origin = Origin::controller(caller.request.to_string());
    let mut event = origin.done(EventKind::Clock, now.ms());
    event.reason = reason;
    event.clock_offset_ms = Some(offset_ms);
    Ok(context.store.record(event).await?)
}

/// The host that calls says that it is locked.
pub(crate) fn note_locked(context: &Context, caller: &Caller) {
    context.sessions.note_locked(&caller.name);
    tracing::info!(host = caller.name, "the host grants nothing");
}

fn view(
    context: &Context,
    member: Member,
    (state, alarms): (HostState, Vec<Alarm>),
    now: Timestamp,
) -> HostView {
    let lock = member.lock.as_ref().map(|lock| way_out(lock, &member.name));
    let target = context.rollout.target(&member.name);
    let digest = target.as_ref().map(|target| target.compiled.digest);
    let in_sync = digest.is_none_or(|digest| state.applied_digest == digest)
        && state.rejected.is_empty()
        && state.drift.is_empty();
    // One that is locked is there to be told so, and serves nobody.
    let connected = member.lock.is_none() && context.sessions.is_connected_anywhere(&member);
    let last_seen_ms = if connected {
        now.ms()
    } else {
        state.last_seen_ms
    };
    let old = agent_age::what_is_old(&state.agent_version, state.contract.as_ref());
    let keys = identity_age::warnings(&context.settings.identity, &member, now);
    HostView {
        controller: connected
            .then(|| controllers::of_host(context, &member))
            .flatten(),
        member,
        state: HostState {
            last_seen_ms,
            ..state
        },
        connected,
        in_sync,
        target_generation: target.as_ref().map_or(0, |target| target.generation),
        stanzas: target.map_or(0, |target| target.compiled.stanzas),
        agent_old: old.is_some(),
        warnings: warnings(context, lock.into_iter().chain(old).chain(keys), &alarms),
    }
}

/// Why a host is locked, and what ends that.
fn way_out(lock: &Lock, host: &str) -> String {
    let Lock { at_ms, reason, by } = lock;
    let since = Timestamp::from_ms(*at_ms);
    let reason = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    format!(
        "locked since {since} by {by}{reason}; `postern member unlock host/{host}` ends that, or \
         `postern member replace host/{host}`"
    )
}

/// What is to be looked at: what was found wrong lately, and what keeps the host from its policy.
fn warnings(
    context: &Context,
    found_now: impl Iterator<Item = String>,
    alarms: &[Alarm],
) -> Vec<String> {
    let set_back = context.fleet.borrow().set_back.clone();
    let set_back = set_back.map(|reason| {
        format!(
            "the controller was {reason}; this host keeps the policy that it has until one is applied \
             with --after-restore"
        )
    });
    let found = alarms.iter().map(|alarm| {
        let Alarm {
            count,
            last_ms,
            reason,
        } = alarm;
        let last = Timestamp::from_ms(*last_ms);
        let times = if *count > 1 {
            format!(" ({count} times)")
        } else {
            String::new()
        };
        format!("{last}: {reason}{times}")
    });
    let now = found_now.chain(set_back);
    now.chain(found).collect()
}

fn checked(acknowledgement: Acknowledgement) -> Result<Acknowledgement, Error> {
    let Acknowledgement {
        generation,
        digest,
        rejected,
        drift,
        audit_fault,
        word,
    } = acknowledgement;
    // A host that has no policy yet has no digest either.
    if !digest.is_empty() {
        check::fixed::<32>("policy_digest", &digest)?;
    }
    let rejected = rejected.iter().take(REJECTED_MAX);
    Ok(Acknowledgement {
        generation,
        digest,
        rejected: rejected.map(|reason| shortened(reason)).collect(),
        drift: shortened(&drift),
        audit_fault: shortened(&audit_fault),
        word: in_bounds(word),
    })
}

fn in_bounds(word: HostWord) -> HostWord {
    let ports = |ports: Vec<String>| {
        let valid = ports
            .into_iter()
            .filter(|port| port.parse::<Service>().is_ok());
        valid.take(PORTS_MAX).collect()
    };
    let warnings = word.warnings.iter().take(WARNINGS_MAX);
    HostWord {
        protected_ports: ports(word.protected_ports),
        own_protected_ports: ports(word.own_protected_ports),
        warnings: warnings.map(|warning| shortened(warning)).collect(),
        backend: shortened(&word.backend),
        ..word
    }
}

/// A reason as it is kept: one line, not too long.
fn shortened(text: &str) -> String {
    let mut line = text.replace(['\n', '\r'], " ");
    line.truncate(line.floor_char_boundary(REASON_BYTES_MAX));
    line
}

#[cfg(test)]
mod tests;
