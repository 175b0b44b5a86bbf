//! The fleet's list of claims at two controllers, in orders that chance makes: hosts ask one and then the other
//! until they are answered, what is old is forgotten, and commits are cut before, behind and after the server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;

use super::proxy::{Cut, Proxy};
use super::{FAST, over};
use crate::store::fixture::{NOW_MS, Random};
use crate::store::model::{Claim, ClaimOutcome};
use crate::store::postgres::trial::Trial;
use crate::store::seal::SealKey;
use crate::store::{Place, Store};

const ROUNDS: u64 = 150;
const MESSAGES: u64 = 120;

/// Asks as an agent does: the next controller when one does not answer, under the same number.
async fn ask(stores: [Store; 2], first: usize, claim: Claim) -> (Claim, ClaimOutcome) {
    for attempt in 0.. {
        let store = &stores[(first + attempt) % 2];
        if let Ok(outcome) = store.claim(claim.clone()).await {
            return (claim, outcome);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    unreachable!("it asks until it is answered")
}

#[test]
fn no_message_is_won_twice_at_two_controllers_whatever_is_cut_and_forgotten() {
    let trial = Trial::start(FAST);
    let ways = [Proxy::start(trial.socket()), Proxy::start(trial.socket())];
    let stores = ways.each_ref().map(|way| {
        let place = Place::Postgres(over(way.socket()));
        Store::open(&place, SealKey::new(&[7; 32])).unwrap()
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let base_secs = NOW_MS / 1_000;
    runtime
        .block_on(stores[0].create_fleet("e".repeat(32), base_secs - 10_000))
        .unwrap();
    let mut random = Random(2_862_933_555_777_941_757);
    let mut winners = BTreeMap::<[u8; 32], BTreeSet<(String, u64)>>::new();
    let mut seen = [0; 4];

    for round in 0..ROUNDS {
        for way in &ways {
            way.cut_every(usize::try_from(2 + random.below(4)).unwrap());
        }
        let mut asked = JoinSet::new();
        if random.below(8) == 0 {
            let store = stores[usize::from(random.below(2) == 0)].clone();
            let before_secs = base_secs + random.below(1 + MESSAGES * 5 * round / ROUNDS);
            asked.spawn_on(
                async move {
                    // Whether it is answered or not.
                    drop(store.forget_claims(before_secs, 20, 0).await);
                    None
                },
                runtime.handle(),
            );
        }
        for _ in 0..1 + random.below(24) {
            // Later ones as time goes on, and any that were seen before.
            let message = random.below(1 + (MESSAGES - 1) * (round + 1) / ROUNDS);
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&message.to_be_bytes());
            let dated_secs = base_secs + message * 10;
            let claim = Claim {
                domain: [7; 32],
                digest,
                host: format!("web-{}", random.below(4)),
                seq: 2 * round + random.below(2),
                forget_after_secs: dated_secs + random.below(100),
                dated_secs,
                capped: false,
            };
            // Now and then at both at once: an answer was late.
            let first = usize::from(random.below(2) == 0);
            for first in [first, 1 - first]
                .into_iter()
                .take(1 + usize::from(random.below(4) == 0))
            {
                let (stores, claim) = (stores.clone(), claim.clone());
                asked.spawn_on(
                    async move { Some(ask(stores, first, claim).await) },
                    runtime.handle(),
                );
            }
        }
        for (claim, outcome) in runtime.block_on(asked.join_all()).into_iter().flatten() {
            let is_won = matches!(outcome, ClaimOutcome::Won | ClaimOutcome::WonBefore);
            if is_won {
                let of = winners.entry(claim.digest).or_default();
                of.insert((claim.host, claim.seq));
            }
            seen[match outcome {
                ClaimOutcome::Won => 0,
                ClaimOutcome::WonBefore => 1,
                ClaimOutcome::Lost { .. } => 2,
                ClaimOutcome::Spent => 3,
            }] += 1;
        }
    }

    for (digest, of) in &winners {
        assert_eq!(of.len(), 1, "{digest:?} was won by {of:?}");
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
    for cut in [Cut::Before, Cut::Behind, Cut::Answer] {
        let cuts: usize = ways.iter().map(|way| way.cuts(cut)).sum();
        assert!(cuts > 5, "{cut:?}: {cuts}");
    }
}
