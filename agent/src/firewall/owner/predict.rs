//! What would drop that which a grant opens, for all ports and sources: obstacles. Pure.
//!
//! Ports that no rule tells apart are looked at together, so the work grows with the rules and not
//! with the ports.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use engine::Way;

use super::super::family::Family;
use super::bytes::Meaning;
use super::packet::{AskedPort, Kind, OwnMark, Packet};
use super::routes::NAME_LEN;
use super::ruleset::{Hook, Ruleset};
use super::sources::Sources;
use super::walk::{Cause, Lead, Shared, Stage, Stop, Walk};

/// Rules and elements that are looked at, at most: some tens of milliseconds.
const BUDGET: usize = 200_000;
/// Priority of our guard, at prerouting.
const GUARD_PRIORITY: i32 = -149;

/// What drops something that a grant lets in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found<'r> {
    pub(super) cause: Cause<'r>,
    pub(super) family: Family,
    pub(super) sources: Sources,
    /// What is asked for: kind and ports (for echo, all).
    pub(super) asked: Vec<(Kind, u16, u16)>,
    /// Of what goes which way.
    pub(super) way: Way,
}

/// All that drops what a grant lets in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Prediction<'r> {
    pub(super) found: Vec<Found<'r>>,
    /// Whether there was too much to look at: for the rest nothing is known.
    pub(super) is_partial: bool,
    /// What the host's rules lead on to another place, by the port that is asked for.
    pub(super) published: Vec<(Family, Kind, u16, IpAddr, Option<u16>)>,
}

/// What is looked at together.
#[derive(Clone, Debug)]
struct Case {
    family: Family,
    kind: Kind,
    ports: RangeInclusive<u16>,
    way: Way,
}

/// What is gathered: causes, and for what they stand.
type Gathered<'r> = HashMap<(Cause<'r>, Family, Way), Vec<(Kind, u16, u16, Sources)>>;

/// Looks for all that drops what a grant lets in. `first` are looked at first, should the rules be
/// too many.
pub(super) fn predict<'r>(
    ruleset: &'r Ruleset,
    families: &[Family],
    first: &[(Kind, u16, u16)],
    mark: OwnMark,
) -> Prediction<'r> {
    let mut shared = Shared::new(ruleset, BUDGET);
    let mut gathered = Gathered::new();
    let mut prediction = Prediction::default();
    let mut cases = cases(families, first);
    while let Some(case) = cases.pop_front() {
        let result = outcome(&mut shared, &case, mark, &mut prediction.published);
        match result {
            Ok(drops) => {
                let (first, last) = (*case.ports.start(), *case.ports.end());
                for (cause, sources) in drops {
                    let key = (cause, case.family, case.way);
                    let found = gathered.entry(key).or_default();
                    found.push((case.kind, first, last, sources));
                }
            }
            Err(Stop::Split(at)) => {
                let (first, last) = case.ports.clone().into_inner();
                if first < at && at <= last {
                    for ports in [first..=at - 1, at..=last] {
                        cases.push_front(Case {
                            ports,
                            ..case.clone()
                        });
                    }
                }
            }
            Err(Stop::TooMuch) => {
                prediction.is_partial = true;
                break;
            }
        }
    }
    prediction.found = merge(gathered);
    prediction.published.sort_unstable();
    prediction.published.dedup();
    prediction
}

