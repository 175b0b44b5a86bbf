//! The authorities in a database that several controllers have: sealed there, so that a further controller begins with
//! them, and what is changed at one is followed at the others. The file of each directory is its copy, and what
//! proves that the database was not put back.

use super::in_force;
use crate::ca::kept::Kept;
use crate::data_dir::DataDir;
use crate::start::directory::read_settings;
use crate::start::error::StartError;
use crate::store::Store;
use crate::store::model::SharedAuthority;
use crate::timestamp::Timestamp;

/// Puts it there, in the place of what had the state `base`, or of whatever is there.
///
/// # Errors
///
/// [`StartError::AuthorityMoved`] when it is another by now.
pub(crate) async fn share(
    (store, fleet): (&Store, &str),
    kept: &Kept,
    base: Option<String>,
) -> Result<(), StartError> {
    let text = kept.text().map_err(|_| StartError::DirectoryKey)?;
    let next = SharedAuthority {
        fleet: fleet.to_owned(),
        states: vec![kept.state()],
        text: text.to_string(),
    };
    if store.share_authority(next, base).await? {
        Ok(())
    } else {
        Err(StartError::AuthorityMoved)
    }
}

/// Puts it there where nobody has yet: the database is of a version before.
pub(super) async fn begin(dir: &DataDir, store: &Store, kept: &Kept) -> Result<(), StartError> {
    if !store.is_shared() || store.shared_authority().await?.is_some() {
        return Ok(());
    }
    share(
        (store, &read_settings(dir)?.fleet),
        kept,
        Some(kept.state()),
    )
    .await
}

/// What another controller has changed since this was kept; `None` where the database does not say so under its
/// seal, and of none: a file that is lost is a matter for people.
pub(super) async fn newer(store: &Store, kept: Option<&Kept>) -> Result<Option<Kept>, StartError> {
    let Some(state) = kept.filter(|_| store.is_shared()).map(Kept::state) else {
        return Ok(None);
    };
    let Some(shared) = store.shared_authority().await? else {
        return Ok(None);
    };
    let follows = follows(&shared.states, Some(&state));
    Ok(if follows { of(&shared) } else { None })
}

/// Whether the last of these states follows this one.
pub(crate) fn follows(states: &[String], state: Option<&str>) -> bool {
    let before = states.split_last().map(|(_, before)| before);
    before.is_some_and(|before| before.iter().any(|it| Some(it.as_str()) == state))
}

/// What is shared, where it was changed after this was: the database was put back to before both, and another
/// controller was there first.
pub(super) async fn later(store: &Store, kept: &Kept) -> Result<Option<Kept>, StartError> {
    if !store.is_shared() {
        return Ok(None);
    }
    let shared = store.shared_authority().await?;
    let shared = shared.as_ref().and_then(of);
    Ok(shared.filter(|shared| shared.changed_secs() > kept.changed_secs()))
}

/// What is shared, as it is kept; `None` where it is not what it says.
pub(crate) fn of(shared: &SharedAuthority) -> Option<Kept> {
    let kept = Kept::parse(&shared.text).ok()?;
    (shared.states.last() == Some(&kept.state())).then_some(kept)
}

/// Brings the file to what the database has, where that is newer; whether it has that now.
pub(super) async fn follow(
    dir: &DataDir,
    store: &Store,
    now: Timestamp,
) -> Result<bool, StartError> {
    if !store.is_shared() {
        return Ok(true);
    }
    let file = dir.authority()?.map(|kept| kept.state());
    let settled = store.authority_states().await?.settled;
    if settled.last() == file.as_ref() {
        return Ok(true);
    }
    let kept = super::open(dir, store, now).await?;
    in_force(&kept, now)?;
    Ok(settled.last() == Some(&kept.state()))
}
