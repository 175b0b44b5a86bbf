//! The whole agent, alone, against stock fwknop: real packets, a real kernel, a real disk.
//!
//! Every test has a network namespace of its own with nothing but a loopback in it, which ends with
//! the test's thread. Needs root and fwknop; without them each test says so and passes.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::config::FirewallConfig;
use agent::firewall;
use rusqlite::Connection;
use tempfile::TempDir;

const KEY: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
const HMAC_KEY: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";

#[test]
fn a_packet_of_stock_fwknop_opens_once_and_its_copy_is_a_replay() {
    let Some(host) = Host::new("FW_ACCESS_TIMEOUT 600") else {
        return;
    };
    let mut agent = host.start(&["--interface", "lo"]);

    let packet = host.knock();
    agent.wait_for("grant opened");
    send(&packet);
    agent.wait_for("attempted message replay from: 127.0.0.1");
    agent.stop();

    let expected = ["agent-started", "policy-applied", "grant-opened", "replay"];
    assert_eq!(host.kinds()[..4], expected);
}

#[test]
fn a_hole_is_in_the_kernel_with_its_timeout_and_goes_with_the_agent() {
    let Some(host) = Host::new("FW_ACCESS_TIMEOUT 600") else {
        return;
    };
    let mut agent = host.start(&["--interface", "lo"]);

    host.knock();
    agent.wait_for("grant opened");

    let open = host.output("ipset", &["save"]);
    assert!(
        open.contains("add POSTERN_INPUT_4 127.0.0.1,tcp:22 timeout "),
        "{open}"
    );
    agent.stop();
    assert_eq!(host.output("ipset", &["list", "-n"]), "");
    let rules = host.output("iptables", &["-w", "-S"]);
    assert_eq!(
        rules,
        "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"
    );
    assert_eq!(host.kinds()[3..], ["grant-closed", "agent-stopped"]);
}

#[test]
fn a_protected_port_stays_closed_when_the_agent_goes() {
    let Some(host) = Host::new("") else {
        return;
    };
    let drop = "-A POSTERN_INPUT ! -i lo -p tcp -m tcp --dport 22 -j DROP";
    let mut agent = host.start(&["--interface", "lo", "--protect", "tcp/22"]);
    assert!(host.output("iptables", &["-w", "-S"]).contains(drop));

    agent.stop();

    assert!(host.output("iptables", &["-w", "-S"]).contains(drop));
    host.output(AGENT, &["flush"]);
    assert!(!host.output("iptables", &["-w", "-S"]).contains("POSTERN"));
}

#[test]
fn killed_the_agent_leaves_holes_that_end_by_themselves_and_are_recorded_later() {
    let Some(host) = Host::new("FW_ACCESS_TIMEOUT 600") else {
        return;
    };
    let mut agent = host.start(&["--interface", "lo"]);
    let packet = host.knock();
    agent.wait_for("grant opened");

    agent.kill();

    let open = host.output("ipset", &["save"]);
    assert!(open.contains("127.0.0.1,tcp:22 timeout 29"), "{open}");
    let mut again = host.start(&["--interface", "lo", "--flush-at-start", "no"]);
    assert!(host.output("ipset", &["save"]).contains("127.0.0.1,tcp:22"));
    send(&packet);
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
}

#[test]
fn a_restart_closes_what_was_open_unless_told_otherwise() {
    let Some(host) = Host::new("FW_ACCESS_TIMEOUT 600") else {
        return;
    };
    let mut agent = host.start(&["--interface", "lo", "--flush-at-exit", "no"]);
    host.knock();
    agent.wait_for("grant opened");
    agent.stop();
    assert!(host.output("ipset", &["save"]).contains("127.0.0.1,tcp:22"));

    let mut again = host.start(&["--interface", "lo"]);

    assert!(!host.output("ipset", &["save"]).contains("127.0.0.1,tcp:22"));
    again.stop();
    let reasons = host.column("reason", "grant-closed");
    assert_eq!(reasons, ["closed at the start of the agent"]);
}

#[test]
fn a_reload_revokes_what_the_new_policy_does_not_give_and_keeps_the_rest() {
    let Some(host) = Host::new("FW_ACCESS_TIMEOUT 600") else {
        return;
    };
    let mut agent = host.start(&["--interface", "lo"]);
    host.knock();
    agent.wait_for("grant opened");

    host.write_access("FW_ACCESS_TIMEOUT 500", "tcp/22,tcp/80");
    agent.hang_up();
    agent.wait_for("policy applied generation=2");
    assert!(
        host.output("ipset", &["save"])
            .contains("POSTERN_INPUT_4 127.0.0.1,tcp:22")
    );
    host.write_access("", "tcp/80");
    agent.hang_up();
    agent.wait_for("grant revoked");

    let sets = host.output("ipset", &["save"]);
    assert!(!sets.contains("POSTERN_INPUT_4 127.0.0.1"), "{sets}");
    assert!(sets.contains("POSTERN_INPUT_R4 127.0.0.1,tcp:22"), "{sets}");
    agent.stop();
}

