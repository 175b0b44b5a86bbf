//! A host with an agent, alone, and what is asked of both.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent::journal::{FILE_NAME, JournalReader};
use fleet::Event;
use harness::{Node, Process, SPA_PORT, in_lab, machine, wait};
use nix::sys::signal::Signal;

const KEY: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
const HMAC_KEY: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";

pub(super) const AGENT: &str = env!("CARGO_BIN_EXE_postern-agent");

/// A host with an access file.
pub(super) struct Host {
    pub(super) node: Node,
}

/// Calls `story` with a host of its own, whose access file has this further line.
pub(super) fn on_host(stanza: &str, story: impl FnOnce(&Host)) {
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
    pub(super) fn write_access(&self, stanza: &str, ports: &str) {
        let text = format!(
            "SOURCE ANY\nOPEN_PORTS {ports}\nKEY_BASE64 {KEY}\nHMAC_KEY_BASE64 {HMAC_KEY}\n{stanza}\n"
        );
        fs::write(self.access(), text).unwrap();
    }

    pub(super) fn access(&self) -> PathBuf {
        self.node.dir.join("access.conf")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.node.dir.join("state")
    }

    pub(super) fn agent(&self, arguments: &[&str]) -> Command {
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
    pub(super) fn start(&self, arguments: &[&str]) -> Agent {
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
    pub(super) fn knock(&self) -> String {
        self.knock_with(&["-A", "tcp/22"])
    }

    pub(super) fn knock_with(&self, arguments: &[&str]) -> String {
        let packet = self.fwknop(arguments);
        self.send(&packet);
        packet
    }

    pub(super) fn send(&self, packet: &str) {
        let sent = self
            .node
            .send(Ipv4Addr::LOCALHOST, SPA_PORT, packet.as_bytes());
        sent.unwrap();
    }

    pub(super) fn packet_of(&self, arguments: &[&str]) -> String {
        self.fwknop(&[&["-A", "tcp/22"], arguments].concat())
    }

    /// A packet as stock fwknop makes it, not sent.
    pub(super) fn fwknop(&self, arguments: &[&str]) -> String {
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

    pub(super) fn output(&self, program: &str, arguments: &[&str]) -> String {
        let words = [&[program], arguments].concat();
        self.node
            .run(&words)
            .and_then(|ran| ran.ok())
            .unwrap()
            .stdout
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        let events = self.events();
        events
            .iter()
            .map(|event| event.kind_name().into_owned())
            .collect()
    }

    pub(super) fn reasons(&self, kind: &str) -> Vec<String> {
        let mut events = self.events();
        events.retain(|event| event.kind_name() == kind);
        events.into_iter().map(|event| event.reason).collect()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        let journal = JournalReader::open(&self.state().join(FILE_NAME)).unwrap();
        let records = journal.events_after(0, 1_000).unwrap();
        let events = records.iter().map(|record| record.event().unwrap());
        events.collect()
    }
}

/// A running agent; killed when the test ends, however it ends.
pub(super) struct Agent(pub(super) Process);

impl Agent {
    /// Waits until the log says `text`, after what was waited for before.
    pub(super) fn wait_for(&mut self, text: &str) {
        self.0.wait_for_next(text, wait::SOON).unwrap();
    }

    pub(super) fn hang_up(&self) {
        self.0.signal(Signal::SIGHUP).unwrap();
    }

    /// Ends the agent as systemd does.
    pub(super) fn stop(&mut self) {
        self.0.signal(Signal::SIGTERM).unwrap();
        let code = self.0.wait(wait::SOON).unwrap();
        assert_eq!(code, 0, "{}", self.0.log());
    }

    pub(super) fn stop_when(&mut self, what: &str, condition: impl Fn() -> bool) {
        eventually(what, condition);
        // Not a stop: with it, the table would be taken down.
        self.kill();
    }

    pub(super) fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

/// The rules of the table in which the agent's chains stand.
pub(super) fn mangle(host: &Host) -> String {
    host.output("iptables", &["-w", "-t", "mangle", "-S"])
}

/// A capture file as libpcap writes it, with one raw IPv4 packet.
pub(super) fn write_capture(path: &Path, packet: &str) {
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

pub(super) fn without<T: AsRef<str>>(kinds: &[T], kind: &str) -> Vec<String> {
    let kinds = kinds.iter().map(|k| k.as_ref().to_owned());
    kinds.filter(|k| k != kind).collect()
}

pub(super) fn eventually(what: &str, condition: impl Fn() -> bool) {
    wait::until(what, wait::SOON, || Ok(condition())).unwrap();
}
