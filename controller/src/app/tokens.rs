//! Making one-time tokens, for `init`, for the command line and for operators; looking at them, and
//! taking them back.

mod labels;
mod permit;

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{Event, EventKind, Role, Token};
use policy::{Exposure, HostFacts, NoIncludes};

use super::{check, trust};
use crate::access::caller::Caller;
use crate::becomes_public::BecomesPublic;
use crate::context::{Context, Endpoint};
use crate::error::Error;
use crate::random::random;
use crate::store::Store;
use crate::store::model::{
    Invitation, Member, Origin, RevokeOutcome, Scope, StoredToken, TokenFate,
};
use crate::targets::facts;
use crate::timestamp::Timestamp;

/// How long a token is good for when nothing is said.
pub const TTL_DEFAULT: Duration = Duration::from_secs(3600);
/// And at most.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a token is to promise.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The part that its bearer will play.
    pub role: Role,
    /// Empty when the joiner proposes its own.
    pub name: String,
    /// Hosts only.
    pub labels: BTreeMap<String, String>,
    /// Operators, auditors, validators and helpdesks: only hosts with these labels are its business;
    /// empty for all.
    pub scope: BTreeMap<String, String>,
    /// Zero for the default.
    pub ttl: Duration,
    /// Users only: the name of the key that is added; empty for a new user's only one.
    pub key_name: String,
    /// Whoever redeems takes the place of the member, or of the key, of that name.
    pub replaces: bool,
}

/// A token that was made.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Shown once.
    pub token: Token,
    /// Names it in lists.
    pub id: String,
    /// What is worth knowing, one sentence each.
    pub warnings: Vec<String>,
}

/// Who invites.
#[derive(Clone, Debug)]
pub(crate) struct Creator {
    pub(crate) name: String,
    /// `Member::id`; `None` for the controller itself.
    pub(crate) member: Option<u64>,
    /// What events say of it.
    pub(crate) origin: Origin,
}

/// Makes a token for a caller, who becomes the one that invited.
pub(crate) async fn create(
    context: &Context,
    caller: &Caller,
    new: NewToken,
    now: Timestamp,
) -> Result<Issued, Error> {
    let creator = Creator {
        name: caller.name.clone(),
        member: Some(caller.id),
        origin: caller.origin(),
    };
    permit::check(context, caller, &new)?;
    let mut unknown = trust::unknown_to(
        context,
        (new.role, &new.name),
        &new.labels,
        &Scope(new.scope.clone()),
    );
    let mut issued = issue(&context.store, &context.endpoint(), new, creator, now).await?;
    issued.warnings.append(&mut unknown);
    let (role, token) = (issued.token.role, &issued.id);
    tracing::info!(operator = caller.name, %role, token, "token created");
    Ok(issued)
}

/// Stores an invitation and gives the token, which is shown once. Needs no running controller.
pub(crate) async fn issue(
    store: &Store,
    endpoint: &Endpoint,
    new: NewToken,
    creator: Creator,
    now: Timestamp,
) -> Result<Issued, Error> {
    let existing = match new.name.as_str() {
        "" => None,
        name => store.member_named(new.role, name.to_owned()).await?,
    };
    let origin = creator.origin.clone();
    let mut invitation = invitation(new, creator, now)?;
    let warnings = refuse_taken(&invitation, existing.as_ref())?;
    if let Some(existing) = existing {
        if invitation.labels.is_empty() {
            // Whoever takes its place is selected by policy as it was.
            invitation.labels = existing.labels;
        } else {
            refuse_public(store, &existing, &invitation.labels).await?;
        }
        if invitation.scope.is_whole() {
            invitation.scope = existing.scope;
        }
    }
    let token = Token {
        role: invitation.role,
        secret: random()?,
        expires_at_secs: invitation.expires_at_secs,
        address: endpoint.address.clone(),
        ca_fingerprint: endpoint.ca_fingerprint,
        name: invitation.name.clone(),
        labels: invitation.labels.clone(),
    };
    let id = invitation.id.clone();
    let event = told(&invitation, origin, "");
    store.create_token(token.secret, invitation, event).await?;
    Ok(Issued {
        token,
        id,
        warnings,
    })
}

