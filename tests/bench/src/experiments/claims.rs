//! E9: a key that several hosts share, so that a grant needs the controller's word.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fleet::Role;
use fleet::wire::agent_client::AgentClient;
use fleet::wire::{ClaimRequest, SessionRequest};
use harness::postern::Agent;
use harness::wait;
use member::Membership;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::arena::Arena;
use crate::clock;
use crate::experiments::grants::{self, Processors, Rhythm};
use crate::fleet::Company;
use crate::keyring::{Form, Keyring};
use crate::report::{Report, Row};
use crate::servers::{POSTERN_READY, Running, Server};
use crate::stats::{Sample, ms};

/// As in E1, but for processors: what answers a claim waits for the kernel's own threads.
const RHYTHM: Rhythm = Rhythm {
    between: grants::BETWEEN,
    processors: Processors::AsTheyAre,
};

/// Hosts that claim.
const HOSTS: usize = 4;
/// Claims under way when as many as possible are made.
const AT_ONCE: usize = 64;
/// The rate at which the latency of a claim is measured, in claims per second.
const OFFERED: u32 = 5_000;
/// Claimants who make that rate together, each one of its claims after the other.
const CLAIMANTS: u32 = 50;

/// How claims are made.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Tells the digests of two runs apart.
    number: u8,
    lanes: u32,
    /// Time between two claims of one lane; `None` for as soon as the last is answered.
    every: Option<Duration>,
    time: Duration,
}

/// Runs all of E9.
pub(crate) fn run(arena: &Arena, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let company = Company::start(arena, "claims")?;
    let keyring = Keyring::new(1, 30);
    let running = join_server(arena, &company, keyring)?;
    latency(arena, keyring, if quick { 20 } else { 60 }, report)?;
    running.stop()?;
    rate(&company, keyring, quick, report)
}

/// Lets the server's agent join, and gives it a stanza whose key is valid on every host.
fn join_server(arena: &Arena, company: &Company, keyring: Keyring) -> anyhow::Result<Running> {
    let node = &arena.server;
    let state = node.dir.join("agent-state");
    let _ = fs::remove_dir_all(&state);
    arena.reset_firewall()?;
    let token = company.run(async {
        let mut operator = company.operator().await?;
        operator.token(Role::Host, "server").await
    })?;
    Agent::join(node, &token)?.ok()?;
    let mut command = node.command(harness::postern::binary("postern-agent")?);
    command.args(["run", "--interface", "eth1", "--state"]);
    command.arg(state);
    let mut process = node.start("postern-agent", &mut command)?;
    process.wait_for(POSTERN_READY, wait::SOON)?;
    company.run(async {
        let mut operator = company.operator().await?;
        operator
            .apply(&keyring.access_conf("HOSTS ANY\n"), 0)
            .await?;
        operator.in_sync("server").await
    })?;
    Ok(Running { process })
}

fn latency(
    arena: &Arena,
    keyring: Keyring,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    for (form, word) in [(Form::Stock, "stock"), (Form::Tagged, "tagged")] {
        let sample = grants::measure(arena, keyring, form, count, RHYTHM)?;
        let (p50, p95) = (sample.p50_ms(), sample.p95_ms());
        report.add(Row {
            experiment: "E9",
            case: format!("latency p50, claimed, {word}"),
            server: Server::Postern,
            measure: "latency_p50_ms",
            value: p50,
            text: format!("{} (p95 {}, {}/{count})", ms(p50), ms(p95), sample.len()),
            goal: "<= 3 ms",
        })?;
    }
    Ok(())
}

/// Claims as fast as they are answered, then at the rate of the goal.
fn rate(
    company: &Company,
    keyring: Keyring,
    quick: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let time = Duration::from_secs(if quick { 2 } else { 5 });
    let domain = keyring.keys(0)?.domain();
    let all_out = Load {
        number: 0,
        lanes: u32::try_from(AT_ONCE)?,
        every: None,
        time,
    };
    let paced = Load {
        number: 1,
        lanes: CLAIMANTS,
        every: Some(Duration::from_secs(1) * CLAIMANTS / OFFERED),
        time,
    };
    let (all_out, paced) = company.run(async {
        let channels = siblings(company).await?;
        let all_out = load(&channels, domain, all_out).await?;
        let paced = load(&channels, domain, paced).await?;
        anyhow::Ok((all_out, paced))
    })?;

    let (sample, rate) = all_out;
    let (p50, p95) = (ms(sample.p50_ms()), ms(sample.p95_ms()));
    report.add(Row {
        experiment: "E9",
        case: format!("claims, {HOSTS} hosts, {AT_ONCE} at once"),
        server: Server::Postern,
        measure: "claims_per_s",
        value: Some(rate),
        text: format!("{rate:.0}/s (p50 {p50}, p95 {p95})"),
        goal: ">= 5,000/s",
    })?;
    let (sample, rate) = paced;
    let (p50, p95) = (sample.p50_ms(), ms(sample.p95_ms()));
    report.add(Row {
        experiment: "E9",
        case: format!("a claim p50, at {OFFERED}/s"),
        server: Server::Postern,
        measure: "claim_p50_ms",
        value: p50,
        text: format!("{} (p95 {p95}, {rate:.0}/s)", ms(p50)),
        goal: "<= 3 ms",
    })
}

