//! Whether a caller may invite as she wants to: by her role, and by the hosts that are her business.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::Role;
use policy::Selector;

use super::NewToken;
use crate::access::caller::{Caller, RequestId};
use crate::app::members::reach;
use crate::app::near::{self, did_you_mean};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Invitation, Member};

/// Refuses what is not hers to promise.
pub(super) fn check(context: &Context, caller: &Caller, new: &NewToken) -> Result<(), Error> {
    let existing = context.roster.find(new.role, &new.name);
    let existing = existing.as_deref();
    if is_herself(caller, new) {
        return Ok(());
    }
    if !caller.may_invite_new(new.role)? {
        check_again(context, new, existing)?;
    }
    match new.role {
        Role::Host => check_host(context, caller, (new, existing)),
        Role::User => check_user(context, caller, new),
        Role::Auditor | Role::Helpdesk | Role::Operator | Role::Owner | Role::Validator => {
            caller.check_whole("those who manage it are")
        }
    }
}

/// Whoever has a new laptop may take her own place, as what she is.
fn is_herself(caller: &Caller, new: &NewToken) -> bool {
    let named = (new.role, new.name.as_str()) == (caller.role, caller.name.as_str());
    named && new.replaces && new.scope.is_empty()
}

/// A user who is there, and not locked, gets the same again, and nothing else.
fn check_again(context: &Context, new: &NewToken, existing: Option<&Member>) -> Result<(), Error> {
    if !new.replaces || new.name.is_empty() {
        return Err(Error::Conflict(
            "a helpdesk invites again only: say whom, with --replace (`postern member replace \
             NAME`); an operator invites who is new"
                .to_owned(),
        ));
    }
    let Some(user) = existing else {
        let all = context.roster.all();
        let users = all.iter().filter(|member| member.role == new.role);
        let near = did_you_mean(&new.name, users.map(|user| user.name.as_str()));
        return Err(Error::not_found(format!(
            "{} is called `{}`{near}",
            new.role, new.name
        )));
    };
    let key = (!new.key_name.is_empty()).then_some(&*new.key_name);
    let key = match key {
        None => None,
        Some(name) => Some(user.key_named(name).ok_or_else(|| {
            let known = user.keys.iter().map(|key| key.name.as_str());
            let near = did_you_mean(name, known);
            Error::not_found(format!(
                "key of user {} is called `{name}`{near}",
                user.name
            ))
        })?),
    };
    if user.lock.is_some() || key.is_some_and(|key| key.lock.is_some()) {
        return Err(Error::Conflict(format!(
            "user {} is locked, and a helpdesk cannot undo that; ask an operator",
            user.name
        )));
    }
    Ok(())
}

fn check_host(
    context: &Context,
    caller: &Caller,
    (new, existing): (&NewToken, Option<&Member>),
) -> Result<(), Error> {
    if existing.is_some_and(|host| !caller.may_see(host)) {
        return Err(near::no_host_of_now(context, &caller.scope, &new.name));
    }
    match existing {
        // It keeps those that it has.
        Some(_) if new.labels.is_empty() => Ok(()),
        Some(_) | None => caller.check_labels(&new.labels),
    }
}

/// Whoever redeems it may open what policy gives the name, so that must be within her scope.
fn check_user(context: &Context, caller: &Caller, new: &NewToken) -> Result<(), Error> {
    if caller.scope.is_whole() {
        return Ok(());
    }
    if new.name.is_empty() {
        return caller.check_whole("a token for any user is");
    }
    let is_hers = |selector: &Selector| selects_within(context, caller, selector);
    if reach::reaches_other(context, &new.name, is_hers) {
        let problem = format!("policy permits user {} something on others", new.name);
        return Err(caller.out_of_scope(problem));
    }
    Ok(())
}

/// Whether a selector selects hosts of the caller's scope only, whoever may join.
pub(in crate::app) fn selects_within(
    context: &Context,
    caller: &Caller,
    selector: &Selector,
) -> bool {
    let Selector::Labels(labels) = selector else {
        return caller.scope.is_whole();
    };
    let owned = labels
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()));
    let labels: BTreeMap<String, String> = owned.collect();
    let named = selector.host_name();
    let named = named.and_then(|name| context.roster.find(Role::Host, name));
    caller.scope.covers(&labels) || named.is_some_and(|host| caller.may_see(&host))
}

/// Refuses that somebody takes back an invitation that she may not make.
pub(super) fn check_revoke(caller: &Caller, invitation: &Invitation) -> Result<(), Error> {
    if invitation.creator == Some(caller.id) {
        return Ok(());
    }
    caller.check_role(invitation.role)?;
    if invitation.role == Role::Host {
        caller.check_labels(&invitation.labels)
    } else {
        caller.check_whole("that token is")
    }
}

/// Refuses that a host takes the place of one that whoever made the token may not replace, any more or
/// ever: the name may be another host's by now, or the host may have other labels.
pub(in crate::app) fn check_takes_place(
    context: &Context,
    invitation: &Invitation,
    before: &Member,
) -> Result<(), Error> {
    let creator = invitation.creator.and_then(|id| context.roster.by_id(id));
    match creator {
        Some(creator) if !creator.scope.covers(&before.labels) => Err(Error::Conflict(format!(
            "host {} is none of those that {} may replace, who made this token; ask an operator for \
             another",
            before.name, invitation.created_by
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Refuses what whoever made the token could not promise any more: policy may give the name other
/// hosts by now, and the name may be somebody else's. Tokens of those who were locked, removed or
/// replaced since are revoked with that.
pub(in crate::app) fn check_still_hers(
    context: &Context,
    invitation: &Invitation,
    (name, request): (&str, RequestId),
) -> Result<(), Error> {
    let Some(creator) = invitation.creator.and_then(|id| context.roster.by_id(id)) else {
        return Ok(());
    };
    let caller = Caller::of(&creator, request);
    let again = NewToken {
        role: invitation.role,
        name: name.to_owned(),
        labels: invitation.labels.clone(),
        // Only who invites is judged; a scope that was left out is that of the one replaced.
        scope: BTreeMap::new(),
        ttl: Duration::ZERO,
        key_name: invitation.key_name.clone(),
        replaces: invitation.replaces,
    };
    check(context, &caller, &again).map_err(|_| {
        Error::Conflict(format!(
            "{} {name} is none of those whom {} may invite so, who made this token: what policy \
             gives, or whose the name is, has changed since; ask an operator for another",
            invitation.role, invitation.created_by
        ))
    })
}
