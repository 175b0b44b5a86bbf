//! What is in the database holds here, whoever has written it: members, the policy, what holds for the whole fleet.
//!
//! Whoever changes something here puts it in force by itself, at once. Where that was cut short by an error after the
//! commit, or somebody else has the same database, the log says so: whatever changes who may do what is recorded in the
//! transaction that changes it, so the kinds of the records that came since the last look say what is to be read again.
//! To read something again for nothing changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleet::{EventKind, Role};

use crate::access::roster::Changed;
use crate::context::Context;
use crate::error::Error;
use crate::reload::Reload;
use crate::sessions::others::Followed;
use crate::store::model::{Look, Member};

/// How far the log was followed, and changes of members.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Follower {
    /// The newest change of members that was looked at.
    members: u64,
    /// A look has failed: what it has read may not be in force.
    owes: bool,
    /// `None` before the first look, which reads everything again.
    followed: Option<Followed>,
}

// === impl Follower ===

impl Follower {
    /// Looks at what is new by this look, and puts in force here what it may have changed.
    ///
    /// # Errors
    ///
    /// When something cannot be read: the next look begins where this one did.
    pub(crate) async fn look(&mut self, context: &Context, look: &Look) -> Result<(), Error> {
        let newest = look.record;
        let (mut reload, settled) = match self.followed {
            Some(Followed { looked, settled }) if newest <= looked => (Reload::default(), settled),
            Some(Followed { looked, settled }) => {
                let mut kinds = context.store.newest_of_kinds(looked, newest).await?;
                kinds.retain(|of| Reload::after([of.kind]) != Reload::default());
                let last = kinds.iter().map(|of| of.newest).max().unwrap_or(settled);
                let is_one = kinds.iter().map(|of| of.count).sum::<u64>() <= 1;
                // Who joins takes nothing from anybody, however many do.
                let all_joined = kinds
                    .iter()
                    .all(|of| of.kind == i32::from(EventKind::Enrolled));
                if !is_one && !all_joined {
                    // A text may have been another meanwhile, and be what it was.
                    context.sessions.others().ask_all(last);
                }
                (Reload::after(kinds.iter().map(|of| of.kind)), last)
            }
            None if context.store.is_shared() => {
                let kinds = Reload::of_no_consequence();
                let last = context.store.last_of_other_kinds((0, newest), kinds);
                (Reload::ALL, last.await?.unwrap_or(0))
            }
            None => (Reload::ALL, newest),
        };
        // What is renewed is not recorded.
        reload.members |= look.members != self.members;
        if !self.owes
            && reload == Reload::default()
            && self.followed.is_some_and(|it| newest <= it.looked)
        {
            return Ok(());
        }
        let owes = std::mem::replace(&mut self.owes, true);
        follow(context, reload, settled).await?;
        if owes {
            context.rollout.settle().await?;
        }
        self.owes = false;
        self.members = look.members;
        let followed = Followed {
            looked: newest.max(self.followed.map_or(0, |it| it.looked)),
            settled,
        };
        self.followed = Some(followed);
        if context.store.is_shared() {
            context.sessions.others().set_followed(followed);
        }
        Ok(())
    }
}

/// Puts in force what is to be read again after record `settled`.
async fn follow(context: &Context, reload: Reload, settled: u64) -> Result<(), Error> {
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
    let mut hosts = BTreeSet::new();
    if reload.members {
        for changed in context.roster.follow(&context.store).await? {
            let members = || [&changed.before, &changed.after].into_iter().flatten();
            if is_compiled(&changed) {
                publishes |= members().any(|member| member.role == Role::User);
                hosts.extend(members().map(|host| host.name.clone()));
            }
            tell(context, &changed, settled);
        }
    }
    if publishes {
        context.rollout.publish(None).await?;
    } else if !hosts.is_empty() {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        context.rollout.publish_hosts(&hosts).await?;
    }
    Ok(())
}

/// Whether policies are compiled of what has changed.
fn is_compiled(changed: &Changed) -> bool {
    let compiled_of = |member: &Arc<Member>| {
        let keys = member.active_keys();
        let keys: BTreeSet<_> = keys.filter_map(|key| key.exchange_key).collect();
        let is_active = member.is_active();
        (member.name.clone(), member.labels.clone(), is_active, keys)
    };
    let Changed { before, after } = changed;
    let has_texts = |member: &Arc<Member>| matches!(member.role, Role::Host | Role::User);
    let mut whose = before.iter().chain(after);
    whose.any(has_texts)
        && (before.as_ref().map(compiled_of) != after.as_ref().map(compiled_of)
            || before.as_ref().map(|it| it.id) != after.as_ref().map(|it| it.id))
}

/// Tells the session of a host that is not what it was, as whoever changes it here does.
fn tell(context: &Context, changed: &Changed, settled: u64) {
    let Changed { before, after } = changed;
    let is_host = |member: &&Arc<Member>| member.role == Role::Host;
    let (before, after) = (
        before.as_ref().filter(is_host),
        after.as_ref().filter(is_host),
    );
    match (before, after) {
        (None, _) => {}
        (Some(before), None) => {
            context.sessions.end(&before.name);
            context.sessions.others().forget(before.id, &before.name);
        }
        (Some(before), Some(after)) => {
            if before.name != after.name {
                context.claim_quotas.rename(&before.name, &after.name);
                context.sessions.end(&before.name);
            } else if before.id != after.id {
                context.sessions.end(&after.name);
            } else if before.lock != after.lock {
                let others = context.sessions.others();
                others.want(&[after.name.as_str()], settled);
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
