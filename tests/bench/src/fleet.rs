//! A fleet around the arena: the real controller on a machine of its own, and members that this
//! program plays itself, each with its own keys, certificate and connection.
//!
//! Everything that members do must be done in [`Company::run`]: it runs in the client's network.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fleet::wire::operator_client::OperatorClient;
use fleet::wire::{
    ApplyPolicyRequest, CreateTokenRequest, Host, ListHostsRequest, LockMemberRequest,
};
use fleet::{Role, Token};
use harness::Node;
use harness::postern::{CONTROLLER_PORT, Controller, binary};
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

/// Until what is done at one controller is in force at all.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What a fleet is served by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Shape {
    /// Several need a database at a PostgreSQL server.
    pub(crate) controllers: usize,
    pub(crate) postgres: bool,
    /// No quota of events: how fast it can be, and not how fast it lets a host be.
    pub(crate) is_without_quota: bool,
}

/// Controllers, their first operator, and a runtime whose sockets are the client's.
pub(crate) struct Company {
    pub(crate) controller: Controller,
    /// Beside it, over the same database.
    pub(crate) others: Vec<Controller>,
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

// === impl Shape ===

impl Shape {
    /// One controller, with its database where all of this run have theirs.
    pub(crate) const fn one(postgres: bool) -> Self {
        Self {
            controllers: 1,
            postgres,
            is_without_quota: false,
        }
    }

    /// One controller with a file, and one, two and three over PostgreSQL.
    pub(crate) fn all() -> [Self; 4] {
        let of = |controllers, postgres| Self {
            controllers,
            postgres,
            is_without_quota: false,
        };
        [of(1, false), of(1, true), of(2, true), of(3, true)]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { controllers, .. } = self;
        let database = if self.postgres {
            "PostgreSQL"
        } else {
            "SQLite"
        };
        write!(f, "{database} x {controllers}")
    }
}

// === impl Company ===

impl Company {
    /// Makes a controller with an empty fleet on a new machine called `name`.
    pub(crate) fn start(arena: &Arena, name: &str) -> anyhow::Result<Self> {
        Self::start_as(arena, name, Shape::one(arena.is_over_postgres))
    }

    /// Makes controllers of an empty fleet, each on a new machine.
    pub(crate) fn start_as(arena: &Arena, name: &str, shape: Shape) -> anyhow::Result<Self> {
        allow_many_connections()?;
        let (controller, others) = controllers(arena, name, shape)?;
        let node = arena.client.clone();
        // Threads that a thread makes live in its network.
        let runtime = node.within(|| {
            Ok(tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?)
        })?;
        let members = members_dir(&controller.node);
        std::fs::create_dir_all(&members)?;
        let token: Token = controller.first_token.parse().context("first token")?;
        let dir = members.join("operator");
        let joining = async { join(&token, &dir, "operator").await };
        let operator = node.within(|| runtime.block_on(joining))?;
        Ok(Self {
            controller,
            others,
            members,
            operator,
            runtime,
            node,
        })
    }

    /// All of them, the first first.
    pub(crate) fn controllers(&self) -> impl Iterator<Item = &Controller> {
        std::iter::once(&self.controller).chain(&self.others)
    }

    /// Where they are reached.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.controllers().map(address).collect()
    }

    /// Waits until what was done at one controller is in force at all.
    pub(crate) async fn heard_by_all(&self) {
        if !self.others.is_empty() {
            tokio::time::sleep(HEARD_WITHIN).await;
        }
    }

    /// What the operator is.
    pub(crate) fn operator_dir(&self) -> PathBuf {
        self.operator.dir().to_owned()
    }

    /// The operator's `postern`, at her machine.
    pub(crate) fn client(&self) -> anyhow::Result<Command> {
        let mut client = self.node.command(binary("postern")?);
        client.env("POSTERN_PROFILE", self.operator.dir());
        Ok(client)
    }

