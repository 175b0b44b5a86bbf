//! Every changed packet and every case of policy, replay, age and HTTP, beside what the real server
//! did with it.

use std::time::Duration;

use gate::{Check, Decision, Reason, Settings};
use policy::{Denied, NatSettings};
use vectors::{Invalid, invalid};

use crate::rules::{NAT_ON, granted, rules_of_grant, rules_of_server};
use crate::support::{Scene, at, refusal};

/// Granted by the real server, which looks the name up before it does anything else; here whoever has
/// the host look it up does that, and this one does not.
const NAT: &str = "pt_nat_ok_hostname";

/// Malformed by the book, and yet granted here: there is no shell that could read the characters,
/// and a normal client sends such a command as it is typed.
const LENIENT_AND_RIGHT: &str = "pt_cmd_shell_meta";

/// Refused by the real server, and granted here, where ranges of ports can be asked for.
const OURS: &str = "pt_msg_range";

#[test]
fn what_the_real_server_rejects_is_refused() {
    for vector in of_category("rejected", 140) {
        let decision = run(&vector);

        assert_eq!(
            matches!(decision, Decision::Grant(_)),
            vector.name == OURS,
            "{}: {decision:?}",
            vector.name
        );
    }
}

#[test]
fn what_the_real_server_takes_too_kindly_is_refused() {
    for vector in of_category("lenient", 25) {
        let decision = run(&vector);

        assert_eq!(
            matches!(decision, Decision::Grant(_)),
            vector.name == LENIENT_AND_RIGHT,
            "{}: {decision:?}",
            vector.name,
        );
    }
}

#[test]
fn the_security_holes_of_the_real_server_are_closed() {
    for vector in of_category("bypass", 3) {
        let decision = run(&vector);

        assert!(
            matches!(decision, Decision::Refused(_)),
            "{}: {decision:?}",
            vector.name
        );
    }
}

#[test]
fn what_is_right_is_granted_with_the_rules_of_the_real_server() {
    for vector in of_category("control", 20) {
        let decision = run(&vector);

        if vector.name == NAT {
            assert_eq!(
                refusal(decision).reason,
                Reason::Denied(Denied::NatName("localhost".to_owned()))
            );
            continue;
        }
        let grant = granted(&vector.name, decision);
        // Not written down for the cases of age.
        if let Some(rules) = &vector.fwknopd_rules {
            assert_eq!(
                rules_of_grant(&grant),
                rules_of_server(rules),
                "{}",
                vector.name
            );
        }
    }
}

#[test]
fn replays_ages_and_policy_are_refused_by_the_check_that_is_theirs() {
    for vector in invalid() {
        let expected = match vector.stage.as_str() {
            "replay" => Check::Replay,
            "age" => Check::Fresh,
            "ports" | "require_source" | "cmd_not_enabled" | "nat_not_enabled"
            | "nat_dns_disabled" => Check::Authorize,
            "capture_size" => Check::Parse,
            _ => continue,
        };
        if vector.name == "garbage_1499" || vector.name == "pt_type_a" {
            // Too long for the server's capture, not for ours; a type that is none to us.
            continue;
        }

        assert_eq!(refusal(run(&vector)).check, expected, "{}", vector.name);
    }
}

#[test]
fn every_vector_has_a_category_that_is_run() {
    let categories = ["rejected", "lenient", "bypass", "control"];
    let vectors = invalid();

    assert_eq!(vectors.len(), 199);
    assert!(
        vectors
            .iter()
            .all(|vector| categories.contains(&vector.category.as_str()))
    );
}

fn of_category(category: &str, count_min: usize) -> Vec<Invalid> {
    let vectors: Vec<_> = invalid()
        .into_iter()
        .filter(|vector| vector.category == category)
        .collect();
    assert!(vectors.len() >= count_min, "{}", vectors.len());
    vectors
}

fn run(vector: &Invalid) -> Decision {
    let age_max = if has(vector, "MAX_SPA_PACKET_AGE 10") {
        10
    } else {
        120
    };
    let settings = Settings {
        ageing: has(vector, "ENABLE_SPA_PACKET_AGING Y").then(|| Duration::from_secs(age_max)),
        spa_over_http: has(vector, "ENABLE_SPA_OVER_HTTP Y"),
        x_forwarded_for: has(vector, "ENABLE_X_FORWARDED_FOR Y"),
        nat: NatSettings {
            local: !has(vector, "ENABLE_IPT_LOCAL_NAT N"),
            ..NAT_ON
        },
        ..Settings::default()
    };
    let mut scene = Scene::with(&vector.access_conf, settings);
    if let Some(server_clock) = vector.server_clock {
        scene.now = at(server_clock);
    }
    if let Some(before) = &vector.sent_before {
        scene.send(before);
    }
    match &vector.source_ip {
        Some(source) => scene.send_from(source, vector.packet()),
        None => scene.send(vector.packet()),
    }
}

/// Whether the server's configuration of the case has this setting.
fn has(vector: &Invalid, setting: &str) -> bool {
    vector
        .fwknopd_conf_extra
        .split(';')
        .any(|own| own.trim() == setting)
}
