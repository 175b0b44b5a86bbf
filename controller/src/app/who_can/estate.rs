//! What was in force at a moment, and for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet::Role;
use policy::{HostFacts, Policy, Selector, Stanza};

use super::past::{Parted, Past, past};
use crate::app::near::{self, did_you_mean};
use crate::app::policy::{stored_policy, stored_text};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Generation, Member, Scope};
use crate::targets::{facts, without};
use crate::timestamp::Timestamp;

/// Names that one sentence names.
const NAMES_MAX: usize = 10;

/// Under which policy, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct When {
    /// 0 for the one in force (then).
    pub(crate) generation: u64,
    /// Milliseconds since the Unix epoch; 0 for now.
    pub(crate) at_ms: u64,
}

/// What was in force at a moment, and for whom.
#[derive(Debug)]
pub(crate) struct Estate {
    /// 0 before the first policy.
    pub(crate) generation: u64,
    /// Without those for whom nothing opened then.
    pub(crate) policy: Arc<Policy>,
    /// Those that were there and not locked.
    pub(crate) hosts: Vec<HostFacts>,
    /// Names of users who were there, had a key and were not locked.
    pub(crate) users: BTreeSet<String>,
    /// The moment.
    pub(crate) at: Timestamp,
    /// What is left out or not known, one sentence each.
    pub(crate) warnings: Vec<String>,
    pub(super) locked_hosts: Vec<String>,
    pub(super) locked_users: BTreeSet<String>,
    /// What hosts were called then that have another name now, by that.
    renamed: BTreeMap<String, String>,
    /// Who was there then and is no more, by the name of then.
    parted: BTreeMap<(Role, String), Parted>,
    /// Whose question it is.
    scope: Scope,
}

/// What was in force at a moment, and for whom: on hosts of this scope.
pub(crate) async fn estate(
    context: &Context,
    scope: &Scope,
    when: When,
    now: Timestamp,
) -> Result<Estate, Error> {
    let When { generation, at_ms } = when;
    if generation > 0 && at_ms > 0 {
        let problem = "a generation and a time cannot both be given";
        return Err(Error::invalid("generation", problem));
    }
    if at_ms > now.ms() {
        return Err(Error::invalid("at_ms", "is in the future"));
    }
    let in_force = context.rollout.in_force();
    let then = (at_ms > 0).then(|| Timestamp::from_ms(at_ms));
    let (generation, policy) = match (generation, then) {
        (0, None) => (in_force.generation, Arc::clone(&in_force.policy)),
        (0, Some(then)) => match in_force_at(context, then).await? {
            Some(generation) => (generation, stored(context, generation).await?),
            None => (0, Arc::default()),
        },
        (generation, _) => (generation, stored(context, generation).await?),
    };
    let past = match then {
        Some(then) => Some(past(context, then).await?),
        None => None,
    };
    let at = (then.unwrap_or(now), past);
    let mut estate = Estate::of((context, scope), (generation, policy), at);
    if generation == 0 {
        estate.warnings.push("no policy was in force".to_owned());
    }
    if generation != in_force.generation && then.is_none() && generation > 0 {
        let words = format!(
            "generation {} is in force; this is generation {generation} with the hosts, labels and \
             members of now",
            in_force.generation
        );
        estate.warnings.push(words);
    }
    if then.is_some() {
        estate.say_what_is_not_known();
    }
    Ok(estate)
}

async fn stored(context: &Context, generation: u64) -> Result<Arc<Policy>, Error> {
    let text = stored_text(context, generation).await?;
    let (_, policy) = stored_policy(context, generation, &text).await?;
    Ok(policy)
}

/// The generation that was the newest then.
async fn in_force_at(context: &Context, then: Timestamp) -> Result<Option<u64>, Error> {
    let history = context.store.policy_history(u32::MAX).await?;
    let is_before = |generation: &&Generation| generation.at_ms <= then.ms();
    let newest = history.iter().filter(is_before);
    Ok(newest.map(|generation| generation.generation).max())
}