/// Refuses that another takes a host's place with labels by which policy hides less of it: what is
/// hidden becomes public by a policy only, for which an operator says that it is meant.
pub(super) async fn refuse_public(
    store: &Store,
    host: &Member,
    labels: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if host.role != Role::Host || host.labels == *labels {
        return Ok(());
    }
    let generation = store.current_generation().await?;
    let Some(text) = store.policy_text(generation).await? else {
        return Ok(());
    };
    let parse = tokio::task::spawn_blocking(move || policy::parse("policy", &text, &NoIncludes));
    let policy = parse.await?.map_err(Error::InvalidPolicy)?;
    let before = facts(host);
    let after = HostFacts {
        labels: labels.clone(),
        ..before.clone()
    };
    let exposure = Exposure::between(&policy.hides_on(&before), &policy.hides_on(&after));
    if exposure.becomes_public.iter().next().is_none() {
        return Ok(());
    }
    let on_host = exposure.becomes_public.iter();
    let ports = BecomesPublic(
        on_host
            .map(|port| (port, vec![host.name.clone()]))
            .collect(),
    );
    Err(Error::Conflict(format!(
        "with these labels policy would hide less, and this would become public: {ports}; leave the \
         labels out, and the host keeps those that it has, or make it public by policy first \
         (`postern policy apply --allow-public`)"
    )))
}

/// Tokens that can be redeemed; with `all` also the others of the last 30 days. Newest first.
pub(crate) async fn list(
    context: &Context,
    caller: &Caller,
    all: bool,
    now: Timestamp,
) -> Result<Vec<StoredToken>, Error> {
    let mut tokens = context.store.tokens(now.ms()).await?;
    tokens.retain(|token| {
        let Invitation { role, labels, .. } = &token.invitation;
        let is_wanted = all || token.fate(now.ms()) == TokenFate::Open;
        is_wanted && caller.may_see_labelled(*role, labels)
    });
    Ok(tokens)
}

/// Takes back the open token whose id begins so.
pub(crate) async fn revoke(
    context: &Context,
    caller: &Caller,
    id: String,
    now: Timestamp,
) -> Result<StoredToken, Error> {
    if id.is_empty() {
        return Err(Error::invalid("id", "names no token"));
    }
    for token in context.store.tokens(now.ms()).await? {
        if token.invitation.id.starts_with(&id) {
            permit::check_revoke(caller, &token.invitation)?;
        }
    }
    let (origin, at, user) = (caller.origin(), now.ms(), caller.name.clone());
    let event = move |invitation: &Invitation| {
        let mut event = told(invitation, origin, " revoked");
        event.at_ms = at;
        event.user = user;
        event
    };
    let outcome = context
        .store
        .revoke_token(id.clone(), caller.origin(), event, at)
        .await?;
    match outcome {
        RevokeOutcome::Revoked(token) => {
            let id = &token.invitation.id;
            tracing::info!(operator = caller.name, token = id, "token revoked");
            Ok(token)
        }
        RevokeOutcome::NotOpen(token) => Err(Error::Conflict(not_open(&token, now))),
        RevokeOutcome::Unknown => Err(Error::not_found(format!("token has the id `{id}`"))),
        RevokeOutcome::Ambiguous => Err(Error::invalid(
            "id",
            format!("more than one token begins with `{id}`"),
        )),
    }
}

fn not_open(token: &StoredToken, now: Timestamp) -> String {
    let id = &token.invitation.id;
    match (token.fate(now.ms()), &token.redemption) {
        (TokenFate::Redeemed, Some(redemption)) => {
            let (role, name) = (token.invitation.role, &redemption.name);
            format!("token {id} was redeemed by {role} {name}; lock or remove that member instead")
        }
        (TokenFate::Expired, _) => format!("token {id} has expired already"),
        (TokenFate::Open | TokenFate::Redeemed | TokenFate::Revoked, _) => {
            format!("token {id} is revoked already")
        }
    }
}

