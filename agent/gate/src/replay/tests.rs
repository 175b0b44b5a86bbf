//! The rules of the replay memory, with the clock as the adversary.

use proptest::prelude::*;

use super::*;

const T: u64 = 1_800_000_000;
const WINDOW: u64 = 120;
const AHEAD: u64 = 120;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn digest(n: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.to_be_bytes());
    digest
}

fn small(most: usize, unproven: usize) -> Memory {
    Memory::new(Capacity { most, unproven }, Floors::default())
}

fn proven(now_secs: u64) -> Clock {
    Clock {
        now_secs,
        is_proven: true,
    }
}

fn unproven(now_secs: u64) -> Clock {
    Clock {
        now_secs,
        is_proven: false,
    }
}

fn floor(through_secs: u64, set_at_secs: u64, why: FloorReason) -> Floor {
    Floor {
        through_secs,
        set_at_secs,
        why,
    }
}

#[test]
fn a_message_once_forgotten_is_refused_whatever_the_clock_says() {
    let mut memory = Memory::default();
    memory.see(&digest(1), T, T).unwrap();

    // The clock is an hour ahead for a moment, and something even vouches for it.
    assert_eq!(memory.forget(proven(T + HOUR), WINDOW), Some(T));
    assert!(memory.is_empty());

    let floor_secs = T;
    for now in [T, T + 1, T + HOUR, 0] {
        let again = memory.see(&digest(1), T, now);
        assert_eq!(again, Err(Replayed::BeforeFloor { floor_secs }));
    }
    assert_eq!(memory.see(&digest(2), T + 1, T + 1), Ok(None));
}

#[test]
fn by_a_clock_that_nobody_vouches_for_nothing_is_forgotten_that_there_is_room_for() {
    let mut memory = small(100, 3);
    for n in 0..4 {
        memory.see(&digest(n), T + n, T).unwrap();
    }

    assert_eq!(memory.forget(unproven(T + DAY), WINDOW), Some(T));

    assert_eq!(memory.len(), 3);
    assert_eq!(memory.floor_over(T), Some(T));
    assert_eq!(memory.see(&digest(3), T + 3, T), Err(Replayed::Here));
    assert_eq!(memory.forget(unproven(T + DAY), WINDOW), None);
}

#[test]
fn a_clock_that_goes_back_a_window_locks_nobody_out() {
    let mut memory = Memory::default();
    for n in 0..1_000 {
        memory.see(&digest(n), T + n, T + n).unwrap();
        memory.forget(proven(T + n), WINDOW);
    }

    assert_eq!(memory.see(&digest(1_000), T + 999 - WINDOW, T), Ok(None));
}

#[test]
fn a_full_memory_forgets_the_oldest_date_and_lets_in_whose_clock_is_right() {
    let mut memory = small(3, 3);
    for n in 0..3 {
        memory.see(&digest(n), T + n, T).unwrap();
    }

    assert_eq!(memory.see(&digest(3), T + 3, T), Ok(Some(T)));

    assert_eq!(memory.len(), 3);
    let late = memory.see(&digest(4), T, T);
    assert_eq!(late, Err(Replayed::BeforeFloor { floor_secs: T }));
    // Also older than all that is remembered: it is let in, and its date is spent at once.
    assert_eq!(memory.see(&digest(5), T + 1, T), Ok(Some(T + 1)));
    assert_eq!(memory.floor_over(T + 1), Some(T + 1));
}

#[test]
fn the_floor_of_a_clock_that_was_ahead_is_set_anew_on_evidence_only() {
    let mut memory = Memory::default();
    memory.raise(floor(T + DAY + AHEAD, T + DAY, FloorReason::Lost));

    assert!(!memory.correct_first(T));
    assert_eq!(memory.floor_over(T + HOUR), Some(T + DAY + AHEAD));
    assert!(memory.correct(T, AHEAD));

    assert_eq!(memory.floor_over(T + AHEAD), Some(T + AHEAD));
    assert_eq!(memory.floor_over(T + AHEAD + 1), None);
    // And the same evidence, seen again later, moves it no further.
    assert!(!memory.correct(T + 60, AHEAD));
    assert_eq!(memory.floor_over(T + AHEAD + 1), None);
}

#[test]
fn a_first_start_with_a_clock_that_is_ahead_locks_nobody_out_once_it_is_right() {
    let mut memory = Memory::default();
    memory.raise(floor(T + DAY - 1, T + DAY, FloorReason::New));

    assert!(memory.correct_first(T));

    assert_eq!(memory.see(&digest(1), T, T), Ok(None));
}

