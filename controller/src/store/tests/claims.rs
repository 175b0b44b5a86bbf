//! The shared replay list.

use std::collections::BTreeMap;

use fleet::claims::{Verdict, forgotten_before, judge, kept_date};

use super::*;

pub(super) fn claim(host: &str, digest: u8, seq: u64) -> Claim {
    Claim {
        domain: [7; 32],
        digest: [digest; 32],
        host: host.to_owned(),
        seq,
        forget_after_secs: 100,
        dated_secs: 0,
        capped: false,
    }
}

#[tokio::test]
async fn a_message_is_won_by_one_host_and_a_retry_is_not_another_packet() {
    let (_dir, store) = store().await;

    let won = store.claim(claim("web-1", 1, 5)).await.unwrap();
    let retry = store.claim(claim("web-1", 1, 5)).await.unwrap();
    let copy = store.claim(claim("web-1", 1, 6)).await.unwrap();
    let other = store.claim(claim("web-2", 1, 5)).await.unwrap();

    let held_by = "web-1".to_owned();
    assert_eq!(won, ClaimOutcome::Won);
    assert_eq!(retry, ClaimOutcome::WonBefore);
    assert_eq!(
        copy,
        ClaimOutcome::Lost {
            held_by: held_by.clone()
        }
    );
    assert_eq!(other, ClaimOutcome::Lost { held_by });
}

#[tokio::test]
async fn what_is_claimed_is_known_newest_first_until_it_may_be_forgotten() {
    let (_dir, store) = store().await;
    for (host, digest) in [("web-1", 1), ("web-2", 2), ("web-2", 3)] {
        store.claim(claim(host, digest, 1)).await.unwrap();
    }
    let later = Claim {
        forget_after_secs: 101,
        ..claim("web-3", 4, 1)
    };
    let for_ever = Claim {
        forget_after_secs: 0,
        ..claim("web-3", 5, 1)
    };
    store.claim(for_ever.clone()).await.unwrap();
    store.claim(later.clone()).await.unwrap();
    let known = |now_secs, limit| store.recent_claims(now_secs, limit);

    let all = known(100, 10).await.unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!((all.first(), all.last()), (Some(&later), Some(&for_ever)));
    for (host, digest) in [("web-1", 1), ("web-2", 2), ("web-2", 3)] {
        assert!(all.contains(&claim(host, digest, 1)));
    }
    assert_eq!(known(100, 1).await.unwrap(), std::slice::from_ref(&later));
    assert_eq!(known(101, 10).await.unwrap(), [later, for_ever.clone()]);
    assert_eq!(known(102, 10).await.unwrap(), [for_ever]);
}

#[tokio::test]
async fn only_claims_that_are_old_enough_are_forgotten_and_no_more_than_asked() {
    let (_dir, store) = store().await;
    for digest in 0..3 {
        store.claim(claim("web-1", digest, 1)).await.unwrap();
    }
    let for_ever = Claim {
        forget_after_secs: 0,
        ..claim("web-1", 9, 1)
    };
    store.claim(for_ever.clone()).await.unwrap();

    let forget = async |before_secs, limit| {
        let forgotten = store.forget_claims(before_secs, limit, u64::MAX).await;
        forgotten.unwrap().len()
    };
    assert_eq!(forget(100, 10).await, 0);
    assert_eq!(forget(101, 2).await, 2);
    assert_eq!(forget(101, 2).await, 1);

    let lost = store.claim(Claim { seq: 2, ..for_ever }).await.unwrap();
    assert!(matches!(lost, ClaimOutcome::Lost { .. }), "{lost:?}");
}

