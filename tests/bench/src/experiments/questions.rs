//! The rest of E11: the first page of each of the auditor's filters and of every two of them, and what
//! eight wide questions at once leave of the time of others.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fleet::wire::audit_client::AuditClient;
use fleet::wire::operator_client::OperatorClient;
use fleet::wire::{ListEventsRequest, ListHostsRequest, PolicyHistoryRequest};
use fleet::{EventKind, Role};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::audit_log::HOST;
use crate::clock;
use crate::fleet::{Company, Operator};
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::stats::{Sample, ms};

/// Rows of a page.
const PAGE: u32 = 100;
/// Within this the first page of every question is wanted.
const GOAL: Duration = Duration::from_millis(50);
/// The slowest so many are named.
const NAMED: usize = 4;
/// Longer than the log needs to be indexed.
const INDEXED_LIMIT: Duration = Duration::from_secs(1_800);
/// Questions at once that look through a third of the log each,
const WIDE: usize = 8;
/// and as many of one operator: fewer than a controller takes.
const OF_ONE: usize = 2;
/// How often the hosts are listed and a policy is applied beside them, and without.
const LISTED: usize = 100;

/// One thing that can be asked for, by its name.
type Filter = (&'static str, fn(&mut ListEventsRequest));

/// A value of each that many events have, but for the two that are of one event.
const FILTERS: [Filter; 14] = [
    ("since", |asked| asked.since_ms = 1),
    ("user", |asked| asked.user = "user-7".to_owned()),
    ("host", |asked| asked.host = HOST.to_owned()),
    ("kind opened", |asked| {
        asked.kinds.push(EventKind::GrantOpened.into());
    }),
    ("kind noise", |asked| {
        asked.kinds.push(EventKind::Noise.into());
    }),
    ("source /16", |asked| {
        if asked.source.is_empty() {
            asked.source = "10.3.0.0/16".to_owned();
        }
    }),
    ("office /24", |asked| {
        if asked.source.is_empty() {
            asked.source = "198.51.100.0/24".to_owned();
        }
    }),
    ("source", |asked| asked.source = "10.3.7.7".to_owned()),
    ("port", |asked| asked.port = "tcp/22".to_owned()),
    ("stanza", |asked| asked.stanza = "sre-web".to_owned()),
    ("key", |asked| asked.key = format!("{:016x}", 9)),
    ("reason", |asked| asked.reason = "denied".to_owned()),
    ("generation", |asked| asked.generation = 1),
    ("actor", |asked| {
        asked.actor = "operator/operator".to_owned()
    }),
];

/// What came of a question.
#[derive(Clone, Debug)]
struct Answer {
    asked: String,
    rows: usize,
    /// Until the first row; `None` where there is none.
    first: Option<Duration>,
    /// Until the last.
    whole: Duration,
}

/// Asks everything of the controller that runs, whose log has `events` events.
pub(crate) fn run(company: &Company, events: u64, report: &mut Report) -> anyhow::Result<()> {
    let answers = company.run(async {
        let mut client = AuditClient::new(company.channel().await?);
        wait_for_index(&mut client).await?;
        let mut answers = Vec::new();
        for (first, (name, add)) in FILTERS.iter().enumerate() {
            answers.push(ask(&mut client, (*name).to_owned(), &[*add]).await?);
            for (other, also) in FILTERS.iter().skip(first + 1) {
                answers
                    .push(ask(&mut client, format!("{name} and {other}"), &[*add, *also]).await?);
            }
        }
        anyhow::Ok(answers)
    })?;
    let (whole, seldom): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.rows >= usize::try_from(PAGE).unwrap_or(usize::MAX));
    add(
        report,
        format!("first page of each filter and of every two, {events} events"),
        &whole,
    )?;
    add(
        report,
        "the same where there is less than a page in the whole log".to_owned(),
        &seldom,
    )?;
    beside(company, report)
}

/// The first row and the whole page apart: what one turn finds is sent at once, and the search goes on.
fn add(report: &mut Report, case: String, answers: &[Answer]) -> anyhow::Result<()> {
    let first = answers.iter().filter_map(|it| Some((it, it.first?)));
    let whole = answers.iter().map(|it| (it, it.whole));
    let rows = [
        ("first_row_ms", "the first row", first.collect::<Vec<_>>()),
        ("worst_ms", "all rows", whole.collect()),
    ];
    for (measure, what, mut times) in rows {
        times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let sample = Sample::new(times.iter().map(|(_, time)| *time));
        let slow = times.iter().filter(|(_, time)| *time > GOAL).count();
        let worst: Vec<String> = times
            .iter()
            .take(NAMED)
            .map(|(it, time)| format!("{} ({} rows) {}", it.asked, it.rows, millis(*time)))
            .collect();
        report.add(Row {
            experiment: "E11",
            case: format!("{case}: {what}"),
            server: Server::Postern,
            measure,
            value: sample.quantile_ms(1.0),
            text: format!(
                "p50 {}; {slow} of {} above 50 ms; worst {}",
                ms(sample.p50_ms()),
                sample.len(),
                worst.join(", "),
            ),
            goal: "<= 50 ms, or piece by piece",
        })?;
    }
    Ok(())
}

fn millis(time: Duration) -> String {
    ms(Some(time.as_secs_f64() * 1e3))
}

/// The second of two times that it is asked.
async fn ask(
    client: &mut AuditClient<Channel>,
    asked: String,
    filters: &[fn(&mut ListEventsRequest)],
) -> anyhow::Result<Answer> {
    let mut question = ListEventsRequest {
        limit: PAGE,
        ..ListEventsRequest::default()
    };
    for add in filters {
        add(&mut question);
    }
    read(client, question.clone()).await?;
    let start = clock::now();
    let (rows, first) = read(client, question).await?;
    Ok(Answer {
        asked,
        rows,
        first: first.map(|first| first.duration_since(start)),
        whole: start.elapsed(),
    })
}

