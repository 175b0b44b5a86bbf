//! The whole agent, alone, against stock fwknop: real packets, a real kernel, a real disk.
//!
//! Every test has a host of its own in a lab, and everything happens on that host's loopback.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent::journal::{FILE_NAME, JournalReader};
use agent::report::Report;
use fleet::Event;
use harness::{Node, Process, SPA_PORT, in_lab, machine, wait};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const KEY: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
const HMAC_KEY: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";

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
fn a_state_directory_that_is_deleted_under_a_running_agent_is_written_anew_and_knocks_go_on() {
    on_host("", |host| {
        let mut agent = host.start(&["--interface", "lo"]);
        let packet = host.knock();
        let grants = || {
            let kinds = host.kinds();
            kinds.iter().filter(|kind| *kind == "grant-opened").count()
        };
        eventually("the first grant", || grants() == 1);

        fs::remove_dir_all(host.state()).unwrap();
        host.send(&packet);
        host.knock();

        eventually("the second grant", || {
            host.state().join(FILE_NAME).exists() && grants() == 2
        });
        assert!(host.kinds().contains(&"replay".to_owned()));
        assert!(host.reasons("audit-gap")[0].contains("no record is lost"));
        agent.stop();
        host.start(&["--interface", "lo"]).stop();
        assert_eq!(grants(), 2);
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
fn a_capture_file_that_grows_is_followed() {
    on_host("", |host| {
        let file = host.node.dir.join("capture.pcap");
        let follow = ["--pcap-file", file.to_str().unwrap(), "--follow"];
        let mut agent = host.start(&follow);
        let name = file.to_str().unwrap();
        let mut tcpdump = host.node.command("tcpdump");
        tcpdump.args(["-i", "lo", "-U", "-Z", "root", "-w", name, "udp port 62201"]);
        let mut tcpdump = host.node.start("tcpdump", &mut tcpdump).unwrap();
        eventually("the file to begin", || {
            fs::metadata(&file).is_ok_and(|found| found.len() >= 24)
        });

        host.knock();
        agent.wait_for("grant opened");
        host.knock();
        agent.wait_for("grant refreshed");

        tcpdump.kill().unwrap();
        agent.stop();
    });
}

#[test]
fn a_finished_capture_file_is_read_whatever_its_age() {
    on_host("", |host| {
        let file = host.node.dir.join("capture.pcap");
        let packet = host.packet_of(&["--time-offset-minus", "10days"]);
        write_capture(&file, &packet);

        let mut agent = host.start(&["--pcap-file", file.to_str().unwrap()]);

        agent.wait_for("grant opened");
        agent.stop();
    });
}

#[test]
fn packets_come_over_a_udp_socket_too() {
    on_host("DESTINATION 127.0.0.1", |host| {
        let mut agent = host.start(&["--udp-server", "62201"]);

        host.knock();

        agent.wait_for("grant opened");
        agent.stop();
    });
}

#[test]
fn an_interface_that_goes_away_is_waited_for() {
    on_host("", |host| {
        host.output(
            "ip",
            &["link", "add", "pt0", "type", "veth", "peer", "name", "pt1"],
        );
        host.output("ip", &["link", "set", "pt0", "up"]);
        let mut agent = host.start(&["--interface", "pt0", "--interface", "lo"]);

        host.output("ip", &["link", "del", "pt0"]);
        agent.wait_for("a capture went down");
        host.knock();
        agent.wait_for("grant opened");
        host.output(
            "ip",
            &["link", "add", "pt0", "type", "veth", "peer", "name", "pt1"],
        );
        host.output("ip", &["link", "set", "pt0", "up"]);

        agent.wait_for("capturing again");
        agent.stop();
    });
}

#[test]
fn any_interface_will_do() {
    on_host("", |host| {
        let mut agent = host.start(&[]);

        host.knock();

        agent.wait_for("grant opened");
        agent.stop();
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

#[test]
fn a_running_agent_says_how_it_is_over_a_socket_of_its_own_and_counts_into_its_log() {
    on_host("FW_ACCESS_TIMEOUT 600", |host| {
        let state = host.state();
        let status = ["status", "--state", state.to_str().unwrap()];
        let mut agent = host.start(&["--interface", "lo"]);
        host.knock();
        agent.wait_for("grant opened");

        let text = host.output(AGENT, &status);
        let json = host.output(AGENT, &[&status[..], &["--json"]].concat());
        agent.0.signal(Signal::SIGUSR1).unwrap();
        agent.wait_for("counters: ");

        assert!(text.contains("\ngeneration   1, in force for "), "{text}");
        assert!(text.contains("\ngrants open  1\n"), "{text}");
        let captures = text.lines().filter(|line| line.starts_with("capture "));
        let captures: Vec<&str> = captures.collect();
        let [capture] = captures.as_slice() else {
            panic!("{text}");
        };
        assert!(capture.starts_with("capture      lo, Ethernet, "), "{text}");
        assert!(capture.ends_with(" frames, 0 packets lost, up"), "{text}");
        let report: Report = serde_json::from_str(&json).unwrap();
        assert_eq!((report.generation, report.grants_open), (1, 1));
        assert_eq!(report.drift, None);
        assert!(report.counters.contains(&("granted".to_owned(), 1)));
        agent.stop();
        let words = [&[AGENT][..], &status].concat();
        let ran = host.node.run(&words).unwrap();
        assert!(ran.stderr.contains("no agent answers at"), "{}", ran.stderr);
    });
}

const AGENT: &str = env!("CARGO_BIN_EXE_postern-agent");

/// A host with an access file.
struct Host {
    node: Node,
}

/// Calls `story` with a host of its own, whose access file has this further line.
fn on_host(stanza: &str, story: impl FnOnce(&Host)) {
    in_lab(|lab| {
        machine::require(&["fwknop", "tcpdump"])?;
        let host = Host {
            node: lab.node("host", 10)?,
        };
        host.write_access(stanza, "tcp/22");
        story(&host);
        Ok(())
    });
}

impl Host {
    fn write_access(&self, stanza: &str, ports: &str) {
        let text = format!(
            "SOURCE ANY\nOPEN_PORTS {ports}\nKEY_BASE64 {KEY}\nHMAC_KEY_BASE64 {HMAC_KEY}\n{stanza}\n"
        );
        fs::write(self.access(), text).unwrap();
    }

    fn access(&self) -> PathBuf {
        self.node.dir.join("access.conf")
    }

    fn state(&self) -> PathBuf {
        self.node.dir.join("state")
    }

    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = self.node.command(AGENT);
        command.arg("run").arg("--access-file").arg(self.access());
        if !arguments.contains(&"--state") {
            command.arg("--state").arg(self.state());
        }
        command.args(arguments);
        command
    }

    /// Starts the agent and waits until it is ready: with the back end whose programs are asked here
    /// what is so.
    fn start(&self, arguments: &[&str]) -> Agent {
        let chosen: &[&str] = if arguments.contains(&"--backend") {
            &[]
        } else {
            &["--backend", "iptables"]
        };
        let arguments = [chosen, arguments].concat();
        let process = self.node.start("agent", &mut self.agent(&arguments));
        let mut agent = Agent(process.unwrap());
        agent.wait_for("postern-agent is ready");
        agent
    }

    /// Sends a packet of stock fwknop and returns it.
    fn knock(&self) -> String {
        self.knock_with(&["-A", "tcp/22"])
    }

    fn knock_with(&self, arguments: &[&str]) -> String {
        let packet = self.fwknop(arguments);
        self.send(&packet);
        packet
    }

    fn send(&self, packet: &str) {
        let sent = self
            .node
            .send(Ipv4Addr::LOCALHOST, SPA_PORT, packet.as_bytes());
        sent.unwrap();
    }

    fn packet_of(&self, arguments: &[&str]) -> String {
        self.fwknop(&[&["-A", "tcp/22"], arguments].concat())
    }

    /// A packet as stock fwknop makes it, not sent.
    fn fwknop(&self, arguments: &[&str]) -> String {
        let file = self.node.dir.join("packet");
        let _ = fs::remove_file(&file);
        let name = file.to_str().unwrap();
        let mut words = vec!["fwknop", "-D", "127.0.0.1", "-a", "127.0.0.1", "--test"];
        words.extend(["--save-packet", name]);
        words.extend(["--key-base64-rijndael", KEY, "--key-base64-hmac", HMAC_KEY]);
        words.extend(arguments);
        self.node.run(&words).and_then(|ran| ran.ok()).unwrap();
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    fn output(&self, program: &str, arguments: &[&str]) -> String {
        let words = [&[program], arguments].concat();
        self.node
            .run(&words)
            .and_then(|ran| ran.ok())
            .unwrap()
            .stdout
    }

    fn kinds(&self) -> Vec<String> {
        let events = self.events();
        events
            .iter()
            .map(|event| event.kind_name().into_owned())
            .collect()
    }

    fn reasons(&self, kind: &str) -> Vec<String> {
        let mut events = self.events();
        events.retain(|event| event.kind_name() == kind);
        events.into_iter().map(|event| event.reason).collect()
    }

    fn events(&self) -> Vec<Event> {
        let journal = JournalReader::open(&self.state().join(FILE_NAME)).unwrap();
        let records = journal.events_after(0, 1_000).unwrap();
        let events = records.iter().map(|record| record.event().unwrap());
        events.collect()
    }
}

/// A running agent; killed when the test ends, however it ends.
struct Agent(Process);

impl Agent {
    /// Waits until the log says `text`, after what was waited for before.
    fn wait_for(&mut self, text: &str) {
        self.0.wait_for_next(text, wait::SOON).unwrap();
    }

    fn hang_up(&self) {
        self.0.signal(Signal::SIGHUP).unwrap();
    }

    /// Ends the agent as systemd does.
    fn stop(&mut self) {
        self.0.signal(Signal::SIGTERM).unwrap();
        let code = self.0.wait(wait::SOON).unwrap();
        assert_eq!(code, 0, "{}", self.0.log());
    }

    fn stop_when(&mut self, what: &str, condition: impl Fn() -> bool) {
        eventually(what, condition);
        // Not a stop: with it, the table would be taken down.
        self.kill();
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

/// A capture file as libpcap writes it, with one raw IPv4 packet.
/// The rules of the table in which the agent's chains stand.
fn mangle(host: &Host) -> String {
    host.output("iptables", &["-w", "-t", "mangle", "-S"])
}

fn write_capture(path: &Path, packet: &str) {
    let mut udp = vec![0xd4, 0x31, 0xf2, 0xf9];
    udp.extend_from_slice(&u16::try_from(packet.len() + 8).unwrap().to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(packet.as_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&u16::try_from(udp.len() + 20).unwrap().to_be_bytes());
    ip.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    ip.extend_from_slice(&udp);
    let mut file = fs::File::create(path).unwrap();
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101];
    let length = u32::try_from(ip.len()).unwrap();
    for number in header.into_iter().chain([1, 0, length, length]) {
        file.write_all(&number.to_le_bytes()).unwrap();
    }
    file.write_all(&ip).unwrap();
}

fn without<T: AsRef<str>>(kinds: &[T], kind: &str) -> Vec<String> {
    let kinds = kinds.iter().map(|k| k.as_ref().to_owned());
    kinds.filter(|k| k != kind).collect()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    wait::until(what, wait::SOON, || Ok(condition())).unwrap();
}
