//! E10: a policy on its way to a thousand hosts, and an edit that concerns one of them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fleet::Role;
use fleet::wire::agent_client::AgentClient;
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{AcknowledgeRequest, SessionRequest};
use member::Membership;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Streaming;

use crate::arena::Arena;
use crate::clock;
use crate::fleet::{Company, Operator};
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::stats::{Sample, ms};

const HOSTS: usize = 1_000;
const HOSTS_QUICK: usize = 100;
/// Users; each pairwise stanza becomes one stanza for each of them.
const USERS: usize = 10;
/// Stanzas for all hosts; with the one of its own a host has 10, for 10 users 100.
const COMMON_STANZAS: usize = 9;
/// Policies that change every host.
const ROUNDS: u16 = 3;
/// Edits of one host.
const EDITS: u16 = 10;
/// How long others are listened to after an edit that does not concern them.
const SILENCE: Duration = Duration::from_millis(300);
/// When to give up.
const LIMIT: Duration = Duration::from_secs(60);

/// A host has applied a snapshot, and the controller has noted it.
#[derive(Clone, Copy, Debug)]
struct Applied {
    host: usize,
    generation: u64,
    bytes: usize,
    /// When the acknowledgement was answered.
    at: Instant,
}

/// The fleet as its operator sees it, and what its hosts say.
struct Watched {
    operator: Operator,
    hosts: usize,
    applied: mpsc::Receiver<Applied>,
    generation: u64,
}

/// Runs all of E10.
pub(crate) fn run(arena: &Arena, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let hosts = if quick { HOSTS_QUICK } else { HOSTS };
    let company = Company::start(arena, "apply")?;
    let (everyone, one, bytes) = company.run(async {
        let mut watched = watch(&company, hosts).await?;
        let mut everyone = Vec::new();
        let mut bytes = 0;
        for round in 0..ROUNDS {
            let (time, most) = watched.apply_to_all(round).await?;
            everyone.push(time);
            bytes = most;
        }
        let mut one = Vec::new();
        for edit in 1..=EDITS {
            one.push(watched.apply_to_one(edit).await?);
        }
        anyhow::Ok((Sample::new(everyone), Sample::new(one), bytes))
    })?;

    let (p50, worst) = (everyone.p50_ms(), ms(everyone.quantile_ms(1.0)));
    report.add(Row {
        experiment: "E10",
        case: format!("apply to last ack, {hosts} hosts"),
        server: Server::Postern,
        measure: "apply_p50_ms",
        value: p50,
        text: format!(
            "{} (worst of {ROUNDS} {worst}, {} KiB each)",
            ms(p50),
            bytes / 1024
        ),
        goal: "<= 2 s",
    })?;
    let (p50, worst) = (one.p50_ms(), ms(one.quantile_ms(1.0)));
    report.add(Row {
        experiment: "E10",
        case: format!("edit of one host of {hosts} to its ack"),
        server: Server::Postern,
        measure: "edit_p50_ms",
        value: p50,
        text: format!(
            "{} (worst of {EDITS} {worst}, nothing to the others)",
            ms(p50)
        ),
        goal: "<= 100 ms, nothing to the others",
    })
}

/// Lets users and hosts join, and every host listen.
async fn watch(company: &Company, hosts: usize) -> anyhow::Result<Watched> {
    let operator = company.operator().await?;
    let users = (0..USERS).map(|number| format!("user-{number}"));
    operator.members(Role::User, users.collect()).await?;
    let names = (0..hosts).map(host_name);
    let members = operator.members(Role::Host, names.collect()).await?;
    let (tell, applied) = mpsc::channel(hosts * 2);
    let mut opening = JoinSet::new();
    for (host, member) in members.into_iter().enumerate() {
        if opening.len() >= 32 {
            opening.join_next().await.context("no session")???;
        }
        let tell = tell.clone();
        opening.spawn(async move {
            let (client, directives) = open(&member).await?;
            tokio::spawn(async move {
                // Ends with the controller; a host that ends before is missed at the next policy.
                let _ = serve(host, client, directives, tell).await;
            });
            anyhow::Ok(())
        });
    }
    opening
        .join_all()
        .await
        .into_iter()
        .collect::<anyhow::Result<()>>()?;
    Ok(Watched {
        operator,
        hosts,
        applied,
        generation: 0,
    })
}

fn host_name(number: usize) -> String {
    format!("host-{number:04}")
}

type Directives = Streaming<fleet::wire::Directive>;
type Client = AgentClient<tonic::transport::Channel>;

