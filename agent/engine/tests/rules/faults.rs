//! A fault at the n-th operation, for every n.

use engine::Kernel;

use crate::host::{Faults, Host, restarted};
use crate::packets::{ONE_PORT, OTHERS, PORTS_AND_COMMANDS, command, knock};

/// A day in the life of a host, with every kind of operation; invariants are checked after every
/// turn.
fn day(fault: Option<u32>) -> Host {
    let mut host = Host::new();
    host.faults.operation = fault;
    for source in 1..=3 {
        host.send(source, &knock(source.into(), "tcp/22,tcp/80", 20, 0));
    }
    host.turn();
    host.arrive(1, &knock(4, "tcp/22", 60, 0));
    for number in 5..12 {
        host.send(1, &command(number, "/bin/true", 0));
    }
    host.turn();
    host.end_commands();
    host.wait(5);
    host.replace_policy(ONE_PORT, 2);
    host.kernel.clear();
    let now = host.now();
    host.engine.firewall_drifted(Some("gone".to_owned()), now);
    host.turn();
    host.wait(10);
    host.arrive(2, &knock(20, "tcp/22", 30, 15));
    host.replace_policy(OTHERS, 3);
    host.replace_policy(PORTS_AND_COMMANDS, 4);
    host.arrive(3, &knock(21, "tcp/22,tcp/80", 60, 15));
    host.end_commands();
    host.wait(1);
    host
}

/// Nothing fails any more, and what had failed is tried again.
fn calm(host: &mut Host) {
    host.faults = Faults::default();
    for _ in 0..3 {
        host.wait(1);
        host.end_commands();
    }
}

#[test]
fn whichever_operation_fails_what_is_open_is_recorded_as_open_and_nothing_else_is() {
    let mut n = 0;
    loop {
        let mut host = day(Some(n));
        let all_operations_are_through = host.faults.operation.is_some();
        calm(&mut host);
        host.check_all_is_open();

        host.wait(100);
        assert!(host.live.is_empty() && host.kernel.is_empty(), "fault {n}");
        if all_operations_are_through {
            break;
        }
        n += 1;
    }
    assert!(n >= 20, "only {n} operations");
}

#[test]
fn whichever_operation_is_the_last_one_before_a_crash_the_next_run_closes_every_grant_once() {
    for n in 0..40 {
        let mut host = day(Some(n));
        host.faults = Faults::default();
        let mut host = restarted(host);
        let saved = host.live.values().cloned().collect();
        let now = host.now();

        host.engine.recover(saved, Kernel::Unknown, &[], now);
        host.turn();
        host.wait(100);

        assert!(host.live.is_empty() && host.kernel.is_empty(), "fault {n}");
    }
}
