//! The sets and maps of what leads on, and rules as their elements. Pure.
//!
//! An element that says where to carries its rule as a comment: so `nft list` shows it, and so it is
//! read back as it was, whatever it is seen as.

use std::net::IpAddr;
use std::time::Duration;

use engine::{Destination, Forward, Hole, HoleTimeout, Rule, SeenSource};
use spa::Service;

use super::super::super::family::Family;
use super::super::element::{self, Listed};
use super::super::message::{self, Change, Element, Field, Key, LedElement, SetSpec};
use super::super::steps::{LAYERS, echo_of, protocol_number};
use crate::netlink::Requests;

/// What a set is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    /// To an address and a port there.
    To,
    /// To an address, at the port that was asked for; for wide rules.
    Keep,
    /// To a port of this host.
    Here,
    /// To nowhere else: what is sent to this address is let through.
    Pass,
    /// The same of every address of other hosts; for wide rules.
    Route,
    /// What it is seen as where it arrives.
    Snat,
    /// It is seen as the interface through which it leaves.
    Masquerade,
}

/// One set: of one family, and of narrow rules or of one layer of wide ones.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in super::super) struct NatSet {
    pub(super) kind: Kind,
    pub(super) family: Family,
    layer: Option<usize>,
}

/// For an element that names no timeout, which this agent never makes, in seconds.
const DEFAULT_TIMEOUT_SECS: u32 = 30;

const NARROW: [Kind; 5] = [
    Kind::To,
    Kind::Here,
    Kind::Pass,
    Kind::Snat,
    Kind::Masquerade,
];
const WIDE: [Kind; 7] = [
    Kind::To,
    Kind::Keep,
    Kind::Here,
    Kind::Pass,
    Kind::Route,
    Kind::Snat,
    Kind::Masquerade,
];

/// The names of the sets of one kind.
macro_rules! names {
    ($kind:literal) => {
        [
            [
                concat!($kind, "4"),
                concat!($kind, "4_wide"),
                concat!($kind, "4_wide_2"),
                concat!($kind, "4_wide_3"),
                concat!($kind, "4_wide_4"),
            ],
            [
                concat!($kind, "6"),
                concat!($kind, "6_wide"),
                concat!($kind, "6_wide_2"),
                concat!($kind, "6_wide_3"),
                concat!($kind, "6_wide_4"),
            ],
        ]
    };
}

/// Every set.
pub(in super::super) fn all_sets() -> impl Iterator<Item = NatSet> {
    Family::ALL.into_iter().flat_map(|family| {
        let narrow = NARROW.into_iter().map(move |kind| NatSet {
            kind,
            family,
            layer: None,
        });
        let wide = WIDE.into_iter().flat_map(move |kind| {
            (0..LAYERS).map(move |layer| NatSet {
                kind,
                family,
                layer: Some(layer),
            })
        });
        narrow.chain(wide)
    })
}

/// The sets of these kinds, those of narrow rules first.
pub(super) fn sets_of(family: Family, kinds: &'static [Kind]) -> impl Iterator<Item = NatSet> {
    let is_one = move |set: &NatSet| set.family == family && kinds.contains(&set.kind);
    let narrow = all_sets().filter(is_one).filter(|set| set.layer.is_none());
    let wide = all_sets().filter(is_one).filter(|set| set.layer.is_some());
    narrow.chain(wide)
}

/// Makes the sets; `id` tells them from the other new sets of the batch.
pub(in super::super) fn lay_sets(requests: &mut Requests, table: &str, first_id: u32) {
    for (set, id) in all_sets().zip(first_id..) {
        message::new_set(requests, table, &set.spec(), id);
    }
}

pub(super) fn change(
    requests: &mut Requests,
    change: Change,
    table: &str,
    set: NatSet,
    element: &LedElement,
) {
    message::change_led(requests, change, table, set.name(), element, set.data_len());
}

/// Whether a rule has its place in the sets without intervals: one sender, one port.
pub(super) fn is_narrow(forward: &Forward) -> bool {
    let from = forward.from;
    let is_single = match forward.asked {
        Some(Service::Ports(range)) => range.count() == 1,
        Some(Service::Echo) | None => false,
    };
    let is_anywhere = forward.to == Destination::Anywhere;
    is_single && !is_anywhere && from.prefix_len() == from.max_prefix_len()
}

/// Whose packets are let through untranslated.
pub(super) fn of_whom(forward: &Forward) -> Option<IpAddr> {
    match forward.to {
        Destination::Untranslated { address } => Some(address),
        Destination::Translated { .. } | Destination::Here { .. } | Destination::Anywhere => None,
    }
}

