//! The texts of one policy: each different selection of stanzas is compiled once, and what did not
//! change since the policy before is not compiled again.
//!
//! Selecting costs hosts times stanzas only where it must: a line without a name selects by labels
//! alone, so hosts with the same labels are asked about together, and a line with a name is asked
//! about the host of that name only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy::{HostFacts, Policy, Stanza, StanzaKey};
use sha2::{Digest as _, Sha256};
use spa::ExchangePublic;

use super::compiled::{Bases, Compiled};
use super::{Users, facts};
use crate::store::model::Member;

/// What was compiled, and of what.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    /// Without the names that are barred.
    policy: Arc<Policy>,
    keys: BTreeMap<String, Vec<ExchangePublic>>,
    /// By [`key`] of the positions of the stanzas.
    by_selection: HashMap<[u8; 32], Arc<Compiled>>,
    /// Long texts that were in force lately, the newest last: hosts that missed one are sent what
    /// differs from what they have.
    older: Vec<Arc<Compiled>>,
    /// What these may differ from.
    bases: Arc<Bases>,
}

/// The text that a host should have.
pub(super) enum Selected {
    Known(Arc<Compiled>),
    /// Nobody has it: the name of its selection, and the positions of the stanzas.
    New([u8; 32], Vec<usize>),
}

/// Long texts of before that are kept, bytes in all; one at least.
const OLDER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Compiles for one host after another.
pub(super) struct Compiling<'a> {
    policy: &'a Arc<Policy>,
    users: &'a Users,
    before: &'a Texts,
    /// Where each stanza stood before, if it stood there for the same keys; `None` when it is
    /// another now.
    stood: Vec<Option<usize>>,
    /// Stanzas with a line that names the one host that it may select.
    naming: HashMap<&'a str, Vec<usize>>,
    /// What a host without a name is given by its labels.
    by_labels: HashMap<&'a BTreeMap<String, String>, Vec<usize>>,
    by_selection: HashMap<[u8; 32], Arc<Compiled>>,
    /// What there was before and what is new, by digest: what is equal is kept once.
    known: HashMap<[u8; 32], Arc<Compiled>>,
    bases: Arc<Bases>,
}

// === impl Compiling ===

impl<'a> Compiling<'a> {
    pub(super) fn new(policy: &'a Arc<Policy>, users: &'a Users, before: &'a Texts) -> Self {
        let mut naming: HashMap<&str, Vec<usize>> = HashMap::new();
        for (position, stanza) in policy.stanzas.iter().enumerate() {
            for name in stanza.hosts.iter().filter_map(policy::Selector::host_name) {
                naming.entry(name).or_default().push(position);
            }
        }
        let known = before.by_selection.values().chain(&before.older);
        let known: HashMap<_, _> = known
            .map(|compiled| (compiled.digest, Arc::clone(compiled)))
            .collect();
        let long = known.values().filter(|compiled| compiled.is_long());
        let bases = long.map(|compiled| (compiled.digest, Arc::downgrade(compiled)));
        Self {
            policy,
            users,
            before,
            stood: stood(policy, users, before),
            naming,
            by_labels: HashMap::new(),
            by_selection: HashMap::new(),
            bases: Arc::new(bases.collect()),
            known,
        }
    }

    /// The text of one host.
    pub(super) fn of(&mut self, host: &'a Member) -> Arc<Compiled> {
        let selection = self.selection(host);
        let key = key(&selection);
        if let Some(compiled) = self.by_selection.get(&key) {
            return Arc::clone(compiled);
        }
        let compiled = match self.kept(&selection) {
            Some(kept) => kept,
            None => self.compile(&selection),
        };
        self.by_selection.insert(key, Arc::clone(&compiled));
        compiled
    }

    pub(super) fn finish(self) -> Texts {
        let now: BTreeSet<_> = self
            .by_selection
            .values()
            .map(|compiled| compiled.digest)
            .collect();
        let gone = self.before.older.iter().chain(
            self.before
                .by_selection
                .values()
                .filter(|compiled| compiled.is_long()),
        );
        let gone = gone.filter(|compiled| !now.contains(&compiled.digest));
        Texts {
            older: newest(gone.cloned().collect()),
            policy: Arc::clone(self.policy),
            keys: self.users.keys.clone(),
            by_selection: self.by_selection,
            bases: self.bases,
        }
    }

    /// The positions of the stanzas that select the host, in order.
    fn selection(&mut self, host: &'a Member) -> Vec<usize> {
        let stanzas = &self.policy.stanzas;
        let by_labels = self.by_labels.entry(&host.labels).or_insert_with(|| {
            // No line names a host without a name.
            let nameless = HostFacts {
                name: String::new(),
                labels: host.labels.clone(),
            };
            let selected = stanzas.iter().enumerate();
            let selected = selected.filter(|(_, stanza)| stanza.selects(&nameless));
            selected.map(|(position, _)| position).collect()
        });
        let mut selection = by_labels.clone();
        if let Some(naming) = self.naming.get(host.name.as_str()) {
            let facts = facts(host);
            let selects = |position: &usize| {
                let stanza = stanzas.get(*position);
                stanza.is_some_and(|stanza| stanza.selects(&facts))
            };
            selection.extend(naming.iter().copied().filter(selects));
            selection.sort_unstable();
            selection.dedup();
        }
        selection
    }

