//! The stage: who is there, on which machine, under which policy.

use harness::postern::{Agent, Controller, Member};
use harness::service::TcpService;
use harness::{Lab, Node, Result, SPA_PORT};

use crate::story::Story;

/// The policy at the start, and one from which the user is gone.
const POLICY: &str = include_str!("../../../../../deploy/demo/policy.conf");
const POLICY_WITHOUT_ALICE: &str =
    include_str!("../../../../../deploy/demo/policy-without-alice.conf");

/// What the policies call FW_ACCESS_TIMEOUT.
pub(crate) const TIMEOUT_SECS: u64 = 6;

/// The shared key of the policies, as people who came from fwknop have it in their scripts.
pub(crate) const SHARED_KEY: &str = "demo-shared-passphrase";
pub(crate) const SHARED_HMAC_KEY: &str = "demo-shared-hmac-passphrase";

/// A host, its agent and the listener behind port 22.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) agent: Agent,
    pub(crate) ssh: TcpService,
}

/// Everyone and everything.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) web_1: Host,
    pub(crate) web_2: Host,
    pub(crate) db_1: Host,
    /// May open port 22 everywhere, with her own key.
    pub(crate) alice: Member,
    /// Has the shared key and a stock fwknop client.
    pub(crate) bob: Node,
    /// Listens on the wire and sends what she heard.
    pub(crate) mallory: Node,
    /// Edits policy.
    pub(crate) olga: Member,
    /// Asks who opened what.
    pub(crate) ann: Member,
    _controller: Controller,
}

// === impl Stage ===

impl Stage {
    /// Builds the fleet from nothing, as its operator would.
    pub(crate) fn set(lab: &Lab, story: &mut Story) -> Result<Self> {
        story.scene("The fleet: a controller, three hosts, and people; each on its own machine");
        let controller = Controller::start(&lab.node("control", 1)?)?;
        let olga = Member::join_as(&lab.node("olga", 5)?, "olga", &controller.first_token)?;
        story.fact("the controller serves, and olga has joined as its first operator");

        let host = |name: &str, number: u8, role: &str| -> Result<Host> {
            let node = lab.node(name, number)?;
            let ssh = node.serve_tcp(22)?;
            let token = olga.token("host", name, &[&format!("role={role}"), "env=prod"])?;
            let agent = Agent::joined(&node, &token)?;
            story.fact(&format!("{name} ({}) has joined as a host", node.v4));
            Ok(Host { node, agent, ssh })
        };
        let web_1 = host("web-1", 11, "web")?;
        let web_2 = host("web-2", 12, "web")?;
        let db_1 = host("db-1", 13, "db")?;

        let alice = lab.node("alice", 21)?;
        let alice = Member::join(&alice, "alice", &olga.token("user", "alice", &[])?)?;
        let ann = lab.node("ann", 6)?;
        let ann = Member::join(&ann, "ann", &olga.token("auditor", "ann", &[])?)?;
        story.fact("alice has joined as a user and ann as an auditor");

        Ok(Self {
            web_1,
            web_2,
            db_1,
            alice,
            bob: lab.node("bob", 22)?,
            mallory: lab.node("mallory", 66)?,
            olga,
            ann,
            _controller: controller,
        })
    }

    pub(crate) fn hosts(&self) -> [&Host; 3] {
        [&self.web_1, &self.web_2, &self.db_1]
    }

    /// Applies the policy in which alice may open port 22, and waits until all hosts enforce it.
    pub(crate) fn apply_policy(&self, story: &Story) -> Result<()> {
        story.terminal("olga", "cat policy.conf", &without_comments(POLICY));
        let ran = self.olga.apply(POLICY, "alice opens ssh")?.ok()?;
        story.terminal(
            "olga",
            "postern policy apply policy.conf -m 'alice opens ssh'",
            &ran.text(),
        );
        self.olga.hosts_in_sync(3)
    }

    /// Applies the policy from which alice is gone.
    pub(crate) fn apply_policy_without_alice(&self) -> Result<harness::Ran> {
        self.olga
            .apply(POLICY_WITHOUT_ALICE, "alice has left")?
            .ok()
    }

    /// Sends a captured packet again, from the machine that heard it, to every host.
    pub(crate) fn replay_everywhere(&self, from: &Node, packet: &[u8]) -> Result<()> {
        for host in self.hosts() {
            from.send(host.node.v4, SPA_PORT, packet)?;
        }
        Ok(())
    }
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}
