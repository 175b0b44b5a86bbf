//! While the controller runs: what somebody changed in the directory holds from then on, a rotation goes
//! on by itself when everybody has followed, and the controller's own certificate is renewed. Connections
//! that are open stay open, but for those of an authority that members are to believe no more.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use fleet::EventKind;
use tokio::time::{MissedTickBehavior, interval};

use super::shared::follow;
use super::{identity_now, in_force, keep, look_at, read, server_of};
use crate::access::caller::RequestId;
use crate::authority::report;
use crate::ca::kept::Kept;
use crate::ca::rotation::Stage;
use crate::clock;
use crate::context::Context;
use crate::data_dir::DataDir;
use crate::server::Doorway;
use crate::start::directory::expiries;
use crate::start::error::StartError;
use crate::store::model::{Member, Origin};
use crate::timestamp::Timestamp;

/// The directory is looked at this often,
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// and at every so manieth look also who has followed.
const LOOKS_UNTIL_PROGRESS: u32 = 20;

/// See the module.
pub(crate) struct Watch {
    pub(crate) context: Arc<Context>,
    pub(crate) dir: DataDir,
    pub(crate) doorway: Arc<Doorway>,
    /// Of the file, when it was read.
    pub(crate) version: Option<(u64, i64, i64)>,
    /// What a look at the database had found of the authorities when the file was compared with them.
    pub(crate) compared: Option<u64>,
}

/// Begins to watch.
pub(crate) fn spawn(watch: Watch) {
    let context = Arc::clone(&watch.context);
    let task = tokio::spawn(watch.run());
    context.tasks.spawn(async move {
        if let Err(error) = task.await {
            tracing::error!(%error, "nobody looks after the authorities any more");
        }
    });
}

// === impl Watch ===

impl Watch {
    async fn run(mut self) {
        let stopping = self.context.stopping.clone();
        let mut tick = interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = tick.tick() => {}
            }
            looks = looks.wrapping_add(1);
            let is_time = looks.is_multiple_of(LOOKS_UNTIL_PROGRESS);
            if let Err(error) = self.look(is_time, clock::now()).await {
                let error = program::one_line(&error);
                tracing::error!(%error, "the authorities are as they were");
            }
        }
    }

    async fn look(&mut self, is_time: bool, now: Timestamp) -> Result<(), StartError> {
        // Whatever is changed after this is found by another look.
        let found = self.context.looks.found().map(|found| found.authority);
        let is_same = found.is_some()
            && self.compared == found
            && self.version == self.dir.authority_version();
        if is_time || !is_same {
            match follow(&self.dir, &self.context.store, now).await {
                // Until they are the same, at every look.
                Ok(are_same) => self.compared = found.filter(|_| are_same),
                Err(error) if is_time => return Err(error),
                // Said now and then.
                Err(_) => return Ok(()),
            }
        }
        if is_time {
            self.go_on(now).await?;
        }
        let version = self.dir.authority_version();
        if version == self.version && !is_time {
            return Ok(());
        }
        let kept = read(&self.dir, &self.context.store).await;
        if kept.is_err() {
            // Said once, and then now and then.
            self.version = version;
        }
        let Some(kept) = kept? else {
            return Ok(());
        };
        let fresh = in_force(&kept, now)?;
        let is_news = fresh.trust_digest() != self.context.authorities.get().trust_digest();
        if version == self.version && !is_news && !self.is_due(now)? {
            return Ok(());
        }
        let identity = identity_now(&self.dir, &fresh, now)?;
        self.doorway.open_with(&identity, &fresh)?;
        self.context.metrics.expire_at(expiries(&self.dir)?);
        if self.context.authorities.set(fresh) {
            tracing::info!("members are told of other authorities from now on");
            // Hosts that are connected are told at once.
            self.context.fleet.send_modify(|_| {});
        }
        self.version = version;
        Ok(())
    }

    /// Whether the controller's certificate is to be made anew. One that begins in the future is a matter of
    /// the clock, and of starts.
    fn is_due(&self, now: Timestamp) -> Result<bool, StartError> {
        let Some(server) = server_of(&self.dir)? else {
            return Ok(true);
        };
        let begins = server.begins_secs().unwrap_or(0);
        Ok(begins <= now.secs() && server.is_due(now.secs()))
    }

    /// Takes the next step when everybody has followed.
    async fn go_on(&self, now: Timestamp) -> Result<(), StartError> {
        let in_force = self.context.authorities.get();
        let (stage, _) = in_force.stage();
        if stage == Stage::None {
            return Ok(());
        }
        let members = self.context.store.members().await?;
        let life = self.context.settings.certificate_life;
        let current = in_force.current().fingerprint();
        let newest = in_force.newest().fingerprint();
        if !may_go_on((stage, current, newest), &members, now, life) {
            return Ok(());
        }
        let dir = self.dir.clone();
        let stepped = tokio::task::spawn_blocking(move || step(&dir, stage, now)).await;
        let Ok(Some((held, kept, what))) = stepped.unwrap_or(Ok(None)) else {
            return Ok(());
        };
        let base = self.dir.authority()?;
        let states = self.context.store.authority_states().await?;
        look_at(&self.dir, &states, base.as_ref())?;
        let base = base.map(|base| base.state());
        keep(&self.dir, &self.context.store, &kept, base).await?;
        drop(held);
        let origin = Origin::controller(RequestId::new()?.to_string());
        let mut event = origin.done(EventKind::Operator, now.ms());
        what.clone_into(&mut event.reason);
        tracing::info!(what);
        self.context.store.record(event).await?;
        Ok(())
    }
}

