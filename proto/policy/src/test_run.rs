//! What becomes of a test.

use std::collections::{BTreeMap, HashSet};

use crate::doubts::Fleet;
use crate::host::{HostFacts, Selector};
use crate::judge::Denied;
use crate::policy::Policy;
use crate::ports::PortSet;
use crate::rights::Question;
use crate::stanza::{Stanza, StanzaKey};
use crate::test_line::{Expected, PolicyTest, TestedHosts, Who};

/// Stanzas whose reasons are given one by one.
const REASONS_MAX: usize = 3;

/// A test that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun<'p> {
    /// Which.
    pub test: &'p PolicyTest,
    /// What came of it.
    pub outcome: TestOutcome,
    /// What is doubtful about it: names that nobody has yet.
    pub doubts: Vec<String>,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestOutcome {
    /// It holds.
    Passed {
        /// By which stanzas, or why not, in words.
        by: String,
    },
    /// It does not hold.
    Failed {
        /// Why, in words.
        why: String,
    },
    /// It depends on what is not known here.
    NotRun {
        /// On what, in words.
        why: String,
    },
}

/// A host as far as it is known.
struct Host<'a> {
    name: Option<&'a str>,
    /// `None`: it may have any labels besides those of `known`.
    facts: Option<&'a HostFacts>,
    known: BTreeMap<&'a str, &'a str>,
}

/// What stanzas say to one user's question for one host.
struct Verdict<'p> {
    policy: &'p Policy,
    /// What is given by stanzas that are for the host, and which.
    given: Vec<(PortSet, usize)>,
    /// What would be given by stanzas of which that is not known.
    perhaps: Vec<(PortSet, usize)>,
    refusals: Vec<(usize, Denied)>,
}

// === impl Policy ===

impl Policy {
    /// Runs every test, in the order of the text. Without a fleet, only what does not depend on one
    /// can be told.
    #[must_use]
    pub fn run_tests(&self, fleet: Option<&Fleet<'_>>, now_secs: u64) -> Vec<TestRun<'_>> {
        let tests = self.tests.iter();
        let run = tests.map(|test| TestRun {
            test,
            outcome: self.run_test(test, fleet, now_secs),
            doubts: fleet.map_or_else(Vec::new, |fleet| doubts(test, fleet)),
        });
        run.collect()
    }

    fn run_test(&self, test: &PolicyTest, fleet: Option<&Fleet<'_>>, now_secs: u64) -> TestOutcome {
        let question = Question {
            user: None,
            ports: Some(&test.ports),
            source: test.from,
            now_secs,
        };
        let users: Vec<Option<&str>> = match &test.who {
            Who::Anybody => vec![None],
            Who::Users(users) => users.iter().map(Some).collect(),
        };
        let mut open = None;
        let mut by = Vec::new();
        for (selection, host) in self.selections(hosts(&test.hosts, fleet)) {
            for user in &users {
                let verdict = self.verdict(*user, &selection, &question);
                match verdict.outcome(test) {
                    TestOutcome::Passed { by: stanzas } => {
                        if !by.contains(&stanzas) {
                            by.push(stanzas);
                        }
                    }
                    TestOutcome::Failed { why } => {
                        let who = user.unwrap_or("anybody");
                        let why = format!("{who} on {}: {why}", host.words());
                        return TestOutcome::Failed { why };
                    }
                    TestOutcome::NotRun { why } => open = open.or(Some(why)),
                }
            }
        }
        match open {
            Some(why) => TestOutcome::NotRun { why },
            None => TestOutcome::Passed { by: by.join("; ") },
        }
    }

    /// Which stanzas are for each host, and whether that is sure; of hosts that have the same, the
    /// first.
    fn selections<'a>(&self, hosts: Vec<Host<'a>>) -> Vec<(Vec<(usize, bool)>, Host<'a>)> {
        let mut seen = HashSet::new();
        let mut selections = Vec::new();
        for host in hosts {
            let stanzas = self.stanzas.iter().enumerate();
            let selected = stanzas.filter_map(|(position, stanza)| {
                let selects = host.is_selected_by(stanza);
                (selects != Some(false)).then_some((position, selects.is_some()))
            });
            let selection: Vec<_> = selected.collect();
            if seen.insert(selection.clone()) {
                selections.push((selection, host));
            }
        }
        selections
    }

