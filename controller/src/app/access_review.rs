//! Who had what at a moment, by whose word, and when it was last used.
//!
//! Rights are the gate's judgement over what was in force then (`who_can`), which also knows what has
//! become of whom since. Since when somebody has one is found by going back from generation to generation;
//! what was used is counted in the log, of the machine, whatever it was called.

mod since;
mod used;

#[cfg(test)]
mod tests;

use fleet::Role;
use policy::{Holder, Proof, Question, Right};

use self::since::{Origins, RightKey};
use self::used::{Machines, Uses};
use super::audit;
use super::who_can::{Estate, Parted, Terms, When, estate};
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Generation, LogHead, LogNames, Member, UsesAsked};
use crate::timestamp::Timestamp;

/// How far back uses are looked for when nobody says.
const DAYS: u32 = 90;
/// Rows of one review.
const ROWS_MAX: usize = 20_000;
const DAY_MS: u64 = 86_400_000;

/// What is asked. Texts are empty for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) user: String,
    pub(crate) host: String,
    /// Milliseconds since the Unix epoch; 0 for now.
    pub(crate) as_of_ms: u64,
    /// 0 for the usual number.
    pub(crate) days: u32,
}

/// A review, and what it was made from.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) rows: Vec<Row>,
    pub(crate) as_of: Timestamp,
    pub(crate) generation: u64,
    pub(crate) days: u32,
    pub(crate) log: LogHead,
    pub(crate) warnings: Vec<String>,
}

/// One right: of a user, or of whoever holds a key, on one host by one stanza.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) host: String,
    pub(crate) right: Right,
    pub(crate) terms: Terms,
    /// Who gave it.
    pub(crate) given: Generation,
    /// It is older than the generations that were looked at.
    pub(crate) is_earlier: bool,
    /// 0 for never.
    pub(crate) last_used_ms: u64,
    pub(crate) uses: u64,
    /// What has become of the user or the host since; empty for nothing.
    pub(crate) since_then: String,
}

/// Who had what.
pub(crate) async fn review(
    context: &Context,
    caller: &Caller,
    asked: Asked,
    now: Timestamp,
) -> Result<Review, Error> {
    let Asked {
        user,
        host,
        as_of_ms,
        days,
    } = asked;
    let names = LogNames {
        users: (!user.is_empty())
            .then(|| user.clone())
            .into_iter()
            .collect(),
        hosts: (!host.is_empty())
            .then(|| host.clone())
            .into_iter()
            .collect(),
    };
    audit::must_be_known(context, names).await?;
    let when = When {
        generation: 0,
        at_ms: as_of_ms,
    };
    let log = context.store.log_head().await?;
    let mut estate = estate(context, &caller.scope, when, now).await?;
    estate.narrow(context, &host)?;
    let (mut rows, is_cut) = rows(context, &estate, &user).await?;
    let machines = Machines::of(context, &estate);
    let days = if days == 0 { DAYS } else { days };
    let uses = UsesAsked {
        user,
        hosts: if host.is_empty() {
            Vec::new()
        } else {
            machines.names()
        },
        since_ms: estate.at.ms().saturating_sub(u64::from(days) * DAY_MS),
        until_ms: estate.at.ms(),
    };
    let uses = context.store.uses(uses).await?.ok_or(Error::TooCostly)?;
    let uses = Uses::of(uses, &machines);
    for row in &mut rows {
        (row.uses, row.last_used_ms) = uses.find(row);
    }
    let mut warnings = std::mem::take(&mut estate.warnings);
    let days = counted_days(context, &estate, days, &mut warnings).await?;
    if is_cut {
        warnings.insert(
            0,
            format!("only the first {ROWS_MAX} are listed: name a host or a user"),
        );
    }
    Ok(Review {
        rows,
        as_of: estate.at,
        generation: estate.generation,
        days,
        log,
        warnings,
    })
}