async fn open(member: &Membership) -> anyhow::Result<(Client, Directives)> {
    let mut client = AgentClient::new(member.channel().await?);
    let request = SessionRequest {
        generation: 0,
        policy_digest: Vec::new(),
        agent_version: "bench".to_owned(),
        ..SessionRequest::default()
    };
    let directives = client.session(request).await?.into_inner();
    Ok((client, directives))
}

/// One host: acknowledges every snapshot. It does not read it, because that is the work of a
/// thousand other machines.
async fn serve(
    host: usize,
    mut client: Client,
    mut directives: Directives,
    tell: mpsc::Sender<Applied>,
) -> anyhow::Result<()> {
    while let Some(directive) = directives.message().await? {
        let Some(Kind::Policy(snapshot)) = directive.directive else {
            continue;
        };
        let bytes = snapshot.text.len().max(snapshot.packed.len());
        let request = AcknowledgeRequest {
            generation: snapshot.generation,
            policy_digest: snapshot.digest,
            rejected: Vec::new(),
            drift: String::new(),
            audit_fault: String::new(),
            ..AcknowledgeRequest::default()
        };
        client.acknowledge(request).await?;
        let applied = Applied {
            host,
            generation: snapshot.generation,
            bytes,
            at: clock::now(),
        };
        tell.send(applied).await?;
    }
    Ok(())
}

// === impl Watched ===

impl Watched {
    /// Applies a policy that changes every host; the time to the last acknowledgement, and the size
    /// of the greatest text.
    async fn apply_to_all(&mut self, round: u16) -> anyhow::Result<(Duration, usize)> {
        let text = policy(self.hosts, 1_000 + round, None);
        let start = clock::now();
        let changed = self.apply(&text).await?;
        ensure!(
            changed.len() == self.hosts,
            "{} hosts changed",
            changed.len()
        );
        let mut last = start;
        let mut bytes = 0;
        let mut seen = vec![false; self.hosts];
        for _ in 0..self.hosts {
            let applied = self.next(LIMIT).await.context("a host does not apply")?;
            ensure!(applied.generation == self.generation, "{applied:?}");
            let seen = seen.get_mut(applied.host).context("a foreign host")?;
            ensure!(!std::mem::replace(seen, true), "told twice: {applied:?}");
            last = last.max(applied.at);
            bytes = bytes.max(applied.bytes);
        }
        Ok((last - start, bytes))
    }

    /// Edits the stanza of one host; the time to its acknowledgement. Nobody else may hear of it.
    async fn apply_to_one(&mut self, edit: u16) -> anyhow::Result<Duration> {
        let host = usize::from(edit) * 7919 % self.hosts;
        let text = policy(self.hosts, 1_000 + ROUNDS - 1, Some((host, 2_000 + edit)));
        let start = clock::now();
        let changed = self.apply(&text).await?;
        ensure!(changed == [host_name(host)], "{changed:?} changed");
        let applied = self.next(LIMIT).await.context("the host does not apply")?;
        ensure!(applied.host == host, "another host was told: {applied:?}");
        let other = self.next(SILENCE).await;
        ensure!(other.is_none(), "another host was told: {other:?}");
        let time = applied.at - start;

        // As it was, so that the next edit concerns one host too.
        let restored = policy(self.hosts, 1_000 + ROUNDS - 1, None);
        self.apply(&restored).await?;
        let applied = self.next(LIMIT).await.context("not restored")?;
        ensure!(applied.host == host, "another host was told: {applied:?}");
        Ok(time)
    }

    async fn apply(&mut self, text: &str) -> anyhow::Result<Vec<String>> {
        let (generation, changed) = self.operator.apply(text, self.generation).await?;
        self.generation = generation;
        Ok(changed)
    }

    async fn next(&mut self, limit: Duration) -> Option<Applied> {
        timeout(limit, self.applied.recv()).await.ok().flatten()
    }
}

/// A policy in which every host has the common stanzas and one of its own, which opens `port`, or
/// another port on one host.
fn policy(hosts: usize, port: u16, other: Option<(usize, u16)>) -> String {
    let mut text = String::new();
    for number in 0..COMMON_STANZAS {
        let _ = write!(
            text,
            "NAME common-{number}\nHOSTS ANY\nSOURCE ANY\nOPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 30\n\n",
        );
    }
    for number in 0..hosts {
        let own_port = match other {
            Some((host, own_port)) if host == number => own_port,
            Some(_) | None => port,
        };
        let _ = write!(
            text,
            "NAME own-{number}\nHOSTS name={}\nSOURCE ANY\nOPEN_PORTS tcp/{own_port}\n\n",
            host_name(number),
        );
    }
    text
}
