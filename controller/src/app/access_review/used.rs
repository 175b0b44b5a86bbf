//! How often a right was used, and when last: of a machine, whatever it was called when it was.

use std::collections::{BTreeMap, BTreeSet};

use fleet::Role;
use policy::Holder;

use super::Row;
use crate::app::who_can::Estate;
use crate::context::Context;
use crate::store::model::{Use, UsedOn};

/// The hosts of a review as machines: what each was called at its time.
#[derive(Debug, Default)]
pub(super) struct Machines {
    /// By `Member::id` of the host of now.
    by_member: BTreeMap<u64, String>,
    /// By what it is called now.
    by_name_of_now: BTreeMap<String, String>,
    /// Those whose name was that of a host before, which they took the place of.
    by_own_name: BTreeSet<String>,
    /// Every name under which events of theirs may be stored.
    names: BTreeSet<String>,
    /// `Member::id` of every host of now.
    present: BTreeSet<u64>,
}

/// Uses by user or key, host and stanza.
#[derive(Debug, Default)]
pub(super) struct Uses(BTreeMap<(String, String, String), (u64, u64)>);

// === impl Machines ===

impl Machines {
    pub(super) fn of(context: &Context, estate: &Estate) -> Self {
        let hosts = context.roster.all();
        let hosts = hosts.iter().filter(|member| member.role == Role::Host);
        let mut all = Self {
            present: hosts.map(|host| host.id).collect(),
            ..Self::default()
        };
        for facts in &estate.hosts {
            let (then, now) = (&facts.name, estate.name_of_now(&facts.name));
            let Some(host) = context.roster.find(Role::Host, now) else {
                continue;
            };
            let former = host.keys.iter().flat_map(|key| &key.former_names);
            let former: Vec<String> = former.map(|(_, name)| name.clone()).collect();
            all.by_member.insert(host.id, then.clone());
            all.by_name_of_now.insert(now.to_owned(), then.clone());
            // One that was there and came to its name by another is another machine than those before.
            if former.is_empty() || host.joined_at_ms > estate.at.ms() {
                all.by_own_name.insert(then.clone());
            }
            all.names.extend([then.clone(), now.to_owned()]);
            all.names.extend(former);
        }
        all
    }

    /// Every name under which events of theirs may be stored.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }

    /// The host of the review on which something was used.
    fn find(&self, used: &UsedOn) -> Option<&String> {
        match used.member {
            Some(member) if self.present.contains(&member) => self.by_member.get(&member),
            Some(_) => self.by_own_name.get(&used.called_now),
            // Nobody noted whose journal it is: it went along with the name.
            None => self.by_name_of_now.get(&used.called_now),
        }
    }
}

// === impl Uses ===

impl Uses {
    pub(super) fn of(uses: Vec<Use>, machines: &Machines) -> Self {
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
            let Some(host) = machines.find(&host) else {
                continue;
            };
            for who in [user, key] {
                let key = (who, host.clone(), stanza.clone());
                let of = all.0.entry(key).or_default();
                *of = (of.0 + count, of.1.max(last_ms));
            }
        }
        all
    }

    /// How many, and the last.
    pub(super) fn find(&self, row: &Row) -> (u64, u64) {
        let who = match &row.right.holder {
            Holder::User(name) => name.to_string(),
            Holder::Key(key) => key.clone(),
        };
        let key = (who, row.host.clone(), row.terms.stanza.clone());
        self.0.get(&key).copied().unwrap_or_default()
    }
}
