//! Command cycles: the closing command runs once, whatever happens in between.

use std::time::Duration;

use engine::{CommandEnd, CycleStage, Ended, SavedCycle};
use fleet::{EventKind, Outcome};
use gate::{Now, SharedKeys};

use crate::host::{Host, restarted_with};
use crate::packets::{NOW_SECS, OTHERS, close_of, command, knock, knock_of};

/// Commands open and close for 30 seconds.
const CYCLE: &str = "\
    NAME cycle\nSOURCE ANY\nOPEN_PORTS tcp/22,tcp/80\nKEY ports\nHMAC_KEY ports-hmac\n\
    CMD_CYCLE_OPEN /o $IP $PORT\nCMD_CYCLE_CLOSE /c $IP $PORT\nCMD_CYCLE_TIMER 30\n\
    NAME commands\nSOURCE ANY\nKEY commands\nHMAC_KEY commands-hmac\nENABLE_CMD_EXEC Y\n";
const OPEN: &str = "/o 192.0.2.1 22";
const CLOSE: &str = "/c 192.0.2.1 22";

fn host() -> Host {
    Host::with(CYCLE, SharedKeys::None, engine::Limits::default())
}

/// A cycle is open.
fn opened() -> Host {
    let mut host = host();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    host.end_commands();
    host
}

/// Ends all commands that run so, and the turn.
fn end_all(host: &mut Host, end: &CommandEnd) {
    let now = host.now();
    for id in std::mem::take(&mut host.running).into_keys() {
        let ended = Ended {
            end: end.clone(),
            took: Duration::from_millis(12),
            output: "said".to_owned(),
        };
        host.engine.command_ended(id, &ended, now);
    }
    host.turn();
}

fn saved(host: &Host) -> Vec<SavedCycle> {
    host.cycles.values().cloned().collect()
}

/// The agent is killed and started again after so many seconds, and lives until all is over.
fn killed(host: Host, after_secs: u64) -> Host {
    let mut host = restarted_with(host, CYCLE);
    host.secs += after_secs;
    let (saved, now) = (saved(&host), host.now());
    host.engine.recover_cycles(saved, now);
    host.turn();
    host
}

fn live_to_the_end(host: &mut Host) {
    for _ in 0..10 {
        host.end_commands();
        host.wait(10);
    }
}

fn count(host: &Host, command: &str) -> usize {
    host.ran.iter().filter(|ran| *ran == command).count()
}

#[test]
fn a_cycle_opens_at_once_closes_at_its_time_and_is_recorded_with_both_commands() {
    let mut host = host();

    host.arrive(1, &knock(1, "tcp/22,tcp/80", 0, 0));
    assert_eq!(host.ran, [OPEN]);
    end_all(&mut host, &CommandEnd::Exited(0));
    host.wait(29);
    assert_eq!(host.ran, [OPEN]);
    host.wait(1);
    assert_eq!(host.ran, [OPEN, CLOSE]);
    end_all(&mut host, &CommandEnd::Exited(3));

    let opened = host.event(EventKind::GrantOpened);
    assert_eq!(
        (opened.opened.as_str(), &*opened.ports),
        ("192.0.2.1", &["tcp/22".to_owned()][..])
    );
    assert_eq!(opened.until_ms, (NOW_SECS + 30) * 1_000);
    assert_eq!(opened.reason, format!("CMD_CYCLE_OPEN: {OPEN}"));
    let runs = host.reasons(EventKind::CommandRun);
    assert_eq!(
        runs,
        [
            "CMD_CYCLE_OPEN: exit code 0, after 0.012 s, output: said".to_owned(),
            format!("start: {CLOSE}"),
        ]
    );
    let closed = host.event(EventKind::GrantClosed);
    assert_eq!(closed.grant_id, opened.grant_id);
    assert_eq!(
        closed.reason,
        "CMD_CYCLE_CLOSE: exit code 3, after 0.012 s, output: said"
    );
    assert_eq!(closed.outcome(), Outcome::Failure);
    assert!(host.cycles.is_empty() && host.kernel.is_empty());
    assert_eq!(host.engine.counters().engine.cycles_open, 0);
}

#[test]
fn every_packet_is_a_cycle_of_its_own() {
    let mut host = opened();
    host.arrive(1, &knock(2, "tcp/22", 0, 0));
    live_to_the_end(&mut host);

    assert_eq!((count(&host, OPEN), count(&host, CLOSE)), (2, 2));
}

