//! Keys that verify on other hosts too: permitted here, granted only after a claim.

use std::sync::Arc;

use gate::{Check, Claimed, CompiledPolicy, Decision, Pending, Reason, SharedKeys};
use policy::OnControllerLoss;

use crate::support::{NOW_SECS, Scene, at, check, keys, knock, message, policy, seal, stanza};

#[test]
fn a_shared_key_is_granted_only_when_the_claim_is_won() {
    let pending = pending(&mut scene(""), 1);
    assert_eq!(pending.domain(), keys("alice").domain());
    assert_eq!(pending.forget_after_secs(), Some(NOW_SECS + 240));
    let digest = pending.digest();

    let grant = pending.won();

    assert_eq!(grant.claim(), Claimed::Won);
    assert_eq!(grant.replay_digest(), digest);
    assert_eq!(grant.permit().timeout_secs(), 30);
}

#[test]
fn a_lost_claim_is_refused_and_says_who_won() {
    let refusal = pending(&mut scene(""), 1).lost("web-2");

    assert_eq!(refusal.check, Check::Claim);
    assert_eq!(
        refusal.reason,
        Reason::ReplayedElsewhere {
            held_by: "web-2".into()
        }
    );
    assert_eq!(refusal.authentic.unwrap().user(), "alice");
}

#[test]
fn when_nobody_can_be_asked_the_stanza_decides() {
    let denied = pending(&mut scene(""), 1).unreachable();
    let deny = pending(&mut scene("ON_CONTROLLER_LOSS deny"), 1).unreachable();
    let allow = pending(&mut scene("ON_CONTROLLER_LOSS allow"), 1);
    assert_eq!(allow.on_loss(), OnControllerLoss::Allow);

    for decision in [denied, deny] {
        let refusal = decision.unwrap_err();
        assert_eq!(refusal.reason, Reason::ClaimUnreachable);
    }
    let grant = allow.unreachable().unwrap();
    assert_eq!(grant.claim(), Claimed::Unconfirmed);
}

#[test]
fn a_message_with_a_claim_under_way_is_a_replay() {
    let mut scene = scene("");
    let _pending = pending(&mut scene, 1);

    assert_eq!(check(scene.send(knock("alice", 1))), Check::Replay);
}

#[test]
fn what_policy_denies_is_not_claimed() {
    let mut scene = scene("OPEN_PORTS tcp/443");

    assert_eq!(check(scene.send(knock("alice", 1))), Check::Authorize);
}

#[test]
fn messages_older_than_the_fleets_list_are_refused_for_shared_keys_only() {
    let access_conf = stanza("alice", "");
    let floored = |shared| {
        let compiled =
            CompiledPolicy::new(&policy(&access_conf), None, 1, shared, at(NOW_SECS)).unwrap();
        Arc::new(compiled.with_claim_floor_secs(NOW_SECS))
    };
    let packet = seal(&message(1, NOW_SECS - 1), &keys("alice"));
    let mut shared = scene("");
    shared.gate.replace(floored(SharedKeys::AllStatic));
    let mut alone = scene("");
    alone.gate.replace(floored(SharedKeys::None));

    assert_eq!(check(shared.send(&packet)), Check::Fresh);
    alone.granted(&packet);
}

fn scene(rest: &str) -> Scene {
    let access_conf = stanza("alice", rest);
    let mut scene = Scene::new(&access_conf);
    let compiled = CompiledPolicy::new(
        &policy(&access_conf),
        None,
        1,
        SharedKeys::AllStatic,
        at(NOW_SECS),
    );
    scene.gate.replace(Arc::new(compiled.unwrap()));
    scene
}

fn pending(scene: &mut Scene, number: u64) -> Pending {
    match scene.send(knock("alice", number)) {
        Decision::Claim(pending) => pending,
        decision @ (Decision::Grant(_) | Decision::Refused(_) | Decision::Duplicate) => {
            panic!("{decision:?}")
        }
    }
}
