//! Chains and rules of what leads on. Pure.

use super::super::super::family::Family;
use super::super::super::numbers::nf_tables as nf;
use super::super::expression::{Ct, Expression, Meta, Register, Translation, Verdict};
use super::super::message::{self, Base};
use super::super::steps::{
    Address, NEW, Port, RuleOf, direction, family, for_others, for_us, labelled, load_address,
    mark_packet, service, state, translated,
};
use super::sets::{Kind, NatSet, sets_of};
use crate::netlink::Requests;

const IN: &str = "lead_in";
const OUT: &str = "lead_out";
const LOCAL: &str = "lead_local";

/// Between the guard and everybody else's translation.
const PRIORITY_IN: i32 = -101;
const PRIORITY_OUT: i32 = 99;
const PRIORITY_LOCAL: i32 = -150;

const LOOPBACK_V4: &[u8] = &[127, 0, 0, 1];

const REPLY: &[u8] = &[1];

const R0: Register = Register(0);
/// Where the data of an element is loaded to.
const FOUND: Register = Register(10);

pub(in super::super) fn lay_chains(requests: &mut Requests, table: &str) {
    let hook = |hook, priority| Base {
        kind: "nat",
        hook,
        priority,
    };
    let place = hook(nf::PRE_ROUTING, PRIORITY_IN);
    message::new_chain(requests, table, IN, Some(place));
    let place = hook(nf::POST_ROUTING, PRIORITY_OUT);
    message::new_chain(requests, table, OUT, Some(place));
    let place = Base {
        kind: "filter",
        hook: nf::LOCAL_IN,
        priority: PRIORITY_LOCAL,
    };
    message::new_chain(requests, table, LOCAL, Some(place));
}

