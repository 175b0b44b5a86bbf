//! What is in the database holds here, whoever has written it: members, the policy, what holds for the whole fleet.
//!
//! Whoever changes something here puts it in force by itself, at once. Where that was cut short by an error after the
//! commit, or somebody else has the same database, the log says so: whatever changes who may do what is recorded in the
//! transaction that changes it, so the kinds of the records that came since the last look say what is to be read again.
//! To read something again for nothing changes nothing.

use std::sync::Arc;

use fleet::{EventKind, Role};

use crate::access::roster::Changed;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::Member;

/// How far the log was followed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Follower {
    /// Of the newest record that was looked at; `None` before the first look, which reads everything again.
    position: Option<u64>,
}

/// What is to be read again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Reload {
    members: bool,
    policy: bool,
    fleet: bool,
}

// === impl Reload ===

impl Reload {
    const ALL: Self = Self {
        members: true,
        policy: true,
        fleet: true,
    };

    /// What may be another after records of these kinds, by their numbers in the contract: of a kind that is not known
    /// it may be anything.
    fn after(kinds: impl IntoIterator<Item = i32>) -> Self {
        let each = kinds
            .into_iter()
            .map(|kind| match EventKind::try_from(kind) {
                Ok(kind) => Self::after_one(kind),
                Err(_) => Self::ALL,
            });
        each.fold(Self::default(), |all, one| Self {
            members: all.members || one.members,
            policy: all.policy || one.policy,
            fleet: all.fleet || one.fleet,
        })
    }

    const fn after_one(kind: EventKind) -> Self {
        let nothing = Self {
            members: false,
            policy: false,
            fleet: false,
        };
        match kind {
            EventKind::Unspecified
            | EventKind::Operator
            | EventKind::ControllerSetBack
            | EventKind::HostCloned
            | EventKind::HostSetBack => Self::ALL,
            EventKind::Banned
            | EventKind::Enrolled
            | EventKind::Locked
            | EventKind::Removed
            | EventKind::Unlocked => Self {
                members: true,
                ..nothing
            },
            EventKind::PolicyApplied => Self {
                policy: true,
                fleet: true,
                ..nothing
            },
            EventKind::AgentStarted
            | EventKind::AgentStopped
            | EventKind::AuditConflict
            | EventKind::AuditGap
            | EventKind::Clock
            | EventKind::CommandRun
            | EventKind::ConnectionsCut
            | EventKind::Drift
            | EventKind::FloorChanged
            | EventKind::GrantBlocked
            | EventKind::GrantClosed
            | EventKind::GrantOpened
            | EventKind::GrantRevoked
            | EventKind::Noise
            | EventKind::PolicyRejected
            | EventKind::Quota
            | EventKind::Read
            | EventKind::Refused
            | EventKind::Replay
            | EventKind::ReplayElsewhere
            | EventKind::Retention
            | EventKind::SignIn
            | EventKind::Sink => nothing,
        }
    }
}

// === impl Follower ===

impl Follower {
    /// Looks at what is new in the log, and puts in force here what it may have changed.
    ///
    /// # Errors
    ///
    /// When something cannot be read: the next look begins where this one did.
    pub(crate) async fn look(&mut self, context: &Context) -> Result<(), Error> {
        let newest = context.store.newest_record().await?;
        let reload = match self.position {
            Some(position) if newest <= position => return Ok(()),
            Some(position) => {
                let kinds = context.store.kinds_between(position, newest).await?;
                Reload::after(kinds.into_iter().map(|(kind, _)| kind))
            }
            None => Reload::ALL,
        };
        follow(context, reload).await?;
        self.position = Some(newest);
        Ok(())
    }
}

async fn follow(context: &Context, reload: Reload) -> Result<(), Error> {
    if reload.fleet {
        let before = context.fleet.borrow().set_back.clone();
        context.refresh_fleet_state().await?;
        if before != context.fleet.borrow().set_back {
            context.rollout.renumber().await?;
            context.sessions.retarget_all(&context.rollout.targets());
        }
    }
    let mut publishes = reload.policy && {
        let stored = context.store.current_generation().await?;
        stored > context.rollout.in_force().generation
    };
    if reload.members {
        for changed in context.roster.follow(&context.store).await? {
            publishes |= is_compiled(&changed);
            tell(context, &changed);
        }
    }
    if publishes {
        context.rollout.publish(None).await?;
    }
    Ok(())
}

/// Whether policies are compiled of what has changed.
fn is_compiled(changed: &Changed) -> bool {
    let role = changed
        .before
        .as_ref()
        .or(changed.after.as_ref())
        .map(|it| it.role);
    matches!(role, Some(Role::Host | Role::User))
}

/// Tells the session of a host that is not what it was, as whoever changes it here does.
fn tell(context: &Context, changed: &Changed) {
    let Changed { before, after } = changed;
    let is_host = |member: &&Arc<Member>| member.role == Role::Host;
    let (before, after) = (
        before.as_ref().filter(is_host),
        after.as_ref().filter(is_host),
    );
    match (before, after) {
        (None, _) => {}
        (Some(before), None) => context.sessions.end(&before.name),
        (Some(before), Some(after)) => {
            if before.name != after.name {
                context.claim_quotas.rename(&before.name, &after.name);
                context.sessions.end(&before.name);
            } else if before.id != after.id {
                context.sessions.end(&after.name);
            } else if before.lock != after.lock {
                match &after.lock {
                    Some(lock) => context.sessions.lock(&after.name, &lock.reason),
                    // It comes back and is told what to do.
                    None => context.sessions.end(&after.name),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