#[test]
fn setting_a_floor_anew_opens_nothing_that_was_seen_or_forgotten_above_it() {
    let mut memory = Memory::default();
    memory.see(&digest(1), T, T).unwrap();
    // A day ahead, with senders that agree: one is forgotten there, one still seen.
    memory.see(&digest(2), T + DAY, T + DAY).unwrap();
    assert!(memory.forget(proven(T + DAY + HOUR), WINDOW).is_some());
    memory
        .see(&digest(3), T + DAY + HOUR, T + DAY + HOUR)
        .unwrap();
    assert_eq!(memory.floor_over(T + HOUR), Some(T + DAY));

    assert!(memory.correct(T + 10, AHEAD));

    assert_eq!(memory.see(&digest(4), T + 11, T + 11), Ok(None));
    for (n, dated_secs) in [(1, T), (2, T + DAY), (3, T + DAY + HOUR)] {
        for now_secs in [T, dated_secs] {
            let again = memory.see(&digest(n), dated_secs, now_secs);
            assert!(again.is_err(), "message {n} at {now_secs}");
        }
    }
    // Tomorrow is spent only where something was forgotten.
    assert_eq!(memory.floor_over(T + DAY - HOUR), None);
}

#[test]
fn a_floor_that_no_clock_may_lower_is_not_lowered_because_a_higher_one_hides_it() {
    let mut memory = Memory::default();
    memory.raise(floor(T + DAY, T + DAY + 1, FloorReason::New));
    memory.raise(floor(T + 100, 0, FloorReason::SetBack));

    // The higher one goes, as if it stood alone.
    assert!(memory.correct_first(T));
    assert!(!memory.correct(T, AHEAD));

    assert_eq!(memory.floor_over(T + 100), Some(T + 100));
    assert_eq!(memory.floor_over(T + 101), None);
    assert!(memory.reset(T - HOUR, AHEAD));
}

#[test]
fn an_operators_word_lowers_a_floor_that_no_evidence_does() {
    let mut memory = Memory::default();
    memory.raise(floor(T + DAY, T - DAY, FloorReason::Unproven));
    assert!(!memory.correct(T, AHEAD));

    assert!(memory.reset(T, AHEAD));

    assert_eq!(memory.floor_over(T + AHEAD + 1), None);
    assert_eq!(memory.floor_over(T), Some(T + AHEAD));
}

#[test]
fn a_proof_lifts_the_floor_that_stood_for_want_of_one_and_no_other() {
    let mut memory = Memory::default();
    memory.raise(floor(T - DAY, T - DAY, FloorReason::Lost));
    memory.raise(floor(T + AHEAD, T, FloorReason::Unproven));

    assert!(memory.prove());

    assert_eq!(memory.floor_over(T), None);
    assert_eq!(memory.floor_over(T - DAY), Some(T - DAY));
    assert!(!memory.prove());
}

#[test]
fn the_newest_date_covers_everything_that_was_ever_let_through() {
    let mut memory = Memory::default();
    memory.see(&digest(1), T + 100, T).unwrap();
    assert_eq!(memory.newest_secs(), T + 100);

    memory.forget(proven(T + DAY), WINDOW);
    assert_eq!(memory.newest_secs(), T + 100);

    memory.correct(T, AHEAD);
    assert_eq!(memory.newest_secs(), T + 100);
}

#[test]
fn however_often_the_clock_jumps_the_spans_stay_few_and_cover_all_that_is_forgotten() {
    let mut memory = Memory::default();
    for n in 0..200 {
        let dated_secs = T + (n * 7 % 200) * DAY;
        // Refused for what was forgotten above it before; then it is not forgotten either.
        let _ = memory.see(&digest(n), dated_secs, dated_secs);
        memory.forget(proven(dated_secs + HOUR), WINDOW);
        memory.correct(T, AHEAD);
    }

    assert!(memory.floors().spans().iter().len() <= 16);
    for n in 0..200 {
        let dated_secs = T + (n * 7 % 200) * DAY;
        assert!(memory.see(&digest(n), dated_secs, dated_secs).is_err());
    }
}

#[test]
fn reasons_are_kept_by_number_and_one_that_is_not_known_is_a_loss() {
    for number in 0..9 {
        assert_eq!(FloorReason::of_number(number).number(), number);
    }
    assert_eq!(FloorReason::of_number(200), FloorReason::Lost);
}