#[test]
fn a_broken_access_file_changes_nothing_and_every_mistake_is_logged() {
    let Some(host) = Host::new("FW_ACCESS_TIMEOUT 600") else {
        return;
    };
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
}

#[test]
fn a_broken_access_file_at_the_start_is_exit_64_with_nothing_open() {
    let Some(host) = Host::new("NONSENSE 1") else {
        return;
    };

    let output = host
        .agent(&["--interface", "lo", "--protect", "tcp/22"])
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("access.conf:5"), "{stderr}");
}

#[test]
fn a_damaged_journal_is_exit_1_with_a_hint_and_nothing_open() {
    let Some(host) = Host::new("") else {
        return;
    };
    host.start(&["--interface", "lo"]).stop();
    let journal = host.state().join("journal.db");
    let bytes = fs::read(&journal).unwrap();
    fs::write(&journal, &bytes[..bytes.len() / 2]).unwrap();

    let output = host.agent(&["--interface", "lo"]).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("journal.db is damaged"), "{stderr}");
    assert!(stderr.contains("hint: move the file away"), "{stderr}");
    assert_eq!(host.output("ipset", &["list", "-n"]), "");
}

#[test]
fn a_second_agent_with_the_same_chain_is_refused() {
    let Some(host) = Host::new("") else {
        return;
    };
    let _first = firewall::open(&FirewallConfig::of_chain("POSTERN_INPUT")).unwrap();

    let output = host.agent(&["--interface", "lo"]).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("another agent manages chain POSTERN_INPUT"),
        "{stderr}"
    );
}

#[test]
fn a_table_that_someone_flushes_is_repaired_and_what_was_open_is_open_again() {
    let Some(host) = Host::new("FW_ACCESS_TIMEOUT 600") else {
        return;
    };
    let mut agent = host.start(&["--interface", "lo", "--protect", "tcp/22"]);
    host.knock();
    agent.wait_for("grant opened");
    let rules = host.output("iptables", &["-w", "-S"]);

    host.output("iptables", &["-w", "-F"]);
    host.output("iptables", &["-w", "-X"]);
    host.output("ip6tables", &["-w", "-F"]);
    host.output("ip6tables", &["-w", "-X"]);
    host.output("ipset", &["destroy"]);
    agent.wait_for("the firewall was changed by someone else; repaired");
    agent.stop_when(|| host.kinds().contains(&"drift".to_owned()));

    assert_eq!(host.output("iptables", &["-w", "-S"]), rules);
}

