//! Making a one-time token, for `init`, for the command line and for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{Event, EventKind, Role, Token};

use crate::clock;
use crate::error::Error;
use crate::settings::is_name;
use crate::store::model::Invitation;
use crate::store::{CONTROLLER, Store};

/// How long a token is good for when nothing is said.
pub const TTL_DEFAULT: Duration = Duration::from_secs(3600);
/// And at most.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Labels of one host at most.
const LABELS_MAX: usize = 64;

/// What a token is to promise.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The part that its bearer will play.
    pub role: Role,
    /// Empty when the joiner proposes its own.
    pub name: String,
    /// Hosts only.
    pub labels: BTreeMap<String, String>,
    /// Zero for the default.
    pub ttl: Duration,
}

/// Where a new token points to.
#[derive(Clone, Debug)]
pub(crate) struct Inviter {
    pub(crate) address: String,
    pub(crate) ca_fingerprint: [u8; 32],
}

// === impl Inviter ===

impl Inviter {
    /// Stores an invitation and gives the token, which is shown once.
    pub(crate) async fn invite(
        &self,
        store: &Store,
        wanted: Wanted,
        created_by: &str,
    ) -> Result<Token, Error> {
        let now_ms = clock::now_ms();
        let invitation = invitation(wanted, created_by, now_ms)?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| Error::Random)?;
        let token = Token {
            role: invitation.role,
            secret,
            expires_at_secs: invitation.expires_at_secs,
            address: self.address.clone(),
            ca_fingerprint: self.ca_fingerprint,
            name: invitation.name.clone(),
            labels: invitation.labels.clone(),
        };
        let event = created(&invitation, now_ms);
        store.create_token(secret, invitation, event).await?;
        Ok(token)
    }
}

fn invitation(wanted: Wanted, created_by: &str, now_ms: u64) -> Result<Invitation, Error> {
    let Wanted {
        role,
        name,
        labels,
        ttl,
    } = wanted;
    if !name.is_empty() {
        check_name(role, &name)?;
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
        created_at_ms: now_ms,
        expires_at_secs: now_ms / 1000 + ttl.as_secs().max(1),
    })
}

/// Refuses a name that no member may have.
pub(crate) fn check_name(role: Role, name: &str) -> Result<(), Error> {
    if !is_name(name) {
        let problem = format!(
            "`{name}` is not a name: letters, digits and . _ - only, beginning with a letter or \
             digit, at most 48"
        );
        return Err(Error::invalid("name", problem));
    }
    if role == Role::Host && name == CONTROLLER {
        return Err(Error::invalid(
            "name",
            "a host cannot be called `controller`",
        ));
    }
    Ok(())
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

fn created(invitation: &Invitation, now_ms: u64) -> Event {
    let mut event = Event::new(EventKind::Operator, now_ms);
    event.user.clone_from(&invitation.created_by);
    event.reason = format!("token for {}", invitation.role);
    if !invitation.name.is_empty() {
        event.reason += " ";
        event.reason += &invitation.name;
    }
    event
}
