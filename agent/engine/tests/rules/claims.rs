//! Keys that are valid on several hosts: nothing opens before the controller's word.

use engine::{ClaimAnswer, Limits};
use fleet::EventKind;
use gate::SharedKeys;

use crate::host::Host;
use crate::packets::{PORTS_AND_COMMANDS, knock};

fn shared() -> Host {
    Host::with(PORTS_AND_COMMANDS, SharedKeys::AllStatic, Limits::default())
}

#[test]
fn a_shared_key_opens_when_the_claim_is_won_and_only_then() {
    let lost = ClaimAnswer::Lost {
        held_by: "web-2".to_owned(),
    };
    for (answer, opens) in [
        (ClaimAnswer::Won, true),
        (lost, false),
        (ClaimAnswer::Unreachable, false),
    ] {
        let mut host = shared();
        host.arrive(1, &knock(1, "tcp/22", 0, 0));
        assert_eq!(host.open_rules(), Vec::<String>::new());
        let (seq, now) = (host.asked[0].seq, host.now());

        host.engine.claim_answered(seq, &answer, now);
        host.turn();

        assert_eq!(host.open_rules().len(), usize::from(opens));
        assert_eq!(host.journal.len(), 1);
    }
}

#[test]
fn a_claim_is_asked_for_before_anything_is_committed() {
    let mut host = shared();
    host.faults.commit = true;

    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    assert_eq!(host.asked.len(), 1);
}

#[test]
fn a_claim_that_nobody_answers_is_refused_after_a_while_and_a_late_answer_is_ignored() {
    let mut host = shared();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    host.wait(2);
    assert_eq!(host.kinds(), []);
    host.wait(1);
    let (seq, now) = (host.asked[0].seq, host.now());
    host.engine.claim_answered(seq, &ClaimAnswer::Won, now);
    host.turn();

    assert_eq!(host.kinds(), [EventKind::Refused]);
    assert_eq!(host.open_rules(), Vec::<String>::new());
}

#[test]
fn a_claim_that_waits_when_the_agent_stops_is_recorded_as_refused() {
    let mut host = shared();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    let now = host.now();

    host.engine.stop(true, now);
    host.turn();

    assert_eq!(host.kinds(), [EventKind::Refused, EventKind::AgentStopped]);
}