#[test]
fn a_capture_file_that_grows_is_followed() {
    let Some(host) = Host::new("") else {
        return;
    };
    let file = host.dir.path().join("capture.pcap");
    let follow = ["--pcap-file", file.to_str().unwrap(), "--follow"];
    let mut agent = host.start(&follow);
    let name = file.to_str().unwrap();
    let mut tcpdump = Command::new("tcpdump")
        .args(["-i", "lo", "-U", "-Z", "root", "-w", name, "udp port 62201"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually(|| fs::metadata(&file).is_ok_and(|found| found.len() >= 24));

    host.knock();
    agent.wait_for("grant opened");
    host.knock();
    agent.wait_for("grant opened");

    tcpdump.kill().unwrap();
    tcpdump.wait().unwrap();
    agent.stop();
}

#[test]
fn a_finished_capture_file_is_read_whatever_its_age() {
    let Some(host) = Host::new("") else {
        return;
    };
    let file = host.dir.path().join("capture.pcap");
    let packet = host.packet_of(&["--time-offset-minus", "10days"]);
    write_capture(&file, &packet);

    let mut agent = host.start(&["--pcap-file", file.to_str().unwrap()]);

    agent.wait_for("grant opened");
    agent.stop();
}

#[test]
fn packets_come_over_a_udp_socket_too() {
    let Some(host) = Host::new("DESTINATION 127.0.0.1") else {
        return;
    };
    let mut agent = host.start(&["--udp-server", "62201"]);

    host.knock();

    agent.wait_for("grant opened");
    agent.stop();
}

#[test]
fn an_interface_that_goes_away_is_waited_for() {
    let Some(host) = Host::new("") else {
        return;
    };
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
}

#[test]
fn any_interface_will_do() {
    let Some(host) = Host::new("") else {
        return;
    };
    let mut agent = host.start(&[]);

    host.knock();

    agent.wait_for("grant opened");
    agent.stop();
}

#[test]
fn a_dry_run_touches_nothing() {
    let Some(host) = Host::new("") else {
        return;
    };
    let mut agent = host.start(&["--interface", "lo", "--dry-run", "--protect", "tcp/22"]);

    host.knock();
    agent.wait_for("grant opened");

    assert_eq!(host.output("ipset", &["list", "-n"]), "");
    assert!(!host.output("iptables", &["-w", "-S"]).contains("POSTERN"));
    agent.stop();
}

#[test]
fn a_command_runs_as_its_user_without_roots_groups_and_its_end_is_recorded() {
    let Some(host) = Host::new("ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody") else {
        return;
    };
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
    let reasons = host.column("reason", "command-run");
    assert_eq!(
        reasons,
        [format!("start: {command}"), "exit code 7".to_owned()]
    );
}

const AGENT: &str = env!("CARGO_BIN_EXE_postern-agent");

/// A network namespace with a loopback, and an access file.
struct Host {
    dir: TempDir,
}

impl Host {
    fn new(stanza: &str) -> Option<Self> {
        let has_fwknop = Command::new("fwknop").arg("--version").output().is_ok();
        if !nix::unistd::geteuid().is_root() || !has_fwknop {
            eprintln!("skipped: needs root and fwknop");
            return None;
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let dir = TempDir::with_prefix("pt-agent-").unwrap();
        let host = Self { dir };
        host.output("ip", &["link", "set", "lo", "up"]);
        host.write_access(stanza, "tcp/22");
        Some(host)
    }

    fn write_access(&self, stanza: &str, ports: &str) {
        let text = format!(
            "SOURCE ANY\nOPEN_PORTS {ports}\nKEY_BASE64 {KEY}\nHMAC_KEY_BASE64 {HMAC_KEY}\n{stanza}\n"
        );
        fs::write(self.access(), text).unwrap();
    }

    fn access(&self) -> PathBuf {
        self.dir.path().join("access.conf")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(AGENT);
        command
            .arg("run")
            .arg("--access-file")
            .arg(self.access())
            .arg("--state")
            .arg(self.state())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Starts the agent and waits until it is ready.
    fn start(&self, arguments: &[&str]) -> Agent {
        let log = self.dir.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let process = self.agent(arguments).stderr(file).spawn().unwrap();
        let mut agent = Agent {
            process,
            log,
            seen: 0,
        };
        agent.wait_for("postern-agent is ready");
        agent
    }

    /// Sends a packet of stock fwknop and returns it.
    fn knock(&self) -> String {
        self.knock_with(&["-A", "tcp/22"])
    }

    fn knock_with(&self, arguments: &[&str]) -> String {
        let packet = self.fwknop(arguments);
        send(&packet);
        packet
    }

    fn packet_of(&self, arguments: &[&str]) -> String {
        self.fwknop(&[&["-A", "tcp/22"], arguments].concat())
    }

    /// A packet as stock fwknop makes it, not sent.
    fn fwknop(&self, arguments: &[&str]) -> String {
        let file = self.dir.path().join("packet");
        let _ = fs::remove_file(&file);
        let name = file.to_str().unwrap();
        let home = self.dir.path().to_str().unwrap();
        let output = Command::new("fwknop")
            .env("HOME", home)
            .args([
                "-D",
                "127.0.0.1",
                "-a",
                "127.0.0.1",
                "--test",
                "--save-packet",
                name,
            ])
            .args(["--key-base64-rijndael", KEY, "--key-base64-hmac", HMAC_KEY])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    fn output(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn kinds(&self) -> Vec<String> {
        self.query("SELECT kind FROM event ORDER BY seq")
    }

    fn column(&self, column: &str, kind: &str) -> Vec<String> {
        self.query(&format!(
            "SELECT {column} FROM event WHERE kind = '{kind}' ORDER BY seq"
        ))
    }

    fn query(&self, query: &str) -> Vec<String> {
        let journal = Connection::open(self.state().join("journal.db")).unwrap();
        let mut statement = journal.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

/// A running agent; killed when the test ends, however it ends.
struct Agent {
    process: Child,
    log: PathBuf,
    /// How much of the log has been waited for.
    seen: usize,
}

impl Agent {
    /// Waits until the log says `text`, after what was waited for before.
    fn wait_for(&mut self, text: &str) {
        let deadline = after(Duration::from_secs(20));
        loop {
            let log = fs::read_to_string(&self.log).unwrap();
            if let Some(at) = log[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(!deadline() && ended.is_none(), "no `{text}` in:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn hang_up(&self) {
        self.signal(nix::sys::signal::Signal::SIGHUP);
    }

    /// Ends the agent as systemd does.
    fn stop(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let status = self.process.wait().unwrap();
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(status.success(), "{status}:\n{log}");
    }

    fn stop_when(&mut self, condition: impl Fn() -> bool) {
        eventually(condition);
        // Not a stop: with it, the table would be taken down.
        self.kill();
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn send(packet: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .send_to(packet.as_bytes(), "127.0.0.1:62201")
        .unwrap();
}

/// A capture file as libpcap writes it, with one raw IPv4 packet.
fn write_capture(path: &std::path::Path, packet: &str) {
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

fn eventually(condition: impl Fn() -> bool) {
    let deadline = after(Duration::from_secs(20));
    while !condition() {
        assert!(!deadline(), "it never came to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Answers whether `time` has passed since the call.
fn after(time: Duration) -> impl Fn() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test that waits needs a limit")]
    let start = Instant::now();
    move || start.elapsed() > time
}