/// The elements of a rule. Without a timeout, those to destroy.
pub(super) fn elements(
    forward: &Forward,
    layer: Option<usize>,
    timeout: Option<HoleTimeout>,
) -> Vec<(NatSet, LedElement)> {
    let family = Family::of(forward.from.addr());
    let set = |kind| NatSet {
        kind,
        family,
        layer,
    };
    let is_wide = layer.is_some();
    let (kind, data) = match forward.to {
        Destination::Translated { address, port } => {
            let asked = forward
                .asked
                .and_then(Service::single)
                .map(|asked| asked.port);
            match port.or_else(|| asked.filter(|_| !is_wide)) {
                Some(port) => (Kind::To, Some(address_and(address, port.get()))),
                None => (Kind::Keep, Some(address_key(address))),
            }
        }
        Destination::Here { port } => (Kind::Here, Some(Key::of(&[&port.get().to_be_bytes()]))),
        Destination::Untranslated { .. } => (Kind::Pass, None),
        Destination::Anywhere => (Kind::Route, None),
    };
    let timeout_ms = timeout.map(element::millis);
    let led = |to: Option<IpAddr>, data, note: Option<String>| LedElement {
        element: key(forward, to, is_wide, timeout_ms),
        data,
        note,
    };
    let note = Rule::Forward(*forward).to_string();
    let mut all = vec![(set(kind), led(of_whom(forward), data, Some(note)))];
    match forward.source {
        SeenSource::Own => {}
        SeenSource::Address(address) => {
            all.push((set(Kind::Snat), led(None, Some(address_key(address)), None)));
        }
        SeenSource::Masquerade => all.push((set(Kind::Masquerade), led(None, None, None))),
    }
    all
}

/// The elements that can stand where a narrow rule stands, whatever the rule leads to.
pub(super) fn of_place(forward: &Forward) -> Vec<(NatSet, LedElement)> {
    let family = Family::of(forward.from.addr());
    let to = of_whom(forward);
    let kinds: &[Kind] = match to {
        Some(_) => &[Kind::Pass, Kind::Snat, Kind::Masquerade],
        None => &[Kind::To, Kind::Here, Kind::Snat, Kind::Masquerade],
    };
    let element = |kind: &Kind| {
        let to = to.filter(|_| *kind == Kind::Pass);
        let led = LedElement {
            element: key(forward, to, false, None),
            data: None,
            note: None,
        };
        let set = NatSet {
            kind: *kind,
            family,
            layer: None,
        };
        (set, led)
    };
    kinds.iter().map(element).collect()
}

/// The hole that an element with a note stands for.
pub(super) fn hole(listed: &Listed<'_>) -> Option<Hole> {
    let rule: Rule = listed.note?.parse().ok()?;
    Some(Hole {
        rule,
        timeout: HoleTimeout::lasting(Duration::from_millis(listed.left_ms?)),
    })
}

