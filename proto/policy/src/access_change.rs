//! What a change of policy gives to people and takes from them, by their rights and not by the text.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::host::HostFacts;
use crate::network::Networks;
use crate::policy::Policy;
use crate::ports::PortSet;
use crate::rights::{Holder, Question};
use crate::stanza::{Stanza, StanzaKey};

/// Pieces of ports that are compared one by one, for one user on one host; beyond it they are
/// compared as a whole.
const PIECES_MAX: usize = 64;

/// What a change gives to one user on one host and takes from her there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessChange {
    /// Who.
    pub holder: Holder,
    /// Where.
    pub host: String,
    /// What she may open now and could not before.
    pub gains: PortSet,
    /// What she may not open any more.
    pub loses: PortSet,
    /// What she may open on other terms than before, one sentence each.
    pub changes: Vec<String>,
    /// As whom she may run commands now and could not before: "root", or a name.
    pub runs: Option<String>,
    /// As whom she may not run commands any more.
    pub runs_no_more: Option<String>,
}

/// The terms on which something may be opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Terms {
    /// `None` is anywhere; else sorted, and none in another one.
    sources: Option<Vec<IpNet>>,
    other: Other,
}

/// Terms besides where the packet comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Other {
    /// Fingerprints; none for a key of the user's own.
    keys: Vec<String>,
    longest_secs: u32,
    expire_at_secs: Option<u64>,
    leads_to: Option<String>,
    opens: (u8, u8, bool),
    os: Option<String>,
    sequence: bool,
}

/// What one user may on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rights {
    given: Vec<(PortSet, Terms)>,
    commands: BTreeSet<String>,
}

/// What each holder may on a host.
type ByHolder = BTreeMap<Holder, Rights>;

/// What a new policy gives and takes, by host and user. `users` are all who have joined.
///
/// A user whom a stanza names and who has not joined yet is spoken of too: she has it as soon as she
/// does. Hosts that the same stanzas select are looked at once. Of many changes the first `limit` are
/// given, and how many more there are.
#[must_use]
pub fn access_changes(
    (old, new): (&Policy, &Policy),
    hosts: &[HostFacts],
    users: &BTreeSet<String>,
    (now_secs, limit): (u64, usize),
) -> (Vec<AccessChange>, usize) {
    let question = Question {
        user: None,
        ports: None,
        source: None,
        now_secs,
    };
    let (old, new) = (
        Side::new(old, users, &question),
        Side::new(new, users, &question),
    );
    let mut known: BTreeMap<(Vec<usize>, Vec<usize>), Vec<AccessChange>> = BTreeMap::new();
    let mut all = Vec::new();
    let mut count = 0;
    for host in hosts {
        let selections = (old.selection(host), new.selection(host));
        let changes = known
            .entry(selections)
            .or_insert_with_key(|(before, after)| between(&old.rights(before), &new.rights(after)));
        count += changes.len();
        let listed = changes.iter().take(limit - all.len());
        all.extend(listed.map(|change| AccessChange {
            host: host.name.clone(),
            ..change.clone()
        }));
    }
    let more = count - all.len();
    (all, more)
}

/// What people gain and lose when a host becomes another, with other labels or another name, and the
/// policy stays as it is. `users` are all who have joined.
#[must_use]
pub fn access_changes_of_host(
    policy: &Policy,
    (before, after): (&HostFacts, &HostFacts),
    users: &BTreeSet<String>,
    now_secs: u64,
) -> Vec<AccessChange> {
    let question = Question {
        user: None,
        ports: None,
        source: None,
        now_secs,
    };
    let side = Side::new(policy, users, &question);
    let rights = |host: &HostFacts| side.rights(&side.selection(host));
    let mut changes = between(&rights(before), &rights(after));
    for change in &mut changes {
        change.host.clone_from(&after.name);
    }
    changes
}

/// One of the two policies: what each of its stanzas gives, and to whom.
struct Side<'p> {
    stanzas: Vec<(&'p Stanza, Option<Given>)>,
}

struct Given {
    holders: Vec<Holder>,
    ports: PortSet,
    terms: Terms,
    command: Option<String>,
}

// === impl Side ===

impl<'p> Side<'p> {
    fn new(policy: &'p Policy, users: &BTreeSet<String>, question: &Question<'_>) -> Self {
        let stanzas = policy.stanzas.iter();
        let stanzas = stanzas.map(|stanza| (stanza, given(stanza, users, question)));
        Self {
            stanzas: stanzas.collect(),
        }
    }

    fn selection(&self, host: &HostFacts) -> Vec<usize> {
        let stanzas = self.stanzas.iter().enumerate();
        let selected =
            stanzas.filter(|(_, (stanza, given))| given.is_some() && stanza.selects(host));
        selected.map(|(position, _)| position).collect()
    }

