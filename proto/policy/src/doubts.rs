//! What is doubtful about a policy as a whole, and in a fleet that is known: names that nobody has,
//! lines that select nothing, ends that are near, stanzas that never decide.

mod shadow;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::host::{HostFacts, Selector};
use crate::keyword::{Keyword, nearest_of};
use crate::mistake::{Mistake, Place};
use crate::moment::utc;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::stanza::Usernames;

/// An end that is nearer than this, in seconds, is doubtful.
pub const EXPIRY_NEAR_SECS: u64 = 14 * DAY_SECS;
const DAY_SECS: u64 = 24 * 3600;
/// Names that are spoken of one by one.
const NAMES_MAX: usize = 20;

/// A fleet as far as policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Fleet<'a> {
    /// Those that have joined.
    pub hosts: &'a [HostFacts],
    /// Names of all users who have joined, locked ones too.
    pub users: &'a BTreeSet<String>,
}

/// What is doubtful whatever the fleet is. Seconds since 1970 UTC.
#[must_use]
pub fn own_doubts(policy: &Policy, now_secs: u64) -> Vec<Mistake> {
    let mut doubts = expiries(policy, now_secs);
    doubts.extend(unused_groups(policy));
    let shadowed = shadow::shadowed(policy).into_iter();
    doubts.extend(
        shadowed.map(|(position, keyword, problem)| at(policy, position, keyword, problem)),
    );
    doubts.sort_by_key(|doubt| doubt.line);
    doubts
}

/// What is doubtful in this fleet.
#[must_use]
pub fn doubts(policy: &Policy, fleet: &Fleet<'_>) -> Vec<Mistake> {
    let mut doubts = unknown_users(policy, fleet);
    doubts.extend(empty_groups(policy, fleet));
    doubts.extend(empty_selectors(policy, fleet));
    doubts
}

/// The day of a moment, and the time where it is not midnight, in UTC.
pub(crate) fn day(at_secs: u64) -> String {
    let text = utc(at_secs);
    let day = text.strip_suffix("T00:00:00Z").map(str::to_owned);
    day.unwrap_or(text)
}

fn expiries(policy: &Policy, now_secs: u64) -> Vec<Mistake> {
    let near = |position: usize, at_secs: u64| {
        let stanza = policy.stanzas.get(position)?.label();
        let end = day(at_secs);
        let words = match at_secs.checked_sub(now_secs) {
            None | Some(0) => format!("stanza {stanza} has ended on {end}: it opens nothing"),
            Some(left) if left <= EXPIRY_NEAR_SECS => {
                let days = left.div_ceil(DAY_SECS);
                let days = if days == 1 {
                    "1 day".to_owned()
                } else {
                    format!("{days} days")
                };
                format!("stanza {stanza} ends on {end}, in {days}")
            }
            Some(_) => return None,
        };
        Some(at(
            policy,
            position,
            Keyword::AccessExpire,
            Problem::new(words),
        ))
    };
    let stanzas = policy.stanzas.iter().enumerate();
    let ends = stanzas.filter_map(|(position, stanza)| near(position, stanza.expire_at_secs?));
    ends.collect()
}

fn unused_groups(policy: &Policy) -> Vec<Mistake> {
    let groups = policy.groups.keys();
    let unused = groups.filter(|group| !policy.used_groups.contains(*group));
    let said = unused.map(|group| {
        let problem = Problem::new(format!("no stanza and no test uses @{group}"));
        Mistake::at(
            &group_place(policy, group),
            Some(Keyword::Group.name()),
            problem,
        )
    });
    said.collect()
}

/// Names that nobody has, each once with the stanzas that name it.
fn unknown_users(policy: &Policy, fleet: &Fleet<'_>) -> Vec<Mistake> {
    let mut unknown: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    // Lists of a thousand names are shared between stanzas, and so is what is said of them.
    for (position, stanza) in policy.stanzas.iter().enumerate() {
        for name in stanza.require_username.iter() {
            if !fleet.users.contains(name) {
                unknown.entry(name).or_default().push(position);
            }
        }
    }
    let count = unknown.len();
    let mut said: Vec<Mistake> = unknown
        .into_iter()
        .take(NAMES_MAX)
        .filter_map(|(name, stanzas)| {
            let first = *stanzas.first()?;
            let label = policy.stanzas.get(first)?.label();
            let more = match stanzas.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let near = fleet.near_user(name);
            let words = format!("stanza {label}{more}: no user is called {name} yet{near}");
            Some(at(
                policy,
                first,
                Keyword::RequireUsername,
                Problem::new(words),
            ))
        })
        .collect();
    if let (Some(last), more @ 1..) = (said.last().cloned(), count.saturating_sub(NAMES_MAX)) {
        said.push(Mistake {
            line: 0,
            message: format!("and {more} more names that no user has yet"),
            ..last
        });
    }
    said
}

