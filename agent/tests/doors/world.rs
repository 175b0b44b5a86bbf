//! A host with an agent that stands alone, and a client on the same wire.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use agent::report::Report;
use harness::service::{Reach, TcpService};
use harness::{Node, Process, in_lab, machine, wait};
use nix::sys::signal::Signal;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_postern-agent");
pub(crate) const KEY: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
pub(crate) const HMAC_KEY: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";

/// The two machines.
pub(crate) struct World {
    pub(crate) host: Node,
    pub(crate) client: Node,
    _services: [TcpService; 2],
}

/// A running agent; killed when the test ends, however it ends.
pub(crate) struct Agent(Process);

/// Calls `story` with a host whose access file has these further lines. It serves ports 22 and 80.
pub(crate) fn in_world(access: &str, story: impl FnOnce(&World)) {
    in_lab(|lab| {
        machine::require(&["fwknop"])?;
        let host = lab.node("host", 10)?;
        let world = World {
            _services: [host.serve_tcp(22)?, host.serve_tcp(80)?],
            client: lab.node("client", 20)?,
            host,
        };
        world.write_access(access);
        story(&world);
        Ok(())
    });
}

// === impl World ===

impl World {
    pub(crate) fn write_access(&self, more: &str) {
        let text = format!(
            "SOURCE ANY\nOPEN_PORTS tcp/22\nKEY_BASE64 {KEY}\nHMAC_KEY_BASE64 {HMAC_KEY}\n{more}\n"
        );
        fs::write(self.access(), text).unwrap();
    }

    pub(crate) fn access(&self) -> PathBuf {
        self.host.dir.join("access.conf")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.host.dir.join("state")
    }

    /// `run` with the usual arguments.
    pub(crate) fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(AGENT);
        command.arg("run").arg("--access-file").arg(self.access());
        command.arg("--state").arg(self.state()).args(arguments);
        command
    }

    /// Starts the agent; does not wait for it to be ready.
    pub(crate) fn launch(&self, arguments: &[&str]) -> Agent {
        let process = self.host.start("agent", &mut self.agent(arguments));
        Agent(process.unwrap())
    }

    /// Starts the agent and waits until it is ready.
    pub(crate) fn start(&self, arguments: &[&str]) -> Agent {
        let mut agent = self.launch(arguments);
        agent.wait_for("postern-agent is ready");
        agent
    }

    /// The client knocks at this address as stock fwknop does.
    pub(crate) fn knock_at(&self, address: impl Into<IpAddr>) {
        let address = address.into().to_string();
        let own = self.client.v4.to_string();
        let mut words = vec!["fwknop", "-A", "tcp/22", "-a", &own, "-D", &address];
        words.extend(["--key-base64-rijndael", KEY, "--key-base64-hmac", HMAC_KEY]);
        self.client.run(&words).and_then(|ran| ran.ok()).unwrap();
    }

    /// Runs a program on the host that must succeed.
    pub(crate) fn on_host(&self, line: &str) -> String {
        run(&self.host, line)
    }

    /// Runs a program on the client that must succeed.
    pub(crate) fn on_client(&self, line: &str) -> String {
        run(&self.client, line)
    }

    /// Whether the client reaches this port of the host, by either family.
    pub(crate) fn is_open(&self, port: u16) -> bool {
        let look = || {
            let v4 = self.client.reach(self.host.v4, port).unwrap() == Reach::Open;
            let v6 = self.client.reach(self.host.v6, port).unwrap() == Reach::Open;
            Ok((v4 == v6).then_some(v4))
        };
        wait::some("one family is as the other", wait::SOON, look)
            .unwrap()
            .0
    }

    /// What is left in the packet filter after the machine was switched off.
    pub(crate) fn reboot(&self) {
        for program in ["iptables", "ip6tables"] {
            for table in ["filter", "mangle"] {
                self.on_host(&format!("{program} -w -t {table} -F"));
                self.on_host(&format!("{program} -w -t {table} -X"));
            }
        }
        self.on_host("ipset destroy");
        self.on_host("nft flush ruleset");
    }

    pub(crate) fn status(&self) -> Report {
        let state = self.state();
        let words = [
            AGENT,
            "status",
            "--json",
            "--state",
            state.to_str().unwrap(),
        ];
        // One that has just begun listens a moment later.
        let answered = wait::some("its status", wait::SOON, || {
            Ok(self.host.run(&words)?.ok().ok())
        });
        let (ran, _) = answered.unwrap();
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// The same for people.
    pub(crate) fn status_text(&self) -> String {
        let state = self.state();
        let words = [AGENT, "status", "--state", state.to_str().unwrap()];
        let ran = self.host.run(&words).and_then(|ran| ran.ok()).unwrap();
        ran.stdout
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.status().counters;
        counters.into_iter().find(|(n, _)| n == name).unwrap().1
    }
}

fn run(node: &Node, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    node.run(&words).and_then(|ran| ran.ok()).unwrap().stdout
}

// === impl Agent ===

impl Agent {
    /// Waits until the log says `text`, after what was waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.0.wait_for_next(text, wait::SOON).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        self.0.log()
    }

    pub(crate) fn hang_up(&self) {
        self.0.signal(Signal::SIGHUP).unwrap();
    }

    /// Ends the agent as systemd does.
    pub(crate) fn stop(&mut self) {
        self.0.signal(Signal::SIGTERM).unwrap();
        let code = self.0.wait(wait::SOON).unwrap();
        assert_eq!(code, 0, "{}", self.0.log());
    }
}

pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    wait::until(what, wait::SOON, || Ok(condition())).unwrap();
}