    /// What each of these stanzas says, in the order of the text.
    fn verdict(
        &self,
        user: Option<&str>,
        selection: &[(usize, bool)],
        question: &Question<'_>,
    ) -> Verdict<'_> {
        let mut verdict = Verdict {
            policy: self,
            given: Vec::new(),
            perhaps: Vec::new(),
            refusals: Vec::new(),
        };
        for (position, is_sure) in selection {
            let Some(stanza) = self.stanzas.get(*position) else {
                continue;
            };
            let judged = match user {
                Some(user) => stanza.judge_as(user, question),
                None => stanza.judge_all(question),
            };
            match (judged, is_sure) {
                (Ok(judged), true) => verdict.given.push((judged.ports, *position)),
                (Ok(judged), false) => verdict.perhaps.push((judged.ports, *position)),
                (Err(denied), true) => verdict.refusals.push((*position, denied)),
                (Err(_), false) => {}
            }
        }
        verdict
    }
}

/// Whose a stanza is, where that is not plain.
fn whose(stanza: &Stanza) -> &'static str {
    match stanza.key {
        StanzaKey::Static(_) => ", for whoever holds its key",
        StanzaKey::Pairwise | StanzaKey::User { .. } => "",
    }
}

/// The hosts of a test: those of the fleet, or one that stands for all that may be.
fn hosts<'a>(tested: &'a TestedHosts, fleet: Option<&'a Fleet<'_>>) -> Vec<Host<'a>> {
    let all = fleet.map_or(&[][..], |fleet| fleet.hosts);
    let meant = all.iter().filter(|facts| match tested {
        TestedHosts::Named(name) => *facts.name == **name,
        TestedHosts::Selected(selector) => selector.selects(facts),
    });
    let meant: Vec<_> = meant.map(Host::of).collect();
    if meant.is_empty() {
        return vec![Host::imagined(tested)];
    }
    meant
}

/// Names of a test that nobody has.
fn doubts(test: &PolicyTest, fleet: &Fleet<'_>) -> Vec<String> {
    let mut doubts = Vec::new();
    let is_there = fleet.hosts.iter().any(|facts| match &test.hosts {
        TestedHosts::Named(name) => *facts.name == **name,
        TestedHosts::Selected(selector) => selector.selects(facts),
    });
    if !is_there {
        doubts.push(match &test.hosts {
            TestedHosts::Named(name) => {
                let near = fleet.near_host(name);
                format!("no host is called {name} yet{near}")
            }
            TestedHosts::Selected(selector) => format!("no host has the labels {selector} yet"),
        });
    }
    if let Who::Users(users) = &test.who {
        for user in users.iter().filter(|user| !fleet.users.contains(*user)) {
            let near = fleet.near_user(user);
            doubts.push(format!("no user is called {user} yet{near}"));
        }
    }
    doubts
}

// === impl Host ===

impl<'a> Host<'a> {
    fn of(facts: &'a HostFacts) -> Self {
        Self {
            name: Some(&facts.name),
            facts: Some(facts),
            known: BTreeMap::new(),
        }
    }

    fn imagined(tested: &'a TestedHosts) -> Self {
        let (name, known) = match tested {
            TestedHosts::Named(name) => (Some(&**name), BTreeMap::new()),
            TestedHosts::Selected(Selector::Any) => (None, BTreeMap::new()),
            TestedHosts::Selected(Selector::Labels(labels)) => {
                let labels = labels.iter().map(|(label, value)| (&**label, &**value));
                let mut labels: BTreeMap<&str, &str> = labels.collect();
                (labels.remove("name"), labels)
            }
        };
        Self {
            name,
            facts: None,
            known,
        }
    }