/// How many claims the controllers answer in a second, of some hosts at each of them, and how long one takes.
pub(crate) async fn answered(company: &Company, time: Duration) -> anyhow::Result<(Sample, f64)> {
    let keyring = Keyring::new(1, 30);
    let mut operator = company.operator().await?;
    operator
        .apply(&keyring.access_conf("HOSTS ANY\n"), 0)
        .await?;
    let channels = siblings(company).await?;
    let lanes = AT_ONCE * company.addresses().len();
    let all_out = Load {
        number: 0,
        lanes: u32::try_from(lanes)?,
        every: None,
        time,
    };
    load(&channels, keyring.keys(0)?.domain(), all_out).await
}

/// Hosts at each controller with a connection each that hear of their siblings' claims, as agents do.
async fn siblings(company: &Company) -> anyhow::Result<Vec<Channel>> {
    let operator = company.operator().await?;
    let addresses = company.addresses();
    let count = HOSTS * addresses.len();
    let names = (0..count).map(|number| format!("sibling-{number:02}"));
    let members = operator.members(Role::Host, names.collect()).await?;
    company.heard_by_all().await;
    let mut channels = Vec::with_capacity(count);
    for (member, address) in members.iter().zip(addresses.iter().cycle()) {
        channels.push(listening(member, address).await?);
    }
    Ok(channels)
}

async fn listening(member: &Membership, address: &str) -> anyhow::Result<Channel> {
    let channel = member.channel_to(address).await?;
    let request = SessionRequest {
        generation: 0,
        policy_digest: Vec::new(),
        agent_version: "bench".to_owned(),
        ..SessionRequest::default()
    };
    let mut directives = AgentClient::new(channel.clone())
        .session(request)
        .await?
        .into_inner();
    // Ends with the controller.
    tokio::spawn(async move { while let Ok(Some(_)) = directives.message().await {} });
    Ok(channel)
}

/// Makes claims, all of them new, and gives their latencies and how many there were in a second.
async fn load(channels: &[Channel], domain: [u8; 32], load: Load) -> anyhow::Result<(Sample, f64)> {
    let start = clock::now();
    let mut lanes = JoinSet::new();
    for (lane, channel) in (0..load.lanes).zip(channels.iter().cycle()) {
        let client = AgentClient::new(channel.clone());
        lanes.spawn(claimant(client, domain, load, lane, start));
    }
    let times: anyhow::Result<Vec<_>> = lanes.join_all().await.into_iter().collect();
    let secs = start.elapsed().as_secs_f64();
    let times = times?.concat();
    let count = u32::try_from(times.len())?;
    Ok((Sample::new(times), f64::from(count) / secs))
}

async fn claimant(
    mut client: AgentClient<Channel>,
    domain: [u8; 32],
    load: Load,
    lane: u32,
    start: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let forget_after_secs = clock::wall_secs() + 240;
    let mut seq: u64 = 0;
    while start.elapsed() < load.time {
        if let Some(every) = load.every {
            let turns = u32::try_from(seq)?;
            let next = start + every * turns + every * lane / load.lanes;
            tokio::time::sleep_until(next.into()).await;
        }
        seq += 1;
        let name = [&[load.number][..], &lane.to_be_bytes(), &seq.to_be_bytes()].concat();
        let request = ClaimRequest {
            domain: domain.to_vec(),
            digest: Sha256::digest(&name).to_vec(),
            seq,
            forget_after_secs,
            dated_secs: 0,
        };
        let sent = clock::now();
        let answer = client.claim(request).await.context("claim")?.into_inner();
        times.push(sent.elapsed());
        ensure!(answer.won, "a new claim was lost to {}", answer.held_by);
    }
    Ok(times)
}
