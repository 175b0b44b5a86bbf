//! A fleet around the arena: the real controller on a machine of its own, and members that this
//! program plays itself, each with its own keys, certificate and connection.
//!
//! Everything that members do must be done in [`Company::run`]: it runs in the client's network.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use fleet::wire::operator_client::OperatorClient;
use fleet::wire::{ApplyPolicyRequest, CreateTokenRequest, Host, ListHostsRequest};
use fleet::{Role, Token};
use harness::Node;
use harness::postern::Controller;
use member::{ConnectError, JoinError, JoinOptions, Membership};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::arena::Arena;
use crate::clock;

/// Members that join at the same time.
const JOINING_MAX: usize = 16;
/// How long a host may take to apply what it should.
const SYNC_LIMIT: Duration = Duration::from_secs(20);
/// How long a member may have to wait before it may join, and between two trials.
const JOIN_LIMIT: Duration = Duration::from_secs(120);
const JOIN_PAUSE: Duration = Duration::from_secs(1);

/// A controller, its first operator, and a runtime whose sockets are the client's.
pub(crate) struct Company {
    pub(crate) controller: Controller,
    members: PathBuf,
    operator: Membership,
    runtime: Runtime,
    node: Node,
}

/// The operator's connection.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    client: OperatorClient<Channel>,
    members: PathBuf,
}

// === impl Company ===

impl Company {
    /// Makes a controller with an empty fleet on a new machine called `name`.
    pub(crate) fn start(arena: &Arena, name: &str) -> anyhow::Result<Self> {
        allow_many_connections()?;
        let machine = arena.another_node(name)?;
        let controller = arena.controller(&machine)?;
        let node = arena.client.clone();
        // Threads that a thread makes live in its network.
        let runtime = node.within(|| {
            Ok(tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?)
        })?;
        let members = node.dir.join(format!("members-{name}"));
        std::fs::create_dir_all(&members)?;
        let token: Token = controller.first_token.parse().context("first token")?;
        let dir = members.join("operator");
        let joining = async { join(&token, &dir, "operator").await };
        let operator = node.within(|| runtime.block_on(joining))?;
        Ok(Self {
            controller,
            members,
            operator,
            runtime,
            node,
        })
    }

    /// Runs `work`, whose sockets are the client's.
    pub(crate) fn run<T: Send>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send,
    ) -> anyhow::Result<T> {
        self.node.within(|| self.runtime.block_on(work))
    }

    /// A new connection of the operator.
    pub(crate) async fn operator(&self) -> anyhow::Result<Operator> {
        Ok(Operator {
            client: OperatorClient::new(self.channel().await?),
            members: self.members.clone(),
        })
    }

    /// A new connection of the operator, for other services than the operator's.
    pub(crate) async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(self.operator.channel().await?)
    }
}

// === impl Operator ===

impl Operator {
    /// Makes a one-time token.
    pub(crate) async fn token(&mut self, role: Role, name: &str) -> anyhow::Result<String> {
        let request = CreateTokenRequest {
            role: fleet::wire::Role::from(role).into(),
            name: name.to_owned(),
            ..CreateTokenRequest::default()
        };
        Ok(self.client.create_token(request).await?.into_inner().token)
    }

    /// Lets a new member join.
    pub(crate) async fn member(mut self, role: Role, name: String) -> anyhow::Result<Membership> {
        let token: Token = self.token(role, &name).await?.parse()?;
        join(&token, &self.members.join(&name), &name).await
    }

    /// Lets many new members of one role join, a few at a time; in the order of `names`.
    pub(crate) async fn members(
        &self,
        role: Role,
        names: Vec<String>,
    ) -> anyhow::Result<Vec<Membership>> {
        let mut joining = JoinSet::new();
        let mut joined = Vec::with_capacity(names.len());
        for name in names {
            if joining.len() >= JOINING_MAX {
                joined.extend(joining.join_next().await);
            }
            joining.spawn(self.clone().member(role, name));
        }
        joined.extend(joining.join_all().await.into_iter().map(Ok));
        let mut members = joined
            .into_iter()
            .map(|joined| joined?)
            .collect::<anyhow::Result<Vec<_>>>()?;
        members.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(members)
    }

    /// Applies a policy; gives its generation and the hosts that it changes.
    pub(crate) async fn apply(
        &mut self,
        text: &str,
        base: u64,
    ) -> anyhow::Result<(u64, Vec<String>)> {
        let request = ApplyPolicyRequest {
            text: text.to_owned(),
            base_generation: base,
            message: "benchmark".to_owned(),
            file: "policy.conf".to_owned(),
            ..ApplyPolicyRequest::default()
        };
        let applied = self.client.apply_policy(request).await?.into_inner();
        Ok((applied.generation, applied.changed_hosts))
    }

    /// Waits until `host` is connected and has the policy it should have.
    pub(crate) async fn in_sync(&mut self, host: &str) -> anyhow::Result<()> {
        let limit = clock::now() + SYNC_LIMIT;
        let is_in_sync = |known: &Host| {
            let has_policy = known.target_generation > 0 && known.stanzas > 0;
            known.name == host && known.connected && known.in_sync && has_policy
        };
        loop {
            let hosts = self.client.list_hosts(ListHostsRequest {}).await?;
            let hosts = hosts.into_inner().hosts;
            if hosts.iter().any(is_in_sync) {
                return Ok(());
            }
            if clock::now() > limit {
                bail!("{host} is not in sync; the controller knows {hosts:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn join(token: &Token, dir: &Path, name: &str) -> anyhow::Result<Membership> {
    let options = JoinOptions {
        requested_name: Some(name.to_owned()),
        // No simulated host listens for packets, so they may all say that they live here.
        address: (token.role == Role::Host).then(|| "192.0.2.250".to_owned()),
        ..JoinOptions::default()
    };
    let limit = clock::now() + JOIN_LIMIT;
    loop {
        match member::join(token, dir, options.clone()).await {
            // All of the fleet joins from one address, and a controller lets none join without end.
            Err(error) if is_to_wait(&error) && clock::now() < limit => {
                tokio::time::sleep(JOIN_PAUSE).await;
            }
            joined => return joined.with_context(|| format!("{name} cannot join")),
        }
    }
}

fn is_to_wait(error: &JoinError) -> bool {
    let JoinError::Connect(ConnectError::Refused { code, .. }) = error else {
        return false;
    };
    *code == Code::ResourceExhausted
}

/// Thousands of connections from this program, and as many in the controller that it starts.
fn allow_many_connections() -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("open files")
}
