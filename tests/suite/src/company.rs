//! A fleet: a controller, hosts, an operator, an auditor and users.

use harness::postern::{Agent, Controller, Member};
use harness::{Lab, Node, Result};

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

/// The names of the first `count` hosts.
pub fn host_names(count: u8) -> Vec<String> {
    (1..=count).map(|number| format!("web-{number}")).collect()
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
        let operator = Member::join(&desk, "operator", &controller.first_token)?;
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
