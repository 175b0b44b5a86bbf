//! What runs beside the requests: telling hosts of claims, forgetting what is old, following, indexing and
//! signing what is new in the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::access::looks::Found;
use crate::app::follow::Follower;
use crate::app::others::Among;
use crate::app::{claims, hosts, reads, retention};
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::store::error::StoreError;
use crate::store::model::Claim;
use crate::timestamp::Timestamp;

/// Won claims that wait to be told; more are left out, and the host learns of them when it claims.
pub(crate) const WON_QUEUE_MAX: usize = 8_192;
/// Claims told at once.
const WON_BATCH_MAX: usize = 1_024;
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// Claims forgotten in one transaction, so that none of them is long.
const PRUNE_BATCH: u32 = 2_000;

/// The log is looked at this often for events that are not indexed yet.
const INDEX_INTERVAL: Duration = Duration::from_secs(1);
/// And this often where no look has found that it moved: looks fail, too.
const INDEX_ANYWAY: Duration = Duration::from_secs(20);
/// Of the writer's time, what indexing takes at most: one part in so many.
const INDEX_SHARE: u32 = 12;

/// The log is looked at this often for what changes who may do what.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// The same where other controllers write it.
const FOLLOW_OTHERS_INTERVAL: Duration = Duration::from_millis(200);
/// Between two looks for as many times as long as the first took, so that nobody waits long for it, and no longer than
/// the second: most of a long look is waiting, and who does not follow is taken for dead.
const FOLLOW_PAUSE: (u32, Duration) = (3, Duration::from_secs(1));

/// Between two looks that somebody waits for.
const ASKED_PAUSE: Duration = Duration::from_millis(50);

/// The log is signed this often, when it has moved.
const SIGN_INTERVAL: Duration = Duration::from_secs(5);

/// Records that are old enough are looked for this often.
const RETAIN_INTERVAL: Duration = Duration::from_secs(3_600);

/// A database that nobody writes to is tried this often.
const DISK_INTERVAL: Duration = Duration::from_secs(5);

/// Starts all; won claims come out of the queue.
pub(crate) fn spawn(context: &Arc<Context>, won: mpsc::Receiver<Claim>) {
    for task in [
        tokio::spawn(announce(Arc::clone(context), won)),
        tokio::spawn(prune(Arc::clone(context))),
        tokio::spawn(index(Arc::clone(context))),
        tokio::spawn(sign(Arc::clone(context))),
        tokio::spawn(retain(Arc::clone(context))),
        tokio::spawn(watch_disk(Arc::clone(context))),
        tokio::spawn(follow(Arc::clone(context))),
    ] {
        context.tasks.spawn(async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "housekeeping ended");
            }
        });
    }
}

async fn announce(context: Arc<Context>, mut won: mpsc::Receiver<Claim>) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            () = context.stopping.cancelled() => return,
            received = won.recv_many(&mut batch, WON_BATCH_MAX) => if received == 0 {
                return;
            },
        }
        context
            .sessions
            .announce(&context.rollout.targets(), &batch);
        batch.clear();
    }
}

async fn prune(context: Arc<Context>) {
    let mut tick = interval(PRUNE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.stopping.cancelled() => return,
            _ = tick.tick() => {}
        }
        context.limits.prune();
        context.event_quotas.prune(clock::now().ms());
        forget_claims(&context, clock::now()).await;
        if let Err(error) = claims::recount(&context).await {
            tracing::debug!(error = %program::one_line(&error), "claims are not counted");
        }
        if let Err(error) = hosts::store_seen(&context).await {
            tracing::debug!(error = %program::one_line(&error), "not noted who was seen");
        }
        if let Err(error) = reads::record_due(&context, clock::now(), false).await {
            tracing::warn!(%error, "how often what was read is not recorded");
        }
    }
}

/// Finds out by itself, and not only by those who want something, that the disk is in trouble.
async fn watch_disk(context: Arc<Context>) {
    let watched = async {
        if let Err(error) = context.store.check_integrity().await {
            tracing::error!(error = %program::one_line(&error), "the database was checked");
        }
        loop {
            sleep(DISK_INTERVAL).await;
            if let Err(error) = context.store.try_to_write().await {
                tracing::debug!(error = %program::one_line(&error), "no writes");
            }
        }
    };
    tokio::select! {
        () = context.stopping.cancelled() => {}
        () = watched => {}
    }
}

/// Indexes what is new in the log, so gently that nobody who writes waits long.
async fn index(context: Arc<Context>) {
    loop {
        let began = clock::instant();
        let found = context.looks.found();
        let indexed = context.store.index_some().await;
        let (pause, has_all) = match indexed {
            Ok(true) => (began.elapsed() * (INDEX_SHARE - 1), false),
            Ok(false) => (INDEX_INTERVAL, true),
            Err(error) => {
                tracing::debug!(error = %program::one_line(&error), "not indexed");
                (INDEX_INTERVAL, false)
            }
        };
        let next = async {
            sleep(pause).await;
            if has_all {
                let _ = timeout(INDEX_ANYWAY, context.looks.log_moved(found)).await;
            }
        };
        tokio::select! {
            () = context.stopping.cancelled() => return,
            () = next => {}
        }
    }
}