    fn rights(&self, selection: &[usize]) -> ByHolder {
        let mut rights = ByHolder::new();
        let given = selection.iter().filter_map(|position| {
            let (_, given) = self.stanzas.get(*position)?;
            given.as_ref()
        });
        for given in given {
            for holder in &given.holders {
                let own = rights.entry(holder.clone()).or_default();
                own.given.push((given.ports.clone(), given.terms.clone()));
                own.commands.extend(given.command.clone());
            }
        }
        rights
    }
}

fn given(stanza: &Stanza, users: &BTreeSet<String>, question: &Question<'_>) -> Option<Given> {
    let judged = stanza.judge_all(question).ok()?;
    let named = stanza.require_username.iter();
    let (keys, holders) = match &stanza.key {
        StanzaKey::Static(keys) => {
            let keys: Vec<String> = keys.iter().map(|k| k.fingerprint().to_string()).collect();
            let holders = if stanza.require_username.is_empty() {
                keys.iter().cloned().map(Holder::Key).collect()
            } else {
                named.map(|name| Holder::User(name.into())).collect()
            };
            (keys, holders)
        }
        StanzaKey::Pairwise | StanzaKey::User { .. } => {
            let holders: Vec<_> = if stanza.require_username.is_empty() {
                let all = users.iter();
                all.map(|name| Holder::User(name.as_str().into())).collect()
            } else {
                named.map(|name| Holder::User(name.into())).collect()
            };
            (Vec::new(), holders)
        }
    };
    // Whoever is known by a key alone has changed with it.
    let is_nobody = stanza.require_username.is_empty() && !keys.is_empty();
    Some(Given {
        holders,
        ports: judged.ports,
        terms: Terms {
            sources: sources(&stanza.source),
            other: Other {
                keys: if is_nobody { Vec::new() } else { keys },
                longest_secs: stanza.max_fw_timeout_secs,
                expire_at_secs: stanza.expire_at_secs,
                leads_to: judged.leads_to,
                opens: (
                    stanza.open_prefix,
                    stanza.open_prefix6,
                    stanza.open_packet_source,
                ),
                os: stanza.os.as_ref().map(ToString::to_string),
                sequence: stanza.knock_sequence,
            },
        },
        command: stanza.command.as_ref().map(|rule| rule.as_whom()),
    })
}

fn sources(networks: &Networks) -> Option<Vec<IpNet>> {
    match networks {
        Networks::Any => None,
        Networks::Only(networks) => {
            let all_of = |v4: bool| {
                let mut all = networks.iter().filter(|net| net.prefix_len() == 0);
                all.any(|net| matches!(net, IpNet::V4(_)) == v4)
            };
            if all_of(true) && all_of(false) {
                return None;
            }
            Some(IpNet::aggregate(&networks.to_vec()))
        }
    }
}

fn between(old: &ByHolder, new: &ByHolder) -> Vec<AccessChange> {
    let holders: BTreeSet<&Holder> = old.keys().chain(new.keys()).collect();
    let none = Rights::default();
    let changes = holders.into_iter().filter_map(|holder| {
        let before = old.get(holder).unwrap_or(&none);
        let after = new.get(holder).unwrap_or(&none);
        if before == after {
            return None;
        }
        let (could, may) = (before.ports(), after.ports());
        let runs = |from: &Rights, to: &Rights| {
            let more: Vec<&str> = from
                .commands
                .difference(&to.commands)
                .map(String::as_str)
                .collect();
            (!more.is_empty()).then(|| more.join(", "))
        };
        let change = AccessChange {
            holder: holder.clone(),
            host: String::new(),
            gains: may.without(&could),
            loses: could.without(&may),
            changes: other_terms(before, after, &could.without(&could.without(&may))),
            runs: runs(after, before),
            runs_no_more: runs(before, after),
        };
        (!change.is_empty()).then_some(change)
    });
    changes.collect()
}

/// What of the ports that were and are permitted is so on other terms.
fn other_terms(before: &Rights, after: &Rights, both: &PortSet) -> Vec<String> {
    let mut pieces = vec![both.clone()];
    let sets = before
        .given
        .iter()
        .chain(&after.given)
        .map(|(ports, _)| ports);
    for set in sets {
        if pieces.len() > PIECES_MAX {
            break;
        }
        pieces = pieces
            .into_iter()
            .flat_map(|piece| {
                let outside = piece.without(set);
                [piece.without(&outside), outside]
            })
            .filter(|piece| !piece.is_empty())
            .collect();
    }
    // Pieces of one change are said together.
    let mut said: BTreeMap<String, PortSet> = BTreeMap::new();
    for piece in pieces {
        let (were, are) = (before.terms_of(&piece), after.terms_of(&piece));
        if were == are {
            continue;
        }
        let ports = said.entry(sentence(&were, &are)).or_default();
        *ports = ports.iter().chain(piece.iter()).collect();
    }
    let sentences = said.into_iter();
    sentences
        .map(|(words, ports)| format!("{ports} {words}"))
        .collect()
}

