//! Who belongs to the fleet: looking, locking, unlocking, removing, and waiting until every host
//! has heard of it.
//!
//! A lock is in force in this order: the store has it, then the roster, so that nothing is called
//! any more and streams end, then the policy is compiled without the member and goes to the hosts.

mod progress;
pub(super) mod reach;

use std::sync::Arc;
use std::time::Duration;

use fleet::{EventKind, Role};

pub(super) use self::progress::has_acknowledged_here;
pub(crate) use self::progress::{HostProgress, Waiting};
use super::{check, near};
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Change, ChangeOutcome, Changed, Member, Origin, Whom};
use crate::timestamp::Timestamp;

/// How long a host that is removed may take to close what is open.
const TOLD_WAIT: Duration = Duration::from_secs(2);

/// What a change of a user does not reach after a restore from an older copy.
const SET_BACK: &str = "this controller was restored from an older copy: hosts that have a newer policy keep it, and \
                        do not hear of this before `postern policy apply --after-restore`; lock those that must not \
                        open until then";

/// What is done to a membership.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    /// A lock of a host by its older name, under which the audit knows it.
    Ban,
    Lock,
    Unlock,
    Remove,
}

/// What an act came to at the controller.
#[derive(Debug)]
pub(crate) struct Acted {
    /// As it is now; `None` when it is gone.
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) whom: Whom,
    /// The hosts that must hear of it, as they are now.
    pub(crate) hosts: Vec<HostProgress>,
    /// What the act does not reach, and what should be looked at.
    pub(crate) warnings: Vec<String>,
    /// Tells of those that have heard since.
    pub(crate) waiting: Waiting,
}

/// Every member that the caller is to see, locked ones too; of one role, or of all.
pub(crate) fn list(context: &Context, caller: &Caller, role: Option<Role>) -> Vec<Arc<Member>> {
    let mut members = context.roster.all();
    members.retain(|member| role.is_none_or(|role| member.role == role) && caller.may_see(member));
    members
}

/// One member, and the stanzas in force that permit it with the hosts where they do.
pub(crate) fn show(
    context: &Context,
    caller: &Caller,
    (role, name): (Role, &str),
) -> Result<(Arc<Member>, Vec<String>), Error> {
    let member = near::member(context, caller, (role, name))?;
    let stanzas = match role {
        Role::User if member.is_active() => reach::stanzas(context, name),
        Role::Auditor
        | Role::Helpdesk
        | Role::Owner
        | Role::Validator
        | Role::Host
        | Role::Operator
        | Role::User => Vec::new(),
    };
    Ok((member, stanzas))
}

/// Locks, unlocks or removes a member, or one key of a user. When this returns, it is in force here
/// and on its way to the hosts. What is so already is not recorded again.
pub(crate) async fn act(
    context: &Context,
    caller: &Caller,
    act: Act,
    whom: (Whom, String),
    now: Timestamp,
) -> Result<Acted, Error> {
    let Whom { role, name, .. } = &whom.0;
    caller.check_role(*role)?;
    let member = near::member(context, caller, (*role, name))?;
    caller.check_manages(&member)?;
    perform(context, act, whom, caller.origin(), now).await
}

