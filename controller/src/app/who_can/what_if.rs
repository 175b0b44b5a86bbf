//! What another text would have done with what happened: the audit's grants and refusals, judged
//! again.
//!
//! A grant is judged by the new text at the time of its packet. A refusal says in words why it was; where
//! that was a port that no stanza permitted, the new text is asked for that port. What was refused for
//! another reason (a replay, an old packet) would be refused by every text.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use fleet::{Event, EventKind, UserIdentity};
use policy::{Answer, HostFacts, Policy, PortSet, Proof, Question, RefusedFor, Right};

use crate::access::caller::Caller;
use crate::access::permission::Permission;
use crate::access::roles::may;
use crate::app::policy::{Draft, TestedLine, parse, run_tests, with_keys};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Cursor, EventFilter, Onward};
use crate::targets::facts;
use crate::timestamp::Timestamp;

/// Events that are judged at most.
const EVENTS_MAX: usize = 200_000;
const PAGE: usize = 1_000;
/// Without a beginning, so far back.
const SINCE_DEFAULT_MS: u64 = 30 * 24 * 3_600_000;
/// Groups that one answer lists at most.
const CHANGES_MAX: usize = 5_000;

/// A text, and the time of which it is asked.
#[derive(Debug)]
pub(crate) struct WhatIf {
    pub(crate) draft: Draft,
    /// Milliseconds since the Unix epoch; 0 for thirty days before the end.
    pub(crate) since_ms: u64,
    /// 0 for now.
    pub(crate) until_ms: u64,
}

/// What the text would have done.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) judged: u64,
    /// Those that do not say enough.
    pub(crate) unknown: u64,
    pub(crate) same: u64,
    pub(crate) changes: Vec<Otherwise>,
    pub(crate) warnings: Vec<String>,
    pub(crate) tests: Vec<TestedLine>,
}

/// Grants or refusals of one user on one host that would have ended otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Otherwise {
    pub(crate) what: What,
    /// Of the newest one.
    pub(crate) source: String,
    pub(crate) count: u64,
    pub(crate) last_at_ms: u64,
}

/// What is counted together.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct What {
    /// Refused instead of granted; otherwise granted instead of refused.
    pub(crate) refused: bool,
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) ports: Vec<String>,
    /// Why it is refused, or by which stanza it is granted.
    pub(crate) reason: String,
}

/// What became of one event.
enum Judged {
    Same,
    Unknown,
    Otherwise { reason: String },
}

/// Judges what happened by another text. Stores nothing.
pub(crate) async fn what_if(
    context: &Context,
    caller: &Caller,
    asked: WhatIf,
    now: Timestamp,
) -> Result<Replayed, Error> {
    let WhatIf {
        draft,
        since_ms,
        until_ms,
    } = asked;
    let until_ms = if until_ms == 0 { now.ms() } else { until_ms };
    let since_ms = if since_ms == 0 {
        until_ms.saturating_sub(SINCE_DEFAULT_MS)
    } else {
        since_ms
    };
    if since_ms >= until_ms {
        return Err(Error::invalid("since_ms", "is not before the end"));
    }
    let draft = with_keys(context, draft).await?;
    let policy = parse(draft.file, &draft.text).await?;
    let hosts = context.roster.all();
    let hosts = hosts
        .iter()
        .filter(|member| member.role == fleet::Role::Host)
        .filter(|host| caller.scope.covers(&host.labels));
    let mut replay = Replay {
        policy: &policy,
        is_whole: caller.scope.is_whole(),
        hosts: hosts.map(|host| (host.name.clone(), facts(host))).collect(),
        replayed: Replayed::default(),
        changes: BTreeMap::new(),
    };
    for kind in [EventKind::GrantOpened, EventKind::Refused] {
        let filter = EventFilter {
            kinds: vec![kind.into()],
            since_ms: Some(since_ms),
            until_ms: Some(until_ms),
            ..EventFilter::default()
        };
        replay.all(context, filter).await?;
    }
    let mut replayed = replay.finish();
    let everything = context.store.emptied_until(false).await?;
    let noise = context.store.emptied_until(true).await?.max(everything);
    for (emptied_until, what) in [(everything, "grants"), (noise, "refusals")] {
        if let Some(until_ms) = emptied_until.filter(|until_ms| *until_ms > since_ms) {
            let until = Timestamp::from_ms(until_ms);
            replayed.warnings.push(format!(
                "the log tells no more of {what} before {until} (retention): they are not judged"
            ));
        }
    }
    if !may(caller.role, Permission::Audit) {
        replayed.count_only();
    }
    replayed.tests = run_tests(context, &policy, now);
    Ok(replayed)
}

