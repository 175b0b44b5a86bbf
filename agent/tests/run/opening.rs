//! What opens, what stays closed, and whose the rules are.

use nix::sys::signal::Signal;

use super::host::{AGENT, mangle, on_host};

#[test]
fn a_packet_of_stock_fwknop_opens_once_and_its_copy_is_a_replay() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--interface", "lo"]);

        let packet = host.knock();
        agent.wait_for("grant opened");
        host.send(&packet);
        agent.wait_for("attempted message replay from: 127.0.0.1");
        agent.stop();

        let expected = ["agent-started", "policy-applied", "grant-opened", "replay"];
        assert_eq!(host.kinds()[..4], expected);
    });
}

#[test]
fn a_hole_is_in_the_kernel_with_its_timeout_and_goes_with_the_agent() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--interface", "lo"]);

        host.knock();
        agent.wait_for("grant opened");

        let open = host.output("ipset", &["save"]);
        assert!(
            open.contains("add POSTERN_4 127.0.0.1,tcp:22 timeout "),
            "{open}"
        );
        agent.stop();
        assert_eq!(host.output("ipset", &["list", "-n"]), "");
        let rules = host.output("iptables", &["-w", "-S"]);
        assert_eq!(
            rules,
            "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"
        );
        assert!(!mangle(host).contains("POSTERN"));
        assert_eq!(host.kinds()[3..], ["grant-closed", "agent-stopped"]);
    });
}

#[test]
fn a_protected_port_stays_closed_when_the_agent_goes() {
    on_host("", |host| {
        let drop = "-A POSTERN -p tcp -m tcp --dport 22 -j DROP";
        let mut agent = host.start(&["--interface", "lo", "--protect", "tcp/22"]);
        assert!(mangle(host).contains(drop));

        agent.stop();

        assert!(mangle(host).contains(drop));
        host.output(AGENT, &["flush"]);
        assert!(!mangle(host).contains("POSTERN"));
    });
}

#[test]
fn the_chain_that_a_state_remembers_is_ours_and_goes_when_another_is_named_or_all_is_flushed() {
    for backend in ["nftables", "iptables"] {
        on_host("FW_ACCESS_TIMEOUT 600", |host| {
            let laid = |chain: &str| {
                let tables = host.output("nft", &["list", "tables"]);
                let table = format!("table inet {}\n", chain.to_lowercase());
                tables.contains(&table) || mangle(host).contains(&format!("-N {chain}\n"))
            };
            let start = |chain: &[&str]| {
                let common = ["--backend", backend, "--interface", "lo", "--hook", "none"];
                host.start(&[&common[..], &["--protect", "tcp/22"], chain].concat())
            };
            let state = host.state();
            let flush = ["flush", "--state", state.to_str().unwrap()];
            start(&["--chain", "OTHER"]).stop();

            // Named by nobody, it is the state's, and no obstacle.
            let mut agent = start(&[]);
            host.knock();
            agent.wait_for("grant opened");
            assert!(laid("OTHER") && !laid("POSTERN"), "{backend}");
            assert_eq!(host.reasons("grant-blocked"), [""; 0]);
            let words = [&[AGENT][..], &flush].concat();
            let refused = host.node.run(&words).unwrap().ok();
            assert!(refused.is_err() && laid("OTHER"), "{backend}");
            agent.stop();

            start(&["--chain", "THIRD"]).stop();
            assert!(laid("THIRD") && !laid("OTHER"), "{backend}");
            host.output(AGENT, &flush);
            assert!(!laid("THIRD"), "{backend}");
            assert!(!state.join("protected-ports").exists());
        });
    }
}

#[test]
fn left_to_itself_the_agent_takes_a_table_of_its_own_and_runs_no_iptables() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--backend", "auto", "--interface", "lo", "--hook", "none"]);
        host.knock();
        agent.wait_for("grant opened");

        let table = ["list", "table", "inet", "postern"];
        let open = host.output("nft", &table);
        assert!(open.contains("127.0.0.1 . tcp . 22 timeout "), "{open}");
        assert_eq!(
            host.output("nft", &["list", "tables"]),
            "table inet postern\n"
        );
        assert_eq!(host.output("ipset", &["list", "-n"]), "");
        agent.kill();
        assert_eq!(
            host.output("nft", &["list", "tables"]),
            "table inet postern\n"
        );
        let mut again = host.start(&["--backend", "auto", "--interface", "lo", "--hook", "none"]);
        again.stop();
        assert_eq!(host.output("nft", &["list", "ruleset"]), "");
    });
}

#[test]
fn a_second_agent_with_the_same_chain_is_refused() {
    on_host("", |host| {
        let mut first = host.start(&["--interface", "lo"]);

        let other_state = host.node.dir.join("other-state");
        let output = host
            .agent(&[
                "--interface",
                "lo",
                "--state",
                other_state.to_str().unwrap(),
            ])
            .output()
            .unwrap();

        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains("another agent manages chain POSTERN"),
            "{stderr}"
        );
        first.stop();
    });
}

#[test]
fn a_table_that_someone_flushes_is_repaired_and_what_was_open_is_open_again() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let mut agent = host.start(&["--interface", "lo", "--protect", "tcp/22"]);
        host.knock();
        agent.wait_for("grant opened");
        let rules = mangle(host);

        // Else the chain is back, and in use, before it can be deleted.
        agent.0.signal(Signal::SIGSTOP).unwrap();
        for program in ["iptables", "ip6tables"] {
            host.output(program, &["-w", "-t", "mangle", "-F"]);
            host.output(program, &["-w", "-t", "mangle", "-X"]);
        }
        host.output("ipset", &["destroy"]);
        agent.0.signal(Signal::SIGCONT).unwrap();
        agent.wait_for("the firewall was changed by someone else; repaired");
        agent.stop_when("the drift to be recorded", || {
            host.kinds().contains(&"drift".to_owned())
        });

        assert_eq!(mangle(host), rules);
    });
}

#[test]
fn a_dry_run_touches_nothing() {
    on_host("", |host| {
        let mut agent = host.start(&["--interface", "lo", "--dry-run", "--protect", "tcp/22"]);

        host.knock();
        agent.wait_for("grant opened");

        assert_eq!(host.output("ipset", &["list", "-n"]), "");
        assert!(!mangle(host).contains("POSTERN"));
        agent.stop();
    });
}
