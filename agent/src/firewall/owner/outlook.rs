//! What is said of the owner's rules: to the engine, to the controller, and to people. Pure.

use engine::{Obstacle, Obstacles, Way};
use serde::{Deserialize, Serialize};
use spa::{PortRange, Protocol, Service};

use super::super::family::Family;
use super::cure::cures;
use super::hook::accepts_mark;
use super::marks;
use super::packet::{Kind, OwnMark};
use super::predict::{Found, Prediction, predict};
use super::recognise;
use super::ruleset::Ruleset;
use super::walk::{Cause, Stage};
use super::words;
use crate::report::{FirewallReport, ObstacleReport};

/// Services that are named of one obstacle.
const SERVICES_SHOWN: usize = 8;
/// Obstacles for some sources only that are kept: of more, nothing is claimed.
const NARROW_MAX: usize = 20_000;
/// Ranges of sources that are kept in all.
const RANGES_MAX: usize = 200_000;

/// What is known of the owner's rules.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// For the engine.
    pub obstacles: Obstacles,
    /// For the controller and the log: what stands in the way of what this host is there for, one
    /// sentence each.
    pub warnings: Vec<String>,
    /// For people who ask this host. What the owner's rules do not say is left empty.
    pub report: FirewallReport,
}

/// What the outlook depends on, beside the rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Interest {
    pub(super) mark: OwnMark,
    /// Whether it stands in the marks of connections, too.
    pub(super) in_connections: bool,
    /// Whether packets may be led on to other places by our rules.
    pub(super) leads_on: bool,
    /// What is hidden, or named by the policy.
    pub(super) services: Vec<Service>,
}

/// Looks at everything.
pub(super) fn outlook(ruleset: &Ruleset, interest: &Interest) -> Outlook {
    let first: Vec<_> = interest.services.iter().map(parts).collect();
    let prediction = predict(ruleset, &Family::ALL, &first, interest.mark);
    let mut report = FirewallReport {
        recognised: recognise::all(ruleset)
            .iter()
            .map(ToString::to_string)
            .collect(),
        published: published(&prediction, interest),
        hooks: hooks(ruleset, interest.mark.bit),
        unseen: ruleset.unread.clone(),
        ..FirewallReport::default()
    };
    if prediction.is_partial {
        let unseen = "the rules are too many: what they drop is not fully known";
        report.unseen.push(unseen.to_owned());
    }
    let mut warnings = marks::warnings(ruleset, interest.mark.bit, interest.in_connections);
    report.marks.clone_from(&warnings);
    let mut all = Vec::new();
    let (mut narrow, mut ranges) = (0, 0);
    for found in &prediction.found {
        let is_general = found.sources.is_all(found.family);
        let is_broad = is_general || found.sources.is_broad(found.family);
        if !is_broad {
            narrow += 1;
            ranges += found.sources.len();
            if found.cause.is_certain {
                report.blocked_sources += found.sources.len() as u64;
            }
            if narrow > NARROW_MAX || ranges > RANGES_MAX {
                continue;
            }
        }
        let obstacle = obstacle(found, ruleset, is_general);
        if is_broad && (found.way == Way::Direct || interest.leads_on) {
            let asked: Vec<Service> = named_in(&obstacle, interest).collect();
            let cure = cures(ruleset, &found.cause, interest.mark.bit, &asked);
            if found.cause.is_certain && is_of_interest(&obstacle, interest) {
                warnings.push(warning(&obstacle, &asked));
            }
            note(&mut report.obstacles, &obstacle, cure);
        }
        all.push(obstacle);
    }
    warnings.sort_unstable();
    warnings.dedup();
    Outlook {
        obstacles: Obstacles::new(all, ruleset.own.clone()),
        warnings,
        report,
    }
}

fn obstacle(found: &Found<'_>, ruleset: &Ruleset, is_general: bool) -> Obstacle {
    Obstacle {
        from: found.sources.ranges(found.family),
        is_general,
        to: found.asked.iter().filter_map(service).collect(),
        way: found.way,
        is_certain: found.cause.is_certain,
        text: text(ruleset, &found.cause),
    }
}

/// Table, chain and rule, so that its owner finds it.
fn text(ruleset: &Ruleset, cause: &Cause<'_>) -> String {
    let Some(table) = ruleset.tables.get(cause.table) else {
        return String::new();
    };
    let place = words::place(table, cause.chain);
    let chain = table.chains.get(cause.chain);
    let rule = cause.rule.and_then(|at| chain?.rules.get(at));
    let place = match cause.stage {
        Stage::Before | Stage::Behind => place,
        Stage::Answer => format!("{place} (the answers)"),
    };
    match rule {
        None => format!("{place}: policy drop"),
        Some(rule) if rule.text.is_some() => format!("{place}: {}", words::of(rule, table)),
        Some(rule) => {
            let words = words::of(rule, table);
            format!("{place}: rule with handle {}, {words}", rule.handle)
        }
    }
}