fn sentence(were: &BTreeSet<Terms>, are: &BTreeSet<Terms>) -> String {
    let words = |terms: &BTreeSet<Terms>, others: &BTreeSet<Terms>| {
        let own = terms.difference(others);
        let said: Vec<String> = own.map(|own| own.words(others)).collect();
        said.join(", or ")
    };
    match (words(are, were), words(were, are)) {
        (now, then) if then.is_empty() => format!("also {now}"),
        (now, then) if now.is_empty() => format!("not any more {then}"),
        (now, then) => format!("{now}, instead of {then}"),
    }
}

// === impl AccessChange ===

impl AccessChange {
    fn is_empty(&self) -> bool {
        self.gains.is_empty()
            && self.loses.is_empty()
            && self.changes.is_empty()
            && self.runs.is_none()
            && self.runs_no_more.is_none()
    }
}

// === impl Rights ===

impl Rights {
    fn ports(&self) -> PortSet {
        self.given
            .iter()
            .flat_map(|(ports, _)| ports.iter())
            .collect()
    }

    /// The terms on which a piece may be opened: those that differ in nothing but their sources are
    /// one.
    fn terms_of(&self, piece: &PortSet) -> BTreeSet<Terms> {
        let mut joined: BTreeMap<Other, Option<Vec<IpNet>>> = BTreeMap::new();
        for (ports, terms) in &self.given {
            if !piece.without(ports).is_empty() {
                continue;
            }
            let sources = joined
                .entry(terms.other.clone())
                .or_insert_with(|| Some(Vec::new()));
            *sources = match (sources.take(), &terms.sources) {
                (Some(mut known), Some(more)) => {
                    known.extend(more);
                    Some(IpNet::aggregate(&known))
                }
                (None, _) | (_, None) => None,
            };
        }
        let terms = joined.into_iter();
        terms
            .map(|(other, sources)| Terms { sources, other })
            .collect()
    }
}

// === impl Terms ===

impl Terms {
    /// What sets them apart from others.
    fn words(&self, others: &BTreeSet<Self>) -> String {
        let Other {
            keys,
            longest_secs,
            expire_at_secs,
            leads_to,
            opens: (prefix, prefix6, packet_source),
            os,
            sequence,
        } = &self.other;
        let differs = |same: &dyn Fn(&Self) -> bool| others.is_empty() || !others.iter().all(same);
        let mut words = Vec::new();
        if differs(&|other| other.sources == self.sources) {
            words.push(match &self.sources {
                None => "from anywhere".to_owned(),
                Some(networks) => {
                    let networks: Vec<String> = networks.iter().map(network_text).collect();
                    format!("from {}", networks.join(", "))
                }
            });
        }
        if differs(&|other| other.other.keys == *keys) {
            words.push(if keys.is_empty() {
                "by a key of her own".to_owned()
            } else {
                format!("by the key {}", keys.join(", "))
            });
        }
        if differs(&|other| other.other.longest_secs == *longest_secs) {
            words.push(format!("for at most {longest_secs} s"));
        }
        if differs(&|other| other.other.expire_at_secs == *expire_at_secs) {
            words.push(match expire_at_secs {
                None => "without an end".to_owned(),
                Some(at) => format!("until {}", crate::doubts::day(*at)),
            });
        }
        if differs(&|other| other.other.leads_to == *leads_to) {
            words.push(match leads_to {
                None => "on the host itself".to_owned(),
                Some(place) => format!("led to {place}"),
            });
        }
        if differs(&|other| other.other.os == *os) {
            words.push(match os {
                None => "by any operating system".to_owned(),
                Some(os) => format!("where a SYN shows {os}"),
            });
        }
        if differs(&|other| other.other.sequence == *sequence) {
            let way = if *sequence {
                "also by a knock sequence"
            } else {
                "by a packet only"
            };
            words.push(way.to_owned());
        }
        if differs(&|other| other.other.opens == self.other.opens) {
            let also = if *packet_source {
                ", and for the packet's source"
            } else {
                ""
            };
            words.push(format!(
                "for a /{prefix} or /{prefix6} around the address{also}"
            ));
        }
        words.join(" ")
    }
}

fn network_text(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}
