//! A crew: so many hosts in this process.

use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use member::Membership;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::host::{Host, Texts};
use super::{Part, State, Told};
use crate::clock;
use crate::fleet::{Operator, allow_many_connections};

/// Hosts that join, or connect for the first time, at the same time.
const AT_ONCE: usize = 32;
/// Between two lines about how far they are.
const SAID_EVERY: Duration = Duration::from_millis(10);

/// What the hosts of this crew have done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    joined: AtomicU64,
    open: AtomicU64,
    ended: AtomicU64,
    opened_us: AtomicU64,
    bytes: AtomicU64,
    sent: AtomicU64,
    changed: Mutex<Changed>,
}

/// Who has got another policy since the mark.
#[derive(Debug, Default)]
struct Changed {
    mark: u64,
    hosts: Vec<bool>,
    count: u64,
    at_us: u64,
}

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
    let tally = Arc::new(Tally::default());
    tally.changed().hosts = vec![false; part.count];
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
            tally.joined.fetch_add(1, Ordering::Relaxed);
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

// === impl Tally ===

impl Tally {
    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.opened_us
            .fetch_max(clock::shared_us(), Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// The controller has noted that this host of the crew has what it was sent.
    pub(super) fn applied(&self, host: usize, bytes: usize) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_max(bytes, Ordering::Relaxed);
        let mut changed = self.changed();
        let is_news = changed.hosts.get_mut(host);
        if is_news.is_some_and(|seen| !std::mem::replace(seen, true)) {
            changed.count += 1;
            changed.at_us = clock::shared_us();
        }
    }

    fn mark(&self, mark: u64) {
        let mut changed = self.changed();
        changed.hosts.fill(false);
        (changed.mark, changed.count, changed.at_us) = (mark, 0, 0);
        self.bytes.store(0, Ordering::Relaxed);
    }

    fn state(&self) -> State {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let changed = self.changed();
        State {
            joined: of(&self.joined),
            open: of(&self.open),
            ended: of(&self.ended),
            opened_us: of(&self.opened_us),
            mark: changed.mark,
            changed: changed.count,
            changed_us: changed.at_us,
            bytes: of(&self.bytes),
            sent: of(&self.sent),
        }
    }
}