/// The chains in which a line accepts what carries our mark, whoever wrote it.
fn hooks(ruleset: &Ruleset, bit: u32) -> Vec<String> {
    let mut hooks = Vec::new();
    for table in &ruleset.tables {
        for (name, chain) in &table.chains {
            if chain.rules.iter().any(|rule| accepts_mark(rule, bit)) {
                hooks.push(words::place(table, name));
            }
        }
    }
    hooks.sort_unstable();
    hooks
}

/// What of that which matters here an obstacle is about.
fn named_in(obstacle: &Obstacle, interest: &Interest) -> impl Iterator<Item = Service> {
    let services = interest.services.iter();
    let concerns = |asked: &&Service| obstacle.to.iter().any(|to| to.overlaps(**asked));
    services.filter(concerns).copied()
}

/// Whether it stands in the way of something that this host hides; where that is nothing, of nearly
/// everything.
fn is_of_interest(obstacle: &Obstacle, interest: &Interest) -> bool {
    const NEARLY_ALL: u32 = 60_000;
    let ports = |service: &Service| match service {
        Service::Ports(range) if range.protocol() == Protocol::Tcp => u32::from(range.count()),
        Service::Ports(_) | Service::Echo => 0,
    };
    let concerns = |asked: &Service| obstacle.to.iter().any(|to| to.overlaps(*asked));
    let is_concerned = match interest.services.as_slice() {
        [] => obstacle.to.iter().map(ports).sum::<u32>() > NEARLY_ALL,
        services => services.iter().any(concerns),
    };
    obstacle.way == Way::Direct && is_concerned
}

/// Of what matters here, where something of that is dropped: then it changes only with that.
fn warning(obstacle: &Obstacle, asked: &[Service]) -> String {
    let services = if asked.is_empty() {
        &obstacle.to
    } else {
        asked
    };
    format!(
        "a grant for {} opens nothing: dropped by {}",
        named(services),
        obstacle.text
    )
}

fn named(services: &[Service]) -> String {
    shown(services).join(", ")
}

fn shown(services: &[Service]) -> Vec<String> {
    let mut shown: Vec<String> = services
        .iter()
        .take(SERVICES_SHOWN)
        .map(ToString::to_string)
        .collect();
    if services.len() > SERVICES_SHOWN {
        shown.push(format!("and {} more", services.len() - SERVICES_SHOWN));
    }
    shown
}

/// One line a rule, whatever the family.
fn note(reports: &mut Vec<ObstacleReport>, obstacle: &Obstacle, cure: Vec<String>) {
    let services = shown(&obstacle.to);
    let mut known = reports.iter_mut();
    let same = |known: &&mut ObstacleReport| {
        known.rule == obstacle.text && known.is_certain == obstacle.is_certain
    };
    if let Some(known) = known.find(same) {
        let more = services
            .into_iter()
            .filter(|one| !known.services.contains(one));
        let more: Vec<String> = more.collect();
        known.services.extend(more);
        return;
    }
    reports.push(ObstacleReport {
        rule: obstacle.text.clone(),
        services,
        is_certain: obstacle.is_certain,
        cure,
    });
}

fn published(prediction: &Prediction<'_>, interest: &Interest) -> Vec<String> {
    let lines = prediction.published.iter();
    let line = lines.filter_map(|(_, kind, port, address, there)| {
        let service = service(&(*kind, *port, *port))?;
        let there = there
            .map(|port| format!(" port {port}"))
            .unwrap_or_default();
        let is_hidden = interest
            .services
            .iter()
            .any(|hidden| hidden.covers(service));
        let note = if is_hidden { "hidden" } else { "not hidden" };
        Some(format!("{service} leads to {address}{there}, {note}"))
    });
    line.collect()
}

fn parts(service: &Service) -> (Kind, u16, u16) {
    match service {
        Service::Ports(range) => {
            let kind = match range.protocol() {
                Protocol::Tcp => Kind::Tcp,
                Protocol::Udp => Kind::Udp,
            };
            (kind, range.first().get(), range.last().get())
        }
        Service::Echo => (Kind::Echo, 1, 1),
    }
}

fn service((kind, first, last): &(Kind, u16, u16)) -> Option<Service> {
    let protocol = match kind {
        Kind::Tcp => Protocol::Tcp,
        Kind::Udp => Protocol::Udp,
        Kind::Echo => return Some(Service::Echo),
    };
    let range = PortRange::new(
        protocol,
        (*first).try_into().ok()?,
        (*last).try_into().ok()?,
    );
    range.map(Service::Ports)
}