/// Puts in force what stands in the database and is not in force here, so gently that nobody waits long for it.
async fn follow(context: Arc<Context>) {
    let mut followed = (Follower::default(), Among::default());
    let start = clock::instant();
    loop {
        let began = clock::instant();
        let steady = began.saturating_duration_since(start);
        let serves = context.looks.begin();
        match look(&context, &mut followed, steady).await {
            Ok(()) => context.looks.done(serves),
            Err(error) => {
                tracing::debug!(error = %program::one_line(&error), "not followed");
            }
        }
        let interval = if context.store.is_shared() {
            FOLLOW_OTHERS_INTERVAL
        } else {
            FOLLOW_INTERVAL
        };
        let pause = pause_after(began.elapsed(), interval);
        // Counted from here, and waited for only where somebody asks: nothing wakes for it while nobody does.
        let rested = sleep(ASKED_PAUSE.min(pause));
        let asked = async {
            context.looks.asked_after(serves).await;
            rested.await;
        };
        tokio::select! {
            () = context.stopping.cancelled() => break,
            () = sleep(pause) => {}
            () = asked => {}
        }
    }
    let (_, among) = &mut followed;
    if let Err(error) = among.leave(&context).await {
        tracing::debug!(error = %program::one_line(&error), "others find out that this ends");
    }
}

/// How long nothing is followed after a look that took so long.
fn pause_after(look: Duration, interval: Duration) -> Duration {
    let (times, max) = FOLLOW_PAUSE;
    interval.max(look.saturating_mul(times).min(max))
}

/// Puts in force what the others have changed, and exchanges with them who is where, what was heard and what was claimed.
async fn look(
    context: &Context,
    (follower, among): &mut (Follower, Among),
    steady: Duration,
) -> Result<(), Error> {
    let look = context.store.whats_new().await?;
    context.looks.find(Found {
        record: look.record,
        authority: look.authority,
    });
    follower.look(context, &look).await?;
    if context.store.is_shared() {
        let steady_ms = u64::try_from(steady.as_millis()).unwrap_or(u64::MAX);
        let times = (clock::now(), steady_ms);
        among.exchange(context, &look, times).await?;
    }
    Ok(())
}

/// Signs the log whenever it has moved.
async fn sign(context: Arc<Context>) {
    let mut tick = interval(SIGN_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.stopping.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = context.checkpoints.sign(&context.store, clock::now()).await {
            tracing::warn!(error = %program::one_line(&error), "the log is not signed");
        }
    }
}

/// Removes bodies of old records, so gently that nobody who writes waits long.
async fn retain(context: Arc<Context>) {
    let mut tick = interval(RETAIN_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            tick.tick().await;
            for is_noise in [true, false] {
                if let Err(error) = retain_all(&context, is_noise).await {
                    let error = program::one_line(&error);
                    tracing::warn!(%error, "old records of the log stay");
                }
            }
            if let Err(error) = thin_all(&context).await {
                let error = program::one_line(&error);
                tracing::warn!(%error, "checkpoints of the log stay");
            }
        }
    };
    tokio::select! {
        () = context.stopping.cancelled() => {}
        () = work => {}
    }
}

async fn retain_all(context: &Context, is_noise: bool) -> Result<(), Error> {
    loop {
        let began = clock::instant();
        if retention::step(context, is_noise, clock::now()).await? == 0 {
            return Ok(());
        }
        sleep(began.elapsed() * (INDEX_SHARE - 1)).await;
    }
}

async fn thin_all(context: &Context) -> Result<(), StoreError> {
    loop {
        let began = clock::instant();
        if context.store.thin_step(clock::now().ms()).await? == 0 {
            return Ok(());
        }
        sleep(began.elapsed() * (INDEX_SHARE - 1)).await;
    }
}

/// Forgets all claims that are old enough; their dates are spent. Where one of them was to be
/// remembered for longer, the floor has risen: its message is refused by its own date.
async fn forget_claims(context: &Context, now: Timestamp) {
    let before_secs = fleet::claims::forgotten_before(now.secs());
    loop {
        match forget_some(context, before_secs).await {
            Ok(0) => break,
            Ok(claims) => tracing::debug!(claims, "claims forgotten"),
            Err(error) => {
                tracing::warn!(error = %program::one_line(&error), "old claims stay");
                break;
            }
        }
    }
}

async fn forget_some(context: &Context, before_secs: u64) -> Result<usize, StoreError> {
    let floor_secs = claims::floor_after(before_secs);
    let forgotten = context
        .store
        .forget_claims(before_secs, PRUNE_BATCH, floor_secs)
        .await?;
    context.claim_quotas.note_forgotten(&forgotten);
    context.refresh_fleet_state().await?;
    Ok(forgotten.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_a_look_took_the_next_is_a_second_later_at_most_and_short_ones_cost_a_quarter() {
        let others = FOLLOW_OTHERS_INTERVAL;
        for (look_ms, pause_ms) in [(0, 200), (50, 200), (100, 300), (4_000, 1_000)] {
            let look = Duration::from_millis(look_ms);
            assert_eq!(pause_after(look, others), Duration::from_millis(pause_ms));
        }
        assert_eq!(pause_after(Duration::MAX, FOLLOW_INTERVAL), FOLLOW_INTERVAL);
    }
}
