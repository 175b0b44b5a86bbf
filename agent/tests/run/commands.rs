//! Commands that packets run.

use std::collections::BTreeSet;
use std::fs;

use fleet::Event;
use tempfile::TempDir;

use harness::wait;

use super::host::{Agent, eventually, on_host};

#[test]
fn weakness_5_a_command_runs_as_its_user_without_roots_groups_and_its_end_is_recorded() {
    on_host("ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody", |host| {
        let out = TempDir::with_prefix_in("pt-agent-", "/tmp").unwrap();
        let made = out.path().join("made");
        host.output("chmod", &["777", out.path().to_str().unwrap()]);
        let mut agent = host.start(&["--interface", "lo"]);

        let command = format!(
            "sh -c 'id -un > {0}; id -Gn >> {0}; echo said; exit 7'",
            made.display()
        );
        host.knock_with(&["--server-cmd", &command]);
        agent.wait_for("command ended");
        agent.stop();

        assert_eq!(fs::read_to_string(made).unwrap(), "nobody\nnogroup\n");
        let reasons = host.reasons("command-run");
        assert_eq!(reasons.len(), 2);
        assert_eq!(reasons[0], format!("start: (as nobody) {command}"));
        let (end, output) = reasons[1].split_once(" s, output: ").unwrap();
        assert!(end.starts_with("exit code 7, after 0."), "{end}");
        assert_eq!(output, "said");
    });
}

#[test]
fn ten_commands_at_once_all_run_and_each_end_carries_the_id_of_its_start() {
    on_host("ENABLE_CMD_EXEC Y", |host| {
        // What is dated before the first start of an agent is refused.
        let mut agent = host.start(&["--interface", "lo"]);
        let packets: Vec<String> = (0..10)
            .map(|_| host.fwknop(&["--server-cmd", "sleep 0.1"]))
            .collect();

        packets.iter().for_each(|packet| host.send(packet));
        for _ in 0..10 {
            agent.wait_for("command ended");
        }
        agent.stop();

        let mut events = host.events();
        events.retain(|event| event.kind_name() == "command-run");
        let (starts, ends): (Vec<_>, Vec<_>) = events
            .iter()
            .partition(|event| event.reason.starts_with("start: "));
        let ids = |events: &[&Event]| {
            let ids = events.iter().map(|event| event.grant_id.clone());
            ids.collect::<BTreeSet<_>>()
        };
        assert_eq!(starts.len(), 10);
        assert_eq!(ids(&starts).len(), 10);
        assert_eq!(ids(&starts), ids(&ends));
    });
}

#[test]
fn weakness_7_a_slow_command_neither_stops_the_gate_nor_runs_beyond_its_limit() {
    on_host("ENABLE_CMD_EXEC Y", |host| {
        let mut command = host.agent(&["--interface", "lo", "--backend", "iptables"]);
        command.env("POSTERN_AGENT_COMMAND_TIMEOUT_SECS", "2");
        let mut agent = Agent(host.node.start("agent", &mut command).unwrap());
        agent.wait_for("postern-agent is ready");

        host.knock_with(&["--server-cmd", "sh -c 'echo begun; sleep 600 & sleep 600'"]);
        agent.wait_for("\"start: sh");
        host.knock();
        agent.wait_for("grant opened");
        assert!(!agent.0.log().contains("command ended"));
        agent.wait_for("command ended");
        agent.stop();

        let reasons = host.reasons("command-run");
        assert!(
            reasons[1].starts_with("killed after 2 s, after 2."),
            "{reasons:?}"
        );
        assert!(reasons[1].ends_with(", output: begun"), "{reasons:?}");
    });
}

#[test]
fn an_access_file_is_refused_with_file_and_line_for_a_user_that_this_host_does_not_have() {
    on_host("ENABLE_CMD_EXEC Y\nCMD_EXEC_USER ghost", |host| {
        let mut command = host.agent(&["--interface", "lo"]);
        let mut agent = Agent(host.node.start("agent", &mut command).unwrap());
        let code = agent.0.wait(wait::SOON).unwrap();
        let log = agent.0.log();
        let mistake = format!(
            "{}:6: CMD_EXEC_USER: there is no user ghost on this host",
            host.access().display()
        );

        assert_eq!(code, 64, "{log}");
        assert!(log.contains(&mistake), "{log}");
        // Where no commands run it does not matter.
        let mut agent = host.start(&["--interface", "lo", "--commands", "no"]);
        agent.stop();
    });
}

#[test]
fn a_dry_run_runs_no_command_and_says_so() {
    on_host("ENABLE_CMD_EXEC Y", |host| {
        let made = host.node.dir.join("made");
        let mut agent = host.start(&["--interface", "lo", "--dry-run"]);
        host.knock_with(&["--server-cmd", &format!("touch {}", made.display())]);
        agent.wait_for("command ended");
        agent.stop();

        assert!(!made.exists());
        let reasons = host.reasons("command-run");
        assert_eq!(reasons[1], "not run: this host only says what it would do");
    });
}

/// How many processes run this command line.
fn running(words: &[&str]) -> usize {
    let wanted: String = words.iter().map(|word| format!("{word}\0")).collect();
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline"));
        line.is_ok_and(|line| line == wanted.as_bytes())
    })
    .count()
}

#[test]
fn a_command_that_runs_when_the_agent_stops_ends_with_all_it_has_started_and_that_is_its_end() {
    for (more, secs) in [(&[][..], "6171"), (&["--no-separation"][..], "6172")] {
        on_host("ENABLE_CMD_EXEC Y", |host| {
            let mut agent = host.start(&[&["--interface", "lo"], more].concat());
            let command = format!("sh -c 'setsid sleep {secs} & sleep {secs}'");
            host.knock_with(&["--server-cmd", &command]);
            eventually("both to run", || running(&["sleep", secs]) == 2);

            agent.stop();

            assert_eq!(running(&["sleep", secs]), 0, "{more:?}");
            let reasons = host.reasons("command-run");
            assert_eq!(reasons.len(), 2, "{reasons:?}");
            let end = "ended, since the agent has stopped, after ";
            assert!(reasons[1].starts_with(end), "{reasons:?}");
        });
    }
}

#[test]
fn a_command_of_an_agent_that_was_killed_ends_with_it_and_the_next_start_records_that() {
    for (more, secs) in [(&[][..], "6173"), (&["--no-separation"][..], "6174")] {
        on_host("ENABLE_CMD_EXEC Y", |host| {
            let words = [&["--interface", "lo"], more].concat();
            let mut agent = host.start(&words);
            host.knock_with(&["--server-cmd", &format!("sleep {secs}")]);
            eventually("it to run", || running(&["sleep", secs]) == 1);

            agent.kill();
            eventually("its end", || running(&["sleep", secs]) == 0);
            for _ in 0..2 {
                host.start(&words).stop();
            }

            let reasons = host.reasons("command-run");
            assert_eq!(reasons.len(), 2, "once: {reasons:?}");
            let end = "how it ended is not known: the agent was killed while it ran";
            assert!(reasons[1].starts_with(end), "{reasons:?}");
        });
    }
}
