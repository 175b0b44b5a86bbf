//! What must hold of every back end, in sentences. Each is tried in a [`World`]: a host with the
//! back end in it, and others who look at it from outside.
//!
//! TCP 22 and UDP 53 are protected wherever a test does not say otherwise; services listen there
//! and on TCP 80.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use agent::firewall::{Backend, BaseRules as _, Holes as _};
use engine::{Connection, Hole, HoleTimeout, Rule};
use spa::{ProtoPort, Service};

/// A host with a back end under test, and its neighbours.
pub(crate) trait World {
    /// Opens the back end, as an agent does at its start.
    fn open(&self) -> Backend;

    /// An address of one of the neighbours.
    fn address(&self, who: Who, family: Family) -> IpAddr;

    /// Whether a new connection from this neighbour reaches the host's service.
    fn lets_in(&self, from: IpAddr, port: ProtoPort) -> bool;

    /// Establishes a session.
    fn session(&self, from: IpAddr, port: ProtoPort) -> Box<dyn Session + '_>;

    /// Lets seconds pass.
    fn pass(&self, secs: u32);

    /// Lets another program do what empties the whole packet filter.
    fn flush_by_another(&self);

    /// Whether that leaves what is ours alone.
    fn is_owned(&self) -> bool;

    /// Lets another program put in something of its own.
    fn addition_of_another(&self);

    /// All that is in the packet filter but the time left of holes, as text.
    fn all(&self) -> String;
}

/// A session of a neighbour with a service of the host.
pub(crate) trait Session {
    /// How the kernel would name it.
    fn connection(&self) -> Connection;

    /// Whether it still goes on when the neighbour speaks.
    fn goes_on(&mut self) -> bool;

    /// Whether the neighbour hears the host speak.
    fn host_speaks(&mut self) -> bool;
}

/// A neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Alice,
    Mallory,
}

/// The family of an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Makes one test of every sentence, for one back end.
macro_rules! suite {
    ($backend:ident, $in_world:expr) => {
        mod $backend {
            use super::*;

            $crate::conformance::suite! { @tests $in_world;
                a_port_that_is_protected_is_closed_and_another_is_open
                a_hole_lets_in_one_address_to_one_port
                a_hole_closes_by_itself_at_its_deadline
                what_is_hardly_left_of_a_hole_is_open_for_no_longer_than_a_second_and_never_for_ever
                opening_again_for_longer_extends_and_for_shorter_shortens
                a_session_outlives_its_hole
                closing_cuts_the_sessions_too_and_opening_again_lets_in
                a_connection_that_was_cut_stays_cut_whoever_speaks_and_whatever_is_opened
                cutting_one_connection_leaves_its_neighbours_alone
                flushing_closes_everything_and_sessions_live_on
                what_is_open_is_listed_with_the_time_left
                two_thousand_holes_open_in_one_batch_and_are_all_listed
                nothing_to_open_and_nothing_to_close_are_no_errors
                what_can_be_opened_is_opened
                laying_twice_changes_nothing_and_keeps_what_is_open
                other_ports_are_hidden_and_shown_without_touching_what_is_open
                what_another_flushed_is_drift_and_is_repaired
                removing_removes_nothing_else_and_may_be_done_twice
            }
        }
    };
    (@tests $in_world:expr; $($sentence:ident)*) => {
        $(
            #[test]
            fn $sentence() {
                let in_world = $in_world;
                in_world($crate::conformance::$sentence);
            }
        )*
    };
}
pub(crate) use suite;

pub(crate) fn a_port_that_is_protected_is_closed_and_another_is_open(world: &dyn World) {
    let _host = laid(world);

    for family in [Family::V4, Family::V6] {
        let alice = world.address(Who::Alice, family);
        assert!(!world.lets_in(alice, port("tcp/22")), "{family:?}");
        assert!(!world.lets_in(alice, port("udp/53")), "{family:?}");
        assert!(world.lets_in(alice, port("tcp/80")), "{family:?}");
    }
}