    /// `None`: it depends on labels that are not known.
    fn is_selected_by(&self, stanza: &Stanza) -> Option<bool> {
        if let Some(facts) = self.facts {
            return Some(stanza.selects(facts));
        }
        let mut lines = stanza.hosts.iter().map(|line| self.is_on(line));
        if stanza.hosts.is_empty() || lines.clone().any(|line| line == Some(true)) {
            return Some(true);
        }
        lines.all(|line| line == Some(false)).then_some(false)
    }

    fn is_on(&self, line: &Selector) -> Option<bool> {
        let Selector::Labels(labels) = line else {
            return Some(true);
        };
        let mut result = Some(true);
        for (label, value) in labels {
            let own = match &**label {
                "name" => self.name,
                label => self.known.get(label).copied(),
            };
            match own {
                Some(own) if own != &**value => return Some(false),
                Some(_) => {}
                None => result = None,
            }
        }
        result
    }

    fn words(&self) -> String {
        if let Some(name) = self.name {
            return name.to_owned();
        }
        if self.known.is_empty() {
            return "some host".to_owned();
        }
        let labels = self.known.iter();
        let labels: Vec<String> = labels
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        format!("a host with {}", labels.join(" "))
    }
}

// === impl Verdict ===

impl Verdict<'_> {
    fn outcome(&self, test: &PolicyTest) -> TestOutcome {
        let union = |lists: &[&[(PortSet, usize)]]| -> PortSet {
            let all = lists.iter().flat_map(|list| list.iter());
            all.flat_map(|(ports, _)| ports.iter()).collect()
        };
        let surely = union(&[&self.given]);
        let perhaps = union(&[&self.given, &self.perhaps]);
        let not_run = || TestOutcome::NotRun {
            why: format!(
                "whether a host has the labels of {} is known to the controller only",
                self.names(&self.perhaps)
            ),
        };
        match test.expected {
            Expected::Allow if test.ports.without(&surely).is_empty() => TestOutcome::Passed {
                by: self.names(&self.given),
            },
            Expected::Allow if test.ports.without(&perhaps).is_empty() => not_run(),
            Expected::Allow => TestOutcome::Failed {
                why: self.reasons(&test.ports.without(&perhaps)),
            },
            Expected::Deny if !surely.is_empty() => TestOutcome::Failed {
                why: format!("may open {surely}, by {}", self.names(&self.given)),
            },
            Expected::Deny if !perhaps.is_empty() => not_run(),
            Expected::Deny => TestOutcome::Passed {
                by: "no stanza permits it".to_owned(),
            },
        }
    }

    fn names(&self, list: &[(PortSet, usize)]) -> String {
        let words = list.iter().map(|(_, position)| {
            let stanza = self.policy.stanzas.get(*position);
            format!("{}{}", self.name(*position), stanza.map_or("", whose))
        });
        some(words)
    }

    /// `stanza ssh (fleet.conf:3)`
    fn name(&self, position: usize) -> String {
        let stanza = self.policy.stanzas.get(position).map(Stanza::label);
        let place = self.policy.origin(position);
        let place = place.map_or_else(String::new, |place| format!(" ({place})"));
        format!("stanza {}{place}", stanza.unwrap_or_default())
    }

    fn reasons(&self, missing: &PortSet) -> String {
        if !self.given.is_empty() {
            return format!(
                "may not open {missing}; {} gives the rest",
                self.names(&self.given)
            );
        }
        if self.refusals.is_empty() {
            return format!("may not open {missing}: no stanza is for this host");
        }
        let said = self.refusals.iter();
        let said = said.map(|(position, denied)| format!("{}: {denied}", self.name(*position)));
        format!("may not open {missing}: {}", some(said))
    }
}

/// The first ones of many.
fn some(words: impl ExactSizeIterator<Item = String>) -> String {
    let count = words.len();
    let first: Vec<String> = words.take(REASONS_MAX).collect();
    match count.saturating_sub(REASONS_MAX) {
        0 => first.join("; "),
        more => format!("{}; and {more} more", first.join("; ")),
    }
}
