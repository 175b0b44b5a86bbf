//! What is left of the time of others while a million old records are emptied.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fleet::EventKind;
use fleet::wire::ListEventsRequest;
use fleet::wire::audit_client::AuditClient;

use super::{WEEK_MS, WEEKS};
use crate::clock;
use crate::experiments::pushes::{BATCHES, Stored, stored_of};
use crate::experiments::questions::{Served, compare};
use crate::fleet::Company;
use crate::report::{Report, Row};
use crate::servers::Server;

/// Records that are old enough, and no more than a third of the log.
const EMPTIED: u64 = 1_000_000;
/// A controller looks for them when it starts.
const BEGUN_LIMIT: Duration = Duration::from_secs(120);
/// For so long events are pushed.
const PUSHED: Duration = Duration::from_secs(5);

/// Has a third of the log emptied, or a million records of it.
pub(crate) fn run(company: &mut Company, events: u64, report: &mut Report) -> anyhow::Result<()> {
    let (idle, before) = company.run(both(company, "before"))?;
    company.controller.stop()?;
    let settings = company.controller.data.join("controller.toml");
    let mut settings = OpenOptions::new().append(true).open(settings)?;
    let due = EMPTIED.min(events / 3);
    let kept_secs = (events - due) * (WEEKS * WEEK_MS / events.max(1)) / 1_000;
    write!(
        settings,
        "\n[retention]\nkeep = '{kept_secs}s'\nkeep_noise = '{kept_secs}s'\n"
    )?;
    company.controller.start_again()?;
    let limit = clock::now() + BEGUN_LIMIT;
    while company.run(emptied(company))? == 0 {
        if clock::now() > limit {
            bail!("nothing is emptied: {}", company.controller.log());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let (start, first) = (clock::now(), company.run(emptied(company))?);
    let (busy, beside) = company.run(both(company, "beside"))?;
    let (took, last) = (start.elapsed(), company.run(emptied(company))?);
    let rate = f64::from(u32::try_from(last - first)?) / took.as_secs_f64();
    report.add(Row {
        experiment: "E11",
        case: format!("records emptied of {events}"),
        server: Server::Postern,
        measure: "records_per_s",
        value: Some(rate),
        text: format!(
            "{rate:.0}/s, all {due} in {:.0} min",
            f64::from(u32::try_from(due)?) / rate / 60.0
        ),
        goal: "(no goal)",
    })?;
    report.add(Row {
        experiment: "E11",
        case: "events stored beside the emptying".to_owned(),
        server: Server::Postern,
        measure: "events_per_s",
        value: Some(beside.rate),
        text: format!("{}; without {}", beside.text, before.text),
        goal: ">= half of it",
    })?;
    compare("beside the emptying", (idle, busy), report)
}

/// What others want, and what hosts of this name push.
async fn both(
    company: &Company,
    name: &str,
) -> anyhow::Result<(crate::experiments::questions::Times, Stored)> {
    let times = Served::new(company).await?.times().await?;
    let stored = stored_of(company, (name, BATCHES), PUSHED).await?;
    Ok((times, stored))
}

/// How many records were emptied so far, as the log says.
async fn emptied(company: &Company) -> anyhow::Result<u64> {
    let mut client = AuditClient::new(company.channel().await?);
    let question = ListEventsRequest {
        kind: EventKind::Retention.into(),
        limit: u32::MAX,
        ..ListEventsRequest::default()
    };
    let mut records = client.list_events(question).await?.into_inner();
    let mut emptied = 0;
    while let Some(record) = records.message().await? {
        let record = record.record.context("a record without its body")?;
        emptied += record.event()?.count;
    }
    Ok(emptied)
}
