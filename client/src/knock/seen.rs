//! From which address the controller sees this machine come: asked in a moment, kept for a minute.

use std::net::IpAddr;

use fleet::wire::WhoAmIRequest;
use serde::{Deserialize, Serialize};

use super::asker::Asker;
use crate::connection::{Connection, ask};
use crate::error::Result;
use crate::profile::Profile;

/// For how long an answer is good. A machine that moves to another network mostly gets another
/// address of its own there, and then it is asked again anyway.
const KEPT_SECS: u64 = 60;

/// What the controller said.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    /// This machine's own address at that time, on its way to the host.
    own: IpAddr,
    seen: IpAddr,
    at_secs: u64,
}

/// What the controller sees; `None` when it does not say so in time.
pub(crate) async fn by_controller(
    profile: &Profile,
    asker: &mut Asker,
    own: IpAddr,
    now_secs: u64,
) -> Option<IpAddr> {
    if let Some(kept) = kept(profile, own, now_secs) {
        return Some(kept);
    }
    by_controller_now(profile, asker, own, now_secs).await
}

/// The same, whatever it said a moment ago.
pub(crate) async fn by_controller_now(
    profile: &Profile,
    asker: &mut Asker,
    own: IpAddr,
    now_secs: u64,
) -> Option<IpAddr> {
    let seen = asker.ask(who_am_i).await??;
    let kept = Kept {
        own,
        seen,
        at_secs: now_secs,
    };
    // It is only asked once more next time.
    let _ = serde_json::to_vec(&kept).map(|bytes| profile.write_seen(&bytes));
    Some(seen)
}

async fn who_am_i(connection: Connection) -> Result<Option<IpAddr>> {
    let answer = connection.directory().who_am_i(ask(WhoAmIRequest {})).await;
    let answer = answer.map_err(|status| connection.refused(status))?;
    let address: Option<IpAddr> = answer.into_inner().address.parse().ok();
    Ok(address.map(|address| address.to_canonical()))
}

fn kept(profile: &Profile, own: IpAddr, now_secs: u64) -> Option<IpAddr> {
    let bytes = profile.read_seen().ok().flatten()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    let age_secs = now_secs.checked_sub(kept.at_secs)?;
    (kept.own == own && age_secs < KEPT_SECS).then_some(kept.seen)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn an_answer_is_good_for_a_minute_and_from_the_same_address_of_our_own() {
        let dir = TempDir::new().unwrap();
        let profile = Profile::new(Some(dir.path().to_owned()));
        let (own, other): (IpAddr, IpAddr) = ([10, 0, 0, 5].into(), [10, 0, 0, 6].into());
        let seen: IpAddr = [203, 0, 113, 7].into();
        let answer = Kept {
            own,
            seen,
            at_secs: 1_000,
        };
        profile
            .write_seen(&serde_json::to_vec(&answer).unwrap())
            .unwrap();

        assert_eq!(kept(&profile, own, 1_000), Some(seen));
        assert_eq!(kept(&profile, own, 1_059), Some(seen));
        assert_eq!(kept(&profile, own, 1_060), None);
        assert_eq!(kept(&profile, own, 999), None);
        assert_eq!(kept(&profile, other, 1_000), None);
    }
}
