//! Commands: few run at once, some wait, none runs unrecorded.

use engine::{Limits, Record};
use fleet::{EventKind, Outcome};
use gate::SharedKeys;

use crate::host::Host;
use crate::packets::{ONE_PORT, PORTS_AND_COMMANDS, command};

fn send_commands(host: &mut Host, numbers: std::ops::Range<u64>) {
    for number in numbers {
        host.send(1, &command(number, &format!("/bin/true {number}"), 0));
    }
    host.turn();
}

#[test]
fn ten_commands_at_once_all_run_and_never_more_than_four_at_a_time() {
    let mut host = Host::new();

    send_commands(&mut host, 0..10);
    while !host.running.is_empty() {
        host.end_commands();
    }

    assert_eq!(host.running_most, 4);
    let recorded = host.reasons(EventKind::CommandRun);
    let started = recorded.iter().filter(|r| r.starts_with("start: "));
    assert_eq!(started.count(), 10);
    assert_eq!(recorded.len(), 20);
    assert_eq!(host.kinds().len(), 20);
}

#[test]
fn forty_commands_in_one_batch_never_run_more_than_four_at_once() {
    let mut host = Host::new();

    send_commands(&mut host, 0..40);
    assert_eq!(host.running.len(), 4);
    while !host.running.is_empty() {
        host.end_commands();
    }

    assert_eq!(host.running_most, 4);
    assert_eq!(host.engine.counters().engine.commands_started, 40);
}

#[test]
fn more_commands_than_may_run_and_wait_are_refused_and_recorded() {
    let limits = Limits {
        commands_running_max: 2,
        commands_waiting_max: 3,
        ..Limits::default()
    };
    let mut host = Host::with(PORTS_AND_COMMANDS, SharedKeys::None, limits);

    send_commands(&mut host, 0..10);

    assert_eq!(host.running.len(), 2);
    assert_eq!(host.engine.counters().engine.commands_waiting, 3);
    let refused = host.reasons(EventKind::Refused);
    assert_eq!(refused, ["too many commands wait on this host"; 5]);
}

#[test]
fn a_command_that_could_not_be_recorded_is_a_refusal_and_does_not_run() {
    let mut host = Host::new();
    host.faults.commit = true;

    send_commands(&mut host, 0..1);
    host.faults.commit = false;
    host.wait(1);

    assert_eq!(host.running.len(), 0);
    assert_eq!(host.kinds(), [EventKind::Refused]);
    assert!(host.journal[0].reason.contains("did not run: /bin/true 0"));
    send_commands(&mut host, 1..6);
    assert_eq!(host.running.len(), 4);
}

#[test]
fn a_command_and_its_end_carry_the_same_id_and_say_how_it_ended() {
    let mut host = Host::new();

    send_commands(&mut host, 0..1);
    host.end_commands();

    let [start, end] = &host.journal[..] else {
        panic!("{:?}", host.journal);
    };
    assert_eq!(start.reason, "start: /bin/true 0");
    assert_eq!(end.reason, "exit code 0");
    assert_eq!(start.grant_id, end.grant_id);
    assert_eq!(end.outcome(), Outcome::Success);
}

#[test]
fn a_command_that_waits_is_refused_when_a_new_policy_does_not_give_it() {
    let mut host = Host::new();
    send_commands(&mut host, 0..5);

    host.replace_policy(ONE_PORT, 2);
    host.end_commands();

    assert_eq!(host.running_most, 4);
    let refused = host.reasons(EventKind::Refused);
    assert_eq!(refused, ["policy generation 2 does not give it"]);
}

#[test]
fn a_command_that_waits_when_the_agent_stops_is_recorded_as_refused() {
    let mut host = Host::new();
    send_commands(&mut host, 0..5);
    let now = host.now();

    host.engine.stop(true, now);
    host.turn();

    let refused = host.reasons(EventKind::Refused);
    assert_eq!(refused, ["the agent stopped before its turn came"]);
}

#[test]
fn what_there_is_to_log_of_a_command_that_could_not_be_recorded_is_its_refusal_once() {
    let mut host = Host::new();
    let now = host.now();
    host.send(1, &command(1, "/bin/true", 0));

    let batch = host.engine.take_batch();
    let Err((not_committed, ())) = batch.commit(|_| Err(())) else {
        panic!("committed")
    };

    let logged: Vec<_> = not_committed.new_records().map(Record::event).collect();
    assert_eq!(logged.len(), 1);
    assert_eq!(logged[0].kind(), EventKind::Refused);
    assert_eq!(
        logged[0].reason,
        "the journal could not be written; the command did not run: /bin/true"
    );
    host.engine.not_committed(not_committed, now);
    let Ok(committed) = host.engine.take_batch().commit(|_| Ok::<(), ()>(())) else {
        panic!("not committed")
    };
    assert_eq!(committed.new_records().count(), 0);
}

#[test]
fn as_whom_a_command_runs_is_recorded_and_no_text_of_a_message_is_taken_for_it() {
    let nobody = PORTS_AND_COMMANDS.replace(
        "ENABLE_CMD_EXEC Y",
        "ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody\nENABLE_CMD_SUDO_EXEC Y\nCMD_SUDO_EXEC_USER games",
    );
    let started = |access: &str, text: &str| {
        let mut host = Host::with(access, SharedKeys::None, Limits::default());
        host.arrive(1, &command(1, text, 0));
        host.event(EventKind::CommandRun).reason.clone()
    };

    assert_eq!(
        started(&nobody, "id"),
        "start: (as nobody, by sudo as games) id"
    );
    assert_eq!(started(PORTS_AND_COMMANDS, "id"), "start: id");
    assert_eq!(
        started(PORTS_AND_COMMANDS, "(as nobody) id"),
        "start: (as root) (as nobody) id"
    );
}
