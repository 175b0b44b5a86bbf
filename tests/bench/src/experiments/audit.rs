//! E11: how many events a second the fleet's log takes, and how soon the auditor has her answer when
//! the log is long.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fleet::wire::agent_client::AgentClient;
use fleet::wire::audit_client::AuditClient;
use fleet::wire::{ListEventsRequest, PushEventsRequest};
use fleet::{Event, EventKind, EventRecord, Outcome, Role};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::arena::Arena;
use crate::clock;
use crate::experiments::audit_log::{HOST, WEEK_MS, postgres, retained, sqlite, verified};
use crate::experiments::questions;
use crate::fleet::{Company, Shape};
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::stats::{Sample, ms};

/// Hosts that push events, each one push after the other, as agents do.
const HOSTS: usize = 4;
/// Events in a push, as an agent makes it.
const BATCH: u64 = 512;
/// How long a host's journal is: more than can be stored in the time.
pub(super) const BATCHES: u64 = 120;
/// The same where the log is verified afterwards: a million events in all,
const LONG_BATCHES: u64 = 490;
/// or what is stored in this time.
const LONG_MAX: Duration = Duration::from_secs(90);
/// Answers measured with a warm controller.
const WARM: usize = 20;
/// And with one that has just started, and nothing of its database in memory.
const COLD: usize = 3;

/// Runs all of E11; the question is asked among `events` events.
pub(crate) fn run(
    arena: &Arena,
    events: u64,
    quick: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let shape = Shape {
        is_without_quota: true,
        ..Shape::one(arena.is_over_postgres)
    };
    let mut company = Company::start_as(arena, "audit", shape)?;
    let stored = store(&company, quick, report)?;
    verified::run(&company, stored, report)?;
    company.controller.stop()?;
    let file = (!arena.is_over_postgres).then(|| company.controller.data.join("controller.db"));
    let (start, now_ms) = (clock::now(), clock::wall_secs() * 1_000);
    match &file {
        Some(file) => sqlite::fill(file, events, now_ms)?,
        None => postgres::fill(arena.postgres()?, events, now_ms)?,
    }
    let log = Log {
        file,
        events,
        now_ms,
        filled: start.elapsed(),
    };
    ask(&mut company, &log, report)?;
    retained::run(&mut company, events, report)
}

/// The log that is asked.
struct Log {
    /// `None` where a server has it.
    file: Option<PathBuf>,
    events: u64,
    now_ms: u64,
    filled: Duration,
}

/// Events stored per second; answers how many that were in all.
fn store(company: &Company, quick: bool, report: &mut Report) -> anyhow::Result<u64> {
    let (batches, time) = match quick {
        true => (BATCHES, Duration::from_secs(1)),
        false => (LONG_BATCHES, LONG_MAX),
    };
    let Stored { events, rate, text } =
        company.run(stored_of(company, ("pusher", batches), time))?;
    report.add(Row {
        experiment: "E11",
        case: format!("events stored, {HOSTS} hosts"),
        server: Server::Postern,
        measure: "events_per_s",
        value: Some(rate),
        text,
        goal: ">= 20,000/s",
    })?;
    Ok(events)
}

/// What was stored.
pub(super) struct Stored {
    pub(super) events: u64,
    /// A second.
    pub(super) rate: f64,
    pub(super) text: String,
}

/// How many events the controllers store in a second, pushed by some hosts at each of them, and the same in words.
pub(crate) async fn stored(company: &Company, time: Duration) -> anyhow::Result<(f64, String)> {
    let Stored { rate, text, .. } = stored_of(company, ("pusher", BATCHES), time).await?;
    Ok((rate, text))
}

/// The same by hosts of this name, whose journals are so many pushes.
pub(super) async fn stored_of(
    company: &Company,
    (name, batches): (&str, u64),
    time: Duration,
) -> anyhow::Result<Stored> {
    let operator = company.operator().await?;
    let addresses = company.addresses();
    let count = HOSTS * addresses.len();
    let names = (0..count).map(|number| format!("{name}-{number:02}"));
    let members = operator.members(Role::Host, names.collect()).await?;
    company.heard_by_all().await;
    let mut clients = Vec::with_capacity(count);
    for (member, address) in members.iter().zip(addresses.iter().cycle()) {
        clients.push(AgentClient::new(member.channel_to(address).await?));
    }
    let journals: Vec<_> = (0..count).map(|host| journal(host, batches)).collect();
    let start = clock::now();
    let mut pushing = JoinSet::new();
    for (client, journal) in clients.into_iter().zip(journals) {
        pushing.spawn(push(client, journal, start, time));
    }
    let stored: anyhow::Result<Vec<u64>> = pushing.join_all().await.into_iter().collect();
    let events: u64 = stored?.into_iter().sum();
    let secs = start.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(events)?) / secs;
    let text = format!("{rate:.0}/s ({events} in {secs:.1} s, {count} hosts, pushes of {BATCH})");
    Ok(Stored { events, rate, text })
}

