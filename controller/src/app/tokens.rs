//! Making one-time tokens, for `init`, for the command line and for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{Event, EventKind, Role, Token};

use super::check;
use crate::access::caller::Caller;
use crate::context::{Context, Endpoint};
use crate::error::Error;
use crate::random::random;
use crate::store::Store;
use crate::store::model::{Invitation, Origin};
use crate::timestamp::Timestamp;

/// How long a token is good for when nothing is said.
pub const TTL_DEFAULT: Duration = Duration::from_secs(3600);
/// And at most.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Labels of one host at most.
const LABELS_MAX: usize = 64;

/// What a token is to promise.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The part that its bearer will play.
    pub role: Role,
    /// Empty when the joiner proposes its own.
    pub name: String,
    /// Hosts only.
    pub labels: BTreeMap<String, String>,
    /// Zero for the default.
    pub ttl: Duration,
}

/// Makes a token for a caller, who becomes the one that invited.
pub(crate) async fn create(
    context: &Context,
    caller: &Caller,
    new: NewToken,
    now: Timestamp,
) -> Result<Token, Error> {
    let creator = (caller.name.as_str(), caller.origin());
    let token = issue(&context.store, &context.endpoint, new, creator, now).await?;
    tracing::info!(operator = caller.name, role = %token.role, "token created");
    Ok(token)
}

/// Stores an invitation and gives the token, which is shown once. Needs no running controller.
/// Told who invites, by name, and what events say of that.
pub(crate) async fn issue(
    store: &Store,
    endpoint: &Endpoint,
    new: NewToken,
    (created_by, origin): (&str, Origin),
    now: Timestamp,
) -> Result<Token, Error> {
    let invitation = invitation(new, created_by, now)?;
    let token = Token {
        role: invitation.role,
        secret: random()?,
        expires_at_secs: invitation.expires_at_secs,
        address: endpoint.address.clone(),
        ca_fingerprint: endpoint.ca_fingerprint,
        name: invitation.name.clone(),
        labels: invitation.labels.clone(),
    };
    let event = created(&invitation, origin);
    store.create_token(token.secret, invitation, event).await?;
    Ok(token)
}

fn invitation(new: NewToken, created_by: &str, now: Timestamp) -> Result<Invitation, Error> {
    let NewToken {
        role,
        name,
        labels,
        ttl,
    } = new;
    if !name.is_empty() {
        check::member_name(role, &name)?;
    }
    check_labels(role, &labels)?;
    let ttl = if ttl.is_zero() { TTL_DEFAULT } else { ttl };
    if ttl > TTL_MAX {
        let problem = format!("at most {}", humantime::format_duration(TTL_MAX));
        return Err(Error::invalid("ttl", problem));
    }
    Ok(Invitation {
        role,
        name,
        labels,
        created_by: created_by.to_owned(),
        created_at_ms: now.ms(),
        expires_at_secs: now.secs() + ttl.as_secs().max(1),
    })
}

/// Refuses labels that policy could not name.
fn check_labels(role: Role, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    if role != Role::Host && !labels.is_empty() {
        return Err(Error::invalid("labels", "only hosts have labels"));
    }
    if labels.len() > LABELS_MAX {
        return Err(Error::invalid("labels", format!("at most {LABELS_MAX}")));
    }
    for (label, value) in labels {
        if label == "name" {
            return Err(Error::invalid("labels", "`name` is the host's own name"));
        }
        let pair = format!("{label}={value}");
        let one_word = !pair.contains(char::is_whitespace);
        if !one_word || pair.len() > 256 || policy::Selector::parse(&pair).is_err() {
            let problem = format!("`{pair}` is not a label such as role=web");
            return Err(Error::invalid("labels", problem));
        }
    }
    Ok(())
}

fn created(invitation: &Invitation, origin: Origin) -> Event {
    let mut event = origin.done(EventKind::Operator, invitation.created_at_ms);
    event.user.clone_from(&invitation.created_by);
    event.reason = format!("token for {}", invitation.role);
    if !invitation.name.is_empty() {
        event.reason += " ";
        event.reason += &invitation.name;
    }
    event
}

#[cfg(test)]
mod tests;