pub(crate) fn a_hole_lets_in_one_address_to_one_port(world: &dyn World) {
    let mut host = laid(world);
    for family in [Family::V4, Family::V6] {
        let alice = world.address(Who::Alice, family);
        let mallory = world.address(Who::Mallory, family);

        host.holes.open(&[hole(alice, "tcp/22", 600)]).unwrap();

        assert!(world.lets_in(alice, port("tcp/22")), "{family:?}");
        assert!(!world.lets_in(alice, port("udp/53")), "{family:?}");
        assert!(!world.lets_in(mallory, port("tcp/22")), "{family:?}");

        host.holes.open(&[hole(mallory, "udp/53", 600)]).unwrap();

        assert!(world.lets_in(mallory, port("udp/53")), "{family:?}");
        assert!(!world.lets_in(mallory, port("tcp/22")), "{family:?}");
    }
}

pub(crate) fn a_hole_closes_by_itself_at_its_deadline(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);

    host.holes.open(&[hole(alice, "tcp/22", 2)]).unwrap();

    assert!(world.lets_in(alice, port("tcp/22")));
    world.pass(2);
    assert!(!world.lets_in(alice, port("tcp/22")));
    assert_eq!(host.holes.list(), Ok(vec![]));
}

/// As one is laid again after its owner's reload, at the end of its time.
pub(crate) fn what_is_hardly_left_of_a_hole_is_open_for_no_longer_than_a_second_and_never_for_ever(
    world: &dyn World,
) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    let rules = [
        rule(alice, "tcp/22"),
        rule(world.address(Who::Alice, Family::V6), "tcp/22-23"),
        "192.0.2.0/24 udp/53-60".parse().unwrap(),
    ];
    let holes = rules.map(|rule| Hole {
        rule,
        timeout: HoleTimeout::lasting(Duration::ZERO),
    });

    host.holes.open(&holes).unwrap();
    world.pass(1);

    assert!(!world.lets_in(alice, port("tcp/22")));
    assert_eq!(host.holes.list(), Ok(vec![]));
}

pub(crate) fn opening_again_for_longer_extends_and_for_shorter_shortens(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    let mallory = world.address(Who::Mallory, Family::V4);
    let first = [hole(alice, "tcp/22", 2), hole(mallory, "tcp/22", 600)];
    let second = [hole(alice, "tcp/22", 600), hole(mallory, "tcp/22", 2)];

    host.holes.open(&first).unwrap();
    host.holes.open(&second).unwrap();
    world.pass(2);

    assert!(world.lets_in(alice, port("tcp/22")));
    assert!(!world.lets_in(mallory, port("tcp/22")));
}

pub(crate) fn a_session_outlives_its_hole(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    host.holes.open(&[hole(alice, "tcp/22", 2)]).unwrap();
    let mut goes_on = world.session(alice, port("tcp/22"));

    world.pass(2);

    assert!(!world.lets_in(alice, port("tcp/22")));
    assert!(goes_on.goes_on());
}

pub(crate) fn closing_cuts_the_sessions_too_and_opening_again_lets_in(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    let mallory = world.address(Who::Mallory, Family::V4);
    let holes = [hole(alice, "tcp/22", 600), hole(mallory, "tcp/22", 600)];
    host.holes.open(&holes).unwrap();
    let mut of_alice = world.session(alice, port("tcp/22"));
    let mut of_mallory = world.session(mallory, port("tcp/22"));

    host.holes.close(&[rule(mallory, "tcp/22")], &[]).unwrap();

    assert!(!world.lets_in(mallory, port("tcp/22")));
    assert!(!of_mallory.goes_on());
    assert!(of_alice.goes_on());
    assert_eq!(rules(&mut host), [rule(alice, "tcp/22")].into());
    host.holes.open(&[hole(mallory, "tcp/22", 600)]).unwrap();
    assert!(world.lets_in(mallory, port("tcp/22")));
}

