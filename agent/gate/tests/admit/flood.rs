//! Strangers cannot starve users: budgets under fire, with time made by hand.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use gate::{Budget, Decision, Exhausted, Reason, Route, Settings};

use crate::support::{Scene, knock, reason, route, stanza, tagged_knock};

/// Ten keys; a packet that looks right costs ten units.
const KEYS: u64 = 10;
const BUDGET: Budget = Budget {
    common_per_sec: 700,
    newcomers_per_sec: 300,
    known_per_sec: 500,
    source_per_sec: 200,
};

#[test]
fn one_source_of_crafted_junk_is_cut_off_and_everybody_else_gets_in() {
    let mut scene = scene();
    let junk = knock("mallory", 1);
    let cut_off = (0..1_000).find(|_| {
        reason(scene.send_from("203.0.113.5", &junk)) == Reason::Budget(Exhausted::Source)
    });

    assert!(cut_off.is_some_and(|packets| packets < 20), "{cut_off:?}");
    assert_eq!(route(scene.send(knock("user9", 1))), Route::Trial);
}

#[test]
fn under_crafted_junk_from_everywhere_trials_are_bounded() {
    let mut scene = scene();
    let seconds = 10;

    for _ in 0..seconds {
        flood(&mut scene, 2_000);
        scene.now.steady += Duration::from_secs(1);
    }

    let trials_max = u64::from(BUDGET.common_per_sec + BUDGET.newcomers_per_sec) * (seconds + 1);
    let counters = scene.gate.counters();
    assert!(counters.trials <= trials_max, "{}", counters.trials);
    assert!(counters.over_total_budget > 0);
    assert_eq!(
        counters.over_total_budget + counters.over_source_budget + counters.not_authentic,
        2_000 * seconds
    );
}

#[test]
fn under_crafted_junk_from_everywhere_known_sources_get_in_and_so_do_tags() {
    let mut scene = scene();
    scene.granted(knock("user9", 1));
    flood(&mut scene, 2_000);

    let stranger = scene.send_from("192.0.2.200", knock("user8", 2));
    assert_eq!(reason(stranger), Reason::Budget(Exhausted::Total));
    let tagged = scene.send_from("192.0.2.200", tagged_knock("user8", 3));
    assert_eq!(route(tagged), Route::Tag);
    assert_eq!(route(scene.send(knock("user9", 4))), Route::Source);
    // Another user behind the same address.
    assert_eq!(route(scene.send(knock("user7", 5))), Route::Trial);
}

#[test]
fn a_stock_client_gets_in_a_moment_after_the_flood_ends() {
    let mut scene = scene();
    flood(&mut scene, 2_000);
    scene.now.steady += Duration::from_millis(100);

    assert_eq!(route(scene.send(knock("user9", 1))), Route::Trial);
}

#[test]
fn random_junk_of_the_right_length_burns_next_to_nothing() {
    let mut scene = scene();
    // 204 characters each, of which one in 64 begins as a packet does and ends as base64 must.
    for number in 0..10_000_u32 {
        let payload = random_text(number, 204);
        scene.source = stranger(number);
        let _: Decision = scene.send(payload);
    }

    let counters = scene.gate.counters();
    assert!(counters.trials < 100 * KEYS, "{}", counters.trials);
    assert!(counters.no_candidate > 9_000);
}

#[test]
fn a_flood_of_one_captured_packet_costs_no_trials_and_leaves_the_budgets_alone() {
    let mut scene = scene();
    let captured = knock("user9", 1);
    scene.granted(&captured);
    let trials = scene.gate.counters().trials;
    for number in 0..50_000_u32 {
        scene.source = stranger(number);
        let _: Decision = scene.send(&captured);
    }
    scene.source = "192.0.2.77".parse().unwrap();

    assert_eq!(scene.gate.counters().trials, trials);
    assert_eq!(scene.gate.counters().copies, 50_000);
    assert_eq!(route(scene.send(knock("user8", 2))), Route::Trial);
}

#[test]
fn forging_the_address_of_a_user_takes_nothing_from_others() {
    let mut scene = scene();
    scene.granted(knock("user9", 1));
    for _ in 0..2_000 {
        let _: Decision = scene.send(knock("mallory", 1));
    }

    let elsewhere = scene.send_from("192.0.2.77", knock("user8", 2));
    assert_eq!(route(elsewhere), Route::Trial);
    // She herself gets in with a tag.
    assert_eq!(route(scene.send(tagged_knock("user9", 3))), Route::Tag);
}

#[test]
fn authentic_packets_do_not_use_up_the_trials_of_their_source() {
    let mut scene = scene();

    for number in 0..200 {
        let user = number % KEYS;
        scene.granted(knock(&format!("user{user}"), number));
    }
}

/// Sends junk that looks right, each packet from another source.
fn flood(scene: &mut Scene, packets: u32) {
    let junk = knock("mallory", 1);
    let usual = scene.source;
    for number in 0..packets {
        scene.source = stranger(number);
        let _: Decision = scene.send(&junk);
    }
    scene.source = usual;
}

fn stranger(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

fn random_text(seed: u32, len: usize) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(alphabet[usize::try_from(state >> 58).unwrap()])
        })
        .collect()
}

fn scene() -> Scene {
    let access_conf: String = (0..KEYS)
        .map(|number| stanza(&format!("user{number}"), ""))
        .collect();
    let settings = Settings {
        budget: BUDGET,
        ..Settings::default()
    };
    Scene::with(&access_conf, settings)
}