/// What may happen to a memory: the clock goes where it likes.
#[derive(Clone, Debug)]
enum Step {
    See(u64, u64),
    Forget(Clock),
    Correct(u64),
    Reset(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let clock = T..T + 2_000;
    prop_oneof![
        4 => (0..20_u64, clock.clone()).prop_map(|(n, now)| Step::See(n, now)),
        2 => (clock.clone(), any::<bool>()).prop_map(|(now_secs, is_proven)| {
            Step::Forget(Clock { now_secs, is_proven })
        }),
        1 => clock.clone().prop_map(Step::Correct),
        1 => clock.prop_map(Step::Reset),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn no_order_of_clocks_restarts_and_corrections_lets_a_message_through_twice(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut memory = small(6, 2);
        let mut let_through = BTreeSet::new();
        for step in steps {
            match step {
                // The date of a message is its own: it never changes.
                Step::See(n, now) => {
                    if memory.see(&digest(n), T + n * 100, now).is_ok() {
                        prop_assert!(let_through.insert(n), "message {n} came twice");
                    }
                }
                Step::Forget(clock) => {
                    memory.forget(clock, WINDOW);
                }
                Step::Correct(now) => {
                    memory.correct(now, AHEAD);
                }
                Step::Reset(now) => {
                    memory.reset(now, AHEAD);
                }
                Step::Restart => {
                    let floors = memory.floors();
                    let all: Vec<_> = floors.all().collect();
                    let spans: Vec<_> = floors.spans().iter().collect();
                    let kept = Floors::kept(&all, &spans);
                    prop_assert_eq!(&kept, floors);
                    memory.floors = kept;
                }
            }
        }
    }
}

/// What may happen to a host whose first start was by a clock ahead, and whose journal is copied.
#[derive(Clone, Debug)]
enum Fate {
    See(u64, u64),
    Correct(u64),
    CorrectFirst(u64),
    Reset(u64),
    Copy,
    PutBack,
    Other(u64, u64, FloorReason),
    Prove,
}

fn fate() -> impl Strategy<Value = Fate> {
    let clock = T..T + 6_000;
    let why = prop_oneof![
        Just(FloorReason::Lost),
        Just(FloorReason::Ordered),
        Just(FloorReason::Unproven),
        Just(FloorReason::Widened),
    ];
    prop_oneof![
        4 => (0..20_u64, clock.clone()).prop_map(|(n, now)| Fate::See(n, now)),
        1 => clock.clone().prop_map(Fate::Correct),
        1 => clock.clone().prop_map(Fate::CorrectFirst),
        1 => clock.clone().prop_map(Fate::Reset),
        1 => Just(Fate::Copy),
        2 => Just(Fate::PutBack),
        1 => (clock.clone(), clock, why).prop_map(|(through, at, why)| Fate::Other(through, at, why)),
        1 => Just(Fate::Prove),
    ]
}

proptest! {
    #[test]
    fn in_whatever_order_floors_come_and_are_lowered_none_lets_through_what_another_guards(
        fates in prop::collection::vec(fate(), 1..60),
    ) {
        let mut memory = Memory::default();
        memory.raise(floor(T + 5_000, T + 5_001, FloorReason::New));
        let mut copy = memory.clone();
        let (mut witness, mut let_through) = (Spans::default(), BTreeSet::new());
        for fate in fates {
            match fate {
                Fate::See(n, now) => {
                    let dated_secs = T + n * 300;
                    if memory.see(&digest(n), dated_secs, now).is_ok() {
                        prop_assert!(let_through.insert(n), "message {n} came twice");
                        witness.add_date(dated_secs);
                    }
                }
                Fate::Correct(now) => drop(memory.correct(now, AHEAD)),
                Fate::CorrectFirst(now) => drop(memory.correct_first(now)),
                Fate::Reset(now) => drop(memory.reset(now, AHEAD)),
                Fate::Copy => copy = memory.clone(),
                Fate::PutBack => {
                    memory = copy.clone();
                    memory.raise(floor(witness.newest_secs(), 0, FloorReason::SetBack));
                    memory.spend(&witness);
                }
                Fate::Other(through_secs, at_secs, why) => {
                    memory.raise(floor(through_secs, at_secs, why));
                }
                Fate::Prove => drop(memory.prove()),
            }
        }
    }

    #[test]
    fn floors_stand_alike_in_whatever_order_they_were_raised(
        raised in prop::collection::vec((1..9_u64, 0..9_u64, 2..8_u8), 1..9), now in 0..9_u64,
    ) {
        let floors = raised.iter().map(|(through_secs, at_secs, why)| {
            floor(*through_secs, *at_secs, FloorReason::of_number(*why))
        });
        let (mut one, mut other) = (Memory::default(), Memory::default());
        floors.clone().for_each(|floor| one.raise(floor));
        floors.clone().rev().for_each(|floor| other.raise(floor));
        prop_assert_eq!(&one, &other);

        one.correct(now, 1);

        // As if each had stood alone.
        let alone = floors.map(|floor| {
            let mut alone = Memory::default();
            alone.raise(floor);
            alone.correct(now, 1);
            alone.floors().highest().through_secs
        });
        prop_assert_eq!(one.floors().highest().through_secs, alone.max().unwrap());
    }
}

#[test]
fn what_a_clock_ahead_let_through_stays_spent_when_the_floor_of_a_set_back_is_lowered() {
    let mut witness = Spans::default();
    witness.add_date(T);
    witness.add_date(T + DAY);
    let mut memory = Memory::default();
    memory.raise(floor(T + DAY, 0, FloorReason::SetBack));
    memory.spend(&witness);

    assert!(memory.reset(T, AHEAD));

    assert_eq!(memory.see(&digest(1), T + HOUR, T + HOUR), Ok(None));
    assert!(memory.see(&digest(2), T + DAY, T + DAY).is_err());
}

#[test]
fn floors_stay_few_and_refuse_what_each_of_them_did() {
    let mut memory = Memory::default();
    for n in 1..100 {
        memory.raise(floor(T + n * HOUR + AHEAD, T + n * HOUR, FloorReason::Lost));
        assert_eq!(memory.floor_over(T), Some(T + n * HOUR + AHEAD));
    }

    assert!(memory.floors().all().count() <= 16);
}
