//! The authorities of a directory: opened, kept up to date while the controller runs, and changed by
//! people.
//!
//! | file | what |
//! |---|---|
//! | `watch` | the running controller: takes what was changed, goes on by itself, renews its certificate |
//! | `change` | `ca rotate`: one step, whether a controller runs or not |
//! | `known` | whether the file is the one that the database knows |
//! | `shared` | the same in a database that several controllers have, sealed: what one changes, all follow |
//! | `report` | `ca status`: what there is, and who has not heard of it |

pub(crate) mod change;
pub(crate) mod doubt;
mod known;
pub(crate) mod report;
pub(crate) mod shared;
pub(crate) mod watch;

use self::known::{Known, judge};
pub(crate) use self::shared::share;
use crate::ca::Credentials;
use crate::ca::authorities::{InForce, Unusable};
use crate::ca::kept::{DirectoryKey, Kept};
use crate::data_dir::{DataDir, DataDirError};
use crate::random::random;
use crate::start::directory::read_settings;
use crate::start::error::StartError;
use crate::store::Store;
use crate::store::model::AuthorityStates;
use crate::timestamp::Timestamp;

/// What is kept, for whoever only reads. A directory of before has one authority, and no key for
/// directories yet.
///
/// # Errors
///
/// [`StartError::AuthorityFile`] for a file that the database does not know, and whatever keeps it from being
/// read.
pub(crate) async fn read(dir: &DataDir, store: &Store) -> Result<Option<Kept>, StartError> {
    let kept = dir.authority()?;
    let Err(doubt) = judged(dir, &store.authority_states().await?, kept.as_ref()) else {
        return Ok(kept);
    };
    match shared::newer(store, kept.as_ref()).await? {
        Some(newer) => Ok(Some(newer)),
        None => Err(doubt),
    }
}

/// Whether the database, which knows these states, knows what is kept.
pub(crate) fn look_at(
    dir: &DataDir,
    states: &AuthorityStates,
    kept: Option<&Kept>,
) -> Result<(), StartError> {
    judged(dir, states, kept).map(|_| ())
}

fn judged(
    dir: &DataDir,
    states: &AuthorityStates,
    kept: Option<&Kept>,
) -> Result<Known, StartError> {
    let (file, run) = (kept.map(Kept::state), dir.run()?);
    let known = judge(states, file.as_deref(), run.as_deref());
    known.map_err(|doubt| StartError::AuthorityFile {
        path: dir.authority_path(),
        doubt,
    })
}

/// What is kept; in a directory of before, made of its authority and kept from now on.
pub(crate) async fn open(dir: &DataDir, store: &Store, now: Timestamp) -> Result<Kept, StartError> {
    let _held = dir.hold_authority()?;
    open_held(dir, store, now).await
}

/// The same for who holds the lock.
async fn open_held(dir: &DataDir, store: &Store, now: Timestamp) -> Result<Kept, StartError> {
    let kept = dir.authority()?;
    let known = judged(dir, &store.authority_states().await?, kept.as_ref());
    let known = match known {
        Ok(known) => known,
        Err(doubt) => {
            let newer = shared::newer(store, kept.as_ref()).await?.ok_or(doubt)?;
            tracing::info!("the authorities were changed at another controller");
            dir.write_authority(&newer)?;
            return Ok(newer);
        }
    };
    let Some(kept) = kept else {
        let current = dir.identity("ca")?;
        let since = current.begins_secs().unwrap_or_else(|| now.secs());
        let kept = Kept::of(&current, directory_key(now)?, since);
        in_force(&kept, now)?;
        keep(dir, store, &kept, None).await?;
        return Ok(kept);
    };
    match known {
        Known::Same => shared::begin(dir, store, &kept).await?,
        Known::Nothing | Known::Begun => settle(dir, store, &kept).await?,
        Known::PutBack => {
            if let Some(later) = shared::later(store, &kept).await? {
                tracing::warn!(
                    "the authorities that another controller has are newer than those of this one"
                );
                dir.write_authority(&later)?;
                return Ok(later);
            }
            tracing::error!(
                "authority.json is newer than the database, which was put back: the authorities are those of \
                 the file, and whoever joined or renewed since is not in the database"
            );
            settle(dir, store, &kept).await?;
        }
    }
    // Somebody was killed between the two files, or put an old one back.
    let is_copied = dir.identity("ca").is_ok_and(|copied| {
        copied.certificate_pem == kept.current.certificate
            && copied.key_pem == kept.current.credentials().key_pem
    });
    if !is_copied {
        tracing::warn!(
            "ca.pem and its key are not what authority.json says, and are written again"
        );
        dir.write_authority(&kept)?;
    }
    Ok(kept)
}

