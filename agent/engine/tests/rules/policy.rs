//! Another policy: never an older one, and what it does not give is closed.

use engine::{Adoption, Rejected};
use fleet::EventKind;
use gate::SharedKeys;

use crate::host::{Host, Partly};
use crate::packets::{ONE_PORT, OTHERS, PORTS_AND_COMMANDS, compiled, knock};

#[test]
fn an_older_policy_is_never_adopted() {
    let mut host = Host::new();
    host.replace_policy(OTHERS, 5);
    let older = compiled(PORTS_AND_COMMANDS, 4, SharedKeys::None);
    let now = host.now();

    let adoption = host.engine.replace_policy(older, [4; 32], now);
    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    assert_eq!(adoption, Adoption::Older { current: 5 });
    assert_eq!(host.engine.status().generation, 5);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn a_policy_without_the_stanza_closes_its_grants_and_their_sessions() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    host.replace_policy(OTHERS, 5);

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(host.revoked.len(), 1);
    assert_eq!(
        host.reasons(EventKind::GrantRevoked),
        ["policy generation 5 does not give it"]
    );
    assert!(host.live.is_empty());
    assert_eq!(host.journal[0].grant_id, host.journal[2].grant_id);
}

#[test]
fn what_the_new_policy_still_gives_stays_open_for_as_long_as_that() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 10, 0));
    host.arrive(1, &knock(2, "tcp/22,tcp/80", 30, 0));

    host.replace_policy(ONE_PORT, 2);

    assert_eq!(host.open_rules(), ["192.0.2.1 tcp/22"]);
    host.check_all_is_open();
    host.wait(10);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn what_is_opened_again_in_the_turn_of_a_revocation_is_open_for_no_longer_than_what_is_left() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 10, 0));
    host.arrive(1, &knock(2, "tcp/22,tcp/80", 30, 0));
    host.kernel.clear();
    let now = host.now();

    host.engine.firewall_drifted(Some("gone".to_owned()), now);
    host.replace_policy(ONE_PORT, 2);

    host.check_all_is_open();
    host.wait(10);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn a_grant_that_cannot_be_revoked_is_recorded_as_open_until_it_is_closed() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.faults.firewall = Some(Partly::Nothing);

    host.replace_policy(OTHERS, 5);
    host.wait(1);
    host.wait(1);
    assert!(!host.kinds().contains(&EventKind::GrantRevoked));
    host.faults.firewall = None;
    host.wait(1);

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(host.kinds().last(), Some(&EventKind::GrantRevoked));
}

#[test]
fn a_grant_that_can_never_be_revoked_is_recorded_as_closed_at_its_end() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 5, 0));
    host.faults.firewall = Some(Partly::Nothing);

    host.replace_policy(OTHERS, 5);
    for _ in 0..6 {
        host.wait(1);
    }

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert_eq!(host.kinds().last(), Some(&EventKind::GrantClosed));
}

#[test]
fn revoking_waits_for_no_disk() {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.faults.commit = true;

    host.replace_policy(OTHERS, 5);

    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn a_policy_is_published_when_it_is_recorded_and_also_when_it_cannot_be() {
    for fails in [false, true] {
        let mut host = Host::new();
        host.faults.commit = fails;

        host.replace_policy(ONE_PORT, 3);

        assert_eq!(host.published.last().unwrap().generation, 3);
    }
}

#[test]
fn a_rejected_policy_changes_nothing_and_is_told() {
    let mut host = Host::new();
    host.replace_policy(PORTS_AND_COMMANDS, 3);
    let rejected = Rejected {
        generation: 4,
        digest: [4; 32],
        reasons: vec!["one".to_owned(), "two".to_owned()],
    };
    let now = host.now();

    host.engine.reject_policy(rejected.clone(), now);
    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    assert_eq!(host.published.last().unwrap().rejected, Some(rejected));
    assert_eq!(host.reasons(EventKind::PolicyRejected), ["one\ntwo"]);
    assert_eq!(host.open_rules().len(), 1);
    host.replace_policy(PORTS_AND_COMMANDS, 5);
    assert_eq!(host.published.last().unwrap().rejected, None);
}
