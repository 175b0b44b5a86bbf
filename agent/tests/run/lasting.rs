//! What survives an end of any kind.

use std::fs;
use std::path::Path;

use agent::journal::FILE_NAME;

use super::host::{eventually, on_host, without};

#[test]
fn killed_the_agent_leaves_holes_that_end_by_themselves_and_are_recorded_later() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--interface", "lo"]);
        let packet = host.knock();
        agent.wait_for("grant opened");

        agent.kill();

        let open = host.output("ipset", &["save"]);
        assert!(open.contains("127.0.0.1,tcp:22 timeout 29"), "{open}");
        let mut again = host.start(&["--interface", "lo", "--flush-at-start", "no"]);
        assert!(host.output("ipset", &["save"]).contains("127.0.0.1,tcp:22"));
        host.send(&packet);
        again.wait_for("attempted message replay");
        again.stop();
        let expected = [
            "agent-started",
            "policy-applied",
            "replay",
            "grant-closed",
            "agent-stopped",
        ];
        let kinds = host.kinds();
        assert_eq!(
            without(&kinds[3..], "policy-applied"),
            without(&expected, "policy-applied")
        );
    });
}

#[test]
fn a_restart_closes_what_was_open_unless_told_otherwise() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--interface", "lo", "--flush-at-exit", "no"]);
        host.knock();
        agent.wait_for("grant opened");
        agent.stop();
        assert!(host.output("ipset", &["save"]).contains("127.0.0.1,tcp:22"));

        let mut again = host.start(&["--interface", "lo"]);

        assert!(!host.output("ipset", &["save"]).contains("127.0.0.1,tcp:22"));
        again.stop();
        let reasons = host.reasons("grant-closed");
        assert_eq!(reasons, ["closed at the start of the agent"]);
    });
}

#[test]
fn a_damaged_journal_is_set_aside_and_said_and_an_old_packet_stays_spent() {
    on_host("", |host| {
        let mut agent = host.start(&["--interface", "lo"]);
        let packet = host.knock();
        eventually("the grant", || {
            host.kinds().contains(&"grant-opened".to_owned())
        });
        agent.stop();
        let journal = host.state().join("journal.db");
        let bytes = fs::read(&journal).unwrap();
        fs::write(&journal, &bytes[..bytes.len() / 2]).unwrap();

        let mut agent = host.start(&["--interface", "lo"]);
        host.send(&packet);
        eventually("the refusal", || {
            host.kinds().contains(&"refused".to_owned())
        });
        agent.stop();

        let log = agent.0.log();
        assert!(log.contains("journal.db is damaged"), "{log}");
        let kinds = host.kinds();
        assert!(!kinds.contains(&"grant-opened".to_owned()), "{kinds:?}");
        let told = host.reasons("audit-gap");
        assert!(told[0].contains("set aside as"), "{told:?}");
    });
}

#[test]
fn files_that_are_deleted_in_the_state_directory_of_a_running_agent_are_written_anew_and_knocks_go_on()
 {
    is_written_anew(&["--interface", "lo"], |state| {
        for entry in fs::read_dir(state).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                fs::remove_file(path).unwrap();
            }
        }
    });
}

#[test]
fn a_state_directory_that_is_deleted_under_a_running_agent_is_written_anew_and_knocks_go_on() {
    // A gate in a process of its own may write in the directory that was there, and in no other.
    is_written_anew(&["--interface", "lo", "--no-separation"], |state| {
        fs::remove_dir_all(state).unwrap()
    });
}

fn is_written_anew(flags: &[&str], lose: impl FnOnce(&Path)) {
    on_host("", |host| {
        let mut agent = host.start(flags);
        let packet = host.knock();
        let grants = || {
            let kinds = host.kinds();
            kinds.iter().filter(|kind| *kind == "grant-opened").count()
        };
        eventually("the first grant", || grants() == 1);

        lose(&host.state());
        host.send(&packet);
        host.knock();

        eventually("the second grant", || {
            host.state().join(FILE_NAME).exists() && grants() == 2
        });
        assert!(host.kinds().contains(&"replay".to_owned()));
        let gaps = host.reasons("audit-gap");
        assert!(gaps.first().unwrap().contains("no record is lost"));
        agent.stop();
        host.start(&["--interface", "lo"]).stop();
        assert_eq!(grants(), 2);
    });
}