#[test]
fn killed_at_any_step_the_closing_command_runs_once_and_twice_only_if_it_was_under_way() {
    type Step = fn(&mut Host);
    // Each goes as far as its name says; what runs then never tells its end.
    let steps: [(&str, Step, usize); 5] = [
        (
            "recorded",
            |host| host.arrive(1, &knock(1, "tcp/22", 0, 0)),
            1,
        ),
        ("opened", Host::end_commands, 1),
        ("some time", |host| host.wait(10), 1),
        ("closing", |host| host.wait(20), 2),
        ("closed", Host::end_commands, 1),
    ];
    for last in 0..steps.len() {
        for after_secs in [0, 1, 1_000] {
            let mut host = host();
            for (_, step, _) in &steps[..=last] {
                step(&mut host);
            }
            let mut host = killed(host, after_secs);
            live_to_the_end(&mut host);

            let (name, _, closes) = steps[last];
            assert_eq!(count(&host, OPEN), 1, "{name} {after_secs}");
            assert_eq!(count(&host, CLOSE), closes, "{name} {after_secs}");
            assert!(host.cycles.is_empty(), "{name} {after_secs}");
            assert_eq!(host.reasons(EventKind::GrantClosed).len(), 1, "{name}");
        }
    }
}

#[test]
fn a_close_that_was_due_while_no_agent_ran_runs_at_its_start_and_says_so() {
    let mut host = killed(opened(), 3_600);

    assert_eq!(host.ran, [OPEN, CLOSE]);
    host.end_commands();
    let reason = host.event(EventKind::GrantClosed).reason.clone();
    assert!(
        reason.starts_with("late, since it was due while"),
        "{reason}"
    );
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_a_cycle_open_for_longer() {
    let before = opened();
    let saved = saved(&before);
    let mut host = restarted_with(before, CYCLE);
    let long_ago = Now {
        wall_secs: NOW_SECS - 100_000,
        ..host.now()
    };

    host.engine.recover_cycles(saved, long_ago);

    let deadline = host.engine.deadline().unwrap();
    assert!(
        deadline <= host.now().steady + Duration::from_secs(30),
        "{deadline:?}"
    );
    host.wait(30);
    assert_eq!(host.ran, [OPEN, CLOSE]);
}

#[test]
fn a_clock_that_steps_while_the_agent_runs_changes_nothing() {
    let mut host = opened();
    let stepped = Now {
        wall_secs: NOW_SECS + 1_000_000,
        ..host.now()
    };

    host.engine.due(stepped);
    host.turn();

    assert_eq!(host.ran, [OPEN]);
    host.wait(30);
    assert_eq!(host.ran, [OPEN, CLOSE]);
}

#[test]
fn what_ends_a_grant_runs_the_closing_command_at_once() {
    type Cause = fn(&mut Host);
    let causes: [(&str, Cause, EventKind); 4] = [
        (
            "policy generation 2",
            |host| host.replace_policy(OTHERS, 2),
            EventKind::GrantRevoked,
        ),
        (
            "this host is locked",
            |host| {
                let now = host.now();
                host.engine.lock("stolen", now);
                host.turn();
            },
            EventKind::GrantRevoked,
        ),
        (
            "closed by the user",
            |host| host.arrive(1, &close_of("alice", 9, "", false, 0)),
            EventKind::GrantClosed,
        ),
        (
            "closed by the user",
            |host| host.arrive(1, &close_of("alice", 9, "tcp/22", true, 0)),
            EventKind::GrantClosed,
        ),
    ];
    for (reason, cause, kind) in causes {
        let mut host = opened();
        cause(&mut host);
        assert_eq!(host.ran, [OPEN, CLOSE], "{reason}");
        live_to_the_end(&mut host);
        assert_eq!(count(&host, CLOSE), 1, "{reason}");
        let told = &host.event(kind).reason;
        assert!(told.starts_with(reason), "{told}");
    }
}

#[test]
fn what_was_opened_by_an_earlier_run_ends_by_policy_too() {
    let mut host = killed(opened(), 1);
    host.replace_policy(CYCLE, 1);
    assert_eq!(host.ran, [OPEN]);

    host.replace_policy(OTHERS, 2);

    assert_eq!(host.ran, [OPEN, CLOSE]);
}

#[test]
fn a_user_closes_her_own_cycles_of_her_address_and_ports() {
    for request in [
        (1, close_of("mallory", 9, "", false, 0)),
        (2, close_of("alice", 9, "", false, 0)),
        (1, close_of("alice", 9, "tcp/80", false, 0)),
    ] {
        let mut host = opened();
        host.arrive(request.0, &request.1);
        assert_eq!(host.ran, [OPEN]);
        assert_eq!(host.reasons(EventKind::Refused).len(), 1);
    }
}

#[test]
fn a_cycle_that_ends_while_it_opens_closes_after_it_has_opened() {
    let mut host = host();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));

    host.replace_policy(OTHERS, 2);
    assert_eq!(host.ran, [OPEN]);
    host.end_commands();

    assert_eq!(host.ran, [OPEN, CLOSE]);
}