/// Keeps it in the place of what had the state `base`, or of whatever is there. The database is told before and
/// after, so that whoever dies in between is understood; of one that several have, it is kept there first, and the
/// file follows. The lock is held.
async fn keep(
    dir: &DataDir,
    store: &Store,
    kept: &Kept,
    base: Option<String>,
) -> Result<(), StartError> {
    if store.is_shared() {
        share((store, &read_settings(dir)?.fleet), kept, base).await?;
        return Ok(dir.write_authority(kept)?);
    }
    let state = kept.state();
    store.begin_authority(state.clone()).await?;
    dir.write_authority(kept)?;
    store.settle_authority(state).await?;
    Ok(())
}

/// Notes what the file has.
async fn settle(dir: &DataDir, store: &Store, kept: &Kept) -> Result<(), StartError> {
    if store.is_shared() {
        return share((store, &read_settings(dir)?.fleet), kept, None).await;
    }
    Ok(store.settle_authority(kept.state()).await?)
}

/// A new key for directories.
pub(crate) fn directory_key(now: Timestamp) -> Result<DirectoryKey, StartError> {
    let seed = zeroize::Zeroizing::new(random()?);
    Ok(DirectoryKey::new(&seed, now.secs()))
}

/// What is kept, at work.
pub(crate) fn in_force(kept: &Kept, now: Timestamp) -> Result<InForce, StartError> {
    InForce::of(kept, now.secs()).map_err(|unusable| match unusable {
        Unusable::Authority(error) => StartError::Authority(error),
        Unusable::Directory => StartError::DirectoryKey,
        Unusable::Key => StartError::AuthorityKey,
    })
}

/// The controller's own certificate with its key; `None` where one of them is missing, or is not the other's, as
/// whoever dies between the two leaves them.
pub(crate) fn server_of(dir: &DataDir) -> Result<Option<Credentials>, StartError> {
    match dir.identity("server") {
        Ok(kept) => Ok(kept.holds_its_key().then_some(kept)),
        Err(DataDirError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The controller's own certificate, made anew where the one of the directory is not to be shown any
/// longer: it is of another authority, near its end, or begins in the future. The last proves that the
/// clock was ahead when it was made, or is behind now; nobody whose clock is right would take it.
pub(crate) fn identity_now(
    dir: &DataDir,
    in_force: &InForce,
    now: Timestamp,
) -> Result<Credentials, StartError> {
    let Some(kept) = server_of(dir)? else {
        tracing::warn!(
            "server.pem or its key is missing, or the one is not of the other: both are made anew"
        );
        let made = in_force.server(now.secs())?;
        dir.replace_identity("server", &made)?;
        return Ok(made);
    };
    let is_ours = kept
        .leaf_der()
        .is_some_and(|leaf| in_force.current().has_signed(&leaf));
    let begins = kept.begins_secs().filter(|begin| *begin > now.secs());
    if let Some(begins) = begins.map(|begin| Timestamp::from_ms(begin.saturating_mul(1000))) {
        tracing::error!(
            %begins,
            %now,
            "this controller's certificate begins in the future: its clock was ahead when the certificate was \
             made, or is behind now; until then it serves with one that is made at each start"
        );
        return Ok(in_force.server(now.secs())?);
    }
    let shown = if is_ours && !kept.is_due(now.secs()) {
        let shown = in_force.show(kept.clone());
        if shown.certificate_pem == kept.certificate_pem {
            return Ok(kept);
        }
        shown
    } else {
        tracing::info!("the controller's own certificate is made anew");
        in_force.server(now.secs())?
    };
    dir.replace_identity("server", &shown)?;
    Ok(shown)
}
