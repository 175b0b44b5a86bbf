//! The authorities of a directory: opened, kept up to date while the controller runs, and changed by
//! people.
//!
//! | file | what |
//! |---|---|
//! | `watch` | the running controller: takes what was changed, goes on by itself, renews its certificate |
//! | `change` | `ca rotate`: one step, whether a controller runs or not |
//! | `report` | `ca status`: what there is, and who has not heard of it |

pub(crate) mod change;
pub(crate) mod report;
pub(crate) mod watch;

use crate::ca::Credentials;
use crate::ca::authorities::{InForce, Unusable};
use crate::ca::kept::{DirectoryKey, Kept};
use crate::data_dir::DataDir;
use crate::random::random;
use crate::start::error::StartError;
use crate::timestamp::Timestamp;

/// What is kept, for whoever only reads. A directory of before has one authority, and no key for
/// directories yet.
pub(crate) fn read(dir: &DataDir) -> Result<Option<Kept>, StartError> {
    Ok(dir.authority()?)
}

/// What is kept; in a directory of before, made of its authority and kept from now on.
pub(crate) fn open(dir: &DataDir, now: Timestamp) -> Result<Kept, StartError> {
    let _held = dir.hold_authority()?;
    if let Some(kept) = dir.authority()? {
        // Somebody was killed between the two files, or put an old one back.
        let copied = dir.identity("ca")?;
        if copied.certificate_pem != kept.current.certificate
            || copied.key_pem != kept.current.credentials().key_pem
        {
            tracing::warn!("ca.pem is not what authority.json says, and is written again");
            dir.write_authority(&kept)?;
        }
        return Ok(kept);
    }
    let current = dir.identity("ca")?;
    let since = current.begins_secs().unwrap_or_else(|| now.secs());
    let kept = Kept::of(&current, directory_key(now)?, since);
    in_force(&kept, now)?;
    dir.write_authority(&kept)?;
    Ok(kept)
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
    })
}

/// The controller's own certificate, made anew where the one of the directory is not to be shown any
/// longer: it is of another authority, near its end, or begins in the future. The last proves that the
/// clock was ahead when it was made, or is behind now; nobody whose clock is right would take it.
pub(crate) fn identity_now(
    dir: &DataDir,
    in_force: &InForce,
    now: Timestamp,
) -> Result<Credentials, StartError> {
    let kept = dir.identity("server")?;
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