// === impl Replayed ===

impl Replayed {
    /// Leaves the numbers: whom, where and when is for those who may read the audit.
    fn count_only(&mut self) {
        let mut counted = BTreeMap::new();
        for change in self.changes.drain(..) {
            let count: &mut u64 = counted.entry(change.what.refused).or_default();
            *count += change.count;
        }
        // Refusals first, as ever.
        self.changes = counted
            .into_iter()
            .rev()
            .map(|(refused, count)| Otherwise {
                what: What {
                    refused,
                    user: String::new(),
                    host: String::new(),
                    ports: Vec::new(),
                    reason: String::new(),
                },
                source: String::new(),
                count,
                last_at_ms: 0,
            })
            .collect();
        self.warnings.push(
            "who, where and when is for those who may read the audit: this is how many".to_owned(),
        );
    }
}

struct Replay<'p> {
    policy: &'p Policy,
    /// Whether every host is the caller's business.
    is_whole: bool,
    hosts: HashMap<String, HostFacts>,
    replayed: Replayed,
    changes: BTreeMap<What, Otherwise>,
}

// === impl Replay ===

impl Replay<'_> {
    async fn all(&mut self, context: &Context, filter: EventFilter) -> Result<(), Error> {
        let mut from = Onward::from(Cursor::NEWEST);
        let mut count = 0;
        loop {
            let page = context.store.look(filter.clone(), from, PAGE).await?;
            for row in &page.rows {
                match row.event.event() {
                    // By what the machine is now, whatever it was called then.
                    Ok(event) => self.event(&row.called_now, &event),
                    Err(_) => self.replayed.unknown += 1,
                }
            }
            count += page.rows.len();
            if page.cut || count >= EVENTS_MAX {
                let oldest = page.next.map(|next| Timestamp::from_ms(next.at_ms));
                let oldest = oldest.map_or_else(String::new, |at| format!(" before {at}"));
                self.replayed.warnings.push(format!(
                    "the search was given up after {count} events: what happened{oldest} is not \
                     judged; ask for a shorter time"
                ));
                return Ok(());
            }
            match page.onward() {
                Some(onward) => from = onward,
                None => return Ok(()),
            }
            tokio::task::yield_now().await;
        }
    }

    fn event(&mut self, host: &str, event: &Event) {
        if !self.is_whole && !self.hosts.contains_key(host) {
            return;
        }
        let is_grant = event.kind == i32::from(EventKind::GrantOpened);
        let (ports, judged) = if is_grant {
            let ports = event.ports.clone();
            let judged = self.grant(host, event, &ports);
            (ports, judged)
        } else {
            self.refusal(host, event)
        };
        match judged {
            Judged::Unknown => self.replayed.unknown += 1,
            Judged::Same => {
                self.replayed.judged += 1;
                self.replayed.same += 1;
            }
            Judged::Otherwise { reason } => {
                self.replayed.judged += 1;
                let what = What {
                    refused: is_grant,
                    user: event.user.clone(),
                    host: host.to_owned(),
                    ports,
                    reason,
                };
                let entry = self
                    .changes
                    .entry(what.clone())
                    .or_insert_with(|| Otherwise {
                        what,
                        source: String::new(),
                        count: 0,
                        last_at_ms: 0,
                    });
                entry.count += 1;
                if event.at_ms >= entry.last_at_ms {
                    entry.last_at_ms = event.at_ms;
                    entry.source.clone_from(&event.source);
                }
            }
        }
    }

    fn grant(&self, host: &str, event: &Event, ports: &[String]) -> Judged {
        let Ok(ports) = PortSet::parse(&ports.join(",")) else {
            return Judged::Unknown;
        };
        match self.ask(host, event, &ports) {
            None => Judged::Unknown,
            Some(Answer::May(rights)) => {
                let leads_to = rights.iter().find_map(|right| right.leads_to.as_deref());
                // Where a message may ask for a place, it is not in the text alone.
                if event.forwarded_to == leads_to.unwrap_or_default() {
                    Judged::Same
                } else {
                    Judged::Unknown
                }
            }
            Some(Answer::MayNot(_)) if !event.forwarded_to.is_empty() => Judged::Unknown,
            Some(Answer::MayNot(whys)) => {
                let first = whys.iter().find_map(|why| {
                    let stanza = self.policy.stanzas.get(why.stanza)?.label();
                    Some(format!("stanza {stanza}: {}", why.why))
                });
                Judged::Otherwise {
                    reason: first.unwrap_or_else(|| "no stanza is for this".to_owned()),
                }
            }
        }
    }

    fn refusal(&self, host: &str, event: &Event) -> (Vec<String>, Judged) {
        let port = match RefusedFor::of(&event.reason) {
            RefusedFor::Other => return (Vec::new(), Judged::Same),
            RefusedFor::Stanza => return (Vec::new(), Judged::Unknown),
            RefusedFor::Port(port) => port,
        };
        let ports = [port].into_iter().collect();
        let judged = match self.ask(host, event, &ports) {
            None => Judged::Unknown,
            Some(Answer::MayNot(_)) => Judged::Same,
            Some(Answer::May(rights)) => {
                let first = rights.first().and_then(|right| {
                    let stanza = self.policy.stanzas.get(right.stanza)?.label();
                    let place = self.policy.origin(right.stanza)?;
                    Some(format!("stanza {stanza} ({place})"))
                });
                Judged::Otherwise {
                    reason: first.unwrap_or_default(),
                }
            }
        };
        (vec![port.to_string()], judged)
    }

    /// What the text says to the packet of an event; `None` where the event does not say enough.
    fn ask(&self, host: &str, event: &Event, ports: &PortSet) -> Option<Answer> {
        let facts = self.hosts.get(host)?;
        let source: IpAddr = event.source.parse().ok()?;
        if event.user.is_empty() {
            return None;
        }
        let question = Question {
            user: Some(&event.user),
            ports: Some(ports),
            source: Some(source),
            now_secs: event.at_ms / 1_000,
        };
        // Whoever was granted something had a key; a lock is not the text's.
        let users = [event.user.clone()].into();
        let answer = self
            .policy
            .answer(facts, &users, (&event.user, ports), &question);
        let Answer::May(rights) = answer else {
            return Some(answer);
        };
        let kept: Vec<Right> = rights
            .into_iter()
            .filter(|right| self.is_by_its_key(right, event))
            .collect();
        let given: PortSet = kept.iter().flat_map(|right| right.ports.iter()).collect();
        if ports.without(&given).is_empty() {
            Some(Answer::May(kept))
        } else {
            Some(Answer::MayNot(Vec::new()))
        }
    }

    /// Whether the packet was sealed with a key of the right's stanza.
    fn is_by_its_key(&self, right: &Right, event: &Event) -> bool {
        match (event.user_identity(), right.proof) {
            (UserIdentity::Unspecified, _) | (UserIdentity::Proven, Proof::Proven) => true,
            (UserIdentity::Proven, Proof::Asserted) | (UserIdentity::Asserted, Proof::Proven) => {
                false
            }
            (UserIdentity::Asserted, Proof::Asserted) => {
                let stanza = self.policy.stanzas.get(right.stanza);
                let mut keys = stanza.iter().flat_map(|stanza| stanza.static_keys());
                keys.any(|key| key.fingerprint().to_string() == event.key)
            }
        }
    }

    fn finish(self) -> Replayed {
        let Self {
            mut replayed,
            changes,
            ..
        } = self;
        replayed.warnings.push(
            "hosts are judged by the labels of now, and users whether they are locked or not"
                .to_owned(),
        );
        replayed.changes = changes.into_values().collect();
        replayed.changes.sort_by(|one, other| {
            (!one.what.refused, std::cmp::Reverse(one.count), &one.what).cmp(&(
                !other.what.refused,
                std::cmp::Reverse(other.count),
                &other.what,
            ))
        });
        if let more @ 1.. = replayed.changes.len().saturating_sub(CHANGES_MAX) {
            replayed.changes.truncate(CHANGES_MAX);
            let words = format!("{more} more groups of packets are not listed");
            replayed.warnings.push(words);
        }
        replayed
    }
}