/// How many of the days before the moment the log still tells of; what is less than was asked for is warned of,
/// since "never" would be a word about what nobody knows any more.
async fn counted_days(
    context: &Context,
    estate: &Estate,
    days: u32,
    warnings: &mut Vec<String>,
) -> Result<u32, Error> {
    let emptied_until = context.store.emptied_until(false).await?;
    let Some(until_ms) = emptied_until else {
        return Ok(days);
    };
    let kept_ms = estate.at.ms().saturating_sub(until_ms);
    if kept_ms >= u64::from(days) * DAY_MS {
        return Ok(days);
    }
    warnings.push(format!(
        "the log tells no more of before {} (retention): uses of before are not counted",
        Timestamp::from_ms(until_ms)
    ));
    Ok(u32::try_from(kept_ms / DAY_MS).unwrap_or(days))
}

/// The rights, and whether there were more than are listed.
async fn rows(context: &Context, estate: &Estate, user: &str) -> Result<(Vec<Row>, bool), Error> {
    let mut found = rights(estate, user);
    found.sort_by(|(host, right), (other_host, other)| {
        (&right.holder, host, right.stanza).cmp(&(&other.holder, other_host, other.stanza))
    });
    found.dedup();
    let is_cut = found.len() > ROWS_MAX;
    found.truncate(ROWS_MAX);

    let keys = found.iter().map(|(host, right)| {
        let stanza = estate.terms(right.stanza).stanza;
        RightKey::of(host, right, stanza)
    });
    let origins = Origins::find(context, estate, keys.collect()).await?;
    let rows = found.into_iter().map(|(host, right)| {
        let terms = estate.terms(right.stanza);
        let key = RightKey::of(&host, &right, terms.stanza.clone());
        let (given, is_earlier) = origins.of(&key);
        Row {
            since_then: since_then(context, estate, &host, &right),
            host,
            right,
            terms,
            given,
            is_earlier,
            last_used_ms: 0,
            uses: 0,
        }
    });
    Ok((rows.collect(), is_cut))
}

/// What the estate's users might open on its hosts; one user alone when one is named.
fn rights(estate: &Estate, user: &str) -> Vec<(String, Right)> {
    let question = Question {
        user: (!user.is_empty()).then_some(user),
        ports: None,
        source: None,
        now_secs: estate.at.secs(),
    };
    let asked = estate.policy.ask(&estate.users, &question);
    let mut found = Vec::new();
    for facts in &estate.hosts {
        let rights = asked.on(facts).into_iter();
        found.extend(rights.map(|right| (facts.name.clone(), right)));
    }
    found
}

/// What has become of the user and of the host of a right since; empty for nothing.
fn since_then(context: &Context, estate: &Estate, host: &str, right: &Right) -> String {
    let mut words = Vec::new();
    if let Holder::User(name) = &right.holder {
        words.extend(became(context, estate, (Role::User, name, name)));
    }
    let now = estate.name_of_now(host);
    words.extend(became(context, estate, (Role::Host, host, now)));
    if now != host {
        words.push(format!("host is called {now} now"));
    }
    words.join("; ")
}

/// What has become of somebody who was called `then`.
fn became(
    context: &Context,
    estate: &Estate,
    (role, then, now): (Role, &str, &str),
) -> Option<String> {
    if let Some(Parted { how, at }) = estate.parted(role, then) {
        return Some(format!("{role} {} {at}", how.as_str()));
    }
    let member = context.roster.find(role, now)?;
    locked_since(role.as_str(), &member, estate.at)
}

fn locked_since(what: &str, member: &Member, at: Timestamp) -> Option<String> {
    let lock = member.lock.as_ref().filter(|lock| lock.at_ms > at.ms())?;
    Some(format!("{what} locked {}", Timestamp::from_ms(lock.at_ms)))
}

// === impl Row ===

impl Row {
    /// Whether the user is proven by a key of her own.
    pub(crate) fn is_proven(&self) -> bool {
        match self.right.proof {
            Proof::Proven => true,
            Proof::Asserted => false,
        }
    }
}
