//! A key of a member follows another, both side by side until everybody has heard; and asking for that.
//!
//! A user's hosts open for both keys as soon as they have the text that names them. The one before ends when all of
//! them have, and when her program has come with the new one: never by time, since whoever is away or offline would
//! find out at a closed gate. A host's key ends when the host says that it takes packets for both: until then
//! directories have its former exchange key, and from then on the next one.

use std::sync::Arc;

use ed25519_dalek::{Signature, VerifyingKey};
use fleet::{Event, EventKind, Role};

use super::members::{self, reach};
use super::{check, identity_age, near};
use crate::access::caller::{Call, Caller};
use crate::context::Context;
use crate::error::{Error, RenewalRefused};
use crate::store::model::{
    Change, ChangeOutcome, Member, MemberKey, Origin, SuccessionOutcome, Successor, Whom,
};
use crate::timestamp::Timestamp;

/// It is signed at most this long ago, or ahead.
const AGE_MAX_SECS: u64 = 300;

/// A member's wish for another key, signed with it, and with the one before.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    pub(crate) role: Role,
    /// By which the member knows itself; it may be a former one.
    pub(crate) name: String,
    /// The identity key that is to end.
    pub(crate) old: [u8; 32],
    /// The one that follows it.
    pub(crate) new: [u8; 32],
    /// Hosts and users: X25519 public key.
    pub(crate) new_exchange: Option<[u8; 32]>,
    pub(crate) signed_at_secs: u64,
    /// The old one is to end now.
    pub(crate) end_old: bool,
    /// By the new key.
    pub(crate) new_signature: Vec<u8>,
    /// By the old one; it counts until the new one is registered.
    pub(crate) signature: Vec<u8>,
}

/// How far it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stand {
    /// Hosts that do not know the new key yet.
    pub(crate) waits_for: Vec<String>,
    pub(crate) old_ended: bool,
}

/// Registers the new key beside the old one, says who has not heard of it, and ends the old one when that is
/// wished and nobody is left. Whoever asks again is answered by what is so by then.
pub(crate) async fn rotate(
    context: &Context,
    call: Call,
    wish: Rotation,
    now: Timestamp,
) -> Result<Stand, Error> {
    wish.check(now)?;
    let (member, new) = match wish.registered(context) {
        Some(found) => found,
        None => {
            if let Some(outcome) = register(context, call, &wish, now).await? {
                return Err(refused(outcome));
            }
            wish.registered(context).ok_or(RenewalRefused::Signature)?
        }
    };
    if !member.active_keys().any(|active| active.id == new.id) {
        return Err(Error::locked(&member, &new.name));
    }
    let Some(followed) = new.follows else {
        // It has ended, unless some other key of the member was named.
        let is_other = member.keys.iter().any(|key| key.identity_key == wish.old);
        return if is_other {
            Err(refused(SuccessionOutcome::KeyInUse))
        } else {
            Ok(Stand {
                old_ended: true,
                ..Stand::default()
            })
        };
    };
    let old = member
        .key(followed)
        .filter(|key| key.identity_key == wish.old);
    let old = old.ok_or_else(|| refused(SuccessionOutcome::KeyInUse))?;
    let waits_for = match member.role {
        Role::User => {
            context.rollout.settle().await?;
            reach::not_heard(context, &member.name).await?
        }
        Role::Auditor
        | Role::Helpdesk
        | Role::Owner
        | Role::Validator
        | Role::Host
        | Role::Operator => Vec::new(),
    };
    let old_ended = wish.end_old && waits_for.is_empty();
    if old_ended {
        end(context, call, (&member, old, &new), now).await?;
    }
    Ok(Stand {
        waits_for,
        old_ended,
    })
}

/// Asks a member, or one key of a user, for new keys: its program says so to whoever uses it.
pub(crate) async fn ask(
    context: &Context,
    caller: &Caller,
    (whom, reason): (Whom, String),
    now: Timestamp,
) -> Result<Arc<Member>, Error> {
    let Whom { role, name, key } = whom.clone();
    caller.check_role(role)?;
    let member = near::member(context, caller, (role, &name))?;
    caller.check_manages(&member)?;
    check::words("reason", &reason)?;
    if role != Role::User && key.is_some() {
        return Err(Error::invalid(
            "key_name",
            "only users have keys with names",
        ));
    }
    let change = Change {
        whom,
        reason,
        origin: caller.origin(),
        at_ms: now.ms(),
    };
    match context.store.ask_rotation(change).await? {
        ChangeOutcome::Done(_) | ChangeOutcome::DoneBefore => {}
        ChangeOutcome::UnknownKey => {
            let key = key.unwrap_or_default();
            let what = format!("key of {role} {name} is called `{key}`");
            return Err(Error::not_found(what));
        }
        ChangeOutcome::UnknownMember | ChangeOutcome::LastOwner | ChangeOutcome::LastKey => {
            return Err(members::unknown(role, &name));
        }
    }
    context.roster.refresh(&context.store, role, &name).await?;
    if role == Role::Host {
        // It is told at the beginning of its next session.
        context.sessions.end(&name);
    }
    near::member(context, caller, (role, &name))
}

