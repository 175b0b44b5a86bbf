//! What stands in our table: sets, chains and rules. Pure.
//!
//! The rules never change: what is hidden and what is open are elements of sets. Whoever reads
//! `nft list table` sees, from the hook on:
//!
//! | chain | what is decided there |
//! |---|---|
//! | `prerouting` | our mark goes on only with what it began with; what comes over `lo`, and what is neither TCP, UDP nor an echo request, passes |
//! | `guard_tcp`, `guard_udp`, `guard_echo` | whether it begins something or goes on |
//! | `begins` | it passes through a hole, or is not for us, or is not hidden; else it is dropped |
//! | `goes_on` | what began through a hole, as its label says, carries our mark again, unless it is held up |
//! | `barred` | held up, unless it passes through another hole |
//! | `opens` | the packet gets our mark, the connection our label |
//! | `input` | what was translated to a hidden port of this host passes through a hole, or is dropped |
//! | `postrouting` | a connection that was cut does not begin again from this side, or from behind it |
//! | `output` | an answer to what began through a hole gets our mark, on a host that wants it accepted |
//! | `lead_in`, `lead_out`, `lead_local` | where packets are led on to, on a host that does; see `nat` |
//!
//! It hooks in after connection tracking (-200) and before addresses are translated (-100), so it
//! sees the port that was asked for. Of the verdicts only *drop* is final: what passes goes on to
//! the owner's rules. A segment that begins a connection asks the sets whatever connection tracking
//! says; so does every echo request.
//!
//! Echo stands in the same sets: its type and code are where others have their source port, and are
//! written as a port.

use std::num::NonZeroU16;

use spa::{PortRange, Protocol, Service};

use super::super::family::Family;
use super::super::numbers::nf_tables as nf;
use super::expression::{Expression, Meta, Verdict};
use super::message::{self, Base, Element, Field, Key, SetSpec};
use super::nat;
use super::steps::{
    Address, ESTABLISHED, IPPROTO_TCP, IPPROTO_UDP, LAYERS, NEW, ORIGINAL, Port, R0, REPLY, RuleOf,
    UNTRACKED, begins, clear_mark, direction, echo, echo_of, family, for_others, for_us,
    from_others, interface, label_connection, labelled, load_address, mark_packet, packet_marked,
    protocol, protocol_number, service, state, unlabelled, untranslated,
};
use crate::netlink::Requests;

/// A set of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Set {
    /// The hidden ports.
    Protected,
    /// Holes for one address and one port.
    Open(Family),
    /// All others, in layers without overlap.
    Wide(Family, usize),
    /// What was taken back: one address and one port.
    Barred(Family),
    /// The same of all others.
    BarredWide(Family, usize),
}

/// Rules in the order in which they are appended.
struct Rules(Vec<RuleOf>);

const PREROUTING: &str = "prerouting";
const INPUT: &str = "input";
const OUTPUT: &str = "output";
const POSTROUTING: &str = "postrouting";
const TCP: &str = "guard_tcp";
const UDP: &str = "guard_udp";
const ECHO: &str = "guard_echo";
const BEGINS: &str = "begins";
const GOES_ON: &str = "goes_on";
const BARRED: &str = "barred";
const OPENS: &str = "opens";

/// Between tracking (-200) and translation (-100).
/// After all that stands at -150, where iptables has its table `mangle`: a rule there that sets the
/// whole mark would otherwise wipe our bit.
const PRIORITY: i32 = -149;
/// Behind the translation of sources (100).
const PRIORITY_LAST: i32 = 101;

/// For an element that names no timeout, which this agent never makes, in seconds.
const DEFAULT_TIMEOUT_SECS: u32 = 30;

/// What of it is to be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Laid {
    /// Our bit of the mark.
    pub(super) mark: u32,
    /// Whether packets may be led on to other places; see [`nat`].
    pub(super) leads: bool,
    /// Whether answers are marked on their way out.
    pub(super) answers: bool,
}

/// Numbers of sets in a batch, beyond those of the guard.
const NAT_FIRST_ID: u32 = 1_000;

