//! A crew: so many hosts in this process.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use member::Membership;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::host::{Host, Texts};
use super::tally::Tally;
use super::words::{Part, Told};
use crate::fleet::{Operator, allow_many_connections};

/// Hosts that join, or connect for the first time, at the same time.
const AT_ONCE: usize = 32;
/// Between two lines about how far they are.
const SAID_EVERY: Duration = Duration::from_millis(10);

/// Plays a part until the standard input ends.
pub(crate) fn play(part: &str) -> anyhow::Result<()> {
    let part: Part = serde_json::from_str(part).context("the part")?;
    allow_many_connections()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (tell, told) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(told) = serde_json::from_str(&line) else {
                continue;
            };
            if tell.blocking_send(told).is_err() {
                return;
            }
        }
    });
    runtime.block_on(act(part, told))
}

async fn act(part: Part, mut told: mpsc::Receiver<Told>) -> anyhow::Result<()> {
    let tally = Arc::new(Tally::of(part.count));
    let said = tokio::spawn(say(Arc::clone(&tally)));
    let mut members = join(&part, &tally).await?;
    let texts = Texts::default();
    let dialling = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(told) = told.recv().await {
        match told {
            Told::Connect => {
                for (number, member) in members.drain(..).enumerate() {
                    let name = part.first + number;
                    let host = Host::new(
                        (number, name),
                        member,
                        Arc::clone(&texts),
                        Arc::clone(&tally),
                    );
                    tokio::spawn(host.keep(Arc::clone(&dialling)));
                }
            }
            Told::Mark(mark) => tally.mark(mark),
        }
    }
    said.abort();
    Ok(())
}

/// Lets them join, a few at a time.
async fn join(part: &Part, tally: &Tally) -> anyhow::Result<Vec<Membership>> {
    let operator = Operator::of(&part.operator, &part.members, &part.controller).await?;
    let mut joining = JoinSet::new();
    let mut members = Vec::with_capacity(part.count);
    let joined =
        |done: Option<Result<anyhow::Result<Membership>, _>>| -> anyhow::Result<Membership> {
            let member = done.context("nobody joins")???;
            tally.joined();
            Ok(member)
        };
    for number in part.first..part.first + part.count {
        if joining.len() >= AT_ONCE {
            members.push(joined(joining.join_next().await)?);
        }
        joining.spawn(operator.clone().passing_host(format!("host-{number:06}")));
    }
    while !joining.is_empty() {
        members.push(joined(joining.join_next().await)?);
    }
    Ok(members)
}

/// Says how far they are, whenever that is something else than before.
async fn say(tally: Arc<Tally>) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let line = serde_json::to_string(&tally.state())?;
        if line != last {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()?;
            last = line;
        }
        tokio::time::sleep(SAID_EVERY).await;
    }
}