/// Registers the new key, if the old one says so too. What forbids it, if something does.
async fn register(
    context: &Context,
    call: Call,
    wish: &Rotation,
    now: Timestamp,
) -> Result<Option<SuccessionOutcome>, Error> {
    let members = context.roster.by_any_name(wish.role, &wish.name);
    let mut named = members.iter().filter_map(|member| {
        let mut keys = member.keys.iter();
        Some((member, keys.find(|key| key.identity_key == wish.old)?))
    });
    let (member, old) = named.next().ok_or(RenewalRefused::Signature)?;
    if !wish.is_signed(&wish.old, &wish.signature) {
        return Err(RenewalRefused::Signature.into());
    }
    if !member.active_keys().any(|active| active.id == old.id) {
        return Err(Error::locked(member, &old.name));
    }
    if wish.end_old {
        let problem = "a key cannot end before the one that follows it is known";
        return Err(Error::invalid("end_old", problem));
    }
    if old.exchange_key.is_some() != wish.new_exchange.is_some()
        || (old.exchange_key.is_some() && old.exchange_key == wish.new_exchange)
    {
        let problem = "another one of the kind that the key before has";
        return Err(Error::invalid("new_exchange_key", problem));
    }
    // What is too old to renew is too old to say who follows it.
    identity_age::on_renewal(&context.settings.identity, (member, old), now)?;
    let new = Successor {
        follows: old.id,
        identity_key: wish.new,
        exchange_key: wish.new_exchange,
        at_ms: now.ms(),
    };
    let mut event = said(call, (EventKind::Enrolled, member, &old.name), now);
    event.reason += &format!(
        " has another that follows it, {}",
        MemberKey::fingerprint_of(&wish.new)
    );
    let outcome = context.store.add_successor(new, event).await?;
    if outcome != SuccessionOutcome::Done {
        return Ok(Some(outcome));
    }
    tracing::info!(role = %member.role, name = member.name, key = old.name, "a key is to follow");
    take_effect(context, member).await?;
    Ok(None)
}

/// Ends the old key: the new one has its name from then on.
async fn end(
    context: &Context,
    call: Call,
    (member, old, new): (&Member, &MemberKey, &MemberKey),
    now: Timestamp,
) -> Result<(), Error> {
    let mut event = said(call, (EventKind::Removed, member, &old.name), now);
    // As of a key in whose place another came.
    event.reason += &format!(" replaced: rotated to {}", new.fingerprint());
    context.store.end_followed(new.id, event).await?;
    tracing::info!(role = %member.role, name = member.name, key = old.name, "a key has ended");
    take_effect(context, member).await?;
    if member.role == Role::Host {
        // Whoever began it with the former key.
        context.sessions.end(&member.name);
    }
    Ok(())
}

async fn take_effect(context: &Context, member: &Member) -> Result<(), Error> {
    let (role, name) = (member.role, member.name.as_str());
    context.roster.refresh(&context.store, role, name).await?;
    match role {
        Role::User => context.rollout.publish(None).await,
        Role::Auditor
        | Role::Helpdesk
        | Role::Owner
        | Role::Validator
        | Role::Host
        | Role::Operator => Ok(()),
    }
}

/// An event of a key, by the member that has it: its reason begins with `key laptop of user alice`.
fn said(call: Call, (kind, member, key): (EventKind, &Member, &str), now: Timestamp) -> Event {
    let origin = Origin::member(member.role, &member.name, call.id.to_string());
    let mut event = origin.done(kind, now.ms());
    let whom = Whom {
        role: member.role,
        name: member.name.clone(),
        key: Some(key.to_owned()),
    };
    event.reason = whom.to_string();
    event.user.clone_from(&member.name);
    event.source = call.peer.map_or_else(String::new, |peer| peer.to_string());
    event
}

fn refused(outcome: SuccessionOutcome) -> Error {
    Error::Conflict(
        match outcome {
            SuccessionOutcome::Followed => {
                "somebody has come already with another key that is to follow this one: if that was not you, \
                 have it locked"
            }
            SuccessionOutcome::KeyInUse => "the new key is another one's, or follows another",
            SuccessionOutcome::UnknownKey => {
                "this key cannot be followed: it is locked, has ended, or is itself to follow another"
            }
            // Never refused.
            SuccessionOutcome::Done => "it is so already",
        }
        .to_owned(),
    )
}

// === impl Rotation ===

impl Rotation {
    /// What is refused whoever has the old key.
    fn check(&self, now: Timestamp) -> Result<(), Error> {
        if now.secs().abs_diff(self.signed_at_secs) > AGE_MAX_SECS {
            return Err(RenewalRefused::Clock.into());
        }
        if self.old == self.new || !self.is_signed(&self.new, &self.new_signature) {
            return Err(RenewalRefused::Signature.into());
        }
        Ok(())
    }

    fn is_signed(&self, by: &[u8; 32], signature: &[u8]) -> bool {
        let message = fleet::rotation_message(
            self.role,
            &self.name,
            (&self.old, &self.new),
            self.new_exchange.as_ref().map_or(&[][..], |key| &key[..]),
            (self.signed_at_secs, self.end_old),
        );
        let public = VerifyingKey::from_bytes(by);
        let signature = Signature::from_slice(signature);
        match (public, signature) {
            (Ok(public), Ok(signature)) => public.verify_strict(&message, &signature).is_ok(),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// The member that has the new key, and that key.
    fn registered(&self, context: &Context) -> Option<(Arc<Member>, MemberKey)> {
        let mut members = context
            .roster
            .by_any_name(self.role, &self.name)
            .into_iter();
        members.find_map(|member| {
            let mut keys = member.keys.iter();
            let new = keys.find(|key| key.identity_key == self.new).cloned()?;
            Some((member, new))
        })
    }
}

#[cfg(test)]
mod tests;