fn invitation(new: NewToken, creator: Creator, now: Timestamp) -> Result<Invitation, Error> {
    let NewToken {
        role,
        name,
        labels,
        scope,
        ttl,
        key_name,
        replaces,
    } = new;
    if !name.is_empty() {
        check::member_name(role, &name)?;
    }
    if !key_name.is_empty() {
        check::key_name(role, &key_name)?;
    }
    if name.is_empty() && (replaces || !key_name.is_empty()) {
        let problem = "a token that replaces, or adds a key, must say whose";
        return Err(Error::invalid("name", problem));
    }
    labels::check_role(role, &labels, &scope)?;
    let ttl = if ttl.is_zero() { TTL_DEFAULT } else { ttl };
    if ttl > TTL_MAX {
        let problem = format!("at most {}", humantime::format_duration(TTL_MAX));
        return Err(Error::invalid("ttl", problem));
    }
    let Creator {
        name: created_by,
        member: creator,
        origin: _,
    } = creator;
    Ok(Invitation {
        id: hex::encode(random::<6>()?),
        role,
        name,
        key_name,
        replaces,
        labels,
        scope: Scope(scope),
        created_by,
        creator,
        created_at_ms: now.ms(),
        expires_at_secs: now.secs() + ttl.as_secs().max(1),
    })
}

/// Says at once what would be refused when the token is redeemed. Returns what is doubtful.
fn refuse_taken(invitation: &Invitation, existing: Option<&Member>) -> Result<Vec<String>, Error> {
    let Invitation {
        role,
        name,
        key_name,
        replaces,
        ..
    } = invitation;
    let Some(existing) = existing else {
        let nobody = format!("there is no {role} called {name}: whoever redeems it joins as new");
        let expected = *replaces || !key_name.is_empty();
        return Ok(if expected { vec![nobody] } else { Vec::new() });
    };
    if key_name.is_empty() {
        if *replaces {
            return Ok(Vec::new());
        }
        return Err(Error::NameTaken {
            role: *role,
            name: name.clone(),
        });
    }
    if existing.lock.is_some() {
        return Err(Error::Conflict(format!(
            "user {name} is locked, so no key can be added; unlock her, or replace her whole"
        )));
    }
    match existing.key_named(key_name) {
        Some(_) if !replaces => Err(Error::KeyTaken {
            name: name.clone(),
            key: key_name.clone(),
        }),
        Some(_) => Ok(Vec::new()),
        None if *replaces => Ok(vec![format!(
            "user {name} has no key called {key_name}: it is added"
        )]),
        None => Ok(Vec::new()),
    }
}

/// The event of a token: `token for user alice, key laptop (0123456789ab)`.
fn told(invitation: &Invitation, origin: Origin, what: &str) -> Event {
    let mut event = origin.done(EventKind::Operator, invitation.created_at_ms);
    event.user.clone_from(&invitation.created_by);
    event.reason = format!("token for {}", invitation.role);
    if !invitation.name.is_empty() {
        event.reason += " ";
        event.reason += &invitation.name;
    }
    if !invitation.key_name.is_empty() {
        event.reason += ", key ";
        event.reason += &invitation.key_name;
    }
    if invitation.replaces {
        event.reason += ", in the place of the one there is";
    }
    if !invitation.scope.is_whole() {
        event.reason += &format!(", for hosts with {}", invitation.scope);
    }
    event.reason += &format!(" ({}){what}", invitation.id);
    event
}

pub(super) use self::labels::check as check_labels;
pub(super) use self::permit::{check_still_hers, check_takes_place, selects_within};

#[cfg(test)]
mod tests;
