//! Random days: packets, orders, time, and everything that can fail.

use engine::{ClaimAnswer, Limits};
use fleet::EventKind;
use gate::SharedKeys;
use proptest::prelude::*;

use crate::host::{Faults, Host, Partly};
use crate::packets::{ONE_PORT, OTHERS, PORTS_AND_COMMANDS, close_of, command, knock};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Knock {
        source: u8,
        ports: &'static str,
        secs: u32,
    },
    Close {
        source: u8,
        ports: &'static str,
        cut: bool,
    },
    Command,
    /// The packet before comes again.
    Copy,
    Junk,
    /// The rest of the turn.
    Turn,
    Wait(u64),
    Policy(&'static str),
    /// Somebody empties the firewall.
    Drift,
    AnswerClaims(bool),
    EndCommands,
    Faults(Faults),
}

fn step() -> impl Strategy<Value = Step> {
    let ports = prop::sample::select(vec!["tcp/22", "tcp/80", "tcp/22,tcp/80"]);
    let policies = prop::sample::select(vec![PORTS_AND_COMMANDS, ONE_PORT, OTHERS]);
    let partly = prop::sample::select(vec![
        None,
        None,
        Some(Partly::Nothing),
        Some(Partly::Half),
        Some(Partly::All),
    ]);
    prop_oneof![
        6 => (1..4_u8, ports, 1..60_u32)
            .prop_map(|(source, ports, secs)| Step::Knock { source, ports, secs }),
        2 => (1..4_u8, prop::sample::select(vec!["", "tcp/80", "tcp/1-79"]), any::<bool>())
            .prop_map(|(source, ports, cut)| Step::Close { source, ports, cut }),
        2 => Just(Step::Command),
        1 => Just(Step::Copy),
        1 => Just(Step::Junk),
        4 => Just(Step::Turn),
        3 => (0..20_u64).prop_map(Step::Wait),
        1 => policies.prop_map(Step::Policy),
        1 => Just(Step::Drift),
        2 => any::<bool>().prop_map(Step::AnswerClaims),
        2 => Just(Step::EndCommands),
        2 => (prop::bool::weighted(0.3), partly).prop_map(|(commit, firewall)| {
            Step::Faults(Faults { commit, firewall, operation: None })
        }),
    ]
}

/// A host, and what the test has done to it.
struct Day {
    host: Host,
    shared: SharedKeys,
    generation: u64,
    sent: Vec<String>,
}

// === impl Day ===

impl Day {
    fn new(shared: SharedKeys) -> Self {
        let limits = Limits {
            grants_max: 6,
            commands_running_max: 2,
            commands_waiting_max: 3,
        };
        Self {
            host: Host::with(PORTS_AND_COMMANDS, shared, limits),
            shared,
            generation: 1,
            sent: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) {
        let now = self.host.now();
        let host = &mut self.host;
        let number = self.sent.len() as u64;
        match step {
            Step::Knock {
                source,
                ports,
                secs,
            } => {
                let packet = knock(number, ports, secs, host.secs);
                host.send(source, &packet);
                self.sent.push(packet);
            }
            Step::Close { source, ports, cut } => {
                let packet = close_of("alice", number, ports, cut, host.secs);
                host.send(source, &packet);
                self.sent.push(packet);
            }
            Step::Command => {
                let packet = command(number, "/bin/true", host.secs);
                host.send(1, &packet);
                self.sent.push(packet);
            }
            Step::Copy => {
                if let Some(packet) = self.sent.last() {
                    host.send(7, packet);
                }
            }
            Step::Junk => host.send(9, &"x".repeat(200)),
            Step::Turn => host.turn(),
            Step::Wait(secs) => host.wait(secs),
            Step::Policy(access) => {
                self.generation += 1;
                let policy = crate::packets::compiled(access, self.generation, self.shared);
                let digest = [self.generation.to_be_bytes()[7]; 32];
                host.engine.replace_policy(policy, digest, now);
            }
            Step::Drift => {
                host.kernel.clear();
                host.engine.firewall_drifted(Some("gone".to_owned()), now);
            }
            Step::AnswerClaims(won) => {
                let answer = if won {
                    ClaimAnswer::Won
                } else {
                    ClaimAnswer::Unreachable
                };
                for ask in std::mem::take(&mut host.asked) {
                    host.engine.claim_answered(ask.seq, &answer, now);
                }
            }
            Step::EndCommands => host.end_commands(),
            Step::Faults(faults) => host.faults = faults,
        }
    }

    /// Nothing fails any more, and everything gets the time that it needs.
    fn calm(&mut self) {
        self.host.faults = Faults::default();
        for _ in 0..8 {
            self.host.wait(1);
            self.host.end_commands();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// After every turn nothing is open without a record, no grant is opened or closed twice, and no
    /// command runs unrecorded: [`Host`] sees to that.
    #[test]
    fn whatever_happens_and_fails_what_is_open_is_what_the_record_says(
        steps in prop::collection::vec(step(), 1..60),
        shared in prop::bool::weighted(0.3),
    ) {
        let shared = if shared { SharedKeys::AllStatic } else { SharedKeys::None };
        let mut day = Day::new(shared);
        for step in steps {
            day.take(step);
        }
        day.calm();

        let host = &mut day.host;
        host.check_all_is_open();
        prop_assert!(host.running_most <= 2);
        // Every message has come to something that is recorded.
        let granted = host.engine.counters().gate.grants + host.engine.counters().gate.claims;
        let mut concluded: Vec<_> = host
            .journal
            .iter()
            .filter(|event| {
                let kinds = [
                    EventKind::GrantOpened,
                    EventKind::GrantClosed,
                    EventKind::Refused,
                ];
                kinds.contains(&event.kind())
                    || event.reason.starts_with("start: ")
            })
            .map(|event| &event.request_id)
            .collect();
        concluded.sort();
        concluded.dedup();
        prop_assert!(concluded.len() as u64 >= granted, "{} of {granted}", concluded.len());

        host.wait(200);
        prop_assert!(host.live.is_empty() && host.kernel.is_empty());
    }
}
