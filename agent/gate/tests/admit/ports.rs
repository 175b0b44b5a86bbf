//! Groups of users with SPA ports of their own.

use gate::{Check, Reason, Route, Settings};
use policy::Denied;

use crate::support::{Scene, check, knock, reason, route, stanza, tagged_knock};

const OPS: u16 = 4001;
const DEV: u16 = 4002;

/// Twenty users at each of two ports, and twenty at every other.
fn access_conf() -> String {
    let group = |name: &str, rest: &str| -> String {
        (0..20)
            .map(|number| stanza(&format!("{name}{number}"), rest))
            .collect()
    };
    [
        group("ops", &format!("SPA_SERVER_PORT {OPS}")),
        group("dev", &format!("SPA_SERVER_PORT {DEV}")),
        group("all", ""),
    ]
    .concat()
}

#[test]
fn a_packet_is_tried_with_the_keys_of_the_port_that_it_came_to_and_no_others() {
    for (port, user) in [
        (OPS, "ops19"),
        (DEV, "dev19"),
        (62_201, "all19"),
        (9, "all19"),
    ] {
        let mut scene = Scene::new(&access_conf());

        let decision = scene.send_to(port, knock(user, 1));

        assert_eq!(route(decision), Route::Trial);
        assert_eq!(scene.gate.counters().trials, 20, "{port}");
    }
}

#[test]
fn at_the_port_of_another_group_a_packet_is_noise() {
    for (port, user) in [(DEV, "ops0"), (62_201, "ops0"), (OPS, "all0")] {
        let mut scene = Scene::new(&access_conf());

        let refused = scene.send_to(port, knock(user, 1));

        assert_eq!(reason(refused), Reason::NotAuthentic, "{port} {user}");
        assert!(scene.replays.is_empty());
    }
}

#[test]
fn a_known_sender_who_takes_the_wrong_port_is_told_so_in_the_audit() {
    let port = OPS.try_into().unwrap();
    let mut scene = Scene::new(&access_conf());
    let ops = reason(scene.send_to(62_201, tagged_knock("ops0", 1)));
    let all = reason(scene.send_to(OPS, tagged_knock("all0", 2)));

    assert_eq!(ops, Reason::Denied(Denied::SpaServerPort(port)));
    assert_eq!(all, Reason::Denied(Denied::PortTaken(port)));
}

#[test]
fn a_key_with_stanzas_at_two_ports_is_found_at_both_and_judged_by_the_stanza_of_each() {
    let ssh = stanza("alice", "OPEN_PORTS tcp/22\nSPA_SERVER_PORT 4001");
    let web = stanza("alice", "OPEN_PORTS tcp/80");
    let mut scene = Scene::new(&format!("{ssh}{web}"));

    assert_eq!(route(scene.send_to(OPS, knock("alice", 1))), Route::Trial);
    let elsewhere = reason(scene.send_to(62_201, knock("alice", 2)));

    let port = OPS.try_into().unwrap();
    assert_eq!(elsewhere, Reason::Denied(Denied::SpaServerPort(port)));
}

#[test]
fn to_explain_a_packet_its_sender_is_looked_for_at_every_port() {
    let settings = Settings {
        thorough: true,
        ..Settings::default()
    };
    let mut scene = Scene::with(&access_conf(), settings);

    let refused = scene.send_to(62_201, knock("dev7", 1));

    let port = DEV.try_into().unwrap();
    assert_eq!(reason(refused), Reason::Denied(Denied::SpaServerPort(port)));
}

#[test]
fn a_grant_is_upheld_when_its_group_moves_to_another_port() {
    let mut scene = Scene::new(&stanza("alice", "SPA_SERVER_PORT 4001"));
    let grant = crate::rules::granted("packet", scene.send_to(OPS, knock("alice", 1)));

    scene.adopt(&stanza("alice", "SPA_SERVER_PORT 4002"));

    assert!(scene.gate.upholds(&grant, scene.now));
    let old = scene.send_to(OPS, knock("alice", 2));
    assert_eq!(check(old), Check::Match);
    let _ = crate::rules::granted("packet", scene.send_to(DEV, knock("alice", 3)));
}
