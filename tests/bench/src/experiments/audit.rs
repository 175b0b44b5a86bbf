//! E11: how many events a second the fleet's log takes, and how soon the auditor has her answer when
//! the log is long.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fleet::EventKind;
use fleet::wire::ListEventsRequest;
use fleet::wire::audit_client::AuditClient;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::arena::Arena;
use crate::clock;
use crate::experiments::audit_log::{HOST, WEEK_MS, postgres, retained, sqlite, verified};
use crate::experiments::pushes::{BATCHES, HOSTS, Stored, stored_of};
use crate::experiments::questions;
use crate::fleet::{Company, Shape};
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::stats::{Sample, ms};

/// Pushes of each where the log is verified afterwards: a million events in all,
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