/// The rules of the chains of [`lay_chains`].
pub(in super::super) fn rules() -> Vec<RuleOf> {
    let of_family = |family| {
        let led = lead_in(family).chain(lead_out(family));
        led.chain(lead_local(family))
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

fn lead_in(of: Family) -> impl Iterator<Item = RuleOf> {
    let sets = sets_of(of, &[Kind::To, Kind::Keep, Kind::Here]);
    sets.map(move |set| {
        let (found, next) = find(set, Address::Source, Port::Destination);
        let port = (set.kind != Kind::Keep).then_some(next);
        let translate = if set.kind == Kind::Here {
            Translation::Here { port: FOUND }
        } else {
            Translation::Destination {
                family: of,
                address: FOUND,
                port,
            }
        };
        let rule = [&for_us()[..], &found, &[Expression::Translate(translate)]].concat();
        (IN, rule)
    })
}

fn lead_out(of: Family) -> impl Iterator<Item = RuleOf> {
    let snat = sets_of(of, &[Kind::Snat]);
    let masquerade = sets_of(of, &[Kind::Masquerade]);
    snat.chain(masquerade).map(move |set| {
        let key = key(of, Address::Source, None);
        let (look, translate) = if set.kind == Kind::Snat {
            let found = Expression::Find(set.name(), R0, FOUND);
            let to = Translation::Source {
                family: of,
                address: FOUND,
            };
            (found, to)
        } else {
            let found = Expression::In(set.name(), R0);
            (found, Translation::Masquerade)
        };
        let step = [look, Expression::Translate(translate)];
        let rule = [&labelled()[..], &family(of), &key, &step].concat();
        (OUT, rule)
    })
}

/// What was led to another host and has arrived at this one, because the address is, or has become,
/// its own: nobody said that its own ports may be reached so, and its guard has let it in.
fn lead_local(of: Family) -> impl Iterator<Item = RuleOf> {
    // In the order of `lead_in`: what that finds first is what was done.
    let sets = sets_of(of, &[Kind::To, Kind::Keep, Kind::Here]);
    sets.map(move |set| {
        let key = key(of, Address::Source, None);
        let (to, _) = load_address(of, Address::Destination, R0);
        // 127.0.0.1 is only written into a set where this host itself is meant.
        let not_loopback = [to, Expression::IsNot(R0, LOOPBACK_V4)];
        let elsewhere: &[Expression<'static>] = match (set.kind, of) {
            (Kind::Here, _) | (_, Family::V6) => &[],
            (_, Family::V4) => &not_loopback,
        };
        let verdict = if set.kind == Kind::Here {
            Verdict::Accept
        } else {
            Verdict::Drop
        };
        let is_in = [Expression::In(set.name(), R0), Expression::Verdict(verdict)];
        let led = [&family(of)[..], &state(NEW), &translated(), &labelled()].concat();
        (LOCAL, [&led[..], elsewhere, &key, &is_in].concat())
    })
}

/// Looks a packet's sender, protocol and port up. The second register of what is found holds a port,
/// if there is one.
fn find(set: NatSet, whose: Address, port: Port) -> (Vec<Expression<'static>>, Register) {
    let found = [Expression::Find(set.name(), R0, FOUND)];
    let steps = [
        &family(set.family)[..],
        &key(set.family, whose, Some(port)),
        &found,
    ]
    .concat();
    let address_len = match set.family {
        Family::V4 => 1,
        Family::V6 => 4,
    };
    (steps, Register(FOUND.0 + address_len))
}

/// Loads the key: an address, then protocol and port as they are, or as they were asked for.
fn key(of: Family, whose: Address, port: Option<Port>) -> Vec<Expression<'static>> {
    let (load, next) = load_address(of, whose, R0);
    let rest = match port {
        Some(port) => service(next, port),
        None => [
            Expression::Meta(Meta::L4Proto, next),
            Expression::CtOriginal(Ct::DestinationPort, Register(next.0 + 1)),
        ],
    };
    [&[load][..], &rest].concat()
}

/// What is sent to other hosts, or to one address, and is let through: to be asked before what is not
/// for us passes.
pub(in super::super) fn passes(port: Port) -> Vec<Vec<Expression<'static>>> {
    let of_family = |of: Family| {
        let pass = sets_of(of, &[Kind::Pass]).map(move |set| {
            let (from, next) = load_address(of, Address::Source, R0);
            let (to, next) = load_address(of, Address::Destination, next);
            let is_in = [Expression::In(set.name(), R0)];
            [&family(of)[..], &[from, to], &service(next, port), &is_in].concat()
        });
        let route = sets_of(of, &[Kind::Route]);
        let route = route.map(move |set| [&for_others()[..], &is_in(set, port)].concat());
        pass.chain(route).collect::<Vec<_>>()
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

/// What is asked of this host and led on.
pub(in super::super) fn leads(port: Port) -> Vec<Vec<Expression<'static>>> {
    let of_family = move |of| {
        let sets = sets_of(of, &[Kind::To, Kind::Keep, Kind::Here]);
        sets.map(move |set| is_in(set, port))
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

/// The same for protocols without ports, which only rules for everything lead on.
pub(in super::super) fn others() -> Vec<Vec<Expression<'static>>> {
    let of_family = |of| {
        let keep = sets_of(of, &[Kind::Keep]);
        let keep = keep.map(|set| [&for_us()[..], &is_in(set, Port::Destination)].concat());
        let route = sets_of(of, &[Kind::Route]);
        let route = route.map(|set| [&for_others()[..], &is_in(set, Port::Destination)].concat());
        keep.chain(route).collect::<Vec<_>>()
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

fn is_in(set: NatSet, port: Port) -> Vec<Expression<'static>> {
    let key = key(set.family, Address::Source, Some(port));
    let is_in = [Expression::In(set.name(), R0)];
    [&family(set.family)[..], &key, &is_in].concat()
}

/// What comes back through a connection that began through a hole carries the mark, too: it is
/// forwarded, and an owner's FORWARD chain that drops all else must let it pass.
pub(in super::super) fn marks_replies(mark: u32) -> Vec<Expression<'static>> {
    let reply = direction(REPLY);
    [&reply[..], &labelled(), &mark_packet(mark)].concat()
}