/// Pushes until the time is over or the journal is at its end, and says how many were stored.
async fn push(
    mut client: AgentClient<Channel>,
    journal: Vec<PushEventsRequest>,
    start: Instant,
    time: Duration,
) -> anyhow::Result<u64> {
    let mut stored = 0;
    for request in journal {
        if start.elapsed() > time {
            break;
        }
        let pushed = client.push_events(request).await?.into_inner();
        ensure!(pushed.acknowledged_seq == stored + BATCH, "{pushed:?}");
        stored = pushed.acknowledged_seq;
    }
    Ok(stored)
}

/// One host's whole journal, chained as an agent does, made beforehand.
fn journal(host: usize, batches: u64) -> Vec<PushEventsRequest> {
    let epoch = format!("{host:032x}");
    let now_ms = clock::wall_secs() * 1_000;
    let mut chain = [0; 32];
    let mut seq = 0;
    let push = |_| {
        let mut records = Vec::new();
        for _ in 0..BATCH {
            let event = granted(seq + 1, now_ms + seq);
            let record = EventRecord::after(seq, &chain, event);
            chain = record.chain.as_slice().try_into().unwrap_or(chain);
            seq = record.seq;
            records.push(record);
        }
        PushEventsRequest {
            epoch: epoch.clone(),
            events: Vec::new(),
            records,
        }
    };
    (0..batches).map(push).collect()
}

fn granted(seq: u64, at_ms: u64) -> Event {
    let mut event = Event::new(EventKind::GrantOpened, at_ms);
    let low = u32::try_from(seq % 65_536).unwrap_or_default();
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 98, 0, 0)) + low);
    event.user = format!("user-{}", seq % 100);
    event.key = format!("{:016x}", seq % 100);
    event.stanza = "sre-ssh".to_owned();
    event.generation = 7;
    event.source = source.to_string();
    event.opened = source.to_string();
    event.ports = vec!["tcp/22".to_owned()];
    event.until_ms = at_ms + 30_000;
    event.replay_digest = format!("{seq:064x}");
    event.grant_id = format!("{seq:032x}");
    event.request_id = format!("{seq:032x}");
    event.set_outcome(Outcome::Success);
    event
}

/// "Who opened tcp/22 on web-1 last week", asked as `postern audit list` does.
fn ask(company: &mut Company, log: &Log, report: &mut Report) -> anyhow::Result<()> {
    let mut cold = Vec::with_capacity(COLD);
    // What a server has in memory is the server's.
    for file in std::iter::repeat_n(&log.file, COLD).flatten() {
        forget(file)?;
        company.controller.start_again()?;
        cold.extend(answers(company, log.now_ms, 1)?.0);
        company.controller.stop()?;
    }
    company.controller.start_again()?;
    let (times, rows) = answers(company, log.now_ms, 1 + WARM)?;
    ensure!(rows > 0, "nothing found");
    let cold = Sample::new(cold);
    let warm = Sample::new(times.into_iter().skip(1));
    let p50 = warm.p50_ms();
    report.add(Row {
        experiment: "E11",
        case: format!("tcp/22 on {HOST} last week, {} events", log.events),
        server: Server::Postern,
        measure: "answer_p50_ms",
        value: p50,
        text: format!(
            "{} warm (p95 {}), {} cold; {rows} rows (filled in {:.0} s)",
            ms(p50),
            ms(warm.p95_ms()),
            ms(cold.p50_ms()),
            log.filled.as_secs_f64(),
        ),
        goal: "<= 50 ms",
    })?;
    questions::run(company, log.events, report)
}

/// Asks several times over one connection; the times to the last row, and how many rows there were.
fn answers(company: &Company, now_ms: u64, count: usize) -> anyhow::Result<(Vec<Duration>, usize)> {
    company.run(async {
        let mut client = AuditClient::new(company.channel().await?);
        let mut times = Vec::with_capacity(count);
        let mut rows = 0;
        for _ in 0..count {
            let question = ListEventsRequest {
                host: HOST.to_owned(),
                port: "tcp/22".to_owned(),
                kind: EventKind::GrantOpened.into(),
                since_ms: now_ms - WEEK_MS,
                until_ms: now_ms,
                limit: 100_000,
                ..ListEventsRequest::default()
            };
            let start = clock::now();
            let mut records = client.list_events(question).await?.into_inner();
            rows = 0;
            while let Some(record) = records.message().await? {
                rows += 1;
                let event = record
                    .record
                    .context("a record without its body")?
                    .event()?;
                ensure!(event.ports == ["tcp/22"] && record.host == HOST);
            }
            times.push(start.elapsed());
        }
        Ok((times, rows))
    })
}

/// Drops the database from the page cache, and nothing else of the machine.
fn forget(database: &Path) -> anyhow::Result<()> {
    let file = File::open(database)?;
    file.sync_all()?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    Ok(())
}