/// Whether everybody has followed so far that nobody needs what the next step takes away.
fn may_go_on(
    (stage, current, newest): (Stage, [u8; 32], [u8; 32]),
    members: &[Member],
    now: Timestamp,
    life: Duration,
) -> bool {
    let mut keys = members.iter().flat_map(Member::active_keys);
    match stage {
        Stage::None => false,
        Stage::Announced => report::waiting(members, &newest).next().is_none(),
        Stage::Issuing => keys.all(|key| {
            let has_ended = key.renewed_at_ms.saturating_add(millis(life)) < now.ms();
            let holds_new = key.knows.issuer == Some(current);
            key.knows.kept.contains(&current) && (holds_new || has_ended)
        }),
    }
}

fn millis(life: Duration) -> u64 {
    life.as_secs().saturating_mul(1000)
}

/// What is to be kept after the step that follows this stage, unless somebody took another meanwhile; the lock
/// under which it is kept, and what is done, in words.
fn step(
    dir: &DataDir,
    stage: Stage,
    now: Timestamp,
) -> Result<Option<(File, Kept, &'static str)>, StartError> {
    let held = dir.hold_authority()?;
    let Some(mut kept) = dir.authority()?.filter(|kept| kept.stage() == stage) else {
        return Ok(None);
    };
    let (stepped, what) = match stage {
        Stage::None => return Ok(None),
        Stage::Announced => (
            kept.issue(now.secs()),
            "every member knows the new authority: it issues from now on",
        ),
        Stage::Issuing => (
            kept.finish(now.secs()),
            "nobody needs the former authority any more: its key is destroyed",
        ),
    };
    if stepped.is_err() {
        return Ok(None);
    }
    Ok(Some((held, kept, what)))
}

#[cfg(test)]
mod tests {
    use fleet::Role;

    use super::*;
    use crate::store::fixture;
    use crate::store::model::KnownAuthorities;

    const LIFE: Duration = Duration::from_secs(24 * 3600);
    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];

    fn member(kept: &[[u8; 32]], issuer: [u8; 32], renewed_at_ms: u64) -> Member {
        let mut member = fixture::member(Role::Host, "web-1");
        for key in &mut member.keys {
            key.renewed_at_ms = renewed_at_ms;
            key.knows = KnownAuthorities {
                kept: kept.to_vec(),
                issuer: Some(issuer),
            };
        }
        member
    }

    #[test]
    fn a_rotation_goes_on_when_everybody_has_followed_and_not_before() {
        let now = Timestamp::from_ms(1_000_000_000_000);
        let (lately, long_ago) = (now.ms() - 1_000, now.ms() - 2 * millis(LIFE));
        let announced = (Stage::Announced, OLD, NEW);
        let issuing = (Stage::Issuing, NEW, NEW);
        for (at, member, expected) in [
            (announced, member(&[OLD], OLD, lately), false),
            (announced, member(&[], OLD, lately), false),
            (announced, member(&[OLD, NEW], OLD, lately), true),
            (issuing, member(&[OLD, NEW], OLD, lately), false),
            (issuing, member(&[OLD, NEW], NEW, lately), true),
            (issuing, member(&[OLD, NEW], OLD, long_ago), true),
            (issuing, member(&[OLD], OLD, long_ago), false),
        ] {
            let told = format!("{at:?} {member:?}");
            assert_eq!(may_go_on(at, &[member], now, LIFE), expected, "{told}");
        }
        assert!(may_go_on(announced, &[], now, LIFE));
    }
}
