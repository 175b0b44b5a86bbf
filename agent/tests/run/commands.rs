//! Commands that packets run.

use std::collections::BTreeSet;
use std::fs;

use fleet::Event;
use tempfile::TempDir;

use super::host::on_host;

#[test]
fn a_command_runs_as_its_user_without_roots_groups_and_its_end_is_recorded() {
    on_host("ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody", |host| {
        let out = TempDir::with_prefix_in("pt-agent-", "/tmp").unwrap();
        let made = out.path().join("made");
        host.output("chmod", &["777", out.path().to_str().unwrap()]);
        let mut agent = host.start(&["--interface", "lo"]);

        let command = format!(
            "sh -c 'id -un > {0}; id -Gn >> {0}; exit 7'",
            made.display()
        );
        host.knock_with(&["--server-cmd", &command]);
        agent.wait_for("command ended");
        agent.stop();

        assert_eq!(fs::read_to_string(made).unwrap(), "nobody\nnogroup\n");
        let reasons = host.reasons("command-run");
        assert_eq!(
            reasons,
            [format!("start: {command}"), "exit code 7".to_owned()]
        );
    });
}

#[test]
fn ten_commands_at_once_all_run_and_each_end_carries_the_id_of_its_start() {
    on_host("ENABLE_CMD_EXEC Y", |host| {
        let packets: Vec<String> = (0..10)
            .map(|_| host.fwknop(&["--server-cmd", "sleep 0.1"]))
            .collect();
        let mut agent = host.start(&["--interface", "lo"]);

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