pub(crate) fn a_connection_that_was_cut_stays_cut_whoever_speaks_and_whatever_is_opened(
    world: &dyn World,
) {
    let mut host = laid(world);
    for family in [Family::V4, Family::V6] {
        let alice = world.address(Who::Alice, family);
        host.holes.open(&[hole(alice, "tcp/22", 600)]).unwrap();
        let mut of_alice = world.session(alice, port("tcp/22"));
        let cut = of_alice.connection();

        // Its hole has closed by itself; somebody else opens again behind the same address.
        host.holes.close(&[rule(alice, "tcp/22")], &[cut]).unwrap();
        host.holes.open(&[hole(alice, "tcp/22", 600)]).unwrap();

        assert!(!of_alice.host_speaks(), "{family:?}");
        assert!(!of_alice.goes_on(), "{family:?}");
        assert!(!of_alice.host_speaks(), "{family:?}");
        assert!(world.lets_in(alice, port("tcp/22")), "{family:?}");
    }
}

pub(crate) fn cutting_one_connection_leaves_its_neighbours_alone(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    host.holes.open(&[hole(alice, "tcp/22", 600)]).unwrap();
    let mut first = world.session(alice, port("tcp/22"));
    let mut second = world.session(alice, port("tcp/22"));

    host.holes.close(&[], &[first.connection()]).unwrap();

    assert!(!first.goes_on());
    assert!(second.goes_on());
    assert!(world.lets_in(alice, port("tcp/22")));
    // What is over already is no error.
    host.holes.close(&[], &[first.connection()]).unwrap();
}

pub(crate) fn flushing_closes_everything_and_sessions_live_on(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    let v6 = world.address(Who::Alice, Family::V6);
    let holes = [hole(alice, "tcp/22", 600), hole(v6, "udp/53", 600)];
    host.holes.open(&holes).unwrap();
    let mut goes_on = world.session(alice, port("tcp/22"));

    host.holes.flush().unwrap();

    assert!(!world.lets_in(alice, port("tcp/22")));
    assert!(!world.lets_in(v6, port("udp/53")));
    assert_eq!(host.holes.list(), Ok(vec![]));
    assert!(goes_on.goes_on());
}

pub(crate) fn what_is_open_is_listed_with_the_time_left(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    let v6 = world.address(Who::Mallory, Family::V6);
    let longest = HoleTimeout::MAX_SECS;
    let holes = [hole(alice, "tcp/22", 30), hole(v6, "udp/53", longest)];

    host.holes.open(&holes).unwrap();

    let mut listed = host.holes.list().unwrap();
    listed.sort_by_key(|hole| hole.timeout);
    assert_eq!(listed.len(), 2);
    for (listed, opened) in listed.iter().zip(holes) {
        assert_eq!(listed.rule, opened.rule);
        let passed = opened.timeout.secs() - listed.timeout.secs();
        assert!(passed <= 5, "{passed} s less than was said");
    }
}

pub(crate) fn two_thousand_holes_open_in_one_batch_and_are_all_listed(world: &dyn World) {
    let mut host = laid(world);
    let holes: Vec<Hole> = (0..2_000_u32)
        .map(|n| {
            let v4 = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            let v6 = IpAddr::from((0x2001_0db8_u128 << 96 | u128::from(n)).to_be_bytes());
            hole(if n % 3 == 0 { v6 } else { v4 }, "tcp/22", 600)
        })
        .collect();

    host.holes.open(&holes).unwrap();

    assert_eq!(
        rules(&mut host),
        holes.iter().map(|hole| hole.rule).collect()
    );
    let every: Vec<Rule> = holes.iter().map(|hole| hole.rule).collect();
    host.holes.close(&every, &[]).unwrap();
    assert_eq!(host.holes.list(), Ok(vec![]));
}

pub(crate) fn nothing_to_open_and_nothing_to_close_are_no_errors(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V6);

    host.holes.open(&[]).unwrap();
    host.holes.close(&[], &[]).unwrap();
    host.holes.close(&[rule(alice, "udp/53")], &[]).unwrap();
    host.holes.flush().unwrap();

    assert_eq!(host.holes.list(), Ok(vec![]));
}