fn key(forward: &Forward, to: Option<IpAddr>, is_wide: bool, timeout_ms: Option<u64>) -> Element {
    let family = Family::of(forward.from.addr());
    let [(first_protocol, first), (last_protocol, last)] = match forward.asked {
        None => [(0, 0), (u8::MAX, u16::MAX)],
        Some(Service::Ports(range)) => {
            let protocol = protocol_number(range.protocol());
            [
                (protocol, range.first().get()),
                (protocol, range.last().get()),
            ]
        }
        Some(Service::Echo) => {
            let (protocol, kind) = echo_of(family);
            let first = u16::from_be_bytes([kind, 0]);
            [(protocol, first), (protocol, first | 0xff)]
        }
    };
    let from = forward.from;
    let key = |from: IpAddr, protocol: u8, port: u16| {
        let from = octets(from);
        let to = to.map(octets);
        let (protocol, port) = ([protocol], port.to_be_bytes());
        match &to {
            Some(to) => Key::of(&[&from, to, &protocol, &port]),
            None => Key::of(&[&from, &protocol, &port]),
        }
    };
    Element {
        first: key(from.network(), first_protocol, first),
        last: is_wide.then(|| key(from.broadcast(), last_protocol, last)),
        timeout_ms,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_key(address: IpAddr) -> Key {
    Key::of(&[&octets(address)])
}

fn address_and(address: IpAddr, port: u16) -> Key {
    Key::of(&[&octets(address), &port.to_be_bytes()])
}

// === impl NatSet ===

impl NatSet {
    /// The layer of wide rules; `None` for narrow ones.
    pub(in super::super) fn layer(self) -> Option<usize> {
        self.layer
    }

    /// Whether its elements say what rule they belong to.
    pub(in super::super) fn has_notes(self) -> bool {
        match self.kind {
            Kind::To | Kind::Keep | Kind::Here | Kind::Pass | Kind::Route => true,
            Kind::Snat | Kind::Masquerade => false,
        }
    }

    pub(in super::super) fn name(self) -> &'static str {
        let [v4, v6] = match self.kind {
            Kind::To => names!("lead_to"),
            Kind::Keep => names!("lead_keep"),
            Kind::Here => names!("lead_here"),
            Kind::Pass => names!("lead_pass"),
            Kind::Route => names!("lead_route"),
            Kind::Snat => names!("lead_snat"),
            Kind::Masquerade => names!("lead_masq"),
        };
        let names = match self.family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        let place = self.layer.map_or(0, |layer| layer + 1);
        names
            .into_iter()
            .take(place + 1)
            .next_back()
            .unwrap_or_default()
    }

    fn spec(self) -> SetSpec<'static> {
        SetSpec {
            name: self.name(),
            fields: self.fields(),
            data: self.data(),
            is_interval: self.layer.is_some(),
            timeout_secs: Some(DEFAULT_TIMEOUT_SECS),
        }
    }

    fn fields(self) -> &'static [Field] {
        use Field::{InetProto, InetService, Ipv4Addr, Ipv6Addr};
        match (self.kind, self.family) {
            (Kind::Pass, Family::V4) => &[Ipv4Addr, Ipv4Addr, InetProto, InetService],
            (Kind::Pass, Family::V6) => &[Ipv6Addr, Ipv6Addr, InetProto, InetService],
            (_, Family::V4) => &[Ipv4Addr, InetProto, InetService],
            (_, Family::V6) => &[Ipv6Addr, InetProto, InetService],
        }
    }

    fn data(self) -> &'static [Field] {
        use Field::{InetService, Ipv4Addr, Ipv6Addr};
        match (self.kind, self.family) {
            (Kind::To, Family::V4) => &[Ipv4Addr, InetService],
            (Kind::To, Family::V6) => &[Ipv6Addr, InetService],
            (Kind::Keep | Kind::Snat, Family::V4) => &[Ipv4Addr],
            (Kind::Keep | Kind::Snat, Family::V6) => &[Ipv6Addr],
            (Kind::Here, _) => &[InetService],
            (Kind::Pass | Kind::Route | Kind::Masquerade, _) => &[],
        }
    }

    fn data_len(self) -> usize {
        message::data_len(self.data()) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::super::element;
    use super::*;

    fn any_forward() -> impl Strategy<Value = Forward> {
        let text = "192\\.0\\.2\\.(7|0/24) (any|tcp/22|udp/1-9|icmp/echo) to \
            (10\\.0\\.0\\.5( port [1-9][0-9]?)?|10\\.0\\.0\\.5 untranslated|here port [1-9]|anywhere)\
            ( seen-as (masquerade|10\\.0\\.0\\.1))?|\
            2001:db8::(7|/64) (any|tcp/22|udp/1-9) to \
            (fd00::5( port [1-9])?|fd00::5 untranslated|here port [1-9]|anywhere)\
            ( seen-as (masquerade|fd00::1))?";
        text.prop_filter_map("a rule that leads on", |text| match text.parse() {
            Ok(Rule::Forward(forward)) => Some(forward),
            Ok(Rule::Accept { .. }) | Err(_) => None,
        })
    }

    proptest! {
        #[test]
        fn what_leads_on_is_listed_as_it_was_added(
            forward in any_forward(),
            ms in HoleTimeout::MIN_MILLIS..=HoleTimeout::MAX_SECS * 1_000,
        ) {
            let timeout = HoleTimeout::try_from(ms).unwrap();
            let layer = (!is_narrow(&forward)).then_some(0);
            let mut found = Vec::new();
            for (set, led) in elements(&forward, layer, Some(timeout)) {
                prop_assert_eq!(led.element.last.is_some(), layer.is_some());
                prop_assert_eq!(led.data.is_some(), !set.data().is_empty());
                let mut requests = Requests::default();
                change(&mut requests, Change::Add, "t", set, &led);
                for message in requests.sent() {
                    element::listed(message, &mut |listed| found.extend(hole(&listed)));
                }
            }
            prop_assert_eq!(found, [Hole { rule: Rule::Forward(forward), timeout }]);
        }

        #[test]
        fn whatever_stands_in_the_place_of_a_narrow_rule_is_destroyed_for_it(
            [old, new] in prop::array::uniform2(
                "(10\\.0\\.0\\.[56]( port [1-9])?|here port [1-9])( seen-as (masquerade|10\\.0\\.0\\.1))?"
            ),
        ) {
            let rule = |to: &str| format!("192.0.2.7 tcp/22 to {to}").parse();
            let (Ok(Rule::Forward(old)), Ok(Rule::Forward(new))) = (rule(&old), rule(&new)) else {
                return Err(TestCaseError::fail("no rule that leads on"));
            };
            let destroyed: Vec<_> = of_place(&new)
                .into_iter()
                .map(|(set, led)| (set, led.element.first))
                .collect();
            for (set, led) in elements(&old, None, Some(HoleTimeout::clamped(9))) {
                prop_assert!(destroyed.contains(&(set, led.element.first)));
            }
        }
    }

    #[test]
    fn every_set_has_a_name_of_its_own_that_the_kernel_takes() {
        let names: BTreeSet<_> = all_sets().map(NatSet::name).collect();

        assert_eq!(names.len(), all_sets().count());
        assert!(names.iter().all(|name| !name.is_empty() && name.len() < 32));
    }
}
