//! An access file that changes, or has mistakes.

use std::fs;

use super::host::on_host;

#[test]
fn a_reload_revokes_what_the_new_policy_does_not_give_and_keeps_the_rest() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock();
        agent.wait_for("grant opened");

        host.write_access("FW_ACCESS_TIMEOUT 500", "tcp/22,tcp/80");
        agent.hang_up();
        agent.wait_for("policy applied generation=2");
        assert!(
            host.output("ipset", &["save"])
                .contains("POSTERN_4 127.0.0.1,tcp:22")
        );
        host.write_access("", "tcp/80");
        agent.hang_up();
        agent.wait_for("grant revoked");

        let sets = host.output("ipset", &["save"]);
        assert!(!sets.contains("POSTERN_4 127.0.0.1"), "{sets}");
        assert!(sets.contains("POSTERN_B4 127.0.0.1,tcp:22"), "{sets}");
        agent.stop();
    });
}

#[test]
fn a_broken_access_file_changes_nothing_and_every_mistake_is_logged() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--interface", "lo"]);
        let mut text = fs::read_to_string(host.access()).unwrap();
        text.push_str("NONSENSE 1\nOPEN_PORTS tcp/0\n");
        fs::write(host.access(), text).unwrap();

        agent.hang_up();
        agent.wait_for("access.conf:6");
        agent.wait_for("access.conf:7");

        host.knock();
        agent.wait_for("grant opened");
        agent.stop();
        assert!(host.kinds().contains(&"policy-rejected".to_owned()));
    });
}

#[test]
fn a_broken_access_file_at_the_start_is_exit_64_with_nothing_open() {
    on_host("NONSENSE 1", |host| {
        let output = host
            .agent(&["--interface", "lo", "--protect", "tcp/22"])
            .output()
            .unwrap();

        assert_eq!(output.status.code(), Some(64));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("access.conf:5"), "{stderr}");
    });
}