pub(crate) fn what_can_be_opened_is_opened(world: &dyn World) {
    let mut host = laid(world);
    let mut asked = 0;
    for who in [Who::Alice, Who::Mallory] {
        for family in [Family::V4, Family::V6] {
            for port in ["tcp/22", "udp/53", "tcp/65535", "udp/1"] {
                let hole = hole(world.address(who, family), port, 600);
                match host.holes.can(&hole.rule) {
                    Ok(()) => host.holes.open(&[hole]).unwrap(),
                    Err(cause) => {
                        assert_eq!(cause.rule, hole.rule);
                        host.holes.open(&[hole]).unwrap_err();
                        continue;
                    }
                }
                asked += 1;
                assert!(rules(&mut host).contains(&hole.rule));
            }
        }
    }
    assert_eq!(rules(&mut host).len(), asked);
}

pub(crate) fn laying_twice_changes_nothing_and_keeps_what_is_open(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    host.holes.open(&[hole(alice, "tcp/22", 600)]).unwrap();
    let before = world.all();

    let protected = host.base_rules.protected().to_vec();
    host.base_rules.lay(&protected).unwrap();

    assert_eq!(world.all(), before);
    assert_eq!(host.base_rules.check(), Ok(None));
    assert_eq!(rules(&mut host), [rule(alice, "tcp/22")].into());
    assert!(world.lets_in(alice, port("tcp/22")));
}

pub(crate) fn other_ports_are_hidden_and_shown_without_touching_what_is_open(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    let mallory = world.address(Who::Mallory, Family::V4);
    host.holes.open(&[hole(alice, "tcp/22", 600)]).unwrap();

    let ports = [service("tcp/80"), service("tcp/22")];
    host.base_rules.protect(&ports).unwrap();

    assert_eq!(host.base_rules.protected(), ports);
    assert_eq!(host.base_rules.check(), Ok(None));
    assert!(!world.lets_in(mallory, port("tcp/80")));
    assert!(world.lets_in(mallory, port("udp/53")));
    assert!(world.lets_in(alice, port("tcp/22")));
    host.base_rules.protect(&[]).unwrap();
    assert!(world.lets_in(mallory, port("tcp/22")));
    assert_eq!(rules(&mut host), [rule(alice, "tcp/22")].into());
}

pub(crate) fn what_another_flushed_is_drift_and_is_repaired(world: &dyn World) {
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    let before = world.all();
    assert_eq!(host.base_rules.check(), Ok(None));

    world.flush_by_another();

    let drift = host.base_rules.check().unwrap();
    let found = drift.map_or(0, |drift| drift.0.len());
    assert_eq!(found == 0, world.is_owned());
    host.base_rules.repair().unwrap();
    assert_eq!(host.base_rules.check(), Ok(None));
    assert_eq!(world.all(), before);
    assert!(!world.lets_in(alice, port("tcp/22")));
    host.holes.open(&[hole(alice, "tcp/22", 600)]).unwrap();
    assert!(world.lets_in(alice, port("tcp/22")));
}

pub(crate) fn removing_removes_nothing_else_and_may_be_done_twice(world: &dyn World) {
    world.addition_of_another();
    let before = world.all();
    let mut host = laid(world);
    let alice = world.address(Who::Alice, Family::V4);
    host.holes.open(&[hole(alice, "tcp/22", 600)]).unwrap();
    host.holes.close(&[rule(alice, "tcp/22")], &[]).unwrap();

    host.base_rules.remove().unwrap();

    assert_eq!(world.all(), before);
    assert!(world.lets_in(alice, port("tcp/22")));
    host.base_rules.remove().unwrap();
    assert_eq!(world.all(), before);
}

/// The back end with its base rules laid.
fn laid(world: &dyn World) -> Backend {
    let mut host = world.open();
    let ports = [service("tcp/22"), service("udp/53")];
    host.base_rules.lay(&ports).unwrap();
    host
}

fn rules(host: &mut Backend) -> BTreeSet<Rule> {
    let listed = host.holes.list().unwrap();
    listed.iter().map(|hole| hole.rule).collect()
}

fn port(text: &str) -> ProtoPort {
    text.parse().unwrap()
}

fn service(text: &str) -> Service {
    text.parse().unwrap()
}

fn rule(address: IpAddr, port: &str) -> Rule {
    Rule::accept(address, port.parse::<Service>().unwrap())
}

fn hole(address: IpAddr, port: &str, secs: u32) -> Hole {
    Hole {
        rule: rule(address, port),
        timeout: HoleTimeout::clamped(secs),
    }
}
