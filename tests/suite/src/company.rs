//! A fleet: a controller, hosts, an operator, an auditor and users.

use harness::fwknop::fwknop;
use harness::postern::{Agent, Controller, Member};
use harness::{Lab, Node, Result, wait};

/// alice may open port 22 of every web host with her own key.
pub const POLICY: &str = "\
PROTECT tcp/22

NAME alice-ssh
HOSTS role=web
SOURCE ANY
REQUIRE_USERNAME alice
OPEN_PORTS tcp/22
FW_ACCESS_TIMEOUT 20
";

/// A stanza whose key verifies on every host.
pub const SHARED: &str = "
NAME shared-ssh
HOSTS ANY
SOURCE ANY
KEY shared-passphrase
HMAC_KEY shared-hmac-passphrase
OPEN_PORTS tcp/22
FW_ACCESS_TIMEOUT 5
";

/// What the stock client needs for [`SHARED`].
pub const SHARED_ARGS: &[&str] = &[
    "--key-rijndael",
    "shared-passphrase",
    "--key-hmac",
    "shared-hmac-passphrase",
];

/// A running fleet under a policy.
#[derive(Debug)]
pub struct Company {
    /// 192.0.2.1.
    pub controller: Controller,
    /// May edit policy.
    pub operator: Member,
    /// May ask.
    pub auditor: Member,
    /// `web-1`, `web-2`, ... at 192.0.2.11 and up, each with the labels `role=web` and `number=N`.
    pub hosts: Vec<Agent>,
    /// alice, at 192.0.2.21.
    pub alice: Member,
    /// A machine of nobody, at 192.0.2.66.
    pub stranger: Node,
}

/// The stock client knocks at a host with the key of [`SHARED`] for port 22.
///
/// # Errors
///
/// When it fails.
pub fn shared_knock(from: &Node, host: &Agent, more: &[&str]) -> Result<()> {
    fwknop(
        from,
        host.node.v4,
        &[&["-A", "tcp/22"], more, SHARED_ARGS].concat(),
    )?;
    Ok(())
}

// === impl Company ===

impl Company {
    /// A fleet of `hosts` hosts and the people, all in sync with `policy`.
    ///
    /// # Errors
    ///
    /// When a part does not come up.
    pub fn found(lab: &Lab, hosts: u8, policy: &str) -> Result<Self> {
        let controller = Controller::start(&lab.node("control", 1)?)?;
        let desk = lab.node("desk", 5)?;
        let operator = Member::join_as(&desk, "operator", &controller.first_token)?;
        let auditor = Member::join(&desk, "auditor", &operator.token("auditor", "ann", &[])?)?;
        let alice = lab.node("alice", 21)?;
        let alice = Member::join(&alice, "alice", &operator.token("user", "alice", &[])?)?;
        let agents = (1..=hosts)
            .map(|number| {
                let node = lab.node(&format!("web-{number}"), 10 + number)?;
                let label = format!("number={number}");
                let token = operator.token("host", &node.name, &["role=web", &label])?;
                Agent::joined(&node, &token)
            })
            .collect::<Result<Vec<_>>>()?;
        let company = Self {
            controller,
            operator,
            auditor,
            hosts: agents,
            alice,
            stranger: lab.node("stranger", 66)?,
        };
        company.apply(policy, "the first")?;
        // What is dated in the second in which the fleet's list began may have been granted before it.
        wait::until_next_second();
        Ok(company)
    }

    /// Applies a policy and waits until every host enforces it.
    ///
    /// # Errors
    ///
    /// When it is refused or a host does not follow.
    pub fn apply(&self, policy: &str, why: &str) -> Result<()> {
        self.operator.apply(policy, why)?.ok()?;
        self.operator.hosts_in_sync(self.hosts.len())
    }

    /// The agent of host `number`, from 1.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[expect(
        clippy::indexing_slicing,
        reason = "a test that asks for a host it has not made should stop here"
    )]
    pub fn host(&self, number: usize) -> &Agent {
        &self.hosts[number - 1]
    }

    /// As [`Company::host`], to be changed.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[expect(
        clippy::indexing_slicing,
        reason = "a test that asks for a host it has not made should stop here"
    )]
    pub fn host_mut(&mut self, number: usize) -> &mut Agent {
        &mut self.hosts[number - 1]
    }
}
