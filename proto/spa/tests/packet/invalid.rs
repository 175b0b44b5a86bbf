//! What was changed on the way, or written by a hand that is not a client's, is refused.

use std::collections::BTreeSet;

use vectors::{Invalid, invalid};

use crate::opening::{Refused, open_vector, replay_digest_before};

/// Malformed by the book, and yet refused by nobody: there is no shell that could read the
/// characters, and a normal client sends such a command as it is typed.
const LENIENT_AND_RIGHT: &str = "pt_cmd_shell_meta";

/// Refused by the real server, and read here: Postern's own requests are written so that it does.
const OURS: &str = "pt_msg_range";

/// Decided by more than the packet and the keys: the HTTP form, policy, time. The gate runs these.
const LEFT_TO_THE_GATE: [&str; 30] = [
    "http_get_disabled",
    "http_get_enabled",
    "http_get_lower",
    "http_post",
    "http_plain_alphabet",
    "http_short",
    "http_xff_any",
    "http_xff_disabled",
    "pt_nat_badhost",
    "pt_natlocal_disabled",
    "pt_nat_dns_disabled",
    "replay_of_rejected_policy",
    "policy_dest_mismatch",
    "policy_open_ports_denied",
    "policy_open_ports_subset",
    "policy_open_ports_dup_bypass",
    "policy_restrict_ports",
    "policy_require_source",
    "policy_second_stanza",
    "age_minus_100",
    "age_minus_125",
    "age_minus_130",
    "age_minus_3600",
    "age_plus_100",
    "age_plus_115",
    "age_plus_130",
    "age_minus_5000d",
    "age_custom_10_minus_20",
    "age_custom_10_minus_5",
    "age_off_minus_1d",
];

/// Opened twice to the same replay digest, by which the gate refuses the second.
const REPLAYS: [&str; 2] = ["replay_exact", "replay_other_source"];

#[test]
fn what_the_real_server_rejects_is_refused() {
    for vector in run("rejected") {
        let opened = open_vector(&vector);

        assert_eq!(opened.is_ok(), vector.name == OURS, "{}", vector.name);
    }
}

#[test]
fn what_the_real_server_takes_too_kindly_is_refused() {
    for vector in run("lenient") {
        let opened = open_vector(&vector);

        assert_eq!(
            opened.is_ok(),
            vector.name == LENIENT_AND_RIGHT,
            "{}",
            vector.name
        );
    }
}

#[test]
fn what_is_right_is_opened() {
    for vector in run("control") {
        let opened = open_vector(&vector);

        assert!(opened.is_ok(), "{}: {opened:?}", vector.name);
    }
}

#[test]
fn another_text_of_a_message_is_refused_though_the_real_server_takes_it() {
    for vector in run("bypass") {
        let _can_be_opened = replay_digest_before(&vector);

        let opened = open_vector(&vector);

        assert_eq!(
            opened.unwrap_err(),
            Refused::NotAuthentic,
            "{}",
            vector.name
        );
    }
}

#[test]
fn a_message_sent_twice_has_one_replay_digest() {
    for vector in invalid() {
        if REPLAYS.contains(&vector.name.as_str()) {
            let opened = open_vector(&vector).unwrap();

            assert_eq!(opened.replay_digest(), replay_digest_before(&vector));
        }
    }
}

#[test]
fn every_vector_is_run_here_or_left_to_the_gate_by_name() {
    let vectors = invalid();
    let names: BTreeSet<_> = vectors.iter().map(|vector| vector.name.as_str()).collect();
    let run_count = ["rejected", "lenient", "control", "bypass"]
        .map(|category| run(category).count())
        .iter()
        .sum::<usize>();

    assert!(LEFT_TO_THE_GATE.iter().all(|name| names.contains(name)));
    assert!(REPLAYS.iter().all(|name| names.contains(name)));
    assert_eq!(
        run_count + LEFT_TO_THE_GATE.len() + REPLAYS.len(),
        vectors.len()
    );
}

fn run(category: &str) -> impl Iterator<Item = Invalid> {
    invalid().into_iter().filter(move |vector| {
        let name = vector.name.as_str();
        vector.category == category && !LEFT_TO_THE_GATE.contains(&name) && !REPLAYS.contains(&name)
    })
}