    /// The text of before, when all that it is made of is as it was.
    fn kept(&self, selection: &[usize]) -> Option<Arc<Compiled>> {
        if self.policy.protect != self.before.policy.protect {
            return None;
        }
        let stood = |position: &usize| self.stood.get(*position).copied().flatten();
        let before: Option<Vec<usize>> = selection.iter().map(stood).collect();
        let kept = self.before.by_selection.get(&key(&before?))?;
        Some(Arc::clone(kept))
    }

    fn compile(&mut self, selection: &[usize]) -> Arc<Compiled> {
        let (compiled, domains) = compiled(self.policy, &self.users.keys, selection);
        if let Some(known) = self.known.get(&compiled.digest) {
            return Arc::clone(known);
        }
        let compiled = Arc::new(Compiled::new(compiled, domains, Arc::clone(&self.bases)));
        self.known.insert(compiled.digest, Arc::clone(&compiled));
        compiled
    }
}

// === impl Texts ===

impl Texts {
    /// Which text a host should have, whoever else has it.
    pub(super) fn select(&self, host: &Member) -> Selected {
        let facts = facts(host);
        let stanzas = self.policy.stanzas.iter().enumerate();
        let selected = stanzas.filter(|(_, stanza)| stanza.selects(&facts));
        let selection: Vec<usize> = selected.map(|(position, _)| position).collect();
        let key = key(&selection);
        match self.by_selection.get(&key) {
            Some(compiled) => Selected::Known(Arc::clone(compiled)),
            None => Selected::New(key, selection),
        }
    }

    /// The text of these positions, which nobody has yet.
    pub(super) fn compile(&self, selection: &[usize]) -> Arc<Compiled> {
        let (compiled, domains) = compiled(&self.policy, &self.keys, selection);
        let bases = Arc::clone(&self.bases);
        Arc::new(Compiled::new(compiled, domains, bases))
    }

    pub(super) fn add(&mut self, texts: HashMap<[u8; 32], Arc<Compiled>>) {
        self.by_selection.extend(texts);
    }
}

/// The text of these positions, and the replay domains of its static keys, sorted.
fn compiled(
    policy: &Policy,
    keys: &BTreeMap<String, Vec<ExchangePublic>>,
    selection: &[usize],
) -> (policy::HostPolicy, Vec<[u8; 32]>) {
    let stanzas = selection
        .iter()
        .filter_map(|position| policy.stanzas.get(*position));
    let stanzas: Vec<&Stanza> = stanzas.collect();
    let compiled = policy::compile_selected(policy, &stanzas, keys);
    let keys = stanzas.iter().flat_map(|stanza| stanza.static_keys());
    let mut domains: Vec<_> = keys.map(spa::Keys::domain).collect();
    domains.sort_unstable();
    domains.dedup();
    (compiled, domains)
}

/// Those of `older`, the newest last, that may be kept.
fn newest(mut older: Vec<Arc<Compiled>>) -> Vec<Arc<Compiled>> {
    let mut bytes = 0;
    let kept = older.iter().rev().take_while(|compiled| {
        let is_first = bytes == 0;
        bytes += compiled.text.0.len();
        is_first || bytes <= OLDER_BYTES_MAX
    });
    let gone = older.len() - kept.count();
    older.drain(..gone);
    older
}

/// Where each stanza stood before, when it says the same for the same keys.
fn stood(policy: &Arc<Policy>, users: &Users, before: &Texts) -> Vec<Option<usize>> {
    let changed = changed_users(&users.keys, &before.keys);
    let is_same_policy = Arc::ptr_eq(policy, &before.policy);
    let by_name = before.policy.stanzas.iter().enumerate();
    let by_name: HashMap<&str, usize> = by_name
        .filter_map(|(position, stanza)| Some((stanza.name.as_deref()?, position)))
        .collect();
    let of = |(position, stanza): (usize, &Stanza)| {
        if !has_its_users(stanza, &changed) {
            return None;
        }
        let is_at = |at: usize| {
            is_same_policy && at == position || before.policy.stanzas.get(at) == Some(stanza)
        };
        let by_name = || {
            let name = stanza.name.as_deref()?;
            by_name.get(name).copied().filter(|at| is_at(*at))
        };
        Some(position).filter(|at| is_at(*at)).or_else(by_name)
    };
    policy.stanzas.iter().enumerate().map(of).collect()
}

/// Users whose keys are others than before, or who have come or gone.
fn changed_users<'a>(
    now: &'a BTreeMap<String, Vec<ExchangePublic>>,
    before: &'a BTreeMap<String, Vec<ExchangePublic>>,
) -> BTreeSet<&'a str> {
    let names = now.keys().chain(before.keys());
    let changed = names.filter(|name| now.get(*name) != before.get(*name));
    changed.map(String::as_str).collect()
}

/// Whether the text of the stanza is for the keys that it was for.
fn has_its_users(stanza: &Stanza, changed: &BTreeSet<&str>) -> bool {
    match &stanza.key {
        StanzaKey::Static(_) | StanzaKey::User { .. } => true,
        StanzaKey::Pairwise if stanza.require_username.is_empty() => changed.is_empty(),
        StanzaKey::Pairwise => {
            let mut names = stanza.require_username.iter();
            !names.any(|name| changed.contains(name))
        }
    }
}

/// Names a list of positions.
fn key(positions: &[usize]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for position in positions {
        hash.update(position.to_le_bytes());
    }
    hash.finalize().into()
}