#[tokio::test]
async fn a_message_whose_claim_was_forgotten_is_refused_by_its_own_date_whatever_the_clock_said() {
    let (_dir, store) = store().await;
    let now_secs = NOW_MS / 1_000 + 1_000;
    let dated = |digest, seq, dated_secs| Claim {
        dated_secs,
        forget_after_secs: now_secs + 240,
        ..claim("web-1", digest, seq)
    };
    let sibling = |claim: Claim| Claim {
        host: "web-2".to_owned(),
        ..claim
    };
    let granted = dated(1, 1, now_secs + 30);
    assert_eq!(
        store.claim(granted.clone()).await.unwrap(),
        ClaimOutcome::Won
    );

    // For a moment the clock is an hour ahead.
    let before_secs = forgotten_before(now_secs + 3_600);
    let forgotten = store.forget_claims(before_secs, 10, u64::MAX).await;
    assert_eq!(forgotten.unwrap(), ["web-1"]);

    let spent = ClaimOutcome::Spent;
    assert_eq!(store.claim(granted.clone()).await.unwrap(), spent);
    assert_eq!(store.claim(sibling(granted)).await.unwrap(), spent);
    let later = sibling(dated(2, 2, now_secs + 31));
    assert_eq!(store.claim(later).await.unwrap(), ClaimOutcome::Won);
    let elsewhere = Claim {
        domain: [8; 32],
        ..dated(3, 3, now_secs + 30)
    };
    assert_eq!(store.claim(elsewhere).await.unwrap(), ClaimOutcome::Won);
}

#[tokio::test]
async fn what_a_lost_list_may_have_held_is_refused_also_of_a_host_that_has_not_heard_of_it() {
    let (_dir, store) = store().await;
    let now_secs = NOW_MS / 1_000;
    store
        .begin_run(Some("another".to_owned()), "run".to_owned(), now_secs)
        .await
        .unwrap();
    let dated = |digest, dated_secs| Claim {
        dated_secs,
        forget_after_secs: now_secs + 240,
        ..claim("web-1", digest, 1)
    };
    let furthest = now_secs + fleet::claims::MAX_FUTURE_SECS;

    let refused = store.claim(dated(1, furthest)).await.unwrap();
    let won = store.claim(dated(1, furthest + 1)).await.unwrap();

    assert_eq!((refused, won), (ClaimOutcome::Spent, ClaimOutcome::Won));
}

/// The rule that the model searches, beside the store, in whatever order.
#[tokio::test]
async fn the_store_answers_claims_as_the_rule_does_whatever_is_forgotten_in_between() {
    let (_dir, store) = store().await;
    let base_secs = NOW_MS / 1_000;
    let mut held = BTreeMap::<u8, (String, u64, u64, u64)>::new();
    let mut spent_secs = store.fleet_state().await.unwrap().replay_floor_secs;
    let mut random = 88_172_645_463_325_252_u64;
    for seq in 1..400 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let secs = base_secs + random % 500;
        if random.is_multiple_of(11) {
            store.forget_claims(secs, 1_000, 0).await.unwrap();
            let gone = |kept: &(String, u64, u64, u64)| kept.2 < secs;
            let dates = held.values().filter(|kept| gone(kept)).map(|kept| kept.3);
            spent_secs = dates.max().unwrap_or(0).max(spent_secs);
            held.retain(|_, kept| !gone(kept));
            continue;
        }
        let digest = u8::try_from(random >> 9 & 31).unwrap();
        let host = ["web-1", "web-2"][usize::from(digest & 1 == 0 || random & 64 == 0)];
        let dated_secs = base_secs + u64::from(digest) * 16;
        let asked = Claim {
            seq: seq / 4,
            dated_secs,
            forget_after_secs: dated_secs + random % 240,
            ..claim(host, digest, 1)
        };
        let holder = held.get(&digest).map(|kept| (kept.0.as_str(), kept.1));
        let verdict = judge(holder, (host, asked.seq), dated_secs, spent_secs);
        let expected = match verdict {
            Verdict::Won => ClaimOutcome::Won,
            Verdict::WonBefore => ClaimOutcome::WonBefore,
            Verdict::Spent => ClaimOutcome::Spent,
            Verdict::Held => ClaimOutcome::Lost {
                held_by: held[&digest].0.clone(),
            },
        };
        assert_eq!(store.claim(asked.clone()).await.unwrap(), expected, "{seq}");
        if verdict == Verdict::Won {
            let until = asked.forget_after_secs;
            let kept = (
                host.to_owned(),
                asked.seq,
                until,
                kept_date(dated_secs, until),
            );
            held.insert(digest, kept);
        }
    }
}