/// How many rows come, and when the first came. What the log knows nothing of has none.
async fn read(
    client: &mut AuditClient<Channel>,
    question: ListEventsRequest,
) -> Result<(usize, Option<Instant>), Status> {
    let mut records = match client.list_events(question).await {
        Ok(records) => records.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok((0, None)),
        Err(status) => return Err(status),
    };
    let (mut rows, mut first) = (0, None);
    while records.message().await?.is_some() {
        first = first.or_else(|| Some(clock::now()));
        rows += 1;
    }
    Ok((rows, first))
}

/// The controller indexes words beside its work; until then it refuses what asks for them.
async fn wait_for_index(client: &mut AuditClient<Channel>) -> anyhow::Result<()> {
    let limit = clock::now() + INDEXED_LIMIT;
    let question = ListEventsRequest {
        stanza: "sre-web".to_owned(),
        limit: 1,
        ..ListEventsRequest::default()
    };
    while read(client, question.clone()).await.is_err() {
        if clock::now() > limit {
            bail!("the log is not indexed");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// How long `host list`, `policy apply` and a short question take while nobody asks, and beside wide questions.
fn beside(company: &Company, report: &mut Report) -> anyhow::Result<()> {
    let (idle, busy) = company.run(async {
        let mut served = Served::new(company).await?;
        let idle = served.times().await?;
        let askers = (0..WIDE / OF_ONE).map(|number| format!("asker-{number}"));
        let operator = company.operator().await?;
        let askers = operator.members(Role::Operator, askers.collect()).await?;
        let mut wide = JoinSet::new();
        for asker in askers.iter().flat_map(|asker| [asker; OF_ONE]) {
            let client = AuditClient::new(company.channel_of(asker).await?);
            wide.spawn(ask_widely(client));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let busy = served.times().await?;
        if let Some(ended) = wide.try_join_next() {
            return Err(ended?).context("a wide question was not answered");
        }
        wide.shutdown().await;
        anyhow::Ok((idle, busy))
    })?;
    compare(
        &format!("beside {WIDE} wide questions"),
        (idle, busy),
        report,
    )
}

/// Two things that never meet, each a third of the log, again and again until that is refused.
async fn ask_widely(mut client: AuditClient<Channel>) -> Status {
    let question = ListEventsRequest {
        port: "tcp/22".to_owned(),
        stanza: "sre-web".to_owned(),
        limit: PAGE,
        ..ListEventsRequest::default()
    };
    loop {
        if let Err(status) = read(&mut client, question.clone()).await {
            return status;
        }
    }
}

/// Says how long each thing took, and how long while nothing else was done.
pub(super) fn compare(
    beside: &str,
    (idle, busy): (Times, Times),
    report: &mut Report,
) -> anyhow::Result<()> {
    for ((what, idle), (_, busy)) in idle.into_iter().zip(busy) {
        let (idle, busy) = (Sample::new(idle), Sample::new(busy));
        report.add(Row {
            experiment: "E11",
            case: format!("{what} {beside}"),
            server: Server::Postern,
            measure: "p50_ms",
            value: busy.p50_ms(),
            text: format!(
                "{} (p95 {}), idle {} (p95 {})",
                ms(busy.p50_ms()),
                ms(busy.p95_ms()),
                ms(idle.p50_ms()),
                ms(idle.p95_ms()),
            ),
            goal: "<= twice idle",
        })?;
    }
    Ok(())
}

/// How long each thing took, each time.
pub(super) type Times = [(&'static str, Vec<Duration>); 3];

/// Whoever wants something of the controller, one thing after the other.
pub(super) struct Served {
    lister: OperatorClient<Channel>,
    asker: AuditClient<Channel>,
    applier: Applier,
}

impl Served {
    pub(super) async fn new(company: &Company) -> anyhow::Result<Self> {
        let mut operator = OperatorClient::new(company.channel().await?);
        let newest = operator
            .policy_history(PolicyHistoryRequest::default())
            .await?
            .into_inner();
        let generation = newest.generations.iter().map(|it| it.generation).max();
        Ok(Self {
            lister: operator,
            asker: AuditClient::new(company.channel().await?),
            applier: Applier {
                operator: company.operator().await?,
                generation: generation.unwrap_or_default(),
            },
        })
    }

    pub(super) async fn times(&mut self) -> anyhow::Result<Times> {
        let mut questions = Vec::with_capacity(LISTED);
        for _ in 0..LISTED {
            let question = ListEventsRequest {
                user: "user-7".to_owned(),
                limit: PAGE,
                ..ListEventsRequest::default()
            };
            let start = clock::now();
            read(&mut self.asker, question).await?;
            questions.push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok([
            ("host list", listings(&mut self.lister).await?),
            ("policy apply", self.applier.times().await?),
            ("a page of a user", questions),
        ])
    }
}

/// Applies one policy after the other.
struct Applier {
    operator: Operator,
    generation: u64,
}

impl Applier {
    async fn times(&mut self) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(LISTED);
        for _ in 0..LISTED {
            let port = 2_000 + self.generation;
            let text = format!("NAME one\nHOSTS ANY\nSOURCE ANY\nOPEN_PORTS tcp/{port}\n");
            let start = clock::now();
            (self.generation, _) = self.operator.apply(&text, self.generation).await?;
            times.push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok(times)
    }
}

async fn listings(operator: &mut OperatorClient<Channel>) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(LISTED);
    for _ in 0..LISTED {
        let start = clock::now();
        operator.list_hosts(ListHostsRequest {}).await?;
        times.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(times)
}
