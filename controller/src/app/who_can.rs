//! Who may open what, now or then: the gate's judgement over the policy, the hosts and the members of
//! that moment.
//!
//! Texts of policies are kept for ever. Of hosts and members it is kept since when they are there, and
//! since when they are locked; who was replaced, unlocked or renamed since is in the log (`past`), and
//! which labels a host had then is nowhere. So an answer about the past says what it could not know.

mod estate;
mod past;
mod what_if;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use policy::{Answer, Holder, HostFacts, PortSet, Question, Right, Stanza};

use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::timestamp::Timestamp;

pub(crate) use estate::{Estate, When, estate};
pub(crate) use past::Parted;
pub(crate) use what_if::{Otherwise, Replayed, What, WhatIf, what_if};

/// Rights that one answer lists at most.
const ROWS_MAX: usize = 20_000;

/// What is asked. Texts are empty for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct WhoCan {
    /// A name, or labels (`env=prod`).
    pub(crate) host: String,
    pub(crate) user: String,
    /// As `tcp/22`.
    pub(crate) port: String,
    /// An address.
    pub(crate) source: String,
    pub(crate) when: When,
}

/// One user's right on one host by one stanza.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) host: String,
    pub(crate) right: Right,
    /// Of the stanza.
    pub(crate) terms: Terms,
}

/// What a stanza says besides who and what.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) stanza: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    /// As in SOURCE; empty for anywhere.
    pub(crate) sources: Vec<String>,
    /// Seconds since the Unix epoch; 0 for never.
    pub(crate) expires_at_secs: u64,
    /// How long a grant lasts at most.
    pub(crate) timeout_secs: u64,
    /// As whom it runs commands; empty for none.
    pub(crate) runs_commands_as: String,
}

/// Everything that was asked for.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) generation: u64,
    pub(crate) at: Timestamp,
    pub(crate) access: Vec<Access>,
    pub(crate) warnings: Vec<String>,
}

/// Whether one user may.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) generation: u64,
    pub(crate) at: Timestamp,
    /// By what, when she may.
    pub(crate) access: Option<Access>,
    /// Why not, one sentence for each stanza that was looked at.
    pub(crate) reasons: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Who may open what.
pub(crate) async fn who_can(
    context: &Context,
    caller: &Caller,
    asked: WhoCan,
    now: Timestamp,
) -> Result<Listed, Error> {
    let WhoCan {
        host,
        user,
        port,
        source,
        when,
    } = asked;
    let ports = (!port.is_empty()).then(|| ports(&port)).transpose()?;
    let source = self::source(&source)?;
    let mut estate = estate(context, &caller.scope, when, now).await?;
    estate.narrow(context, &host)?;
    if !user.is_empty() {
        let missing = estate.must_know(context, &user)?;
        estate.warnings.extend(missing);
    }
    // A large fleet has millions of rights.
    let listing = tokio::task::spawn_blocking(move || {
        let question = Question {
            user: (!user.is_empty()).then_some(user.as_str()),
            ports: ports.as_ref(),
            source,
            now_secs: estate.at.secs(),
        };
        estate.list(&question)
    });
    Ok(listing.await?)
}