/// Makes all of it, whatever there is, in a table that was made before; `hidden` are the elements of
/// [`Set::Protected`]. Elements of the other sets stay.
pub(super) fn lay(requests: &mut Requests, table: &str, what: Laid, hidden: &[Element]) {
    for (set, id) in all_sets().zip(1..) {
        message::new_set(requests, table, &set.spec(), id);
    }
    if what.leads {
        nat::lay_sets(requests, table, NAT_FIRST_ID);
    }
    let hook = |hook, priority| Base {
        kind: "filter",
        hook,
        priority,
    };
    for chain in [OPENS, BARRED, GOES_ON, BEGINS, ECHO, UDP, TCP] {
        message::new_chain(requests, table, chain, None);
    }
    for (chain, at, priority) in [
        (PREROUTING, nf::PRE_ROUTING, PRIORITY),
        (INPUT, nf::LOCAL_IN, PRIORITY),
        (POSTROUTING, nf::POST_ROUTING, PRIORITY_LAST),
    ] {
        message::new_chain(requests, table, chain, Some(hook(at, priority)));
    }
    if what.answers {
        let at = hook(nf::LOCAL_OUT, PRIORITY);
        message::new_chain(requests, table, OUTPUT, Some(at));
    }
    if what.leads {
        nat::lay_chains(requests, table);
    }
    message::delete_rules(requests, table);
    for (chain, rule) in rules(what) {
        message::new_rule(requests, table, chain, &rule);
    }
    hide(requests, table, hidden);
}

/// Makes these the hidden ports, and no others.
pub(super) fn hide(requests: &mut Requests, table: &str, hidden: &[Element]) {
    let set = Set::Protected.name();
    message::flush_set(requests, table, set);
    message::change_elements(requests, message::Change::Add, table, set, hidden);
}

/// Every set.
pub(super) fn all_sets() -> impl Iterator<Item = Set> {
    let of_family = |family| {
        let wide = (0..LAYERS).map(move |layer| Set::Wide(family, layer));
        let barred = (0..LAYERS).map(move |layer| Set::BarredWide(family, layer));
        let narrow = [Set::Open(family), Set::Barred(family)];
        narrow.into_iter().chain(wide).chain(barred)
    };
    let both = Family::ALL.into_iter().flat_map(of_family);
    std::iter::once(Set::Protected).chain(both)
}

/// The rules, in their order within each chain.
fn rules(what: Laid) -> Vec<RuleOf> {
    let mark = what.mark;
    let mut rules = Rules(Vec::new());
    if what.leads {
        rules.mark_replies(mark);
    }
    rules.sort_out(mark);
    if what.leads {
        rules.let_on(PREROUTING, nat::others());
    }
    rules.judge_tcp_and_udp();
    for (chain, port) in [(BEGINS, Port::Destination), (ECHO, Port::Source)] {
        if what.leads {
            rules.let_on(chain, nat::passes(port));
        }
        rules.judge_what_begins(chain, port, what.leads);
    }
    rules.judge_what_goes_on(what);
    rules.judge_what_was_translated(mark);
    rules.judge_what_leaves();
    if what.answers {
        rules.mark_answers(mark);
    }
    rules.add(OPENS, &[&label_connection()]);
    rules.add(OPENS, &[&mark_packet(mark)]);
    if what.leads {
        rules.0.extend(nat::rules());
    }
    rules.0
}

const ACCEPT: Expression<'static> = Expression::Verdict(Verdict::Accept);
const DROP: Expression<'static> = Expression::Verdict(Verdict::Drop);

const fn to(chain: &'static str) -> Expression<'static> {
    Expression::Verdict(Verdict::Goto(chain))
}

/// What is open stands in one of these.
pub(super) fn open_sets() -> impl Iterator<Item = Set> {
    all_sets().filter(|set| matches!(set, Set::Open(_) | Set::Wide(..)))
}

fn barred_sets() -> impl Iterator<Item = Set> {
    all_sets().filter(|set| matches!(set, Set::Barred(_) | Set::BarredWide(..)))
}

fn hidden(port: Port) -> Vec<Expression<'static>> {
    let is_hidden = [Expression::In(Set::Protected.name(), R0)];
    [&service(R0, port)[..], &is_hidden].concat()
}