    /// Where members are.
    pub(crate) fn members_dir(&self) -> PathBuf {
        self.members.clone()
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

    /// A new connection of the operator to the first controller, for other services than the operator's.
    pub(crate) async fn channel(&self) -> anyhow::Result<Channel> {
        self.channel_of(&self.operator).await
    }

    /// The same of any member.
    pub(crate) async fn channel_of(&self, member: &Membership) -> anyhow::Result<Channel> {
        Ok(member.channel_to(&address(&self.controller)).await?)
    }
}

// === impl Operator ===

impl Operator {
    /// The one in this directory, connected to this controller; members are made in `members`.
    pub(crate) async fn of(dir: &Path, members: &Path, controller: &str) -> anyhow::Result<Self> {
        let operator = Membership::load(dir)?;
        Ok(Self {
            client: OperatorClient::new(operator.channel_to(controller).await?),
            members: members.to_owned(),
        })
    }

    /// Lets a new host join, which keeps nothing on the disk.
    pub(crate) async fn passing_host(self, name: String) -> anyhow::Result<Membership> {
        let dir = self.members.join(&name);
        let member = self.member(Role::Host, name).await?;
        std::fs::remove_dir_all(dir)?;
        Ok(member)
    }

    /// Locks a user, and waits for nobody.
    pub(crate) async fn lock(&mut self, user: &str) -> anyhow::Result<()> {
        let request = LockMemberRequest {
            role: fleet::wire::Role::User.into(),
            name: user.to_owned(),
            reason: "benchmark".to_owned(),
            wait_secs: 1,
            ..LockMemberRequest::default()
        };
        let mut progress = self.client.lock_member(request).await?.into_inner();
        progress.message().await?;
        Ok(())
    }

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

/// Whether it was too many at once: said by the controller, or by its silence.
fn is_to_wait(error: &JoinError) -> bool {
    let JoinError::Connect(error) = error else {
        return false;
    };
    matches!(
        error,
        ConnectError::Unreachable { .. }
            | ConnectError::Refused {
                code: Code::ResourceExhausted,
                ..
            }
    )
}

/// Where members are kept: in memory, because they are the same machine here and would each wait for its disk.
fn members_dir(node: &Node) -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.join(format!("postern-bench-{}", node.namespace))
    } else {
        node.dir.join("members")
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.members);
    }
}

fn address(controller: &Controller) -> String {
    format!("{}:{CONTROLLER_PORT}", controller.node.v4)
}

/// Makes controllers that know of each other, each on a machine of its own.
fn controllers(
    arena: &Arena,
    name: &str,
    shape: Shape,
) -> anyhow::Result<(Controller, Vec<Controller>)> {
    let machine =
        |number: usize| arena.another_node(&format!("{name}-{shape}-{number}").replace(' ', ""));
    let node = machine(1)?;
    let (mut first, mut others) = if shape.postgres {
        let database = arena.database()?;
        let first = Controller::start_over(&node, &database)?;
        let others = (2..=shape.controllers)
            .map(|number| Controller::join_over(&machine(number)?, &database, &first))
            .collect::<anyhow::Result<Vec<_>>>()?;
        (first, others)
    } else {
        ensure!(
            shape.controllers == 1,
            "several controllers need --postgres"
        );
        (Controller::start(&node)?, Vec::new())
    };
    if others.is_empty() && !shape.is_without_quota {
        return Ok((first, others));
    }
    let all: Vec<String> = std::iter::once(&first)
        .chain(&others)
        .map(address)
        .collect();
    for controller in std::iter::once(&mut first).chain(&mut others) {
        let settings = controller.data.join("controller.toml");
        let before = std::fs::read_to_string(&settings)?;
        let quota = if shape.is_without_quota {
            "\n[quota]\nevent_bytes_per_second = 0\n"
        } else {
            ""
        };
        std::fs::write(settings, format!("controllers = {all:?}\n{before}{quota}"))?;
        controller.start_again()?;
    }
    Ok((first, others))
}

/// Thousands of connections from this program, and as many in the controller that it starts.
pub(crate) fn allow_many_connections() -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("open files")
}