/// The ports that matter most first, then all others.
fn cases(families: &[Family], first: &[(Kind, u16, u16)]) -> VecDeque<Case> {
    let mut cases = VecDeque::new();
    for kind in [Kind::Tcp, Kind::Udp] {
        let mut named: Vec<_> = first.iter().filter(|asked| asked.0 == kind).collect();
        named.sort_unstable();
        let mut next = 1_u16;
        let mut rest = Vec::new();
        for (_, low, high) in named {
            let low = (*low).max(next);
            if low > *high {
                continue;
            }
            cases.push_back((kind, low..=*high));
            if next < low {
                rest.push((kind, next..=low - 1));
            }
            next = high.saturating_add(1);
        }
        rest.push((kind, next..=u16::MAX));
        cases.extend(rest);
    }
    cases.push_back((Kind::Echo, 1..=1));
    let of_kind = |(kind, ports): (Kind, RangeInclusive<u16>)| {
        let ways = [Way::Direct, Way::Here, Way::On].into_iter();
        let ways = ways.filter(move |way| kind != Kind::Echo || *way == Way::Direct);
        ways.flat_map(move |way| {
            let ports = ports.clone();
            families.iter().map(move |family| Case {
                family: *family,
                kind,
                ports: ports.clone(),
                way,
            })
        })
    };
    cases.into_iter().flat_map(of_kind).collect()
}

/// What becomes of the packets of a case.
fn outcome<'r>(
    shared: &mut Shared<'r>,
    case: &Case,
    own: OwnMark,
    published: &mut Vec<(Family, Kind, u16, IpAddr, Option<u16>)>,
) -> Result<HashMap<Cause<'r>, Sources>, Stop> {
    let ruleset = shared.ruleset;
    let meaning = meaning(ruleset, case);
    let packet = Packet {
        family: case.family,
        kind: case.kind,
        is_led_on: case.way == Way::On,
        is_answer: false,
        is_translated: match case.way {
            Way::Direct => Some(false),
            Way::Here => Some(true),
            Way::On => None,
        },
        destination: None,
        port: None,
        asked: match case.way {
            Way::Direct => AskedPort::Seen,
            Way::Here | Way::On => AskedPort::Unknown,
        },
        out: None,
        mark: super::bytes::bits(own.bit, 0),
        own,
        has_bit: false,
    };
    let mut walk = Walk::new(shared, &meaning, packet, Sources::All);
    before_routing(&mut walk, ruleset, case)?;
    let (mut drops, alive, leads) = (walk.drops, walk.alive, walk.leads);
    let packet = walk.packet;
    let mut rest = alive;
    for lead in leads {
        let led = rest.and(&lead.sources.yes);
        let (there, hook) = led_to(&packet, &lead, ruleset);
        if let (Hook::Forward, Some(address)) = (hook, there.destination) {
            let asked = *case.ports.start();
            published.push((case.family, case.kind, asked, address, lead.port));
        }
        follow(
            shared,
            &meaning,
            (there, hook),
            (led.clone(), true),
            &mut drops,
        )?;
        rest.remove(&led);
        // Those who may be led on: neither way is certain.
        let maybe = rest.and(&lead.sources.maybe);
        let here = (packet.clone(), Hook::Input);
        follow(shared, &meaning, here, (maybe.clone(), false), &mut drops)?;
        rest.remove(&maybe);
    }
    let hook = match case.way {
        Way::Direct | Way::Here => Hook::Input,
        Way::On => Hook::Forward,
    };
    follow(shared, &meaning, (packet, hook), (rest, true), &mut drops)?;
    Ok(drops)
}

fn meaning<'r>(ruleset: &'r Ruleset, case: &Case) -> Meaning<'r> {
    let interfaces = ruleset.routes.interfaces.iter().map(|interface| {
        let mut name = interface.name.clone().into_bytes();
        name.resize(NAME_LEN, 0);
        (name, interface.index, interface.of(case.family))
    });
    Meaning {
        ports: case.ports.clone(),
        interfaces: interfaces.collect(),
        address_len: match case.family {
            Family::V4 => 4,
            Family::V6 => 16,
        },
    }
}