/// The same, whoever it is.
async fn perform(
    context: &Context,
    act: Act,
    (whom, reason): (Whom, String),
    origin: Origin,
    now: Timestamp,
) -> Result<Acted, Error> {
    check::words("reason", &reason)?;
    if whom.role != Role::User && whom.key.is_some() {
        return Err(Error::invalid(
            "key_name",
            "only users have keys with names",
        ));
    }
    let removed = if act == Act::Remove && whom.role == Role::Host {
        Some(tell_before_removal(context, (&whom, &reason), &origin, now).await?)
    } else {
        None
    };
    let by = origin.actor.clone();
    let change = Change {
        whom: whom.clone(),
        reason,
        origin,
        at_ms: now.ms(),
    };
    let acks = context.sessions.acknowledgements();
    let behind = reach::behind(context).await?;
    let outcome = match act {
        Act::Ban => context.store.lock(change, EventKind::Banned).await?,
        Act::Lock => context.store.lock(change, EventKind::Locked).await?,
        Act::Unlock => context.store.unlock(change).await?,
        Act::Remove => context.store.remove(change).await?,
    };
    let changed = changed(outcome, &whom)?;
    // One that is unlocked, or removed, comes back in a moment, in another session.
    let comes_back = whom.role == Role::Host && is_there(context, &whom.name);
    take_effect(context, &whom).await?;
    let Whom { role, name, .. } = &whom;
    tracing::info!(actor = by, role = %role, name, act = act.done(), "membership changed");
    let hosts = match role {
        Role::User => reach::concerned(context, name, behind),
        // Nothing can be said to one that was removed, so it is not waited for.
        Role::Host if removed.is_some() => Vec::new(),
        Role::Host => vec![name.clone()],
        Role::Auditor | Role::Helpdesk | Role::Owner | Role::Validator | Role::Operator => {
            Vec::new()
        }
    };
    let mut waiting = Waiting::new(hosts, acks);
    let mut hosts = waiting.first(context);
    hosts.extend(removed);
    let member = context.roster.find(*role, name);
    let mut warnings = warnings(&changed, &whom, member.as_deref());
    if *role == Role::User && act != Act::Unlock {
        warnings.extend(reach::shared_keys(context, &whom));
    }
    let is_held_up = *role == Role::User && context.fleet.borrow().set_back.is_some();
    let away = hosts.iter().filter(|it| it.is_away() && !comes_back);
    warnings.extend(away.map(|host| is_away(&host.host, act, *role)));
    if is_held_up {
        warnings.push(SET_BACK.to_owned());
    }
    Ok(Acted {
        member,
        whom,
        hosts,
        warnings,
        waiting,
    })
}

/// What it means that a host cannot hear of an act.
fn is_away(host: &str, act: Act, role: Role) -> String {
    let goes_on = match act {
        Act::Unlock if role == Role::Host => "stays locked until then",
        Act::Ban | Act::Lock | Act::Remove | Act::Unlock => "goes on by its last policy until then",
    };
    format!("host {host} is away: it hears of this when it comes back, and {goes_on}")
}

/// Puts in force, and on its way to the hosts, what is stored of a member now.
async fn take_effect(context: &Context, whom: &Whom) -> Result<(), Error> {
    let Whom { role, name, .. } = whom;
    context.roster.refresh(&context.store, *role, name).await?;
    match role {
        Role::Host => {
            if let Some(since) = context.rollout.wanted_since().await? {
                context.sessions.others().want(&[name.as_str()], since);
            }
            match member_lock(context, name) {
                Some(reason) => context.sessions.lock(name, &reason),
                // Removed, or unlocked: then it comes back and is told what to do.
                None => context.sessions.end(name),
            }
            context.rollout.publish_hosts(&[name]).await
        }
        Role::User => context.rollout.publish(None).await,
        Role::Auditor | Role::Helpdesk | Role::Owner | Role::Validator | Role::Operator => Ok(()),
    }
}

/// Locks a host that is there before it is removed, so that it closes what is open: afterwards
/// nothing can be said to it. Returns whether it has said that it did.
async fn tell_before_removal(
    context: &Context,
    (whom, reason): (&Whom, &str),
    origin: &Origin,
    now: Timestamp,
) -> Result<HostProgress, Error> {
    let host = whom.name.as_str();
    let connected = is_there(context, host);
    if connected && member_lock(context, host).is_none() {
        let reason = match reason.trim() {
            "" => "is to be removed".to_owned(),
            reason => format!("is to be removed: {reason}"),
        };
        let lock = (whom.clone(), reason);
        let lock = Box::pin(perform(context, Act::Lock, lock, origin.clone(), now));
        lock.await?;
        // A host that does not answer does not keep its membership for that.
        await_lock(context, host).await;
    }
    Ok(HostProgress {
        host: host.to_owned(),
        acknowledged: has_heard_of_lock(context, host),
        connected,
    })
}

