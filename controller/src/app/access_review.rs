//! Who had what at a moment, by whose word, and when it was last used.
//!
//! Rights are the gate's judgement over what was in force then (`who_can`). Since when somebody has
//! one is found by going back from generation to generation; what was used is counted in the log.

mod since;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use fleet::{EventKind, Role};
use policy::{Holder, HostFacts, Policy, Proof, Question, Right};

use self::since::{Origins, RightKey};
use super::audit;
use super::policy::{stored_policy, stored_text};
use super::who_can::{Estate, Terms, When, estate};
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{
    CONTROLLER, Cursor, EventFilter, Generation, LogHead, LogNames, Member, Use, UsesAsked,
};
use crate::timestamp::Timestamp;

/// How far back uses are looked for when nobody says.
const DAYS: u32 = 90;
/// Rows of one review.
const ROWS_MAX: usize = 20_000;
/// Removals that are looked at for users who have left since.
const REMOVALS_MAX: usize = 1_000;
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
    if !host.is_empty() {
        estate.hosts.retain(|facts| facts.name == host);
    }
    let left = left_since(context, &estate).await?;
    let (mut rows, is_cut) = rows(context, &estate, &left, &user).await?;
    let days = if days == 0 { DAYS } else { days };
    let uses = UsesAsked {
        user,
        host,
        since_ms: estate.at.ms().saturating_sub(u64::from(days) * DAY_MS),
        until_ms: estate.at.ms(),
    };
    let uses = context.store.uses(uses).await?.ok_or(Error::TooCostly)?;
    let uses = Uses::of(uses);
    for row in &mut rows {
        (row.uses, row.last_used_ms) = uses.find(row);
    }
    let mut warnings = std::mem::take(&mut estate.warnings);
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

/// The rights, and whether there were more than are listed.
async fn rows(
    context: &Context,
    estate: &Estate,
    left: &BTreeMap<String, Timestamp>,
    user: &str,
) -> Result<(Vec<Row>, bool), Error> {
    let mut found = rights(
        &estate.policy,
        &estate.hosts,
        &estate.users,
        (user, estate.at),
    );
    if !left.is_empty() && estate.generation > 0 {
        // Those who have left are barred from what is in force: what they had stands in the text.
        let text = stored_text(context, estate.generation).await?;
        let (_, policy) = stored_policy(context, estate.generation, &text).await?;
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let theirs = rights(&policy, &estate.hosts, &names, (user, estate.at)).into_iter();
        found.extend(theirs.filter(|(_, right)| match &right.holder {
            Holder::User(name) => left.contains_key(name.as_ref()),
            Holder::Key(_) => false,
        }));
    }
    found.sort_by(|(host, right), (other_host, other)| {
        (&right.holder, host, right.stanza).cmp(&(&other.holder, other_host, other.stanza))
    });
    found.dedup();
    let is_cut = found.len() > ROWS_MAX;
    found.truncate(ROWS_MAX);

    let all_users: BTreeSet<String> = estate.users.iter().chain(left.keys()).cloned().collect();
    let keys = found.iter().map(|(host, right)| {
        let stanza = estate.terms(right.stanza).stanza;
        RightKey::of(host, right, stanza)
    });
    let origins = Origins::find(context, estate, &all_users, keys.collect()).await?;
    let rows = found.into_iter().map(|(host, right)| {
        let terms = estate.terms(right.stanza);
        let key = RightKey::of(&host, &right, terms.stanza.clone());
        let (given, is_earlier) = origins.of(&key);
        Row {
            since_then: since_then(context, estate.at, &host, &right, left),
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

/// What these users may open on these hosts; of one user alone when one is named.
fn rights(
    policy: &Policy,
    hosts: &[HostFacts],
    users: &BTreeSet<String>,
    (user, at): (&str, Timestamp),
) -> Vec<(String, Right)> {
    let question = Question {
        user: (!user.is_empty()).then_some(user),
        ports: None,
        source: None,
        now_secs: at.secs(),
    };
    let asked = policy.ask(users, &question);
    let mut found = Vec::new();
    for facts in hosts {
        let rights = asked.on(facts).into_iter();
        found.extend(rights.map(|right| (facts.name.clone(), right)));
    }
    found
}

/// Users who were there then and have been removed since, and when.
async fn left_since(
    context: &Context,
    estate: &Estate,
) -> Result<BTreeMap<String, Timestamp>, Error> {
    let filter = EventFilter {
        hosts: vec![CONTROLLER.to_owned()],
        kinds: vec![EventKind::Removed.into()],
        since_ms: Some(estate.at.ms()),
        ..EventFilter::default()
    };
    let page = context
        .store
        .page(filter, Cursor::NEWEST, REMOVALS_MAX)
        .await?;
    let mut left = BTreeMap::new();
    // Newest first: the first removal after that moment stays.
    for row in page.rows {
        let event = row.event();
        // "user alice removed: because"
        let whom = event.reason.split(": ").next().unwrap_or_default();
        let name = whom
            .strip_prefix("user ")
            .and_then(|rest| rest.strip_suffix(" removed"));
        // Whoever has the name again has a right of her own, or none.
        if let Some(name) = name.filter(|name| !estate.users.contains(*name)) {
            left.insert(name.to_owned(), Timestamp::from_ms(event.at_ms));
        }
    }
    Ok(left)
}

fn since_then(
    context: &Context,
    at: Timestamp,
    host: &str,
    right: &Right,
    left: &BTreeMap<String, Timestamp>,
) -> String {
    let mut words = Vec::new();
    if let Holder::User(name) = &right.holder {
        if let Some(at) = left.get(name.as_ref()) {
            words.push(format!("user removed {at}"));
        }
        let user = context.roster.find(Role::User, name);
        words.extend(user.and_then(|user| locked_since("user", &user, at)));
    }
    let host = context.roster.find(Role::Host, host);
    words.extend(host.and_then(|host| locked_since("host", &host, at)));
    words.join("; ")
}

fn locked_since(what: &str, member: &Member, at: Timestamp) -> Option<String> {
    let lock = member.lock.as_ref().filter(|lock| lock.at_ms > at.ms())?;
    Some(format!("{what} locked {}", Timestamp::from_ms(lock.at_ms)))
}

/// Uses by user or key, host and stanza.
#[derive(Debug, Default)]
struct Uses(BTreeMap<(String, String, String), (u64, u64)>);

// === impl Uses ===

impl Uses {
    fn of(uses: Vec<Use>) -> Self {
        let mut all = Self::default();
        for Use {
            user,
            key,
            host,
            stanza,
            count,
            last_ms,
        } in uses
        {
            for who in [user, key] {
                let of = all
                    .0
                    .entry((who, host.clone(), stanza.clone()))
                    .or_default();
                *of = (of.0 + count, of.1.max(last_ms));
            }
        }
        all
    }

    /// How many, and the last.
    fn find(&self, row: &Row) -> (u64, u64) {
        let who = match &row.right.holder {
            Holder::User(name) => name.to_string(),
            Holder::Key(key) => key.clone(),
        };
        let key = (who, row.host.clone(), row.terms.stanza.clone());
        self.0.get(&key).copied().unwrap_or_default()
    }
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