/// The chains at ingress and at prerouting, before and after our guard, and where they lead.
fn before_routing<'r>(
    walk: &mut Walk<'_, 'r>,
    ruleset: &'r Ruleset,
    case: &Case,
) -> Result<(), Stop> {
    walk.stage = Stage::Before;
    for place in ruleset.at(Hook::Ingress, case.family) {
        walk.pass(place)?;
    }
    for place in ruleset.at(Hook::Prerouting, case.family) {
        if place.base.priority > GUARD_PRIORITY {
            walk.stage = Stage::Behind;
        }
        if place.base.priority > GUARD_PRIORITY && !walk.packet.has_bit {
            set_bit(&mut walk.packet);
        }
        // What we have translated is translated by nobody else; and the first who translates wins.
        let is_decided =
            case.way != Way::Direct || walk.leads.iter().any(|lead| !lead.sources.yes.is_none());
        if !(place.base.is_nat && is_decided) {
            walk.pass(place)?;
        }
    }
    if !walk.packet.has_bit {
        set_bit(&mut walk.packet);
    }
    Ok(())
}

/// The guard has let it in.
fn set_bit(packet: &mut Packet) {
    packet.has_bit = true;
    for (byte, bit) in packet.mark.iter_mut().zip(packet.own.bit.to_ne_bytes()) {
        if bit != 0 {
            *byte = byte.with(bit);
        }
    }
}

/// The packet as it is led to another place.
fn led_to(packet: &Packet, lead: &Lead, ruleset: &Ruleset) -> (Packet, Hook) {
    let mut there = packet.clone();
    there.is_translated = Some(true);
    there.port = lead.port;
    let elsewhere = lead
        .address
        .filter(|address| !ruleset.own.contains(address));
    let Some(address) = elsewhere else {
        return (there, Hook::Input);
    };
    there.is_led_on = true;
    there.destination = Some(address);
    there.out = ruleset
        .routes
        .to(address)
        .map(|interface| interface.name.clone());
    (there, Hook::Forward)
}

/// Goes through the chains at a hook, and takes in who drops what there.
fn follow<'r>(
    shared: &mut Shared<'r>,
    meaning: &Meaning<'r>,
    (packet, hook): (Packet, Hook),
    (alive, is_certain): (Sources, bool),
    drops: &mut HashMap<Cause<'r>, Sources>,
) -> Result<(), Stop> {
    if alive.is_none() {
        return Ok(());
    }
    let (ruleset, family) = (shared.ruleset, packet.family);
    let mut walk = Walk::new(shared, meaning, packet, alive);
    for place in ruleset.at(hook, family) {
        walk.pass(place)?;
    }
    if hook == Hook::Input {
        // Whoever was let in needs the answer; of what is translated, conntrack sees to it.
        walk.stage = Stage::Answer;
        walk.packet = walk.packet.answer();
        if walk.packet.own.on_answers {
            set_bit(&mut walk.packet);
        }
        for place in ruleset.at(Hook::Output, family) {
            if !place.base.is_nat {
                walk.pass(place)?;
            }
        }
    }
    for (cause, sources) in walk.drops {
        let cause = Cause {
            is_certain: cause.is_certain && is_certain,
            ..cause
        };
        drops
            .entry(cause)
            .or_insert_with(Sources::none)
            .add(&sources);
    }
    Ok(())
}

/// One for each cause and the same sources, with all that it stands for.
fn merge(gathered: Gathered<'_>) -> Vec<Found<'_>> {
    let mut all: Vec<Found<'_>> = Vec::new();
    for ((cause, family, way), cases) in gathered {
        let begin = all.len();
        for (kind, first, last, sources) in cases {
            let mut own = all.iter_mut().skip(begin);
            match own.find(|found| found.sources == sources) {
                Some(found) => found.asked.push((kind, first, last)),
                None => all.push(Found {
                    cause,
                    family,
                    sources,
                    asked: vec![(kind, first, last)],
                    way,
                }),
            }
        }
    }
    for found in &mut all {
        found.asked.sort_unstable();
        found.asked.dedup_by(|next, before| {
            let joins = next.0 == before.0 && u32::from(next.1) == u32::from(before.2) + 1;
            if joins {
                before.2 = next.2;
            }
            joins
        });
    }
    all.sort_by_key(|found| (found.cause, found.family, found.way));
    all
}