fn empty_groups(policy: &Policy, fleet: &Fleet<'_>) -> Vec<Mistake> {
    let is_empty = |users: &Usernames| !users.iter().any(|user| fleet.users.contains(user));
    let empty = policy.groups.iter().filter(|(_, users)| is_empty(users));
    let said = empty.map(|(group, _)| {
        let problem = Problem::new(format!("nobody of group @{group} has joined yet"));
        Mistake::at(
            &group_place(policy, group),
            Some(Keyword::Group.name()),
            problem,
        )
    });
    said.collect()
}

/// A mistyped selector is the usual way to lose a host.
fn empty_selectors(policy: &Policy, fleet: &Fleet<'_>) -> Vec<Mistake> {
    let mut said = Vec::new();
    if fleet.hosts.is_empty() {
        return said;
    }
    for (position, stanza) in policy.stanzas.iter().enumerate() {
        let selects = |line: &&Selector| fleet.hosts.iter().any(|host| line.selects(host));
        let empty: Vec<&Selector> = stanza.hosts.iter().filter(|line| !selects(line)).collect();
        let label = stanza.label();
        let problem = match empty.as_slice() {
            [] => continue,
            lines if lines.len() == stanza.hosts.len() => Problem::new(format!(
                "stanza {label}: its HOSTS select none of the hosts that have joined"
            )),
            [line, ..] => Problem::new(format!(
                "stanza {label}: the line `{line}` selects none of the hosts that have joined"
            )),
        };
        let near = empty.iter().find_map(|line| fleet.near_selector(line));
        let problem = match near {
            Some(near) => problem.hint(format!("did you mean {near}?")),
            None => problem,
        };
        said.push(at(policy, position, Keyword::Hosts, problem));
    }
    said
}

/// A doubt about a stanza, at the line where it begins.
fn at(policy: &Policy, position: usize, keyword: Keyword, problem: Problem) -> Mistake {
    let place = policy.origin(position).cloned();
    let place = place.unwrap_or_else(nowhere);
    Mistake::at(&place, Some(keyword.name()), problem)
}

fn group_place(policy: &Policy, group: &str) -> Place {
    let place = policy.group_origins.get(group).cloned();
    place.unwrap_or_else(nowhere)
}

/// Every stanza and group that was read has a place.
fn nowhere() -> Place {
    Place {
        file: "policy".into(),
        line: 0,
    }
}

// === impl Fleet ===

impl Fleet<'_> {
    /// ` (did you mean alice?)`, or nothing.
    pub(crate) fn near_user(&self, name: &str) -> String {
        near(nearest_of(name, self.users.iter().map(String::as_str)))
    }

    /// ` (did you mean web-1?)`, or nothing.
    pub(crate) fn near_host(&self, name: &str) -> String {
        let names = self.hosts.iter().map(|host| host.name.as_str());
        near(nearest_of(name, names))
    }

    /// The label of a line that no host has, as some host has it.
    fn near_selector(&self, line: &Selector) -> Option<String> {
        let Selector::Labels(labels) = line else {
            return None;
        };
        labels.iter().find_map(|(label, value)| {
            if &**label == "name" {
                let names = self.hosts.iter().map(|host| host.name.as_str());
                let is_taken = names.clone().any(|name| name == &**value);
                let near = nearest_of(value, names).filter(|_| !is_taken);
                return near.map(|near| format!("name={near}"));
            }
            let all = || self.hosts.iter().flat_map(|host| &host.labels);
            if all().any(|(own, of)| own == &**label && of == &**value) {
                return None;
            }
            if !all().any(|(own, _)| own == &**label) {
                let near = nearest_of(label, all().map(|(own, _)| own.as_str()))?;
                return Some(format!("{near}={value}"));
            }
            let values = all().filter(|(own, _)| *own == &**label);
            let near = nearest_of(value, values.map(|(_, value)| value.as_str()))?;
            Some(format!("{label}={near}"))
        })
    }
}

fn near(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}