/// Names of some, the first ones of many.
fn names(all: &[&str]) -> String {
    let first: Vec<&str> = all.iter().take(NAMES_MAX).copied().collect();
    let first = first.join(", ");
    match all.len().saturating_sub(NAMES_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn as_texts<'a>(all: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    all.into_iter().map(String::as_str).collect()
}

// === impl Estate ===

impl Estate {
    fn of(
        (context, scope): (&Context, &Scope),
        (generation, policy): (u64, Arc<Policy>),
        (at, past): (Timestamp, Option<Past>),
    ) -> Self {
        let all = context.roster.all();
        let there = |role: Role| {
            let members = all.iter().filter(move |member| member.role == role);
            members.filter(|member| member.joined_at_ms <= at.ms())
        };
        let hosts = all
            .iter()
            .filter(|member| member.role == Role::Host && scope.covers(&member.labels));
        let (hosts, locked): (Vec<_>, Vec<_>) = hosts
            .filter_map(|host| match &past {
                Some(past) => past.host(host, at),
                None => Some((facts(host), host.is_active())),
            })
            .partition(|(_, is_free)| *is_free);
        let (users, barred): (Vec<_>, Vec<_>) = there(Role::User).partition(|user| match &past {
            Some(past) => past.has_key(user, &user.name, at),
            None => user.is_active(),
        });
        let name = |member: &Arc<Member>| member.name.clone();
        let mut locked_users: BTreeSet<String> = barred.into_iter().map(name).collect();
        // Who had left then and nobody has become since is barred still.
        let left = context.roster.barred();
        locked_users.extend(left.into_iter().filter(|user| {
            let member = context.roster.find(Role::User, user);
            member.is_none()
        }));
        let mut users: BTreeSet<String> = users.into_iter().map(name).collect();
        let gone = past.iter().flat_map(Past::users);
        for (name, is_free) in gone {
            let set = if is_free {
                &mut users
            } else {
                &mut locked_users
            };
            set.insert(name.to_owned());
        }
        locked_users.retain(|user| !users.contains(user));
        let mut estate = Self {
            generation,
            policy: without(&policy, &locked_users),
            hosts: hosts.into_iter().map(|(facts, _)| facts).collect(),
            users,
            at,
            warnings: Vec::new(),
            locked_hosts: locked.into_iter().map(|(facts, _)| facts.name).collect(),
            locked_users,
            renamed: BTreeMap::new(),
            parted: BTreeMap::new(),
            scope: scope.clone(),
        };
        if let Some(past) = past {
            estate.take_names(past);
        }
        if !scope.is_whole() {
            let words = format!("only hosts with {scope} are your business: others are not listed");
            estate.warnings.push(words);
        }
        estate.say_who_is_left_out();
        estate
    }

    /// Remembers, and says, which hosts were called otherwise then.
    fn take_names(&mut self, past: Past) {
        let hosts = self.hosts.iter().map(|facts| facts.name.clone());
        let there: BTreeSet<String> = hosts.chain(self.locked_hosts.iter().cloned()).collect();
        let is_cut = past.is_cut;
        self.parted = past.parted;
        let renamed = past
            .names
            .into_iter()
            .filter(|(now, then)| now != then && there.contains(then));
        self.renamed = renamed.collect();
        let said = self
            .renamed
            .iter()
            .map(|(now, then)| format!("{now} was {then}"));
        let said: Vec<String> = said.collect();
        if !said.is_empty() {
            let names = names(&as_texts(&said));
            self.warnings.push(format!(
                "hosts are called what they were called then: {names}"
            ));
        }
        if is_cut {
            self.warnings.push(
                "too much has happened since: who was replaced or renamed is not known".to_owned(),
            );
        }
    }

    fn say_who_is_left_out(&mut self) {
        if !self.locked_hosts.is_empty() {
            let names = names(&as_texts(&self.locked_hosts));
            let words = format!("locked hosts grant nothing and are not listed: {names}");
            self.warnings.push(words);
        }
        if !self.locked_users.is_empty() {
            let names = names(&as_texts(&self.locked_users));
            let words = format!(
                "users who are locked or have left may open nothing and are not listed: {names}"
            );
            self.warnings.push(words);
        }
        let stanzas = self.policy.stanzas.iter();
        let nat: Vec<String> = stanzas
            .filter(|stanza| stanza.nat != policy::NatRules::default())
            .map(Stanza::label)
            .collect();
        if !nat.is_empty() {
            let names = names(&as_texts(&nat));
            self.warnings.push(format!(
                "whether a host leads packets on is for its own configuration to say, and is not \
                 known here: {names}"
            ));
        }
    }

    /// What has changed since, and cannot be told any more.
    fn say_what_is_not_known(&mut self) {
        self.warnings.push(
            "labels of hosts are those of now: which ones they had then is not kept".to_owned(),
        );
        let listed = self.hosts.iter().map(|facts| &*facts.name);
        let listed: BTreeSet<&str> = listed.collect();
        let gone = self
            .parted
            .keys()
            .filter(|(role, name)| *role == Role::Host && !listed.contains(&**name))
            .map(|(_, name)| format!("host {name}"));
        let gone: BTreeSet<String> = gone.collect();
        // Whose business they were is not known either.
        if !gone.is_empty() && self.scope.is_whole() {
            let names = names(&as_texts(&gone));
            self.warnings.push(format!(
                "left since, so that what they could open then is not listed: {names}"
            ));
        }
    }

    /// What has become of somebody since who was there then and is no more, or is another now.
    pub(crate) fn parted(&self, role: Role, name: &str) -> Option<Parted> {
        self.parted.get(&(role, name.to_owned())).copied()
    }

    /// What a host is called now that was called so then.
    pub(crate) fn name_of_now<'a>(&'a self, then: &'a str) -> &'a str {
        let mut renamed = self.renamed.iter();
        renamed
            .find(|(_, called)| *called == then)
            .map_or(then, |(now, _)| now)
    }

    /// Leaves the hosts that are asked about.
    pub(crate) fn narrow(&mut self, context: &Context, host: &str) -> Result<(), Error> {
        if host.is_empty() {
            return Ok(());
        }
        if host.contains('=') {
            let selector = Selector::parse(host);
            let selector = selector.map_err(|error| Error::invalid("host", error.to_string()))?;
            self.hosts.retain(|facts| selector.selects(facts));
            if self.hosts.is_empty() {
                return Err(Error::not_found(format!("host has the labels {selector}")));
            }
            return Ok(());
        }
        // What it was called then comes first: the name of now may have been another's.
        let is_there = |name: &str| self.hosts.iter().any(|facts| facts.name == name);
        let renamed = self.renamed.get(host).filter(|_| !is_there(host));
        let host = renamed.cloned().unwrap_or_else(|| host.to_owned());
        if !is_there(&host) {
            return Err(self.not_there(context, &host));
        }
        self.hosts.retain(|facts| facts.name == host);
        Ok(())
    }

    /// Why there is no such host to be asked about.
    fn not_there(&self, context: &Context, host: &str) -> Error {
        if self.locked_hosts.iter().any(|locked| locked == host) {
            return Error::not_found(format!("host that may grant anything is called `{host}`"));
        }
        let parted = self.parted(Role::Host, host);
        if let Some(Parted { how, at }) = parted.filter(|_| self.scope.is_whole()) {
            let how = how.as_str();
            return Error::not_found(format!(
                "answer about host {host}: it was {how} {at}, and which labels it had is not kept"
            ));
        }
        let known = self.hosts.iter().map(|facts| facts.name.as_str());
        near::no_host(context, &self.scope, host, known)
    }

    /// Refuses the name of a user whom neither the fleet nor the policy knows. What is to be said of one
    /// who was not there.
    pub(super) fn must_know(&self, context: &Context, user: &str) -> Result<Option<String>, Error> {
        let stanzas = self.policy.stanzas.iter();
        let mut names = stanzas.flat_map(|stanza| stanza.require_username.iter());
        let is_named = names.any(|name| name == user);
        if self.users.contains(user) || self.locked_users.contains(user) {
            return Ok(None);
        }
        if is_named || context.roster.find(Role::User, user).is_some() {
            return Ok(Some(format!("user {user} had not joined")));
        }
        let near = did_you_mean(user, &self.users);
        Err(Error::not_found(format!("user is called `{user}`{near}")))
    }
}
