//! The searches, each with one power of the adversary, and one with all of them.
//! `POSTERN_FLEET_DEPTH` adds so many levels to each.

use stateright::{Checker as _, Model as _};

use super::{Action, Fleet, Powers, World};

const TWICE: &str = "no message grants twice";
const NONE: Powers = Powers {
    clocks: false,
    list: false,
    hosts: false,
};

fn search(powers: Powers, least: usize) {
    let fleet = Fleet {
        powers,
        ..Fleet::SOUND
    };
    let more = std::env::var("POSTERN_FLEET_DEPTH").ok();
    let more: usize = more.and_then(|more| more.parse().ok()).unwrap_or(0);
    let checker = fleet.checker().target_max_depth(least + more);
    let checker = checker.spawn_bfs().join();

    checker.assert_no_discovery(TWICE);
    checker.assert_any_discovery("a message grants");
    if powers.list {
        checker.assert_any_discovery(
            "an honest user gets in within two windows after the list was put back",
        );
    }
}

/// One step of a history that is known to break a fault: `None` where it cannot be.
type Step = fn(&World) -> Option<Action>;

const SEND_ONE: Step = |world| Some(Action::Send(0, world.message));
const SEND_OTHER: Step = |world| Some(Action::Send(1, world.message));
const CLAIM: Step = |world| world.asked.last().copied().map(Action::Claim);
const ANSWER: Step = |world| world.won.last().copied().map(Action::Answer);

/// Whether the message that is dated ahead grants twice in this history.
fn grants_twice(fleet: Fleet, steps: &[Step]) -> bool {
    let mut world = World::begin(1);
    for step in steps {
        let next = step(&world).and_then(|action| fleet.next_state(&world, action));
        world = next.unwrap_or(world);
    }
    world.grants > 1
}

#[test]
fn no_message_grants_twice_in_a_fleet_whatever_clocks_and_claims_do() {
    let clocks = Powers {
        clocks: true,
        ..NONE
    };
    search(clocks, 9);
}

#[test]
fn no_message_grants_twice_in_a_fleet_whose_controller_is_put_back() {
    search(Powers { list: true, ..NONE }, 8);
}

#[test]
fn no_message_grants_twice_in_a_fleet_whose_host_is_put_back_or_copied() {
    let hosts = Powers {
        hosts: true,
        ..NONE
    };
    search(hosts, 8);
}

#[test]
fn no_message_grants_twice_in_a_fleet_whatever_comes_together() {
    search(Powers::ALL, 6);
}

#[test]
fn the_fleets_model_breaks_claims_that_are_forgotten_without_their_dates() {
    let clock: Step = |_| Some(Action::ListClock(4_000));
    let forget: Step = |_| Some(Action::Forget);
    let history = [
        SEND_ONE, CLAIM, ANSWER, clock, forget, SEND_OTHER, CLAIM, ANSWER,
    ];
    let unspent = Fleet {
        spends_dates: false,
        ..Fleet::SOUND
    };
    let undated = Fleet {
        tells_dates: false,
        ..Fleet::SOUND
    };

    assert!(grants_twice(unspent, &history));
    assert!(grants_twice(undated, &history));
    assert!(!grants_twice(Fleet::SOUND, &history));
}

#[test]
fn the_fleets_model_breaks_a_floor_of_a_lost_list_that_is_now() {
    let copy: Step = |_| Some(Action::CopyList);
    let put_back: Step = |_| Some(Action::PutListBack(false));
    let history = [
        copy, SEND_ONE, CLAIM, ANSWER, put_back, SEND_OTHER, CLAIM, ANSWER,
    ];
    let faulty = Fleet {
        floor_ahead_secs: 0,
        ..Fleet::SOUND
    };

    assert!(grants_twice(faulty, &history));
    assert!(!grants_twice(Fleet::SOUND, &history));
}

#[test]
fn the_fleets_model_breaks_a_list_put_back_that_is_not_compared_with_what_hosts_have_won() {
    let session: Step = |_| Some(Action::Session(0, true));
    let copy: Step = |_| Some(Action::CopyList);
    let put_back: Step = |_| Some(Action::PutListBack(true));
    let history = [
        session, copy, SEND_ONE, CLAIM, ANSWER, put_back, session, SEND_OTHER, CLAIM, ANSWER,
    ];
    let faulty = Fleet {
        compares_won: false,
        ..Fleet::SOUND
    };

    assert!(grants_twice(faulty, &history));
    assert!(!grants_twice(Fleet::SOUND, &history));
}
