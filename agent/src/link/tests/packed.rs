//! Policies that travel packed, or not at all.

use fleet::packing;
use fleet::wire::PolicyKept;

use super::*;

fn directive(kind: Kind) -> Directive {
    Directive {
        directive: Some(kind),
    }
}

fn packed(generation: u64, text: &str, base: Option<&str>) -> Directive {
    directive(Kind::Policy(PolicySnapshot {
        generation,
        digest: digest(text).to_vec(),
        packed: packing::pack(text, base).unwrap(),
        packed_from: base.map_or_else(Vec::new, |base| digest(base).to_vec()),
        text_bytes: u64::try_from(text.len()).unwrap(),
        ..PolicySnapshot::default()
    }))
}

fn kept(text: &str, not_after_secs: u64) -> Directive {
    directive(Kind::Kept(PolicyKept {
        generation: 5,
        digest: digest(text).to_vec(),
        not_after_secs,
        ..PolicyKept::default()
    }))
}

/// A host that has adopted generation 5 before.
fn has_adopted() -> (Desk, Channels) {
    Desk::with(|journal| {
        journal.stage_policy(PolicyText {
            version: PolicyVersion {
                generation: 5,
                digest: digest(POLICY),
                not_after_secs: 1_000,
                ..PolicyVersion::default()
            },
            text: POLICY.to_owned().into(),
        });
    })
}

#[tokio::test]
async fn a_packed_policy_is_adopted_like_its_text() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;

    fake.direct(&packed(7, POLICY, None));

    assert_eq!(desk.adopt().await, 7);
    assert_eq!(desk.status.borrow().digest, digest(POLICY));
}

#[tokio::test]
async fn a_host_says_until_when_its_text_is_good_and_hears_until_when_it_is_from_now_on() {
    let mut fake = Fake::start();
    let (mut desk, channels) = has_adopted();
    let _link = link(fake.address, channels);
    desk.adopt().await;
    loop {
        let session = seen(&mut fake.sessions).await;
        if session.policy_digest == digest(POLICY) {
            assert_eq!(session.policy_not_after_secs, Some(1_000));
            break;
        }
        // It was opened before the saved policy was in force.
        fake = restarted(fake);
    }

    fake.direct(&kept(POLICY, 2_000));

    let Order::ReplacePolicy(policy) = desk.order().await else {
        panic!("no policy")
    };
    assert_eq!(policy.version.not_after_secs, 2_000);
    assert_eq!(policy.version.digest, digest(POLICY));
}

#[tokio::test]
async fn a_host_that_does_not_have_the_text_asks_for_the_whole_and_orders_nothing() {
    let other = format!("{POLICY}# another\n");
    for said in [kept(&other, 2_000), packed(6, POLICY, Some(&other))] {
        let mut fake = Fake::start();
        let (mut desk, channels) = has_adopted();
        let _link = link(fake.address, channels);
        desk.adopt().await;
        seen(&mut fake.sessions).await;

        fake.direct(&said);

        let again = seen(&mut fake.sessions).await;
        assert!(again.policy_digest.is_empty(), "it names no policy");
        fake.direct(&packed(6, POLICY, None));
        assert_eq!(desk.adopt().await, 6);
    }
}

fn restarted(fake: Fake) -> Fake {
    let (address, state) = (fake.address, Arc::clone(&fake.state));
    drop(fake);
    Fake::start_at(address, state)
}
