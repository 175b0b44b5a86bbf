//! After a start: what is still open is taken over, and the rest is recorded as closed.

use engine::{Hole, HoleTimeout, Kernel, SavedGrant};
use fleet::EventKind;

use crate::host::{Host, restarted};
use crate::packets::{OTHERS, PORTS_AND_COMMANDS, knock};

fn killed_with_a_grant() -> (Host, Vec<SavedGrant>) {
    let mut host = Host::new();
    host.arrive(1, &knock(1, "tcp/22,tcp/80", 0, 0));
    let host = restarted(host);
    let saved = host.live.values().cloned().collect();
    (host, saved)
}

fn holes(host: &Host) -> Vec<Hole> {
    let timeout = HoleTimeout::clamped(1);
    let rules = host.kernel.keys();
    rules
        .map(|rule| Hole {
            rule: *rule,
            timeout,
        })
        .collect()
}

#[test]
fn a_grant_that_is_still_open_is_taken_over_and_closed_at_its_end_under_its_id() {
    let (mut host, saved) = killed_with_a_grant();
    let (now, open) = (host.now(), holes(&host));

    host.engine.recover(saved, Kernel::Open(&open), &[], now);
    host.wait(29);
    assert_eq!(host.kinds(), [EventKind::GrantOpened]);
    host.wait(1);

    assert_eq!(host.kinds()[1..], [EventKind::GrantClosed]);
    assert_eq!(host.journal[0].grant_id, host.journal[1].grant_id);
    assert_eq!(host.journal[0].request_id, host.journal[1].request_id);
}

#[test]
fn a_grant_of_which_anything_is_still_open_is_taken_over() {
    let (mut host, saved) = killed_with_a_grant();
    host.kernel.pop_first();
    let (now, open) = (host.now(), holes(&host));

    host.engine.recover(saved, Kernel::Open(&open), &[], now);
    host.turn();

    assert_eq!(host.live.len(), 1);
}

#[test]
fn a_grant_that_is_open_no_more_is_recorded_as_closed() {
    for (kernel, reason) in [
        (Kernel::Flushed, "closed at the start of the agent"),
        (Kernel::Open(&[]), "found closed at the start of the agent"),
    ] {
        let (mut host, saved) = killed_with_a_grant();
        host.kernel.clear();
        let now = host.now();

        host.engine.recover(saved, kernel, &[], now);
        host.turn();

        assert_eq!(host.reasons(EventKind::GrantClosed), [reason]);
        assert!(host.live.is_empty());
    }
}

#[test]
fn a_grant_that_ended_meanwhile_is_closed_at_its_own_time() {
    let (mut host, saved) = killed_with_a_grant();
    host.secs += 100;
    let now = host.now();

    host.engine.recover(saved, Kernel::Unknown, &[], now);
    host.turn();

    assert_eq!(
        host.reasons(EventKind::GrantClosed),
        ["while the agent was not running"]
    );
    assert_eq!(host.journal[1].at_ms, host.journal[0].until_ms);
}

#[test]
fn a_kernel_that_cannot_be_asked_is_no_proof_that_anything_is_closed() {
    let (mut host, saved) = killed_with_a_grant();
    let now = host.now();

    host.engine.recover(saved, Kernel::Unknown, &[], now);
    host.turn();

    assert_eq!(host.live.len(), 1);
    assert_eq!(host.kinds(), [EventKind::GrantOpened]);
}

#[test]
fn a_grant_of_an_earlier_run_is_revoked_by_another_generation() {
    let (mut host, saved) = killed_with_a_grant();
    let (now, open) = (host.now(), holes(&host));
    host.engine.recover(saved, Kernel::Open(&open), &[], now);

    host.replace_policy(OTHERS, 2);

    assert_eq!(host.open_rules(), Vec::<String>::new());
    assert!(host.kinds().contains(&EventKind::GrantRevoked));
}

#[test]
fn a_grant_of_an_earlier_run_is_revoked_by_another_text_of_the_same_generation() {
    for (policy, is_revoked) in [(OTHERS, true), (PORTS_AND_COMMANDS, false)] {
        let (mut host, saved) = killed_with_a_grant();
        let generation = host.journal[0].generation;
        let (now, open) = (host.now(), holes(&host));
        host.engine.recover(saved, Kernel::Open(&open), &[], now);

        host.replace_policy(policy, generation);

        assert_eq!(host.open_rules().is_empty(), is_revoked, "{policy}");
        let kinds = host.kinds();
        assert_eq!(kinds.contains(&EventKind::GrantRevoked), is_revoked);
    }
}