#[test]
fn what_could_not_be_recorded_does_not_open_and_what_is_open_closes_without_a_disk() {
    let mut host = host();
    host.faults.commit = true;
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    assert!(host.ran.is_empty());
    host.faults.commit = false;
    host.arrive(1, &knock(2, "tcp/22", 0, 0));
    host.end_commands();
    host.faults.commit = true;

    host.wait(30);

    assert_eq!(host.ran, [OPEN, CLOSE]);
    host.end_commands();
    host.faults.commit = false;
    live_to_the_end(&mut host);
    assert_eq!(count(&host, CLOSE), 1);
    assert!(host.cycles.is_empty());
}

#[test]
fn an_opening_command_that_was_not_run_opens_nothing_and_one_that_was_killed_closes_at_once() {
    let mut host = host();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    end_all(&mut host, &CommandEnd::NotRun("no such file".to_owned()));
    live_to_the_end(&mut host);
    assert_eq!(host.ran, [OPEN]);
    let closed = host.event(EventKind::GrantClosed);
    assert_eq!(closed.outcome(), Outcome::Failure);
    assert!(closed.reason.contains("no such file"), "{}", closed.reason);

    let mut host = self::host();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    end_all(&mut host, &CommandEnd::TimedOut(Duration::from_secs(10)));
    assert_eq!(host.ran, [OPEN, CLOSE]);
}

#[test]
fn an_opening_command_with_another_exit_code_stays_open_until_its_time_as_with_fwknopd() {
    let mut host = host();
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    end_all(&mut host, &CommandEnd::Exited(3));

    assert_eq!(host.ran, [OPEN]);
    host.wait(30);
    assert_eq!(host.ran, [OPEN, CLOSE]);
}

#[test]
fn a_closing_command_that_cannot_be_started_is_tried_until_it_is() {
    let mut host = opened();
    host.wait(30);
    for _ in 0..3 {
        end_all(
            &mut host,
            &CommandEnd::NotRun("no more processes".to_owned()),
        );
        assert_eq!(saved(&host)[0].stage, CycleStage::Closing);
        host.wait(10);
    }
    end_all(&mut host, &CommandEnd::Exited(0));
    live_to_the_end(&mut host);

    assert_eq!(count(&host, CLOSE), 4);
    assert_eq!(
        host.event(EventKind::GrantClosed).outcome(),
        Outcome::Success
    );
    let failed = host.reasons(EventKind::CommandRun);
    let failed = failed
        .iter()
        .filter(|reason| reason.contains("no more processes"));
    assert_eq!(failed.count(), 1);
}

#[test]
fn slow_commands_of_messages_do_not_keep_anything_open() {
    let mut host = opened();
    for number in 10..20 {
        host.send(1, &command(number, "/bin/sleep 600", 0));
    }
    host.turn();
    assert_eq!(host.running.len(), 4);

    host.wait(30);

    assert_eq!(host.ran.last().map(String::as_str), Some(CLOSE));
}

#[test]
fn hundreds_of_cycles_that_end_at_once_all_close_a_few_at_a_time() {
    let mut host = host();
    for number in 0..60_u64 {
        host.send(1, &knock_of("alice", number, "tcp/22", 5));
    }
    host.turn();
    for _ in 0..40 {
        host.end_commands();
    }
    host.running_most = 0;
    host.wait(5);
    for _ in 0..40 {
        host.end_commands();
    }

    assert_eq!((count(&host, OPEN), count(&host, CLOSE)), (60, 60));
    assert_eq!(host.running_most, 4);
    assert!(host.cycles.is_empty());
}

#[test]
fn with_close_none_nothing_runs_afterwards_and_it_is_recorded_as_a_command() {
    let none = CYCLE.replace("CMD_CYCLE_CLOSE /c $IP $PORT", "CMD_CYCLE_CLOSE NONE");
    let mut host = Host::with(&none, SharedKeys::None, engine::Limits::default());
    host.arrive(1, &knock(1, "tcp/22", 0, 0));
    live_to_the_end(&mut host);

    assert_eq!(host.ran, [OPEN]);
    assert_eq!(host.kinds(), [EventKind::CommandRun, EventKind::CommandRun]);
}