fn not_hidden() -> Vec<Expression<'static>> {
    let is_not = [Expression::NotIn(Set::Protected.name(), R0)];
    [&service(R0, Port::Destination)[..], &is_not].concat()
}

/// Whether a set has this address, protocol and port.
fn asks(set: Set, address: Address, port: Port) -> Vec<Expression<'static>> {
    let of = set.family();
    let (load, next) = load_address(of, address, R0);
    let is_in = [Expression::In(set.name(), R0)];
    [&family(of)[..], &[load], &service(next, port), &is_in].concat()
}

/// The elements of [`Set::Protected`] for these ports. What overlaps is one element.
pub(super) fn protected(services: &[Service]) -> Vec<Element> {
    let mut intervals: Vec<_> = services.iter().flat_map(intervals_of).collect();
    intervals.sort_unstable();
    let mut merged: Vec<(u8, u16, u16)> = Vec::new();
    for (protocol, first, last) in intervals {
        match merged.last_mut() {
            Some((before, _, end)) if *before == protocol && first <= *end => {
                *end = last.max(*end);
            }
            Some(_) | None => merged.push((protocol, first, last)),
        }
    }
    let element = |(protocol, first, last): (u8, u16, u16)| Element {
        first: Key::of(&[&[protocol], &first.to_be_bytes()]),
        last: Some(Key::of(&[&[protocol], &last.to_be_bytes()])),
        timeout_ms: None,
    };
    merged.into_iter().map(element).collect()
}

fn intervals_of(service: &Service) -> Vec<(u8, u16, u16)> {
    match service {
        Service::Ports(range) => {
            let (first, last) = (range.first().get(), range.last().get());
            vec![(protocol_number(range.protocol()), first, last)]
        }
        // Whatever the code.
        Service::Echo => Family::ALL
            .map(|family| {
                let (protocol, kind) = echo_of(family);
                let first = u16::from_be_bytes([kind, 0]);
                (protocol, first, first | 0xff)
            })
            .to_vec(),
    }
}

/// The services that elements of [`Set::Protected`] stand for.
pub(super) fn services(elements: &[Element]) -> Vec<Service> {
    let service = |element: &Element| {
        let last = element.last.unwrap_or(element.first);
        let (&[protocol, _, _, _, a, b, ..], &[_, _, _, _, c, d, ..]) =
            (element.first.bytes(), last.bytes())
        else {
            return None;
        };
        let (first, last) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let known = [Protocol::Tcp, Protocol::Udp].into_iter();
        match known
            .into_iter()
            .find(|it| protocol_number(*it) == protocol)
        {
            Some(known) => {
                let (first, last) = (NonZeroU16::new(first)?, NonZeroU16::new(last)?);
                PortRange::new(known, first, last).map(Service::Ports)
            }
            None => (protocol == echo_of(Family::V4).0).then_some(Service::Echo),
        }
    };
    elements.iter().filter_map(service).collect()
}