/// Tells the host that has this name, if it is there, that another takes its place, and waits until
/// it has closed what is open: afterwards nothing can be said to it. Should the other one not come
/// after all, its session is to be ended, and it has its policy again in the next.
pub(super) async fn tell_before_replacement(context: &Context, host: &str) {
    let sessions = &context.sessions;
    if sessions.is_connected(host) && member_lock(context, host).is_none() {
        sessions.lock(host, "another machine takes this host's place");
        await_lock(context, host).await;
    }
}

/// Waits a while until a host has said that it is locked.
async fn await_lock(context: &Context, host: &str) {
    let mut acknowledgements = context.sessions.acknowledgements();
    let heard = async {
        while !has_heard_of_lock(context, host) {
            if acknowledgements.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(TOLD_WAIT, heard).await.is_err() {
        tracing::warn!(host, "the host has not said in time that it is locked");
    }
}

/// Whether a host is connected, to whichever controller.
fn is_there(context: &Context, host: &str) -> bool {
    let member = context.roster.find(Role::Host, host);
    member.is_some_and(|member| context.sessions.is_connected_anywhere(&member))
}

/// Whether a host has said that it is locked, to whichever controller. One that is not locked by what is stored was told
/// so here.
fn has_heard_of_lock(context: &Context, host: &str) -> bool {
    let member = context.roster.find(Role::Host, host);
    let member = member.filter(|member| member.lock.is_some());
    context.sessions.has_acknowledged_lock(host)
        || member.is_some_and(|member| progress::has_acknowledged(context, &member))
}

/// Why a host is locked, if it is.
fn member_lock(context: &Context, host: &str) -> Option<String> {
    let member = context.roster.find(Role::Host, host)?;
    member.lock.as_ref().map(|lock| lock.reason.clone())
}

pub(crate) fn unknown(role: Role, name: &str) -> Error {
    Error::not_found(format!("{role} is called `{name}`"))
}

fn changed(outcome: ChangeOutcome, whom: &Whom) -> Result<Changed, Error> {
    let Whom { role, name, .. } = whom;
    match outcome {
        ChangeOutcome::Done(changed) => Ok(changed),
        ChangeOutcome::DoneBefore => Ok(Changed::default()),
        ChangeOutcome::UnknownMember => Err(unknown(*role, name)),
        ChangeOutcome::UnknownKey => {
            let key = whom.key.as_deref().unwrap_or_default();
            Err(Error::not_found(format!(
                "key of {role} {name} is called `{key}`"
            )))
        }
        ChangeOutcome::LastOwner => Err(Error::LastOwner { name: name.clone() }),
        ChangeOutcome::LastKey => Err(Error::Conflict(format!(
            "this is the only key of {role} {name}: lock it, or remove {role} {name} itself"
        ))),
    }
}

fn warnings(changed: &Changed, whom: &Whom, member: Option<&Member>) -> Vec<String> {
    let mut warnings = Vec::new();
    let Changed {
        revoked_tokens,
        invited,
    } = changed;
    if !revoked_tokens.is_empty() {
        let tokens = revoked_tokens.join(", ");
        warnings.push(format!(
            "open tokens made by {whom} or for it are revoked: {tokens}"
        ));
    }
    if !invited.is_empty() {
        let invited = invited.join(", ");
        warnings.push(format!(
            "by tokens of {whom} joined in the last 30 days: {invited}; lock these too unless you \
             know them"
        ));
    }
    let keys = member.iter().flat_map(|member| member.devices());
    let locked = keys.filter(|key| key.lock.is_some() && Some(&key.name) != whom.key.as_ref());
    let locked: Vec<_> = locked.map(|key| key.name.as_str()).collect();
    if member.is_some_and(|member| member.lock.is_none()) && !locked.is_empty() {
        warnings.push(format!("locked by themselves stay: {}", locked.join(", ")));
    }
    if whom.key.is_some() && member.is_some_and(|member| member.lock.is_some()) {
        warnings.push(format!(
            "{} {} is locked with all keys",
            whom.role, whom.name
        ));
    }
    warnings
}

// === impl Act ===

impl Act {
    const fn done(self) -> &'static str {
        match self {
            Self::Ban => "banned",
            Self::Lock => "locked",
            Self::Unlock => "unlocked",
            Self::Remove => "removed",
        }
    }
}

#[cfg(test)]
mod tests;