/// Whether one user may open ports of one host.
pub(crate) async fn can(
    context: &Context,
    caller: &Caller,
    asked: WhoCan,
    now: Timestamp,
) -> Result<Verdict, Error> {
    let WhoCan {
        host,
        user,
        port,
        source,
        when,
    } = asked;
    for (field, text) in [("user", &user), ("host", &host), ("port", &port)] {
        if text.is_empty() {
            return Err(Error::invalid(field, "names none"));
        }
    }
    let ports = ports(&port)?;
    let source = self::source(&source)?;
    let mut estate = estate(context, &caller.scope, when, now).await?;
    let is_locked = estate.locked_hosts.contains(&host);
    if !is_locked {
        estate.narrow(context, &host)?;
    }
    let missing = estate.must_know(context, &user)?;
    let question = Question {
        user: None,
        ports: None,
        source,
        now_secs: estate.at.secs(),
    };
    let mut verdict = Verdict {
        generation: estate.generation,
        at: estate.at,
        access: None,
        reasons: Vec::new(),
        warnings: std::mem::take(&mut estate.warnings),
    };
    let Some(facts) = estate.hosts.first().filter(|_| !is_locked) else {
        verdict
            .reasons
            .push(format!("host {host} is locked: it grants nothing"));
        return Ok(verdict);
    };
    if estate.locked_users.contains(&user) {
        let words = format!("user {user} is locked, or has left: nothing opens for her");
        verdict.reasons.push(words);
        return Ok(verdict);
    }
    match estate
        .policy
        .answer(facts, &estate.users, (&user, &ports), &question)
    {
        Answer::May(rights) => {
            let first = rights.into_iter().next();
            verdict.access = first.map(|right| estate.access(facts, right));
        }
        Answer::MayNot(whys) if whys.is_empty() => {
            let words = if estate.users.contains(&user) {
                format!("no stanza is for her on host {host}")
            } else {
                format!("user {user} has not joined, so that she has no key")
            };
            verdict.reasons.push(words);
        }
        Answer::MayNot(whys) => verdict.reasons.extend(whys.into_iter().map(|not_given| {
            let terms = estate.terms(not_given.stanza);
            let Terms {
                stanza, file, line, ..
            } = terms;
            format!("stanza {stanza} ({file}:{line}): {}", not_given.why)
        })),
    }
    // Where it is the reason, it is said once.
    let is_said = |reason: &String| reason.contains("has not joined");
    if !verdict.reasons.iter().any(is_said) {
        verdict.warnings.extend(missing);
    }
    Ok(verdict)
}

fn ports(text: &str) -> Result<PortSet, Error> {
    PortSet::parse(text).map_err(|error| Error::invalid("port", error.to_string()))
}

fn source(text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.parse::<IpAddr>();
    let address = address.map_err(|_| Error::invalid("source", format!("`{text}` is no address")));
    Ok(Some(address?.to_canonical()))
}

// === impl Estate ===

impl Estate {
    fn list(mut self, question: &Question<'_>) -> Listed {
        let mut access = Vec::new();
        let mut is_cut = false;
        let asked = self.policy.ask(&self.users, question);
        for facts in &self.hosts {
            for right in asked.on(facts) {
                if access.len() >= ROWS_MAX {
                    is_cut = true;
                    break;
                }
                access.push(self.access(facts, right));
            }
            if is_cut {
                break;
            }
        }
        if is_cut {
            self.warnings.insert(
                0,
                format!("only the first {ROWS_MAX} are listed: name a host, a user or a port"),
            );
        }
        access.sort_by(|one, other| {
            (&one.right.holder, &one.host, one.right.stanza).cmp(&(
                &other.right.holder,
                &other.host,
                other.right.stanza,
            ))
        });
        Listed {
            generation: self.generation,
            at: self.at,
            access,
            warnings: self.warnings,
        }
    }

    fn access(&self, host: &HostFacts, right: Right) -> Access {
        Access {
            host: host.name.clone(),
            terms: self.terms(right.stanza),
            right,
        }
    }

    /// What the stanza at this position says.
    pub(crate) fn terms(&self, position: usize) -> Terms {
        let place = self.policy.origin(position);
        let stanza = self.policy.stanzas.get(position);
        Terms {
            stanza: stanza.map(Stanza::label).unwrap_or_default(),
            file: place
                .map(|place| place.file.to_string())
                .unwrap_or_default(),
            line: place.map_or(0, |place| place.line),
            sources: match stanza.map(|stanza| &stanza.source) {
                None | Some(policy::Networks::Any) => Vec::new(),
                Some(some @ policy::Networks::Only(_)) => {
                    some.to_string().split(',').map(str::to_owned).collect()
                }
            },
            expires_at_secs: stanza.and_then(|stanza| stanza.expire_at_secs).unwrap_or(0),
            timeout_secs: stanza.map_or(0, |stanza| stanza.max_fw_timeout_secs.into()),
            runs_commands_as: stanza
                .and_then(|stanza| stanza.command.as_ref())
                .map(|rule| rule.as_whom())
                .unwrap_or_default(),
        }
    }
}

// === impl Access ===

impl Access {
    /// The user; empty for whoever holds the key.
    pub(crate) fn user(&self) -> &str {
        match &self.right.holder {
            Holder::User(user) => user,
            Holder::Key(_) => "",
        }
    }

    /// The key in the text; empty where a user is named.
    pub(crate) fn key(&self) -> &str {
        match &self.right.holder {
            Holder::User(_) => "",
            Holder::Key(key) => key,
        }
    }
}