/// The name of a layer; there are no layers beyond the last.
fn named(names: [[&'static str; LAYERS]; 2], family: Family, layer: usize) -> &'static str {
    let [v4, v6] = names;
    let names = match family {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    names
        .into_iter()
        .take(layer + 1)
        .next_back()
        .unwrap_or_default()
}

// === impl Rules ===

impl Rules {
    /// Appends a rule of these parts.
    fn add(&mut self, chain: &'static str, parts: &[&[Expression<'static>]]) {
        self.0.push((chain, parts.concat()));
    }

    fn sort_out(&mut self, mark: u32) {
        // The bit is ours alone: what came out of a tunnel has it from the packet around it.
        self.add(PREROUTING, &[&clear_mark(mark)]);
        self.add(PREROUTING, &[&interface(Meta::Iif), &[ACCEPT]]);
        self.add(PREROUTING, &[&protocol(IPPROTO_TCP), &[to(TCP)]]);
        self.add(PREROUTING, &[&protocol(IPPROTO_UDP), &[to(UDP)]]);
        self.add(PREROUTING, &[&echo(Family::V4), &[to(ECHO)]]);
        self.add(PREROUTING, &[&echo(Family::V6), &[to(ECHO)]]);
    }

    fn judge_tcp_and_udp(&mut self) {
        self.add(TCP, &[&begins(true), &[to(BEGINS)]]);
        self.add(TCP, &[&state(ESTABLISHED), &[to(GOES_ON)]]);
        self.add(TCP, &[&state(UNTRACKED), &[to(BEGINS)]]);
        self.add(TCP, &[&for_us(), &hidden(Port::Destination), &[DROP]]);

        let established = state(ESTABLISHED);
        self.add(UDP, &[&established, &direction(ORIGINAL), &[to(GOES_ON)]]);
        // Answers to what this host asked. To a hidden port they must come through a hole.
        self.add(UDP, &[&established, &not_hidden(), &[ACCEPT]]);
        self.add(UDP, &[&[to(BEGINS)]]);
    }

    fn mark_replies(&mut self, mark: u32) {
        for chain in [TCP, UDP] {
            self.add(chain, &[&nat::marks_replies(mark)]);
        }
    }

    /// What any of these finds passes through a hole.
    fn let_on(&mut self, chain: &'static str, finds: Vec<Vec<Expression<'static>>>) {
        for find in finds {
            self.add(chain, &[&find, &[to(OPENS)]]);
        }
    }

    fn judge_what_begins(&mut self, chain: &'static str, port: Port, leads: bool) {
        self.add(chain, &[&for_others(), &[ACCEPT]]);
        if leads {
            self.let_on(chain, nat::leads(port));
        }
        for set in open_sets() {
            self.add(chain, &[&asks(set, Address::Source, port), &[to(OPENS)]]);
        }
        self.add(chain, &[&hidden(port), &[DROP]]);
    }

    fn judge_what_goes_on(&mut self, what: Laid) {
        let mark = what.mark;
        self.add(GOES_ON, &[&direction(REPLY), &[ACCEPT]]);
        self.add(GOES_ON, &[&unlabelled(), &[ACCEPT]]);
        for set in barred_sets() {
            let asks = asks(set, Address::Source, Port::Destination);
            self.add(GOES_ON, &[&asks, &[to(BARRED)]]);
        }
        self.add(GOES_ON, &[&mark_packet(mark)]);

        for set in open_sets() {
            let asks = asks(set, Address::Source, Port::Destination);
            self.add(BARRED, &[&asks, &[to(OPENS)]]);
        }
        if what.leads {
            self.let_on(BARRED, nat::passes(Port::Destination));
            self.let_on(BARRED, nat::leads(Port::Destination));
        }
        self.add(BARRED, &[&[DROP]]);
    }

    /// Of what was asked for elsewhere, or by another number, only this host's hidden ports are ours
    /// to judge, and only when it has got there.
    fn judge_what_was_translated(&mut self, mark: u32) {
        self.add(INPUT, &[&interface(Meta::Iif), &[ACCEPT]]);
        self.add(INPUT, &[&untranslated(), &[ACCEPT]]);
        self.add(INPUT, &[&direction(REPLY), &[ACCEPT]]);
        self.add(INPUT, &[&packet_marked(mark), &[ACCEPT]]);
        let established = state(ESTABLISHED);
        self.add(INPUT, &[&established, &begins(false), &[ACCEPT]]);
        self.add(INPUT, &[&established, &protocol(IPPROTO_UDP), &[ACCEPT]]);
        // nft reads what it saved only where the protocol is said before.
        for (number, begins) in [
            (IPPROTO_TCP, begins(true)),
            (IPPROTO_UDP, protocol(IPPROTO_UDP).to_vec()),
        ] {
            for set in open_sets() {
                let asks = asks(set, Address::Source, Port::Asked);
                self.add(INPUT, &[&begins, &asks, &[to(OPENS)]]);
            }
            let hidden = hidden(Port::Destination);
            self.add(INPUT, &[&protocol(number), &hidden, &[DROP]]);
        }
        for family in Family::ALL {
            let hidden = hidden(Port::Source);
            self.add(INPUT, &[&echo(family), &hidden, &[DROP]]);
        }
    }

    /// So that the owner's rules for what goes out know the answers by the same mark.
    fn mark_answers(&mut self, mark: u32) {
        // A program may have it on its socket, from the packet that began the connection.
        self.add(OUTPUT, &[&clear_mark(mark)]);
        self.add(OUTPUT, &[&interface(Meta::Oif), &[ACCEPT]]);
        self.add(
            OUTPUT,
            &[&direction(REPLY), &labelled(), &mark_packet(mark)],
        );
    }

    /// Judged by the source that the client sees, be it this host's or that of a machine behind it
    /// whose port is published.
    fn judge_what_leaves(&mut self) {
        self.add(POSTROUTING, &[&interface(Meta::Oif), &[ACCEPT]]);
        self.add(POSTROUTING, &[&state(NEW), &from_others(), &[ACCEPT]]);
        // In the middle of what nobody remembers: it was cut.
        let mid_stream = [&state(NEW)[..], &begins(false)].concat();
        self.add(POSTROUTING, &[&mid_stream, &hidden(Port::Source), &[DROP]]);
        for set in barred_sets() {
            let begins = [&protocol(IPPROTO_UDP)[..], &state(NEW)].concat();
            let asks = asks(set, Address::Destination, Port::Source);
            self.add(POSTROUTING, &[&begins, &asks, &[DROP]]);
        }
    }
}

// === impl Set ===

impl Set {
    pub(super) fn name(self) -> &'static str {
        const WIDE: [[&str; LAYERS]; 2] = [
            ["wide4", "wide4_2", "wide4_3", "wide4_4"],
            ["wide6", "wide6_2", "wide6_3", "wide6_4"],
        ];
        const BARRED_WIDE: [[&str; LAYERS]; 2] = [
            [
                "barred_wide4",
                "barred_wide4_2",
                "barred_wide4_3",
                "barred_wide4_4",
            ],
            [
                "barred_wide6",
                "barred_wide6_2",
                "barred_wide6_3",
                "barred_wide6_4",
            ],
        ];
        match self {
            Self::Protected => "protected",
            Self::Open(Family::V4) => "open4",
            Self::Open(Family::V6) => "open6",
            Self::Barred(Family::V4) => "barred4",
            Self::Barred(Family::V6) => "barred6",
            Self::Wide(family, layer) => named(WIDE, family, layer),
            Self::BarredWide(family, layer) => named(BARRED_WIDE, family, layer),
        }
    }

    /// What it takes to make it.
    pub(super) fn spec(self) -> SetSpec<'static> {
        SetSpec {
            name: self.name(),
            fields: self.fields(),
            data: &[],
            is_interval: self.is_interval(),
            timeout_secs: (self != Self::Protected).then_some(DEFAULT_TIMEOUT_SECS),
        }
    }

    /// The family of its addresses; one without addresses says IPv4.
    pub(super) const fn family(self) -> Family {
        match self {
            Self::Protected => Family::V4,
            Self::Open(family)
            | Self::Wide(family, _)
            | Self::Barred(family)
            | Self::BarredWide(family, _) => family,
        }
    }

    const fn fields(self) -> &'static [Field] {
        match (self, self.family()) {
            (Self::Protected, _) => &[Field::InetProto, Field::InetService],
            (_, Family::V4) => &[Field::Ipv4Addr, Field::InetProto, Field::InetService],
            (_, Family::V6) => &[Field::Ipv6Addr, Field::InetProto, Field::InetService],
        }
    }

    const fn is_interval(self) -> bool {
        match self {
            Self::Protected | Self::Wide(..) | Self::BarredWide(..) => true,
            Self::Open(_) | Self::Barred(_) => false,
        }
    }
}
