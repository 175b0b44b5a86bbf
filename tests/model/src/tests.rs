//! The search. `POSTERN_MODEL_DEPTH` makes it deeper.

use stateright::{Checker as _, Model as _};

use super::Host;

const DEPTH: usize = 9;

fn depth() -> usize {
    let asked = std::env::var("POSTERN_MODEL_DEPTH").ok();
    asked.and_then(|depth| depth.parse().ok()).unwrap_or(DEPTH)
}

#[test]
fn no_message_grants_twice_whatever_clocks_crashes_and_copies_do() {
    let checker = Host::SOUND.checker().target_max_depth(depth());

    checker.spawn_bfs().join().assert_properties();
}

#[test]
fn the_model_finds_the_fault_of_a_floor_that_is_now() {
    let faulty = Host {
        floor_ahead_secs: 0,
        ..Host::SOUND
    };

    let checker = faulty.checker().target_max_depth(DEPTH).spawn_bfs().join();

    assert!(checker.discovery("no message grants twice").is_some());
}

#[test]
fn the_model_finds_the_fault_of_forgetting_without_a_floor() {
    let faulty = Host {
        floors_forgetting: false,
        ..Host::SOUND
    };

    let checker = faulty.checker().target_max_depth(DEPTH).spawn_bfs().join();

    assert!(checker.discovery("no message grants twice").is_some());
}
