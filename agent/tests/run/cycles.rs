//! Commands in place of the firewall: beside real fwknopd, and whatever happens to the agent.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use harness::fwknop::Fwknopd;
use harness::wait;
use nix::sys::signal::Signal;

use super::host::{Host, eventually, on_host};

const OPENS: &str =
    "IP=$IP SRC=$SRC PKT=$PKT_SRC DST=$DST PORT=$PORT PROTO=$PROTO CT=$CLIENT_TIMEOUT";

/// A host whose stanza writes into a file what its commands are called with.
fn on_cycling_host(timer_secs: u32, more: &str, story: impl Fn(&Host, &str)) {
    on_host("", |host| {
        let (program, told) = (host.node.dir.join("cycle.sh"), told(host));
        let script = format!(
            "#!/bin/sh\necho \"$* uid=$(id -u)\" >> {}\necho said\n",
            told.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let program = program.display();
        let stanza = format!(
            "CMD_CYCLE_OPEN {program} open {OPENS}\nCMD_CYCLE_CLOSE {program} close {OPENS}\n\
             CMD_CYCLE_TIMER {timer_secs}\n{more}"
        );
        host.write_access(&stanza, "tcp/22,udp/53");
        story(host, &stanza);
    });
}

fn told(host: &Host) -> PathBuf {
    host.node.dir.join("told")
}

fn lines(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(told(host)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn closes(host: &Host) -> usize {
    let lines = lines(host);
    lines
        .iter()
        .filter(|line| line.starts_with("close "))
        .count()
}

#[test]
fn a_cycle_runs_what_real_fwknopd_runs_for_the_same_packets() {
    on_cycling_host(2, "", |host, _| {
        let access = fs::read_to_string(host.access()).unwrap();
        let fwknopd = Fwknopd::start(&host.node, &access, "PCAP_INTF lo;").unwrap();
        let knocks: [&[&str]; 3] = [
            &["-A", "tcp/22"],
            &["-A", "udp/53,tcp/22", "-f", "3"],
            &["-A", "udp/53", "-a", "192.0.2.77"],
        ];
        for knock in knocks {
            host.knock_with(knock);
        }
        eventually("fwknopd's commands", || lines(host).len() == 6);
        fwknopd.stop().unwrap();
        let mut theirs = lines(host);
        fs::remove_file(told(host)).unwrap();

        let mut agent = host.start(&["--interface", "lo"]);
        for knock in knocks {
            host.knock_with(knock);
        }
        eventually("our commands", || lines(host).len() == 6);
        agent.stop();

        let mut ours = lines(host);
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs);
        assert!(host.output("ipset", &["save"]).is_empty());
    });
}

#[test]
fn weakness_3_neither_ports_nor_timeouts_nor_a_dry_run_are_overlooked() {
    on_cycling_host(600, "MAX_FW_TIMEOUT 700", |host, _| {
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock_with(&["-A", "tcp/23"]);
        agent.wait_for("tcp/23 is not in OPEN_PORTS");
        host.knock_with(&["-A", "tcp/22,tcp/23"]);
        agent.wait_for("tcp/23 is not in OPEN_PORTS");
        host.knock_with(&["-A", "tcp/22", "-f", "65000"]);
        agent.wait_for("command ended");
        assert_eq!(lines(host).len(), 1);
        assert!(lines(host)[0].contains(" CT=700 "), "{:?}", lines(host));
        agent.kill();
        fs::remove_file(told(host)).unwrap();

        let mut agent = host.start(&["--interface", "lo", "--dry-run"]);
        host.knock_with(&["-A", "tcp/22"]);
        agent.wait_for("command ended");
        agent.stop();
        assert!(lines(host).is_empty());
    });
}

#[test]
fn weakness_23_a_close_that_is_pending_survives_reload_restart_and_kill_and_runs_once() {
    on_cycling_host(8, "", |host, stanza| {
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock_with(&["-A", "tcp/22"]);
        agent.wait_for("command ended");
        // Another text of the same.
        host.write_access(
            &format!("{stanza}\n# changed\nFW_ACCESS_TIMEOUT 31"),
            "tcp/22,udp/53",
        );
        agent.0.signal(Signal::SIGHUP).unwrap();
        agent.wait_for("policy applied");
        agent.stop();
        let mut agent = host.start(&["--interface", "lo"]);
        agent.kill();
        let mut agent = host.start(&["--interface", "lo"]);
        assert_eq!(closes(host), 0);

        agent.wait_for("command ended");
        agent.stop();
        let mut agent = host.start(&["--interface", "lo"]);
        agent.stop();

        assert_eq!(lines(host).len(), 2, "{:?}", lines(host));
        assert_eq!(host.reasons("grant-opened").len(), 1);
        let closed = host.reasons("grant-closed");
        assert_eq!(closed.len(), 1);
        assert!(
            closed[0].starts_with("CMD_CYCLE_CLOSE: exit code 0, after 0."),
            "{closed:?}"
        );
        assert!(closed[0].ends_with(", output: said"), "{closed:?}");
    });
}

#[test]
fn a_close_that_was_due_while_no_agent_ran_runs_at_the_start() {
    on_cycling_host(2, "", |host, _| {
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock_with(&["-A", "tcp/22"]);
        agent.wait_for("command ended");
        agent.kill();
        let wanted = wait::wall_secs() + 3;
        wait::until("the time", wait::SOON, || Ok(wait::wall_secs() >= wanted)).unwrap();
        let shown = host.output(
            super::host::AGENT,
            &[
                "grants",
                "--json",
                "--state",
                host.state().to_str().unwrap(),
            ],
        );
        assert!(shown.contains("\"state\":\"command\""), "{shown}");
        assert_eq!(closes(host), 0);

        let mut agent = host.start(&["--interface", "lo"]);
        eventually("the close", || closes(host) == 1);
        agent.stop();

        assert_eq!(closes(host), 1);
        assert!(host.reasons("grant-closed")[0].starts_with("late, "));
    });
}

#[test]
fn taking_the_stanza_away_closes_at_once() {
    on_cycling_host(600, "", |host, _| {
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock_with(&["-A", "tcp/22"]);
        agent.wait_for("command ended");

        host.write_access("", "tcp/80");
        agent.hang_up();
        agent.wait_for("command ended");
        agent.stop();

        assert_eq!(closes(host), 1);
        assert_eq!(host.reasons("grant-revoked").len(), 1);
    });
}

#[test]
fn a_command_runs_as_the_user_and_group_that_real_fwknopd_takes() {
    let stanza = "ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody\nCMD_EXEC_GROUP daemon";
    on_host(stanza, |host| {
        let made = host.node.dir.join("made");
        let program = host.node.dir.join("who.sh");
        fs::write(&made, "").unwrap();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(&host.node.dir, fs::Permissions::from_mode(0o755)).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$(id -u) $(id -g) $(pwd)\" >> {}\n",
            made.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let program = program.to_str().unwrap();
        let lines = || fs::read_to_string(&made).unwrap();
        let access = fs::read_to_string(host.access()).unwrap();

        let fwknopd = Fwknopd::start(&host.node, &access, "PCAP_INTF lo;").unwrap();
        host.knock_with(&["--server-cmd", program]);
        eventually("fwknopd's command", || !lines().is_empty());
        fwknopd.stop().unwrap();
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock_with(&["--server-cmd", program]);
        agent.wait_for("command ended");
        agent.stop();

        let text = lines();
        let both: Vec<&str> = text.lines().collect();
        assert_eq!(both.len(), 2, "{both:?}");
        assert_eq!(both[0], both[1]);
    });
}
